"""What leads: the finished runs of every experiment, ranked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import Format, Globals, Output, given, width

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.model.ranking import Ranking


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(leaderboard)


def leaderboard(
    ctx: typer.Context,
    top: Annotated[int | None, typer.Option(min=1, help="Only the best of each experiment.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """The finished runs of every experiment, the best first: metric, time, memory, parameters.

    \b
    Examples:
      reconcile leaderboard
      reconcile leaderboard --project lora-finetuning --top 3
      reconcile leaderboard -o json
    """
    from datetime import UTC, datetime

    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.report.leaderboard import leaderboard_json, leaderboard_text

    asked = given(ctx)
    boards = rankings(open_for(asked, read_only=True), asked)
    if output is Format.JSON:
        say(leaderboard_json(boards, top=top, at=datetime.now(UTC)))
    else:
        say(leaderboard_text(boards, top=top, color=asked.color(), width=width()))


def rankings(house: House, asked: Globals) -> list[Ranking]:
    """Of everything that the manifests declare and the filters let through. Raises Transient when a tool does not answer."""
    from dataclasses import replace

    from reconciler.environment import standing
    from reconciler.source.read import read
    from reconciler.views.leaderboard import ranked

    inventory = house.store.inventory()
    selection = asked.selection(house.settings, house.kinds)
    selection = replace(selection, env=selection.env or standing(house.store, {}) or "")
    desired = read(selection, house.kinds, house.settings, inventory, house.store.meta("root_paths") or "")
    resources = desired.graph.resources
    chosen = [each for each in resources.values() if desired.selection.holds(each)]
    return ranked(house, resources, chosen, focused=desired.selection.partial)
