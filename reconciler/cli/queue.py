"""Admission, looked at: what runs and waits, who uses what, and why something is as it is. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import refs
from reconciler.cli.options import All, Format, Globals, Output, given, width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reconciler.admission.values import Snapshot
    from reconciler.house import House
    from reconciler.model import Ref

EVERY = 2.0
"""Seconds between two looks with --watch."""
OneRef = Annotated[
    str, typer.Argument(metavar="REF", help="kind/project/name#key, or a name alone where it is unique.", autocompletion=refs)
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Look again every two seconds until Ctrl-C.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(queue)
    app.command()(top)
    app.command()(why)


def queue(ctx: typer.Context, watch: Watch = False, all_: All = False, output: Output = Format.TEXT) -> None:
    """What runs and what waits: reason, what is in the way, expected start.

    \b
    Examples:
      reconcile queue
      reconcile queue --watch
      reconcile queue --project lora-finetuning -o json
    """
    from reconciler.admission.decide import decide
    from reconciler.admission.ledger import look
    from reconciler.cli.pass_ import open_for
    from reconciler.report.queue import queue_json, queue_text, waits_aside
    from reconciler.views.admission import learned_of, told

    asked = given(ctx)
    house = open_for(asked, read_only=True)

    def show() -> str:
        taken = look(house)
        decision = decide(taken)
        verdicts = told(taken, decision, learned_of(house))
        shown = only(taken, asked)
        aside = [
            each for each in waits_aside(house.store.statuses().values(), taken) if not asked.project or each.ref.owner in asked.project
        ]
        if output is Format.JSON:
            return queue_json(shown, verdicts, warnings=decision.warnings, aside=aside)
        return queue_text(shown, verdicts, color=asked.color(), width=width(), all_=all_, warnings=decision.warnings, aside=aside)

    again(show, watch)


def top(ctx: typer.Context, watch: Watch = False, output: Output = Format.TEXT) -> None:
    """Who uses what: the machine, and each project's quota with what it borrows and lends.

    \b
    Examples:
      reconcile top
      reconcile top --watch
    """
    from reconciler.admission.decide import decide
    from reconciler.admission.ledger import look
    from reconciler.cli.pass_ import open_for
    from reconciler.report.top import top_json, top_text

    asked = given(ctx)
    house = open_for(asked, read_only=True)

    def show() -> str:
        taken = look(house)
        warnings = decide(taken).warnings
        if output is Format.JSON:
            return top_json(taken, projects=asked.project, warnings=warnings)
        return top_text(taken, projects=asked.project, color=asked.color(), width=width(), warnings=warnings)

    again(show, watch)


def why(ctx: typer.Context, ref: OneRef, output: Output = Format.TEXT) -> None:
    """Why something waits, runs, fails or is blocked; and what would let it start now.

    Each change that is proposed was checked by deciding again with it.

    \b
    Examples:
      reconcile why rank-sweep#rank8-s1
      reconcile why deployment/clip-finetuning/search -o json
    """
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.report.why import why_json, why_text
    from reconciler.views.admission import reasons

    asked = given(ctx)
    house = open_for(asked, read_only=True)
    needed = needs_of(house, asked)
    found = reasons(house, _named(ref, house, needed), needed)
    say(why_json(found, house.now()) if output is Format.JSON else why_text(found, house.now(), color=asked.color(), width=width()))


# --- what is looked at ---------------------------------------------------------------------------------------------


def again(show: Callable[[], str], watch: bool) -> None:
    """Write it once, or in place of itself until Ctrl-C; into a pipe one after the other."""
    import sys

    from reconciler.cli.output import say
    from reconciler.cli.pass_ import stop_on_signal

    if not watch:
        say(show())
        return
    clear = "\x1b[H\x1b[J" if sys.stdout.isatty() else ""
    with stop_on_signal() as stop:
        while not stop.is_set():
            say(f"{clear}{show()}")
            stop.wait(EVERY)


def only(taken: Snapshot, asked: Globals) -> Snapshot:
    """Without what `--project` leaves out; positions and reasons stay those of the whole queue."""
    from dataclasses import replace

    if not asked.project:
        return taken
    return replace(
        taken,
        leases=tuple(each for each in taken.leases if each.project in asked.project),
        queue=tuple(each for each in taken.queue if each.project in asked.project),
    )


def _named(text: str, house: House, needed: Iterable[Ref]) -> Ref:
    """What `text` names. Raises UsageError when it names nothing."""
    from reconciler.cli.refs import parse_ref

    leases, waiting = house.store.work.books()
    rows = {*(each.ref for each in leases), *(each.ref for each in waiting)}
    return parse_ref(text, house.kinds, {*house.store.inventory(), *house.store.statuses(), *rows, *needed})


def needs_of(house: House, asked: Globals) -> dict[Ref, tuple[Ref, ...]]:
    """What each declared resource refers to or requires; empty when there are no manifests here."""
    from reconciler.source.read import read

    selection = asked.as_applied(house)
    if selection is None:
        return {}
    desired = read(selection, house.kinds, house.settings, house.store.inventory())
    return {ref: (*each.references, *each.requires) for ref, each in desired.graph.resources.items()}
