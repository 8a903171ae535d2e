"""`reconcile watch`: the loop in the foreground."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.exit import Exit
from reconciler.cli.options import Format, Output, given

if TYPE_CHECKING:
    from reconciler.errors import ReconcilerError
    from reconciler.loop import Report


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(watch)


def watch(
    ctx: typer.Context,
    every: Annotated[str, typer.Option(metavar="DURATION", help="How often to look at the tools although nothing was saved.")] = "30s",
    output: Output = Format.TEXT,
) -> None:
    """Reconcile for as long as it runs.

    A saved manifest, code or data file is acted on at once; drift made by hand within --every; runs start as others end.

    \b
    Examples:
      reconcile watch
      reconcile watch --every 5m --project lora-finetuning
    """
    from reconciler.cli.output import say, tell
    from reconciler.cli.pass_ import open_for, stop_on_signal, timeout_seconds
    from reconciler.report.watch import moment_lines, report_line
    from reconciler.watch import run_forever

    asked = given(ctx)
    house = open_for(asked, read_only=False)
    selection = asked.selection(house.settings, house.kinds)
    told: set[str] = set()
    reports = count()

    def on_report(report: Report) -> None:
        now = datetime.now().astimezone()
        if output is Format.JSON:
            if line := report_line(report, now):
                say(line)
            return
        for line in moment_lines(report, now, told, first=next(reports) == 0):
            say(line)

    def on_trouble(error: ReconcilerError, pause: float) -> None:
        tell(f"{datetime.now().astimezone():%H:%M:%S}  {error}; trying again in {pause:.0f} s")

    tell(f"Watching {', '.join(str(each) for each in selection.paths)}; Ctrl-C ends it. Runs and services go on without it.")
    with stop_on_signal() as stop:
        run_forever(selection, house, every=timeout_seconds(every), stop=stop, on_report=on_report, on_trouble=on_trouble)
    raise typer.Exit(Exit.OK)
