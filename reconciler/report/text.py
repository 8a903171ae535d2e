"""A proposal, and the mistakes in manifests, as text for people. Pure, but that it asks whether the services ever ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from reconciler.environment import OTHER
from reconciler.model import NOWHERE, Change, Diagnostic, Ref
from reconciler.report.policy import policy_notes
from reconciler.report.rows import (
    Row,
    Verb,
    command,
    confirm_step,
    empty_source,
    errors,
    installation,
    quiet,
    revision,
    rows,
    totals_text,
)
from reconciler.report.show import clean, clean_lines, count, listed, paint, pair, shorten, took, value, wrap

if TYPE_CHECKING:
    from reconciler.loop import Proposal

COLORS: dict[Verb, str] = {
    "create": "green",
    "update": "yellow",
    "replace": "magenta",
    "delete": "red",
    "adopt": "cyan",
    "move": "cyan",
    "blocked": "red",
    "unknown": "magenta",
    "keep": "dim",
}
FOLDED = 12
"""More runs of one experiment with the same fate than this are folded to the first few."""
_FIRST = 3
_WIDEST_PATH = 32
"""Columns that field names are aligned to at most; longer ones push their line."""


def plan_text(proposal: Proposal, *, color: bool = False, width: int = 100, all_: bool = False) -> str:
    """The whole plan: outcome first, one block per action, totals, mistakes, what to do next.

    `width` is in columns. `all_` shows what is unchanged, and every field of what is created."""
    found = rows(proposal)
    shown = [each for each in found if all_ or each.shown]
    body = _body(proposal, found, shown, color=color, width=width, all_=all_)
    if quiet(proposal):
        return "\n".join([_no_changes(proposal, len(found)), *(["", *body] if body else []), *policy_notes(proposal, width)])
    parts = [headline(proposal, len(found)), "", *body]
    if body:
        parts.append("")
    parts += wrap(f"{_totals(proposal, found)}   {compute(proposal)}".strip(), width, "")
    parts += notes(proposal, width)
    if wrong := mistakes(proposal):
        parts += ["", diagnostics_text(wrong, color=color, planned=unaffected(found, wrong)), ""]
    parts += [f"Next: {next_step(proposal)}"]
    return "\n".join(parts)


def _body(proposal: Proposal, found: Sequence[Row], shown: Sequence[Row], *, color: bool, width: int, all_: bool) -> list[str]:
    if proposal.impact is None:
        return rows_lines(shown, color=color, width=width, all_=all_)
    from reconciler.report.against import against_lines

    return against_lines(proposal, found, color=color, width=width, all_=all_)


def _totals(proposal: Proposal, found: Sequence[Row]) -> str:
    if proposal.impact is None:
        return f"{totals_text(found)}."
    from reconciler.report.against import totals_against

    return totals_against(proposal.impact, found)


def compute(proposal: Proposal) -> str:
    """What the runs of this plan cost together; empty when it starts none."""
    admission = proposal.admission
    if admission is None or not admission.asked:
        return ""
    from reconciler.report.admission import compute_text

    return compute_text(admission.asked, admission.learned)


def chosen_text(proposal: Proposal, *, color: bool = False, width: int = 100) -> str:
    """Only the actions and their totals, for a question that follows."""
    found = rows(proposal)
    return "\n".join([f"{totals_text(found).capitalize()}:", "", *rows_lines(found, color=color, width=width), ""])


def drift_text(proposal: Proposal, *, color: bool = False, width: int = 100) -> str:
    """Only how the tools differ from the manifests, field by field; `have` is the tool's side, `want` the manifest's."""
    found = rows(proposal)
    shown = [each for each in found if each.changes or each.verb == "unknown" or "create" in (each.verb, each.wanted)]
    unknown = sum(each.verb == "unknown" for each in shown)
    differ = len(shown) - unknown
    at = f" @ {clean(revision(proposal))}" if revision(proposal) else ""
    told = f"{differ} of {count(len(found), 'resource')} differ{'s' if differ == 1 else ''} from the manifests{at}"
    if not differ:
        told = f"No differences{' known' if unknown else ''}: {count(len(found), 'resource')}{at}"
    parts = [f"{told}{f', {unknown} could not be read' if unknown else ''} ({took(proposal.seconds)})."]
    if shown:
        parts += ["", *rows_lines(shown, color=color, width=width), ""]
    if wrong := mistakes(proposal):
        parts += [*([] if shown else [""]), diagnostics_text(wrong, color=color, planned=unaffected(found, wrong)), ""]
    if shown or proposal.diagnostics:
        parts.append(f"Next: {next_step(proposal)}")
    return "\n".join(parts)


def headline(proposal: Proposal, resources: int) -> str:
    """What this plan is of, at which revision, and from how many tools it was read."""
    name = installation(proposal) or "this installation"
    env = f" in environment {clean(proposal.selection.env)}" if proposal.selection.env else ""
    at = f" @ {clean(revision(proposal))}" if revision(proposal) else ""
    applied = proposal.applied_revision
    before = f" (applied before: {clean(applied)})" if applied and applied != revision(proposal) else ""
    return f"Plan for {clean(name)}{env}{at}{before}, {count(resources, 'resource')}{_read_from(proposal)}"


def _read_from(proposal: Proposal) -> str:
    spent, tools = took(proposal.seconds), len(proposal.tools)
    if "mlflow" in proposal.tools and _never_started(proposal):
        return "; nothing was read: the services have not been started yet"
    if not proposal.calls or not tools:
        return f" in {spent}"
    read = sum(said == "ok" for said in proposal.tools.values())
    of = "" if read == tools else f"{read:,} of "
    return f", read from {of}{count(tools, 'tool')} in {spent}"


def _never_started(proposal: Proposal) -> bool:
    """Whether MLflow is ours and has no data yet; as it is now, for a plan is shown before anything starts."""
    return not proposal.inventory and proposal.context is not None and proposal.context.services.pristine(("mlflow",))


def _no_changes(proposal: Proposal, resources: int) -> str:
    at = f" @ {clean(revision(proposal))}" if revision(proposal) else ""
    at = f" in environment {clean(proposal.selection.env)}{at}" if proposal.selection.env else at
    if not resources and proposal.selection.filtered:
        return f"No changes: nothing here is what the filters ask for{at} ({took(proposal.seconds)})."
    return f"No changes: {count(resources, 'resource')} match{'es' if resources == 1 else ''} manifests{at} ({took(proposal.seconds)})."


def rows_lines(shown: Sequence[Row], *, color: bool, width: int, all_: bool = False) -> list[str]:
    """Several actions; what stands in the way of a row of them is told once, and of many runs of one experiment the first few stand
    for all unless `all_`."""
    if not all_ and any(len(each) > FOLDED for each in _families(shown)):
        return [line for family in _families(shown) for line in _family_lines(family, color=color, width=width)]
    lines: list[str] = []
    for at, each in enumerate(shown):
        more = at + 1 < len(shown) and _told_together(each, shown[at + 1])
        alone = not more and not (at and _told_together(shown[at - 1], each))
        lines += row_lines(each, color=color, width=width, all_=all_, why="beside" if alone else "later" if more else "below")
    return lines


def _families(shown: Sequence[Row]) -> list[list[Row]]:
    """Rows that follow each other and are runs of one experiment with the same fate; every other row is alone."""
    families: list[list[Row]] = []
    for each in shown:
        last = families[-1][-1] if families else None
        same = last is not None and each.ref.key and _fate(last) == _fate(each)
        families[-1].append(each) if same else families.append([each])
    return families


def _fate(each: Row) -> tuple[object, ...]:
    return (replace(each.ref, key=""), bool(each.ref.key), each.verb, each.reason, each.held)


def _family_lines(family: list[Row], *, color: bool, width: int) -> list[str]:
    if len(family) <= FOLDED:
        return rows_lines(family, color=color, width=width, all_=False)
    head, last = family[:_FIRST], family[-1]
    lines = rows_lines(head, color=color, width=width, all_=False)
    parent = clean(str(replace(last.ref, key="")))
    lines.append(f"    … and {len(family) - _FIRST:,} more of {parent} (`--all` shows each)")
    return lines + [line for note in last.notes for line in wrap(clean(note), width, "      ")]


def _told_together(one: Row, other: Row) -> bool:
    """Two rows that the same thing stands in the way of: it is told once, below the last of them."""
    held = bool(one.reason) or one.verb == other.verb == "delete"
    same = (one.reason, one.why, one.next) == (other.reason, other.why, other.next)
    return same and held and not one.changes and not other.changes


def row_lines(each: Row, *, color: bool, width: int, all_: bool = False, why: Literal["beside", "below", "later"] = "beside") -> list[str]:
    """One action: its line, what differs, what is in the way and what to do.

    `why` says where its reason stands: beside it, below it, or with a later row that has the same one."""
    if each.verb == "keep" and each.why:
        return [_kept(each, color, width)]
    lines = _head(each, color, width, clean(each.why) if why == "beside" else "")
    if each.verb != "create" or all_:
        lines += change_lines(each.changes, width)
    if why == "below":
        lines += wrap(clean(each.why), width, "      ")
    for note in each.notes:
        lines += wrap(clean(note), width, "      ")
    if each.next and why != "later":
        lines += wrap(clean(each.next), width, "      ")
    return lines


def style(each: Row) -> str:
    """The colour of its glyph; what somebody wants held is no alarm."""
    return "cyan" if each.verb == "blocked" and not each.in_the_way else COLORS[each.verb]


def _kept(each: Row, color: bool, width: int) -> str:
    """One line, whatever its length: nothing happens here."""
    start = f"  {each.glyph} {clean(str(each.ref)):<44}"
    return paint(f"{start}{shorten(clean(each.why), max(24, width - len(start)))}", COLORS[each.verb], color)


def _head(each: Row, color: bool, width: int, why: str) -> list[str]:
    name, where = clean(str(each.ref)), place_text(each) if each.location.file else ""
    start = f"  {paint(each.glyph, style(each), color)} {paint(name, 'dim' if each.verb == 'keep' else 'bold', color)}"
    used = 4 + len(name)
    gap = max(2, 48 - used)
    if why and used + gap + len(why) + (len(where) + 2 if where else 0) <= width:
        start, used, why = f"{start}{' ' * gap}{why}", used + gap + len(why), ""
    if where and used + 2 + len(where) <= width:
        start, where = f"{start}{' ' * (width - used - len(where))}{paint(where, 'dim', color)}", ""
    lines = [start]
    if where:
        lines.append(f"      {paint(where, 'dim', color)}")
    if why:
        lines += wrap(why, width, "      ")
    return lines


def place_text(each: Row) -> str:
    """Where its manifest is, and what of an environment is applied over it; a child's is told with its parent."""
    if not each.patches or each.ref.key:
        return clean(str(each.location))
    more = f" and {len(each.patches) - 1} more" if len(each.patches) > 1 else ""
    return clean(f"{each.location} + {each.patches[-1]}{more}")


def change_lines(changes: Sequence[Change], width: int, indent: str = "      ") -> list[str]:
    """`field   have -> want   note`, the fields aligned; a line that is too long is broken at the arrow."""
    column = min(_WIDEST_PATH, max((len(_field(each)) for each in changes), default=0))
    return [line for each in changes for line in _change(each, column, width, indent)]


def _field(change: Change) -> str:
    return clean(change.path.removeprefix("spec."))


def _change(change: Change, column: int, width: int, indent: str) -> list[str]:
    name = f"{indent}{_field(change):<{column}}  "
    marks = [clean(change.note)] if change.note else []
    if change.forces_replace:
        marks.append("forces replacement")
    tail = f"    {'; '.join(marks)}" if marks else ""
    if change.secret:
        return [f"{name}(changed){tail}"]
    have, want = value(change.have), value(change.want)
    if len(name) + len(have) + len(want) + 4 + len(tail) <= width:
        return [f"{name}{have} -> {want}{tail}"]
    room = max(24, width - len(indent) - column - 5)
    have, want = pair(change.have, change.want, room)
    lines = [f"{name}   {have}", f"{indent}{'':<{column}}  -> {want}"]
    return lines + (wrap("; ".join(marks), width, f"{indent}{'':<{column}}     ") if marks else [])


def notes(proposal: Proposal, width: int) -> list[str]:
    """What a reader must know beside the actions: tools that did not answer, sources that are not whole, orphans."""
    told_by_rows = any(each.reason == "SourceIncomplete" for each in rows(proposal))
    said = [f"{tool} could not be read: {clean(why)}" for tool, why in sorted(proposal.tools.items()) if why != "ok"]
    for each in proposal.sources:
        if not each.complete and not told_by_rows and not empty_source(proposal):
            told = (
                "until its errors are corrected"
                if errors(proposal)
                else f"now: {clean(each.why_incomplete) or 'it did not load completely'}"
            )
            said.append(f"Nothing is deleted for source {clean(each.name)} {told}.")
    if proposal.admission is not None and proposal.admission.demands:
        said += [f"Admission: {clean(each)}." for each in proposal.admission.decision.warnings]
    if proposal.orphans:
        held = count(len(proposal.orphans), "object")
        said.append(f"{held} with this installation's mark and no manifest, left alone: {listed(proposal.orphans)}")
    return [*policy_notes(proposal, width), *(line for each in said for line in wrap(each, width, ""))]


def next_step(proposal: Proposal) -> str:
    """The last line: what to do now."""
    found, writes = rows(proposal), bool(proposal.plan.writes)
    other = any(each.reason == OTHER for each in proposal.diagnostics)
    applies = f"`{command(proposal, '--switch-env')}` would apply this all the same" if other else f"`{command(proposal)}` applies this"
    steps = [applies] if writes else []
    if errors(proposal):
        steps.append("correct the manifests above (`reconcile validate` checks them without any tool)")
    if confirm := confirm_step(proposal):
        steps.append(confirm)
    if any(each.verb == "unknown" for each in found):
        steps.append("`reconcile platform status` tells about the tools that did not answer")
    if empty_source(proposal):
        steps.append("put the manifests back, or name where they are with -f PATH")
    elif not writes and any(each.in_the_way and not promised(each, bool(confirm)) for each in found):
        steps.append("see the lines marked ! for what is in the way")
    return "; ".join(steps or ["nothing needs doing"]) + "."


def promised(each: Row, confirm: bool) -> bool:
    """Another step of the last line takes away what is in its way."""
    return each.reason == "DependencyInvalid" or (confirm and each.confirmable)


def mistakes(proposal: Proposal) -> list[Diagnostic]:
    """The diagnostics that are worth a block of their own: a source without manifests is told by what it keeps from being deleted."""
    told_by_rows = any(each.reason == "SourceIncomplete" for each in rows(proposal))
    return [each for each in proposal.diagnostics if not (told_by_rows and each.reason == "EmptySource")]


def unaffected(found: Iterable[Row], mistakes: Iterable[Diagnostic]) -> int:
    """How many resources go on in spite of the mistakes: those that no mistake names and that need nothing refused."""
    named = {each.ref for each in mistakes if each.severity == "error"}
    return sum(each.ref not in named and each.reason != "DependencyInvalid" for each in found)


def diagnostics_text(diagnostics: Iterable[Diagnostic], *, color: bool = False, planned: int | None = None) -> str:
    """Every mistake with its place, then how many there are. `planned` = how many resources went on without them."""
    found = sorted(diagnostics, key=lambda each: (each.severity, each.location.file, each.location.line, each.location.column, each.path))
    blocks = [_diagnostic(each, refs, color) for each, refs in _folded(found)]
    wrong = [each for each, _ in _folded(found) if each.severity == "error"]
    warned = len(_folded(found)) - len(wrong)
    told = []
    if wrong:
        told.append(f"{count(len(wrong), 'error')} in {count(len({each.location.file for each in wrong}), 'file')}")
    if warned:
        told.append(count(warned, "warning"))
    rest = f" The other {count(planned, 'resource')} {'are' if planned != 1 else 'is'} not affected." if wrong and planned else ""
    return "\n".join([*blocks, f"{', '.join(told) or 'No mistakes'}.{rest}"])


def _folded(found: Sequence[Diagnostic]) -> list[tuple[Diagnostic, list[Ref]]]:
    """Each, with the further resources of which the very same is told: one wrong patch may be for hundreds."""
    folded: dict[Diagnostic, list[Ref]] = {}
    first: dict[Diagnostic, Diagnostic] = {}
    for each in found:
        same = first.setdefault(replace(each, ref=None, over=NOWHERE), each) if each.over.file else each
        folded.setdefault(same, [])
        if same is not each and each.ref is not None:
            folded[same].append(each.ref)
    return list(folded.items())


def _diagnostic(each: Diagnostic, refs: Sequence[Ref], color: bool) -> str:
    first, *others = clean_lines(str(each)).split("\n")
    others += [f"  the same is wrong for {listed(refs)}"] if refs else []
    label = "" if each.severity == "error" else "warning  "
    return "\n".join([f"{label}{paint(first, 'red' if each.severity == 'error' else 'yellow', color)}", *others])


def short(text: str, width: int) -> str:
    """One cleaned line, cut to `width`."""
    return shorten(clean(text), width)
