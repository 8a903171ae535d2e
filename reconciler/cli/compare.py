"""What techniques reached and what they cost, over all projects."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import StatusFormat, given


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(compare)


def compare(
    ctx: typer.Context,
    log: Annotated[bool, typer.Option("--log", help="Keep the comparison as a run in MLflow too; the same one only once.")] = False,
    output: Annotated[StatusFormat, typer.Option("-o", "--output", help="How the result is written.")] = StatusFormat.TEXT,
) -> None:
    """What techniques reached and what they cost: best results on the same data, time, energy and memory by project and technique.

    \b
    Examples:
      reconcile compare
      reconcile compare --project lora-finetuning --project quantized-optimization
      reconcile compare -o html > performance.html
      reconcile compare --log
    """
    from datetime import UTC, datetime

    from reconciler.cli.leaderboard import rankings
    from reconciler.cli.output import say, tell
    from reconciler.cli.pass_ import open_for
    from reconciler.model.performance import performance
    from reconciler.report import performance as told
    from reconciler.views.comparison import keep
    from reconciler.views.machine import machine_words

    asked, now = given(ctx), datetime.now(UTC)
    house = open_for(asked, read_only=True)
    found, machine = performance(rankings(house, asked)), machine_words(house)
    if output is StatusFormat.JSON:
        say(told.performance_json(found, machine, now))
    elif output is StatusFormat.MARKDOWN:
        say(told.performance_markdown(found, machine, now))
    elif output is StatusFormat.HTML:
        say(told.performance_html(found, machine, now))
    else:
        say(told.performance_text(found, machine, color=asked.color()))
    if log:
        tell(keep(house, found, machine, now))
