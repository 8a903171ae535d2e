"""What is registered: the models of every project, as the last pass saw them."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import Format, Output, given, width


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(models)


def models(
    ctx: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Show every version, with its verdict.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """The registered models of all projects, as the last pass saw them: alias, version, run, data, verdicts.

    \b
    Examples:
      reconcile models
      reconcile models --project cpu-compression --all
      reconcile models -o json
    """
    from datetime import UTC, datetime

    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.report.models import listed, models_json, models_text

    asked = given(ctx)
    house = open_for(asked, read_only=True)
    statuses = house.store.statuses()
    owned = {ref: each for ref, each in house.store.inventory().items() if ref.kind == "Model"}
    chosen = [ref for ref in sorted(owned, key=str) if not asked.project or ref.project in asked.project]
    found = [listed(ref, owned[ref].outputs, statuses.get(ref)) for ref in chosen]
    if output is Format.JSON:
        say(models_json(found, datetime.now(UTC)))
    else:
        say(models_text(found, all_=all_, color=asked.color(), width=width()))
