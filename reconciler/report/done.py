"""What a pass did, as text for people. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError, Transient
from reconciler.model import Blocked, Diff, Done, Failed, Keep, Result, Started, Status
from reconciler.report.rows import DONE, Row, Verb, errors, revision, row
from reconciler.report.show import clean, count, listed, paint, took, wrap
from reconciler.report.text import COLORS, change_lines, diagnostics_text, notes, plan_text, rows_lines

if TYPE_CHECKING:
    from reconciler.loop import Report


def report_text(report: Report, *, color: bool = False, width: int = 100, all_: bool = False) -> str:
    """Outcome first, one line per action that was done, the failures with their reasons, what to do next."""
    proposal = report.proposal
    if all(isinstance(each.action, Keep) for each in report.results) and not proposal.diagnostics and not _waiting(report):
        return plan_text(proposal, color=color, width=width, all_=all_)
    parts = [headline(report), ""]
    body = [line for each in report.results for line in _result_lines(each, color, width, all_)]
    body += rows_lines([row(each) for each in _blocked(report)], color=color, width=width)
    parts += [*body, ""] if body else []
    parts += notes(proposal, width)
    if proposal.diagnostics:
        parts += [diagnostics_text(proposal.diagnostics, color=color, planned=len(report.results)), ""]
    parts.append(f"Next: {next_step(report)}")
    return "\n".join(parts)


def headline(report: Report) -> str:
    """`Done: 3 created, 1 changed, 57 unchanged @ 3f9c2e1 (2.4 s).`, or what went wrong, in the same form."""
    at = f" @ {clean(revision(report.proposal))}" if revision(report.proposal) else ""
    failed = len(failures(report))
    wrong = errors(report.proposal)
    tried = any(each.outcome is not None for each in report.results)
    word = "Stopped" if report.interrupted else "Failed in part" if failed or wrong else "Done" if tried else "Nothing done"
    told = _totals(report)
    if wrong:
        told.append(count(wrong, "error") + " in the manifests")
    return f"{word}: {', '.join(told) or 'nothing to do'}{at} ({took(report.seconds)})."


def _totals(report: Report) -> list[str]:
    done: Counter[Verb] = Counter()
    failed = skipped = 0
    for each in report.results:
        verb = row(each.action).verb
        if isinstance(each.outcome, Done | Started):
            done[verb] += 1
        elif isinstance(each.outcome, Failed):
            failed += 1
        elif isinstance(each.action, Keep | Blocked):
            done[verb] += 1
        else:
            skipped += 1
    told = [f"{done[verb]:,} {word}" for verb, word in DONE.items() if done[verb]]
    waits = len(_waiting(report))
    extra = [(failed, "failed"), (skipped, "not reached"), (waits, "not Ready yet")]
    return told + [f"{number:,} {word}" for number, word in extra if number]


def failures(report: Report) -> list[Result]:
    """Results that went wrong: the write failed, or something still differs after it."""
    return [each for each in report.results if isinstance(each.outcome, Failed) or each.left_over]


def _waiting(report: Report) -> list[Status]:
    """Not Ready although nothing is in the way: still starting, or degraded."""
    held = {each.ref for each in _blocked(report)}
    wrong = {each.action.ref for each in failures(report)}
    return [each for each in report.statuses if not each.ready and each.ref not in held | wrong]


def _result_lines(each: Result, color: bool, width: int, all_: bool) -> list[str]:
    told = row(each.action)
    match each.outcome:
        case Done() | Started():
            state = "started, goes on" if isinstance(each.outcome, Started) else DONE[told.verb]
            lines = [_line(told.glyph, told, state, color, each.seconds)]
            if told.verb != "create" or all_:
                lines += change_lines(told.changes, width)
            return lines + _left_over(each.left_over, color, width)
        case Failed(error):
            return [_line("✗", told, "failed", color, each.seconds, "red"), *_why_failed(error, each.attempts, width)]
        case None:
            reached = isinstance(each.action, Keep | Blocked)
            return [] if reached else [_line(" ", told, "not reached", color, 0.0)]


def _line(glyph: str, told: Row, state: str, color: bool, seconds: float, style: str = "") -> str:
    name = clean(str(told.ref))
    spent = f" in {took(seconds)}" if seconds >= 1 else ""
    return f"  {paint(glyph, style or COLORS[told.verb], color)} {paint(f'{name:<44}', 'bold', color)}  {state}{spent}"


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
        steps.append("`reconcile` goes on where this stopped")
    elif failures(report):
        steps.append("`reconcile` tries what failed again")
    if errors(proposal):
        steps.append("correct the manifests above (`reconcile validate` checks them without any tool)")
    if proposal.plan.confirmation:
        steps.append(f"`reconcile --confirm {proposal.plan.confirmation}` also does exactly the deletions that wait above")
    if waits := _waiting(report):
        steps.append(f"`reconcile status` tells when {listed([each.ref for each in waits], 2)} {'is' if len(waits) == 1 else 'are'} Ready")
    elif _blocked(report) and not proposal.plan.confirmation:
        steps.append("see the lines marked ! and ? for what is in the way")
    return "; ".join(steps or ["`reconcile status --all` shows everything"]) + "."
