"""A run of a workflow that has ended, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.model import Ref
from reconciler.report.show import paint

SIGNS = {
    "success": ("green", "ok"),
    "failed": ("red", "failed"),
    "upstream_failed": ("yellow", "not reached"),
    "skipped": ("dim", "skipped"),
}


def _short(value: Any) -> str:
    text = str(value).strip('"')
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def run_text(ref: Ref, run: str, found: Mapping[str, Any], *, color: bool) -> str:
    """How long each task took and what became of it; then the whole, from trigger to end."""
    tasks: Mapping[str, Mapping[str, Any]] = found["tasks"]
    wide = max((len(name) for name in tasks), default=0)
    lines = []
    for name, each in tasks.items():
        hue, word = SIGNS.get(str(each["state"]), ("yellow", str(each["state"]) or "not reached"))
        tries = f"  {each['attempts']} tries" if each["attempts"] > 1 else ""
        lines.append(f"  {name:<{wide}}  {each['seconds']:7.1f} s  {paint(word, hue, color)}{tries}")
    for name, each in tasks.items():
        told = [f"{key} {_short(value)}" for key, value in (each.get("told") or {}).items() if value is not None]
        lines += [f"  {name} tells: {', '.join(told)}"] if told else []
    hue, word = SIGNS.get(str(found["state"]), ("yellow", str(found["state"])))
    lines.append(
        f"{ref}: run {run} {paint('succeeded' if word == 'ok' else word, hue, color)}, {found['seconds']:.1f} s from trigger to end"
    )
    if found["why"]:
        lines.append(str(found["why"]))
    return "\n".join(lines)
