"""Admission, looked at: what runs and waits, who uses what, and why something is as it is. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import refs
from reconciler.cli.options import All, Format, Globals, Output, given, width

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.admission.values import Decision, Snapshot, Verdict
    from reconciler.house import House
    from reconciler.model import Learned, Progress, Ref
    from reconciler.report.why import Why
    from reconciler.state import Held, Queued

FORECAST = 20
"""Waiting items, the first in order, whose start is forecast when all are listed."""
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

    asked = given(ctx)
    house = open_for(asked, read_only=True)
    found = reasons(house, asked, ref)
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


def told(taken: Snapshot, decision: Decision, learned: Mapping[Ref, Learned]) -> dict[Ref, Verdict]:
    """The verdicts of all that waits; the first few with an expected start."""
    from dataclasses import replace

    from reconciler.admission.forecast import forecast

    verdicts = {each.ref: decision.explain(each.ref) for each in taken.queue}
    first = sorted((each for each in verdicts.values() if not each.admitted), key=lambda each: each.position)[:FORECAST]
    starts = forecast(taken, decision, [each.ref for each in first], learned=learned)
    return verdicts | {ref: replace(verdicts[ref], expected=expected) for ref, expected in starts.items()}


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


def learned_of(house: House) -> dict[Ref, Learned]:
    """What earlier work of the same template was measured to need."""
    known, (leases, waiting) = house.store.work.learned(), house.store.work.books()
    rows: tuple[Queued | Held, ...] = (*leases, *waiting)
    return {each.ref: known[each.template] for each in rows if each.template in known}


def reasons(house: House, asked: Globals, text: str) -> Why:
    """All that is known about what `text` names. Raises UsageError when it names nothing."""
    from dataclasses import replace

    from reconciler.admission.decide import decide
    from reconciler.admission.forecast import explained
    from reconciler.admission.ledger import look
    from reconciler.admission.remedy import remedies
    from reconciler.cli.refs import parse_ref
    from reconciler.errors import UsageError
    from reconciler.report.why import Why, causes_of

    statuses = house.store.statuses()
    leases, waiting = house.store.work.books()
    held, queued = {each.ref: each for each in leases}, {each.ref: each for each in waiting}
    needed = needs_of(house, asked)
    ref = parse_ref(text, house.kinds, {*house.store.inventory(), *statuses, *held, *queued, *needed})
    suspension = house.store.suspensions().get(ref) or house.store.suspensions().get(replace(ref, key=""))
    found = Why(ref, statuses.get(ref), causes=causes_of(ref, statuses, needed), suspended=suspension.reason if suspension else "")
    try:
        taken = look(house)
    except UsageError:  # no Platform yet: nothing can wait or run
        return found
    found = replace(found, progress=progress_of(house, ref), why_stopped=held[ref].why if ref in held else "")
    if (lease := next((each for each in taken.leases if each.ref == ref), None)) is not None:
        return replace(found, lease=lease)
    if (item := next((each for each in taken.queue if each.ref == ref), None)) is None:
        return found
    learned = learned_of(house)
    verdict = explained(taken, decide(taken), [ref], learned=learned)[ref]
    helpful = remedies(taken, ref, learned.get(ref), margin=margin_of(house), declared=declared_of(queued[ref]))
    return replace(found, item=item, verdict=verdict, remedies=helpful, progress=None)


def margin_of(house: House) -> float:
    """What admission adds to a memory request."""
    from reconciler.house import context

    ctx = context(house, {}, house.store.inventory(), focused=True)
    return ctx.platform.admission.margin if ctx is not None else 0.0


def declared_of(row: Queued) -> int | None:
    """Bytes that its manifest asks for; 0 = it does not say, None = not known."""
    asked = row.detail.get("asked")
    if not isinstance(asked, list) or not asked or not isinstance(asked[0], int):
        return None
    return asked[0] if row.detail.get("declared") else 0


def needs_of(house: House, asked: Globals) -> dict[Ref, tuple[Ref, ...]]:
    """What each declared resource refers to or requires; empty when there are no manifests here."""
    from reconciler.source.read import read

    selection = asked.as_applied(house)
    if selection is None:
        return {}
    desired = read(selection, house.kinds, house.settings, house.store.inventory())
    return {ref: (*each.references, *each.requires) for ref, each in desired.graph.resources.items()}


def progress_of(house: House, ref: Ref) -> Progress | None:
    """How the newest job of a run is, with the end of its output; None when there is none, or none can be looked at."""
    from reconciler.errors import ReconcilerError
    from reconciler.house import context

    ctx = context(house, {}, house.store.inventory(), focused=True)
    if ctx is None or ctx.jobs is None or not ref.key:
        return None
    try:
        jobs = [each for each in ctx.jobs.look().values() if each.ref == str(ref)]
    except ReconcilerError:
        return None
    return max(jobs, key=lambda each: each.since, default=None)
