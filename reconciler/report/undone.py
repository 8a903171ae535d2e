"""What undoing an apply does to the manifests, and what comes of it, for people and programs. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from reconciler.report.json import FORMAT_VERSION, plan_value
from reconciler.report.rows import confirm_step, rows, totals_text
from reconciler.report.show import clean, count, listed, paint, rfc3339, since, wrap
from reconciler.report.text import diagnostics_text, mistakes, notes, rows_lines, unaffected

if TYPE_CHECKING:
    from reconciler.source.earlier import Does
    from reconciler.undo import Fate, Verdict
    from reconciler.undoing import Undoing

FATES: Mapping[Fate, tuple[str, str]] = {
    "takenBack": ("taken back", "green"),
    "takenBackBut": ("taken back, but", "yellow"),
    "cannot": ("cannot be taken back", "red"),
    "unknown": ("not known", "magenta"),
}
"""Word and colour of each."""
_DOES: Mapping[tuple[Does, bool], str] = {
    ("write", False): "as it was",
    ("write", True): "would be as it was",
    ("remove", False): "removed, it was not there",
    ("remove", True): "would be removed, it was not there",
    ("already", False): "as it was already",
    ("already", True): "as it was already",
}


def undone_text(found: Undoing, now: datetime, *, dry_run: bool, color: bool = False, width: int = 100) -> str:
    """The outcome, the files, a verdict for each thing that was done, the plan that follows, and what to do next."""
    head = f"apply {found.apply.number} @ {clean(found.apply.revision)} ({since(found.apply.at, now)} ago, by {clean(found.apply.actor)})"
    lines = [*wrap(_outcome(found, head, dry_run), width, ""), ""]
    widest = max((len(each.name) for each in found.files), default=0)
    lines += [f"  {clean(each.name):<{widest}}  {_DOES[each.does, dry_run]}" for each in found.files]
    if found.turned.also:
        also = f"Goes back too, for it stands in the same files: {listed(found.turned.also)}."
        lines += ["", *wrap(also, width, "")]
    lines += ["", "Of what was done:", ""]
    lines += [line for each in found.verdicts for line in _verdict(each, color, width)]
    lines += ["", *_plan(found, color, width), *wrap(f"Next: {_next(found, dry_run)}", width, "")]
    return "\n".join(lines)


def undone_json(found: Undoing, now: datetime, *, dry_run: bool, **_: object) -> str:
    """The same for programs; `plan` is what `reconcile --dry-run -o json` would give."""
    body: dict[str, Any] = {
        "at": rfc3339(now),
        "apply": found.apply.number,
        "revision": found.apply.revision,
        "to": found.commit,
        "dryRun": dry_run,
        "files": [{"path": each.name, "does": each.does} for each in found.files],
        "also": [str(each) for each in found.turned.also],
        "verdicts": [_verdict_value(each) for each in found.verdicts],
        "plan": plan_value(found.proposal, all_=False, at=now),
    }
    return json.dumps({"formatVersion": FORMAT_VERSION, "kind": "undo", **body}, indent=2, ensure_ascii=True, default=str)


def _outcome(found: Undoing, head: str, dry_run: bool) -> str:
    to = found.commit[:7]
    if not found.files:
        return f"Nothing to write: no manifest that is behind {head} was another one at {to}."
    if not found.writes:
        return f"Nothing to write: the manifests behind {head} are as they were at {to} already."
    many = count(sum(each.does != "already" for each in found.files), "file")
    return (
        f"Undoing {head} would take {many} back to {to}:"
        if dry_run
        else f"Undid the manifests of {head}: {many} as at {to}, not committed:"
    )


def _verdict(each: Verdict, color: bool, width: int) -> list[str]:
    word, style = FATES[each.fate]
    name = clean(str(each.ref)) + (f", {count(each.count, 'child').replace('childs', 'children')}" if each.count else "")
    head = f"  {clean(each.glyph) or ' '} {name} {clean(each.did)}: {paint(word, style, color)}"
    if not each.why:
        return [head]
    joint = "" if each.fate == "takenBackBut" else ":"
    short = f"{head}{joint} {clean(each.why)}"
    return [short] if len(short) <= width else [f"{head}{joint}", *wrap(clean(each.why), width, "      ")]


def _verdict_value(each: Verdict) -> dict[str, Any]:
    own = {"ref": str(each.ref), "did": each.did, "fate": each.fate, "why": each.why}
    return {**own, "children": each.count} if each.count else own


def _plan(found: Undoing, color: bool, width: int) -> list[str]:
    shown = rows(found.proposal)
    body = rows_lines([each for each in shown if each.shown], color=color, width=width)
    wrong = mistakes(found.proposal)
    told = [diagnostics_text(wrong, color=color, planned=unaffected(shown, wrong)), ""] if wrong else []
    if not body:
        return ["These manifests lead to no changes.", *notes(found.proposal, width), *told]
    return ["These manifests lead to:", "", *body, "", f"{totals_text(shown)}.", *notes(found.proposal, width), *told]


def _next(found: Undoing, dry_run: bool) -> str:
    ctx, writes = found.proposal.context, found.writes
    follow = ctx.platform.follow if ctx is not None else None
    watched = "a running `reconcile watch` over this folder takes them up as they are saved"
    steps: list[str] = []
    if dry_run and writes:
        steps = [f"`reconcile undo {found.apply.number}` writes these files", *([watched] if found.watched else [])]
    elif writes:
        steps = ["look at them (`git diff`), and commit this"]
        steps += [f"push it to {clean(follow.revision)} of {clean(follow.remote)}, which is followed"] if follow is not None else []
        steps += [watched] if found.watched else []
    if not (dry_run and writes) and not found.watched and follow is None:
        steps += ["`reconcile` applies it"] if found.proposal.plan.writes else []
        steps += [confirm] if (confirm := confirm_step(found.proposal)) else []
    last = f"{'; '.join(steps) or 'nothing'}."
    if found.watched or follow is not None:
        bad = clean(found.apply.revision)
        last += f" To keep a loop from taking {bad} again: `reconcile rollback --to {found.commit[:7]} --reason TEXT` instead."
    return last
