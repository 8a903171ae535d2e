"""`reconcile watch`: the loop in the foreground."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.exit import Exit
from reconciler.cli.options import Format, Globals, Output, given

if TYPE_CHECKING:
    from reconciler.board import Board
    from reconciler.cli.telemetry import Telemetry
    from reconciler.errors import ReconcilerError
    from reconciler.house import House
    from reconciler.loop import Report
    from reconciler.pulse import Pulse
    from reconciler.report.log import Account
    from reconciler.selection import Selection
    from reconciler.source.follow import Followings, Standing
    from reconciler.telemetry.exposition import Metrics

LOG = "logs/watch.jsonl"
"""Below the state folder: what the loop does, for programs and for whoever operates it."""


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(watch)


def watch(
    ctx: typer.Context,
    every: Annotated[str, typer.Option(metavar="DURATION", help="How often to look at the tools although nothing was saved.")] = "30s",
    listen: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", help="Answer /api/v1, /healthz, /readyz, /metrics and pushes at this port of 127.0.0.1 (0 = a free one)."
        ),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="Look after a part of the projects: this is loop K of N, which run side by side.")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Reconcile for as long as it runs.

    A saved manifest, code or data file is acted on at once; drift made by hand within --every; runs start as others end. Repositories
    that the Platform names (`spec.follow`, `spec.sources`) are followed: a commit is fetched, checked and acted on.

    \b
    Examples:
      reconcile watch
      reconcile watch --every 5m --project lora-finetuning
      reconcile watch --env prod --listen 8480
      reconcile watch --shard 2/3
    """
    from reconciler.board import Board
    from reconciler.cli.output import tell
    from reconciler.cli.pass_ import stop_on_signal, timeout_seconds
    from reconciler.cli.telemetry import telemetry
    from reconciler.leader import lead
    from reconciler.pulse import Pulse
    from reconciler.report.log import Account
    from reconciler.secret import secret
    from reconciler.source.follow import Followings
    from reconciler.watch import run_forever

    house, selection = _opened(given(ctx), shard)
    seconds = timeout_seconds(every)
    keep_log(house)
    told, pulse, board = _Told(output, house, Account(lambda kind: tool_of(house, kind))), Pulse(seconds), Board()
    sources = Followings(house.settings.root, house.settings.state, secret, house.store.rulings.quarantined)

    forever = partial(run_forever, selection, every=seconds, pulse=pulse, sources=sources, board=board)

    def loop(over: threading.Event) -> None:
        told.account.statuses = house.store.statuses()
        forever(telling.house, stop=over, on_report=told.report, on_trouble=told.trouble, on_news=told.news, around=telling.around)

    env = f" in environment {selection.env}" if selection.env else ""
    tell(f"Watching {', '.join(str(each) for each in selection.paths)}{env}; Ctrl-C ends it. Runs and services go on without it.")
    with (
        stop_on_signal() as stop,
        telemetry(house, selection.env, pulse if listen is not None else None) as telling,
        _answering(listen, pulse, sources, telling.metrics, house, board),
        _logged(house, seconds),
    ):
        told.telemetry = telling
        lead(house, pulse, stop, loop, on_standby=told.standby, on_lead=told.leads)
    raise typer.Exit(Exit.OK)


def _opened(asked: Globals, shard: str | None) -> tuple[House, Selection]:
    """The house of a loop, and what it is about. Raises UsageError where it cannot be about that."""
    from reconciler.cli.pass_ import open_for
    from reconciler.environment import refuse_other
    from reconciler.shard import shard_named

    # On a disk that is full, a Python before 3.12.8 leaves half of a compiled file behind (CPython 126606), and nothing starts any more.
    sys.dont_write_bytecode = True
    part = shard_named(shard) if shard is not None else None
    house = replace(open_for(asked, read_only=False), shard=part)
    selection = replace(asked.selection(house.settings, house.kinds, before=house.store.meta("root_paths") or ""), shard=part)
    refuse_other(selection, house.store, house.store.inventory())
    return house, selection


@contextmanager
def _logged(house: House, every: float) -> Iterator[None]:
    """A line for the beginning of the loop, and one for an end that was asked for."""
    import os
    from importlib.metadata import version

    house.log.aside.told("info", "loop_started", version=version("mlops-reconciler"), pid=os.getpid(), by=house.actor, every=every)
    yield
    house.log.aside.told("info", "loop_ended", pid=os.getpid())


def keep_log(house: House) -> None:
    """Write the loop's log. Without one it would work unseen: UsageError."""
    from reconciler.errors import UsageError

    path, settings = house.settings.state / LOG, house.settings
    try:
        part = {} if house.shard is None else {"shard": str(house.shard)}
        house.log.keep(path, settings.log_size, settings.log_files, **part)
    except OSError as error:
        raise UsageError(f"the log {path} cannot be written: {error.strerror}") from error


def tool_of(house: House, kind: str) -> str:
    """The tool of a kind; empty where there is none, or no such kind any more."""
    return house.kinds.controllers[kind].tool if kind in house.kinds.controllers else ""


@dataclass
class _Told:
    """What the loop says, each thing when it is news: to people, and to the log."""

    output: Format
    house: House
    account: Account
    telemetry: Telemetry | None = None
    reasons: set[str] = field(default_factory=set)
    reports: int = 0
    stood_by: bool = False

    def report(self, report: Report) -> None:
        from reconciler.cli.output import say
        from reconciler.report.watch import moment_lines, report_line

        if self.telemetry is not None:
            self.telemetry.report(report)
        for each in self.account.entries(report):
            self.house.log.told(each.level, each.event, **each.about)
        now, first = datetime.now().astimezone(), self.reports == 0
        self.reports += 1
        with _where_possible():
            if self.output is Format.JSON:
                if line := report_line(report, now):
                    say(line)
                return
            for line in moment_lines(report, now, self.reasons, first=first):
                say(line)

    def trouble(self, error: ReconcilerError, pause: float) -> None:
        if self.telemetry is not None:
            self.telemetry.trouble(error)
        self.house.log.told("warning", "pass_not_made", error=str(error), again_in=pause)
        self._line(f"{error}; trying again in {pause:.0f} s")

    def news(self, news: Standing) -> None:
        from reconciler.report.show import clean

        what = f"history was rewritten, it was {news.rewritten[:7]}; " if news.rewritten else ""
        self._line(clean(f"{news.source} is at {news.commit[:7]} ({what}{news.author}: {news.subject})"))

    def standby(self, who: str) -> None:
        from reconciler.report.show import clean

        self.stood_by = True
        self.house.log.aside.told("info", "standby", why=who)
        self._line(f"standing by: {clean(who)}")

    def leads(self) -> None:
        self.house.log.aside.told("info", "leads")
        if self.stood_by:
            self._line("leads from now on")

    @staticmethod
    def _line(text: str) -> None:
        from reconciler.cli.output import tell

        with _where_possible():
            tell(f"{datetime.now().astimezone():%H:%M:%S}  {text}")


@contextmanager
def _where_possible() -> Iterator[None]:
    """A full disk below the log costs lines, not the loop. A reader that went away is no reader any more: that is told to whoever asked."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        return


@contextmanager
def _answering(port: int | None, pulse: Pulse, sources: Followings, metrics: Metrics | None, house: House, board: Board) -> Iterator[None]:
    """Answers over HTTP, if that is asked for."""
    if port is None:
        yield
        return
    from importlib.util import find_spec

    from reconciler.cli.output import tell
    from reconciler.errors import UsageError

    try:
        from reconciler.api.app import application
        from reconciler.api.serve import HOST, listening
        from reconciler.api.v1.door import open_door
    except ModuleNotFoundError as error:
        raise UsageError(f"--listen needs the Python package {error.name}", hint="install mlops-reconciler[api]") from None
    door, pages = open_door(house, board), find_spec("nicegui") is not None
    with listening(application(pulse, sources.hooks, sources.wake, metrics, door, pages), port) as found:
        also = "/dashboard" if pages else "no dashboard (install mlops-reconciler[dashboard])"
        tell(f"Answering at http://{HOST}:{found}: {also}, /api/v1, /healthz, /readyz, /metrics, /hooks/git/SOURCE.")
        try:
            yield
        finally:
            door.close()
