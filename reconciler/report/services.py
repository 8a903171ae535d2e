"""The shared services as a table for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model import JSON
from reconciler.report.show import clean, count, listed

_HEADS = ("SERVICE", "STATE", "VERSION", "PID", "ADDRESS", "")


def services_text(report: Mapping[str, Mapping[str, JSON]]) -> str:
    """One line for each service, then what to do. `report` is `reconciler.controller.Services.report`."""
    if not report:
        return "No service is run or used here."
    works = sum(each["state"] in ("running", "external") for each in report.values())
    cells = [_cells(name, each) for name, each in report.items()]
    sizes = [max(len(row[at]) for row in [_HEADS, *cells]) for at in range(len(_HEADS))]
    lines = ["   ".join(f"{cell:<{size}}" for cell, size in zip(row, sizes, strict=True)).rstrip() for row in [_HEADS, *cells]]
    head = f"{works} of {count(len(report), 'service')} {'works' if 1 in (works, len(report)) else 'work'}."
    return "\n".join([head, "", *lines, *_last(report)])


def _last(report: Mapping[str, Mapping[str, JSON]]) -> list[str]:
    """What to do about those that do not work: ours can be started, another's server cannot."""
    away = [name for name, each in report.items() if each["state"] == "unreachable"]
    ours = [name for name, each in report.items() if each["state"] not in ("running", "external", "unreachable")]
    steps = ["`reconcile platform up` starts them; `reconcile platform logs SERVICE` says why one does not"] if ours else []
    steps += [f"{listed(away)} is not run by this installation: see to its server, or correct its address in the Platform"] if away else []
    return ["", f"Next: {'; '.join(steps)}."] if steps else []


def _cells(name: str, each: Mapping[str, JSON]) -> tuple[str, ...]:
    shown = [each.get(key) for key in ("state", "version", "pid", "url", "message")]
    return (clean(name), *("-" if value is None else clean(str(value)) for value in shown))
