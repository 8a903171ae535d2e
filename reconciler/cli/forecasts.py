"""How good the forecasts were that plans and the queue are made of."""

from __future__ import annotations

import typer

from reconciler.cli.options import Format, Output, given, width


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(forecasts)


def forecasts(ctx: typer.Context, output: Output = Format.TEXT) -> None:
    """How good forecasts were: what runs were expected to take, and what they took.

    Each measured run is foretold from those before it, as plans and the queue do it: an interval of its length that should hold four
    times out of five, and the memory that is charged.

    \b
    Examples:
      reconcile forecasts
      reconcile forecasts -o json
    """
    import json

    from reconciler.admission.backtest import backtests
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.house import platform_in
    from reconciler.report.forecasts import forecasts_text, forecasts_value
    from reconciler.report.json import FORMAT_VERSION
    from schemas.platform import Admission

    house = open_for(given(ctx), read_only=True)
    platform, learned = platform_in({}, house.store.inventory()), house.store.work.learned()
    found = backtests(learned, (platform.admission if platform is not None else Admission()).margin)
    if output is Format.JSON:
        say(json.dumps({"formatVersion": FORMAT_VERSION, "kind": "forecasts", **forecasts_value(found)}, indent=2))
    else:
        say(forecasts_text(found, learned, width=width()))
