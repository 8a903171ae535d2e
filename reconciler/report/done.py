"""What a pass did, as text for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError, Transient
from reconciler.model import Blocked, Diff, Done, Failed, Keep, Ref, Result, Started, Status
from reconciler.report.rows import DONE, Row, command, confirm_step, counted_words, empty_source, errors, revision, row
from reconciler.report.show import clean, count, listed, paint, took, wrap
from reconciler.report.text import COLORS, change_lines, diagnostics_text, mistakes, notes, plan_text, promised, rows_lines, unaffected

if TYPE_CHECKING:
    from reconciler.loop import Report


_COLUMN = 44
"""Columns that names are aligned to, and more where a longer one is shown."""
_STATE = 24
"""Columns that are left for what became of it."""


@dataclass(frozen=True)
class _Page:
    """How results are written."""

    color: bool
    width: int
    names: int
    all_: bool
    lost: Mapping[Ref, Status] = field(default_factory=dict)
    """Runs that were started and came to no good end."""


def report_text(report: Report, *, color: bool = False, width: int = 100, all_: bool = False) -> str:
    """Outcome first, one line per action that was done, the failures with their reasons, what to do next."""
    proposal = report.proposal
    if all(isinstance(each.action, Keep) for each in report.results) and not proposal.diagnostics and not _waiting(report):
        return plan_text(proposal, color=color, width=width, all_=all_)
    parts = [headline(report), ""]
    names = max((len(clean(str(each.action.ref))) for each in report.results if _told(each)), default=0)
    page = _Page(color, width, min(max(_COLUMN, names), width - _STATE), all_, {each.ref: each for each in _lost(report)})
    body = [line for each in report.results for line in _result_lines(each, page)]
    body += rows_lines([row(each) for each in _blocked(report)], color=color, width=width, all_=all_)
    parts += [*body, ""] if body else []
    said = notes(proposal, width)
    parts += [*said, ""] if said else []
    if wrong := mistakes(proposal):
        parts += [diagnostics_text(wrong, color=color, planned=unaffected((row(each.action) for each in report.results), wrong)), ""]
    parts.append(f"Next: {next_step(report)}")
    return "\n".join(parts)


def headline(report: Report) -> str:
    """`Done: 3 created, 1 changed, 57 unchanged @ 3f9c2e1 (2.4 s).`, or what went wrong, in the same form."""
    at = f" @ {clean(revision(report.proposal))}" if revision(report.proposal) else ""
    failed = len(failures(report)) + len(_lost(report))
    wrong = errors(report.proposal)
    tried = any(each.outcome is not None for each in report.results)
    word = "Stopped" if report.interrupted else "Failed in part" if failed or wrong else "Done" if tried else "Nothing done"
    told = _totals(report)
    if wrong:
        told.append(count(wrong, "error") + " in the manifests")
    return f"{word}: {', '.join(told) or 'nothing to do'}{at} ({took(report.seconds)})."


def _totals(report: Report) -> list[str]:
    done: Counter[str] = Counter()
    failed = skipped = 0
    for each in report.results:
        word = row(each.action).word(DONE)
        if isinstance(each.outcome, Done | Started):
            done[word] += 1
        elif isinstance(each.outcome, Failed):
            failed += 1
        elif isinstance(each.action, Keep | Blocked):
            done[word] += 1
        else:
            skipped += 1
    lost = stalled(report)
    family = {each.ref for each in _waiting(report)} & {ref for each in lost for ref in (each.ref, replace(each.ref, key=""))}
    extra = [(failed, "failed"), (skipped, "not reached"), (len(lost), "stalled"), (len(_waiting(report)) - len(family), "not Ready yet")]
    return counted_words(done, DONE) + [f"{number:,} {word}" for number, word in extra if number]


def failures(report: Report) -> list[Result]:
    """Results that went wrong: the write failed, or something still differs after it."""
    return [each for each in report.results if isinstance(each.outcome, Failed) or each.left_over]


def _waiting(report: Report) -> list[Status]:
    """Not Ready although nothing is in the way: still starting, or degraded. What a wrong manifest names is not waited for."""
    held = {each.ref for each in _blocked(report)}
    wrong = {each.action.ref for each in failures(report)}
    return [each for each in report.statuses if not each.ready and each.ref not in held | wrong and not _refused(each)]


def stalled(report: Report) -> list[Status]:
    """What failed and is not tried again by itself; a parent that only has such children is not counted beside them."""
    found = [each for each in _waiting(report) if any(one.type == "Stalled" and one.status for one in each.conditions)]
    parents = {replace(each.ref, key="") for each in found if each.ref.key}
    return [each for each in found if each.ref not in parents]


def _lost(report: Report) -> list[Status]:
    """Runs that this pass has worked on and that came to no good end."""
    worked = {each.action.ref for each in report.results if isinstance(each.outcome, Done | Started)}
    return [each for each in stalled(report) if each.ref.key and each.ref in worked]


def _refused(status: Status) -> bool:
    return any(each.reason == "InvalidManifest" for each in status.conditions)


def _told(each: Result) -> bool:
    return each.outcome is not None or not isinstance(each.action, Keep | Blocked)


def _result_lines(each: Result, page: _Page) -> list[str]:
    if not _told(each):
        return []
    told = row(each.action)
    match each.outcome:
        case Done() | Started() if (lost := page.lost.get(told.ref)) is not None:
            return [*_line("✗", told, "failed", page, 0.0, "red"), *wrap(clean(lost.message), page.width, "      ")]
        case Done() | Started():
            state = "started, goes on" if isinstance(each.outcome, Started) else _done(told)
            lines = _line(told.glyph, told, state, page, each.seconds)
            if told.verb != "create" or page.all_:
                lines += change_lines(told.changes, page.width)
            return lines + _left_over(each.left_over, page.color, page.width)
        case Failed(error):
            return [*_line("✗", told, "failed", page, each.seconds, "red"), *_why_failed(error, each.attempts, page.width)]
        case None:
            return _line(" ", told, "not reached", page, 0.0)


def _done(told: Row) -> str:
    """What was done; of a run, that it has come to its end; of a replica, that it serves; of a move, from what."""
    if told.verb == "move":
        return told.why
    end = "finished" if told.ref.kind == "Experiment" else "ready"
    return {"create": end, "update": end, "delete": "let go"}.get(told.verb, DONE[told.verb]) if told.ref.key else DONE[told.verb]


def _line(glyph: str, told: Row, state: str, page: _Page, seconds: float, style: str = "") -> list[str]:
    """What became of one action, and why it was done: beside it where there is room."""
    name = clean(str(told.ref))
    spent = f" in {took(seconds)}" if seconds >= 1 else ""
    start = f"  {paint(glyph, style or COLORS[told.verb], page.color)} {paint(name, 'bold', page.color)}{' ' * (page.names - len(name))}"
    why = clean(told.why) if told.verb in ("create", "update") and not style else ""
    beside = f"  {state}{spent}    {why}"
    if not why or 4 + max(page.names, len(name)) + len(beside) <= page.width:
        return [f"{start}{beside}".rstrip()]
    return [f"{start}  {state}{spent}", *wrap(why, page.width, "      ")]


def _why_failed(error: Exception, attempts: int, width: int) -> list[str]:
    message = error.message if isinstance(error, ReconcilerError) else f"{type(error).__name__}: {error}"
    tries = f" (tried {attempts} times)" if attempts > 1 else ""
    lines = wrap(clean(message) + tries, width, "      ")
    hint = error.hint if isinstance(error, ReconcilerError) else ""
    if not hint:
        hint = "may pass: `reconcile` tries again" if isinstance(error, Transient) else "stays until the manifest or the tool changes"
    return lines + wrap(clean(hint), width, "      ")


def _left_over(changes: Diff, color: bool, width: int) -> list[str]:
    if not changes:
        return []
    said = "accepted, and still different when read back; this is a defect of the controller or of the tool:"
    return [f"      {paint(said, 'red', color)}", *change_lines(changes, width, "        ")]


def _blocked(report: Report) -> list[Blocked]:
    return [each.action for each in report.results if isinstance(each.action, Blocked)]


def next_step(report: Report) -> str:
    """The last line: what to do now."""
    proposal = report.proposal
    steps = []
    if report.interrupted:
        steps.append(f"`{command(proposal)}` goes on where this stopped")
    elif failures(report):
        steps.append(f"`{command(proposal)}` tries what failed again")
    if errors(proposal):
        steps.append("correct the manifests above (`reconcile validate` checks them without any tool)")
    if confirm := confirm_step(proposal, done=True):
        steps.append(confirm)
    if any(each.held for each in _blocked(report)):
        steps.append("`reconcile watch` (or `--wait`) starts what waits as room becomes free, `reconcile queue` tells when")
    lost = stalled(report)
    if lost:
        steps.append(f"`reconcile why {lost[0].ref}` tells what failed")
    family = {ref for each in lost for ref in (each.ref, replace(each.ref, key=""))}
    if waits := [each for each in _waiting(report) if each.ref not in family]:
        steps.append(f"`reconcile status` tells when {listed([each.ref for each in waits], 2)} {'is' if len(waits) == 1 else 'are'} Ready")
    if empty_source(proposal):
        steps.append("put the manifests back, or name where they are with -f PATH")
    elif any(_in_the_way(row(each), bool(confirm)) for each in _blocked(report)):
        steps.append("see the lines marked ! and ? for what is in the way")
    return "; ".join(steps or ["`reconcile status --all` shows everything"]) + "."


def _in_the_way(held: Row, confirm: bool) -> bool:
    """It needs a look that no other step of the last line promises."""
    return held.verb == "unknown" or (held.in_the_way and not promised(held, confirm))
