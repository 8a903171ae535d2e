"""What techniques give and take, across projects; as a report, and kept in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import projects
from reconciler.cli.options import StatusFormat, given, width

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.model.performance import Performance


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(compare)


def compare(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROJECT|EXPERIMENT]...", help="Only these. [default: all experiments]", autocompletion=projects),
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Keep each comparison in MLflow as a run; the same one is kept once.")] = False,
    output: Annotated[StatusFormat, typer.Option("-o", "--output", help="How the report is written.")] = StatusFormat.TEXT,
) -> None:
    """Compare techniques by result, time, energy and memory; tell what each project spent.

    Runs are compared that have the same metric, data and processor, also across projects.

    \b
    Examples:
      reconcile compare
      reconcile compare cpu-compression quantized-optimization --log
      reconcile compare -o html > performance.html
    """
    from datetime import UTC, datetime

    from reconciler.cli.leaderboard import rankings
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.report.performance import performance_json, performance_markdown, performance_text
    from reconciler.report.performance_page import performance_html
    from reconciler.views.performance import installation_of, performance_of

    asked = given(ctx)
    house = open_for(asked, read_only=True)
    found, at = performance_of(rankings(house, asked), names or ()), datetime.now(UTC)
    match output:
        case StatusFormat.JSON:
            say(performance_json(found, at))
        case StatusFormat.MARKDOWN:
            say(performance_markdown(found, installation_of(house), at))
        case StatusFormat.HTML:
            say(performance_html(found, installation_of(house), at))
        case StatusFormat.TEXT:
            say(performance_text(found, color=asked.color(), width=width()))
    if log:
        _log(house, found)


def _log(house: House, found: Performance) -> None:
    """Say what was kept on stderr, so that a report on stdout stays one."""
    from reconciler.views.performance import enter

    for what, id, new in enter(house, found):
        typer.echo(f"{'kept' if new else 'kept before'} in MLflow: {what}, run {id}", err=True)
    if not found.comparisons:
        typer.echo("nothing was kept in MLflow: no two techniques can be compared", err=True)
