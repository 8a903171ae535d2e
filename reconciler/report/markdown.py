"""A plan as one comment of a pull request: totals and what cannot be undone above the fold, details folded. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reconciler.model import Change, Diff, Location, Ref
from reconciler.report.policy import findings_of, policies_line, waiting_of, warnings
from reconciler.report.rows import HELD, VERBS, Row, command, installation, plan_digest, quiet, revision, rows, totals_text
from reconciler.report.show import clean, clean_lines, count, listed, pair, shorten
from reconciler.report.text import compute
from reconciler.thresholds import LOOSENED, TIGHTENED

if TYPE_CHECKING:
    from reconciler.impact import Cause, Impact
    from reconciler.loop import Proposal

LIMIT = 65_000
"""Characters; GitHub refuses a comment of more than 65,536, GitLab takes 1,000,000."""
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#!|~@&$]|://")
_ENTITIES = {"@": "@<!-- -->", "<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;", "://": ":<!-- -->//"}
"""Where a backslash does not help: HTML, a bar in a table's cell, mentions and addresses (found after rendering, so they are split)."""
_IN_CODE = re.compile(r"[\\`*_\[\]<>|~@&$]|://")
_COLUMNS = "| | resource | where | why |\n|---|---|---|---|"
_MOST_DECLARED, _MOST_FIELDS, _MOST_COSTS = 20, 3, 50
_VALUE = 160
"""Columns of one side of a change: a comment is for reading, the manifest has the rest."""


def plan_markdown(proposal: Proposal, *, link_base: str = "", all_: bool = False, limit: int = LIMIT) -> str:
    """The comment. `link_base` goes before `file#Lline` (for example `https://host/owner/repo/blob/SHA/`); empty = relative links.

    Never more than `limit` characters: whole rows are left out, from the end, and the comment says how many."""
    found = [each for each in rows(proposal) if all_ or each.shown]
    head, foot = _head(proposal), _foot(proposal)
    room = limit - len(head) - len(foot) - 400
    listed_ = [each for each in found if all_ or each.verb != "keep"]
    mine = [each for each in listed_ if proposal.impact is None or proposal.impact.by_this(each.ref)]
    table, in_table = fit([_table_row(each, link_base) for each in mine], room // 2)
    anyway, in_anyway = fit([_table_row(each, link_base) for each in listed_ if each not in mine], room // 4)
    folded, in_details = fit([text for each in found if (text := _details(each))], room - len(table) - len(anyway))
    parts = [head]
    if table:
        parts.append(f"{_COLUMNS}\n{table}")
    if proposal.impact is not None:
        parts += _beside(proposal.impact, rows(proposal), anyway, len(listed_) - len(mine))
    if in_table + in_anyway < len(listed_):
        parts.append(_cut(len(listed_) - in_table - in_anyway, "action"))
    if (spent := _cost_table(proposal, [each.ref for each in mine])) and len(spent) < room - len(table) - len(anyway) - len(folded):
        parts.append(spent)
    if folded:
        left_out = sum(bool(_details(each)) for each in found) - in_details
        note = f"\n{_cut(left_out, 'action')}" if left_out else ""
        parts.append(f"<details><summary>Details</summary>\n\n{folded}{note}\n</details>")
    return "\n\n".join([*parts, foot]) + "\n"


def _beside(impact: Impact, found: Sequence[Row], anyway: str, pending: int) -> list[str]:
    """What the change only declares, what may follow it, and, folded, what waits whatever becomes of it."""
    from reconciler.report.against import following, parted

    parts = []
    if declared := parted(impact, found)[1][:_MOST_DECLARED]:
        told = "\n".join(f"* {code(str(each.ref))}: {_fields(impact.causes[each.ref])}" for each in declared)
        parts.append(f"Declared, and nothing is to be done for it in a tool now:\n\n{told}")
    if follows := "\n".join(f"* {escape(each)}" for each in following(impact)):
        parts.append(f"May follow:\n\n{follows}")
    if anyway:
        summary = f"Pending whatever becomes of this change: {pending}"
        parts.append(f"<details><summary>{summary}</summary>\n\n{_COLUMNS}\n{anyway}\n</details>")
    return parts


def _cost_table(proposal: Proposal, refs: Sequence[Ref]) -> str:
    """What each run is expected to take, folded; empty when none starts."""
    if proposal.admission is None or not proposal.admission.asked:
        return ""
    from reconciler.report.cost import cost_rows

    rows_ = cost_rows(proposal.admission, refs)
    lines = [f"| {code(ref)} | {' | '.join(map(escape, rest))} |" for ref, *rest in rows_[:_MOST_COSTS]]
    more = f"\n{count(len(rows_) - _MOST_COSTS, 'more run')}" if len(rows_) > _MOST_COSTS else ""
    head = "| run | takes | lasts | energy, heat | starts | known from |\n|---|---|---|---|---|---|"
    table = f"{head}\n{chr(10).join(lines)}{more}"
    return f"<details><summary>What it takes</summary>\n\n{table}\n</details>" if lines else ""


def _fields(cause: Cause) -> str:
    """What changed in a manifest, in short."""
    return _in_short(cause.changes) or escape(cause.why)


def _in_short(changes: Diff) -> str:
    """The first fields of several."""
    shown = [_field_in_short(each) for each in changes if not each.secret][:_MOST_FIELDS]
    more = len(changes) - len(shown)
    return ", ".join([*shown, *([count(more, "more field" if shown else "field")] if more else [])])


def _field_in_short(change: Change) -> str:
    have, want = pair(change.have, change.want, 40)
    note = f" ({escape(change.note)})" if change.note in (LOOSENED, TIGHTENED) else ""
    return f"{code(change.path.removeprefix('spec.'))} {code(have)} → {code(want)}{note}"


def escape(text: str) -> str:
    """Foreign text as Markdown shows it literally: no markup, no HTML, no mention, no control character."""
    return _SPECIAL.sub(lambda match: _ENTITIES.get(match[0]) or f"\\{match[0]}", clean(text))


def code(text: str) -> str:
    """Foreign text as inline code that nothing in it can end: a code span ends at a backtick, and a table's cell at a bar."""
    return f"<code>{_IN_CODE.sub(lambda match: ''.join(f'&#{ord(char)};' for char in match[0]), clean(text))}</code>"


def _head(proposal: Proposal) -> str:
    from reconciler.report.against import since, totals_against

    wrong = [each for each in proposal.diagnostics if each.severity == "error"]
    found = rows(proposal)
    told = f"**{totals_text(found)}**" if proposal.impact is None else escape(totals_against(proposal.impact, found).removesuffix("."))
    verdict = [told]
    if wrong:
        verdict.append(f"**{count(len(wrong), 'error')}** in the manifests")
    name = escape(installation(proposal) or "this installation")
    at = f" @ {code(revision(proposal))}" if revision(proposal) else ""
    title = "No changes for" if quiet(proposal) else "Plan for"
    base = f" against {escape(since(proposal.impact))}" if proposal.impact is not None else ""
    env = f" in environment {escape(proposal.selection.env)}" if proposal.selection.env else ""
    lines = [f"### {title} {name}{env}{at}{base}", "", ", ".join(verdict)]
    lines += _above_the_fold(proposal)
    if wrong:
        text = shorten("\n".join(clean_lines(str(each)) for each in wrong), LIMIT // 6)
        fence = "`" * (max((len(each) for each in re.findall("`+", text)), default=2) + 1) if "```" in text else "```"
        lines += ["", f"{fence}text", text, fence]
    return "\n".join(lines)


def _above_the_fold(proposal: Proposal) -> list[str]:
    """What a reviewer must not miss."""
    found = rows(proposal)
    gone = [each.ref for each in found if each.irreversible]
    waits = [each.ref for each in found if each.confirmable]
    held = [each.ref for each in found if each.in_the_way and not each.confirmable]
    wished = [(word, [each.ref for each in found if each.verb == "blocked" and each.reason == reason]) for reason, word in HELD.items()]
    unknown = [each.ref for each in found if each.verb == "unknown"]
    said = _policies(proposal)
    if gone:
        said.append(f"**Cannot be undone:** {_names(gone)}")
    if waits and proposal.plan.confirmation:
        said.append(f"**Waits for a yes** ({code(command(proposal, '--confirm', proposal.plan.confirmation))}): {_names(waits)}")
    elif waits:
        said.append(f"**Would be deleted or replaced, and is held back:** {_names(waits)}")
    if held:
        said.append(f"**Blocked:** {_names(held)}")
    said += [f"**{word.capitalize()}, so not written:** {_names(refs)}" for word, refs in wished if refs]
    admission = proposal.admission
    if admission is not None and admission.delays:
        from reconciler.report.admission import delay_lines

        said.append(f"**Delays others:** {escape('; '.join(delay_lines(admission.delays)))}")
    if cost := compute(proposal):
        said.append(f"**Starts:** {escape(cost)}")
    if unknown:
        said.append(f"**Could not be read, so this plan is not complete:** {_names(unknown)}")
    said += [
        f"**{escape(tool)}** could not be read: {escape(shorten(clean(why), 500))}"
        for tool, why in sorted(proposal.tools.items())
        if why != "ok"
    ]
    said += [
        f"Nothing is deleted for source {escape(each.name)}: {escape(shorten(clean(each.why_incomplete), 500))}"
        for each in proposal.sources
        if not each.complete
    ]
    if proposal.orphans:
        said.append(f"With our mark and no manifest, left alone: {_names(proposal.orphans)}")
    return ["", *(f"* {each}" for each in said)] if said else []


def _policies(proposal: Proposal) -> list[str]:
    """The verdict of the rules: totals, and each warning; what is denied is told by its row."""
    found = findings_of(proposal)
    line = policies_line(found, waiting_of(proposal))
    return (
        [f"**{line[0].upper()}{line[1:]}**", *(f"Warning: {escape(shorten(clean(each), 500))}" for each in warnings(found))] if line else []
    )


def _names(refs: Iterable[Ref]) -> str:
    return escape(listed(refs, 10))


def _table_row(each: Row, link_base: str) -> str:
    notes = "; ".join(dict.fromkeys(change.note for change in each.changes if change.note))
    why = "<br>".join(escape(shorten(clean(text), 300)) for text in (each.why, notes, *each.notes, each.next) if text)
    if not why and each.verb != "create":
        why = _in_short(each.changes)
    return f"| {code(each.glyph)} {each.word(VERBS)} | {code(str(each.ref))} | {_links(each, link_base)} | {why} |"


def _links(each: Row, link_base: str) -> str:
    """The manifest, and the patches over it; a child's are told with its parent."""
    found = (each.location, *(() if each.ref.key else each.patches))
    return " + ".join(text for at in found if (text := _link(at, link_base)))


def _link(at: Location, link_base: str) -> str:
    if not at.file:
        return ""
    # Only the characters of plain paths go into the address; anything else is percent-encoded.
    path = re.sub(r"[^A-Za-z0-9._/-]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "replace")), at.file)
    anchor = f"#L{at.line}" if at.line else ""
    return f"[{escape(at.file)}{f':{at.line}' if at.line else ''}]({link_base}{path}{anchor})"


def _details(each: Row) -> str:
    if not each.changes:
        kept = each.verb == "keep" and each.shown
        return f"{code(f'{each.glyph} {each.ref}')} {escape(shorten(clean(each.why), 300))}\n" if kept else ""
    lines = [f"{code(f'{each.glyph} {each.ref}')}", "", "| field | have | want | |", "|---|---|---|---|"]
    for change in each.changes:
        have, want = ("(changed)", "") if change.secret else pair(change.have, change.want, _VALUE)
        note = ", ".join(filter(None, [change.note, "forces replacement" if change.forces_replace else ""]))
        cells = (code(change.path), code(have), code(want) if want else "", escape(note))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def fit(parts: list[str], room: int) -> tuple[str, int]:
    """As many of `parts`, in order, as go into `room` characters, and how many those are."""
    taken, used = 0, 0
    for each in parts:
        if used + len(each) + 1 > room:
            break
        used, taken = used + len(each) + 1, taken + 1
    return "\n".join(parts[:taken]), taken


def _cut(number: int, noun: str) -> str:
    return f"_{count(number, f'more {noun}')} left out: the comment would be too long. `reconcile --dry-run` shows everything._"


def _foot(proposal: Proposal) -> str:
    return f"<sub>plan {plan_digest(proposal)}</sub>"


def block(text: str) -> str:
    """Text in a fenced block that nothing in it can end."""
    fence = "`" * max(3, *(len(each) + 1 for each in re.findall("`+", text)), 3)
    return f"{fence}text\n{shorten(text, LIMIT)}\n{fence}\n"
