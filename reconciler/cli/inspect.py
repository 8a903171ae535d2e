"""Looking without touching: status, diff, history."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import applies, refs
from reconciler.cli.options import All, Detailed, Format, Globals, Output, StatusFormat, given, width

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.model import Ref, Status
    from reconciler.state import AuditEntry

_ALL = 1_000_000
"""Entries of the audit log that are looked through where the Store cannot choose them."""
OneRef = Annotated[
    str | None, typer.Argument(metavar="REF", help="kind/project/name, or a name alone where it is unique.", autocompletion=refs)
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(status)
    app.command()(diff)
    app.command()(history)


def status(
    ctx: typer.Context,
    ref: OneRef = None,
    all_: All = False,
    output: Annotated[StatusFormat, typer.Option("-o", "--output", help="How the result is written.")] = StatusFormat.TEXT,
) -> None:
    """What is Ready, what is not and why; from the last pass.

    \b
    Examples:
      reconcile status
      reconcile status --all --project lora-finetuning
      reconcile status experiment/lora-finetuning/rank-sweep
      reconcile status -o html > status.html
    """
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.report.json import status_json
    from reconciler.report.page import status_html, status_markdown
    from reconciler.report.status import about_value, one_text, status_text
    from reconciler.views.overview import overview

    asked = given(ctx)
    house = open_for(asked, read_only=True)
    found, now = _chosen(house, asked, ref), datetime.now(UTC)
    about, inventory = overview(house), house.store.inventory()
    if output is StatusFormat.JSON:
        say(status_json(found, about=about_value(about), inventory=inventory, at=now))
    elif output is StatusFormat.MARKDOWN:
        say(status_markdown(found, about, now))
    elif output is StatusFormat.HTML:
        say(status_html(found, about, now))
    elif ref is not None:
        say("\n\n".join(one_text(each, now, inventory.get(each.ref), about=about, color=asked.color(), width=width()) for each in found))
    else:
        say(status_text(found, about, now, all_=all_, color=asked.color(), width=width()))


def diff(ctx: typer.Context, ref: OneRef = None, detailed_exitcode: Detailed = False, output: Output = Format.TEXT) -> None:
    """How the tools differ from the manifests; writes nothing.

    \b
    Examples:
      reconcile diff
      reconcile diff rank-sweep --detailed-exitcode
    """
    from reconciler.cli.exit import of_proposal
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.cli.refs import must_select
    from reconciler.loop import propose
    from reconciler.report.json import plan_json
    from reconciler.report.text import drift_text

    asked = given(ctx)
    house = open_for(asked, read_only=True)
    selection = asked.selection(house.settings, house.kinds)
    if ref is not None:
        selection = replace(selection, refs=frozenset({find(ref, house, asked)}))
    proposal = propose(selection, house)
    must_select(proposal)
    as_json = output is Format.JSON
    say(plan_json(proposal, at=datetime.now(UTC)) if as_json else drift_text(proposal, color=asked.color(), width=width()))
    raise typer.Exit(of_proposal(proposal, detailed=detailed_exitcode))


def history(
    ctx: typer.Context,
    ref: OneRef = None,
    limit: Annotated[int, typer.Option(min=1, help="How many entries at most.")] = 50,
    apply: Annotated[
        int | None,
        typer.Option("--apply", metavar="ID", min=1, help="Only what was done in this apply, all of it.", autocompletion=applies),
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """What was done, when and by whom; the newest first.

    An apply is all that was done while the manifests were at one revision; `reconcile undo` takes one back.

    \b
    Examples:
      reconcile history
      reconcile history dataset/vision/digits --limit 5
      reconcile history --apply 12
    """
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.report.history import history_text
    from reconciler.report.json import history_json

    asked = given(ctx)
    house = open_for(asked, read_only=True)
    wanted = None if ref is None else find(ref, house, asked, must_exist=False)
    entries = _entries(house, asked, wanted, limit) if apply is None else _applied(house, asked, wanted, apply)
    say(history_json(entries) if output is Format.JSON else history_text(entries, datetime.now(UTC), width=width()))


def find(text: str, house: House, asked: Globals, *, must_exist: bool = True) -> Ref:
    """The resource that `text` names: among those recorded, and those that the manifests declare. Raises UsageError."""
    from reconciler.cli.refs import parse_ref

    known = {*house.store.inventory(), *house.store.statuses(), *declared(house, asked)}
    return parse_ref(text, house.kinds, known, must_exist=must_exist)


def declared(house: House, asked: Globals, *, labels: bool = False) -> set[Ref]:
    """What the manifests declare, with `labels` only what carries those that `--selector` names; empty when there are none.

    Raises UsageError when nothing carries them."""
    from reconciler.cli.options import label
    from reconciler.cli.refs import no_label
    from reconciler.source.read import read

    selection = asked.as_applied(house)
    if selection is None:
        return set()

    wanted = dict(label(each) for each in asked.selector) if labels else {}
    resources = read(selection, house.kinds, house.settings, house.store.inventory()).graph.resources
    found = {ref for ref, each in resources.items() if all(each.labels.get(key) == value for key, value in wanted.items())}
    if wanted and not found:
        raise no_label(wanted)
    return found


def _entries(house: House, asked: Globals, ref: Ref | None, limit: int) -> list[AuditEntry]:
    """The newest entries that the filters let through. Raises UsageError for a project or kind that there is and was none of."""
    from reconciler.cli.options import kind_named
    from reconciler.selection import must_know

    kinds = {kind_named(each, house.kinds) for each in asked.kind}
    for name in asked.project:
        if not house.store.history(project=name, limit=1):  # what is gone has a history too
            must_know([name], {*house.store.inventory(), *house.store.statuses(), *declared(house, asked)})
    if len(asked.project) < 2 and not kinds:
        return house.store.history(ref=ref, project=next(iter(asked.project), None), limit=limit)
    found = house.store.history(ref=ref, limit=_ALL)
    chosen = [each for each in found if each.ref and _passes(each.ref, asked, kinds)]
    return chosen[:limit]


def _applied(house: House, asked: Globals, ref: Ref | None, number: int) -> list[AuditEntry]:
    """All entries of one apply that the filters let through, the newest first. Raises UsageError where there is no such one."""
    from reconciler.applied import applied, must_be_known
    from reconciler.cli.options import kind_named

    found, kinds = must_be_known(applied(house.store, number), number), {kind_named(each, house.kinds) for each in asked.kind}
    family = [each for each in reversed(found.entries) if each.ref and _passes(each.ref, asked, kinds)]
    return [each for each in family if ref is None or each.ref == ref or (each.ref and replace(each.ref, key="") == ref)]


def _passes(ref: Ref, asked: Globals, kinds: set[str]) -> bool:
    return (not asked.project or ref.owner in asked.project) and (not kinds or ref.kind in kinds)


def _chosen(house: House, asked: Globals, ref: str | None) -> list[Status]:
    from reconciler.cli.options import kind_named
    from reconciler.cli.refs import parse_ref
    from reconciler.selection import must_know

    statuses = house.store.statuses()
    if ref is not None:
        return [statuses[parse_ref(ref, house.kinds, statuses)]]
    kinds = {kind_named(each, house.kinds) for each in asked.kind}
    if asked.project:
        must_know(asked.project, {*house.store.inventory(), *statuses, *declared(house, asked)})
    labelled = declared(house, asked, labels=True) if asked.selector else statuses.keys()
    return [each for each in statuses.values() if _passes(each.ref, asked, kinds) and each.ref in labelled]
