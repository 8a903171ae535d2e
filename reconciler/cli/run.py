"""Start something by hand: a run of a Workflow."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.complete import refs as complete_refs
from reconciler.cli.options import given

if TYPE_CHECKING:
    from reconciler.cli.options import Globals
    from reconciler.controller import Starts
    from reconciler.house import House
    from reconciler.model import JSON, Ref


LOOK_SECONDS, PAUSE_SECONDS = 1.0, 0.2
"""Between two looks at the run; between two tries to write."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(run)


def run(
    ctx: typer.Context,
    ref: Annotated[
        str, typer.Argument(metavar="REF", help="A workflow: kind/project/name, or a unique name.", autocompletion=complete_refs)
    ],
    conf: Annotated[
        list[str] | None, typer.Option("--conf", metavar="KEY=VALUE", help="What the tasks see as ${conf.KEY}; repeatable.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has ended, and reconcile meanwhile.")] = False,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long --wait may take.")] = "30m",
) -> None:
    """Start a run of a workflow now.

    Its tasks start when a reconciler grants them room: `reconcile watch`, or this command with --wait. Rules of
    the policy that name the verb `start` are asked first.

    \b
    Examples:
      reconcile run workflow/lora-finetuning/nightly --wait
      reconcile run nightly --conf rows=500
    """
    from reconciler.cli.allowed import must_be_allowed
    from reconciler.cli.exit import Exit
    from reconciler.cli.inspect import find
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for, timeout_seconds
    from reconciler.converge import WRITER_SECONDS
    from reconciler.errors import StalePlan, WriterBusy
    from reconciler.guard.commands import Command
    from reconciler.orders.start import can_start, start

    asked, seconds = given(ctx), timeout_seconds(timeout)
    house = open_for(asked, read_only=False)
    found = replace(find(ref, house, asked), key="")
    controller = can_start(house, found.kind)
    pairs, turn = _pairs(conf or []), time.monotonic() + WRITER_SECONDS
    said = must_be_allowed(Command("start", found, house.actor, conf=pairs), house, asked)
    while True:
        try:
            started = start(house, found, pairs, house.actor, said=said)
            break
        except (StalePlan, WriterBusy):  # a loop beside it writes often, and briefly
            if time.monotonic() > turn:
                raise
            time.sleep(PAUSE_SECONDS)
    say(f"{found}: run {started} started")
    if wait:
        raise typer.Exit(_until_ended(controller, found, started, seconds, house, asked))
    raise typer.Exit(Exit.OK)


def _until_ended(controller: Starts, ref: Ref, run: str, seconds: float, house: House, asked: Globals) -> int:
    """Reconcile until the run has ended; print how it went."""
    from reconciler.cli.exit import Exit
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import stop_on_signal
    from reconciler.converge import converge
    from reconciler.errors import Transient
    from reconciler.house import context
    from reconciler.report.progress import progress
    from reconciler.report.workflows import run_text

    def ended() -> Mapping[str, JSON] | None:
        here = context(house, {}, house.store.inventory(), focused=True)
        return controller.ended(ref, run, here) if here is not None else None

    found: list[Mapping[str, Any]] = []

    asked_at = 0.0

    def over() -> bool:
        nonlocal asked_at
        if not found and time.monotonic() - asked_at >= LOOK_SECONDS:
            with suppress(Transient):  # an Airflow that is away costs time, not the command
                found[:] = [each for each in [ended()] if each is not None]
            asked_at = time.monotonic()
        return bool(found)

    with progress(sys.stderr, quiet=False, color=asked.color(sys.stderr)) as listen, stop_on_signal() as stop:
        told = replace(house, tell=listen)
        selection = asked.selection(house.settings, house.kinds, confirmed=(), whole=False)
        report = converge(selection, told, wait=True, timeout=seconds, stop=stop, until=over)
        if found and not stop.is_set():
            converge(selection, told, stop=stop)  # so that `status` knows of the end, too
    if not found and not over():
        say(f"{ref}: run {run} goes on; `reconcile watch` takes it further")
        return Exit.INTERRUPTED if report.interrupted else Exit.HELD
    say(run_text(ref, run, found[0], color=asked.color()))
    return Exit.OK if found[0]["state"] == "success" else Exit.ERROR


def _pairs(given: list[str]) -> dict[str, str]:
    from reconciler.errors import UsageError

    found = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise UsageError(f"--conf {each!r} is no KEY=VALUE", hint="for example --conf rows=500")
        found[name] = value
    return found
