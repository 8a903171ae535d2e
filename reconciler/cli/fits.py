"""`reconcile fits`: would work of this size start now? Asks admission; puts nothing into the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import Format, Globals, Output, given, width

if TYPE_CHECKING:
    from reconciler.admission.values import Item, Snapshot, Verdict
    from reconciler.house import House


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(fits)


def fits(
    ctx: typer.Context,
    memory: Annotated[str | None, typer.Option(metavar="QUANTITY", help="Peak memory. [default: as for work that declares none]")] = None,
    cpu: Annotated[str | None, typer.Option(metavar="QUANTITY", help="Cores. [default: 1]")] = None,
    gpu: Annotated[str | None, typer.Option(metavar="QUANTITY", help="Share of the GPU.")] = None,
    watts: Annotated[str | None, typer.Option(metavar="QUANTITY", help="Power while it runs.")] = None,
    duration: Annotated[str | None, typer.Option(metavar="DURATION", help="How long it would take.")] = None,
    priority: Annotated[int | None, typer.Option(metavar="N", min=1, max=10, help="1 to 10. [default: the project's]")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Tell whether work of a project would start now, and if not, why and when. Decides as a pass would, behind what waits already;
    nothing is reserved: a moment later it may be otherwise.

    \b
    Examples:
      reconcile fits --project speech --memory 2Gi --cpu 2 --duration 10m
      reconcile fits --project speech --memory 2Gi -o json
    Exit codes: 0 it would start now; 3 it would wait, or never start.
    """
    import json

    from reconciler.admission.ledger import look
    from reconciler.cli.exit import Exit
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.report.json import FORMAT_VERSION
    from reconciler.report.queue import item_value
    from reconciler.views.fits import answered, sized

    asked = given(ctx)
    house = open_for(asked, read_only=True)
    taken = look(house)
    size = sized({"memory": memory, "cpu": cpu, "gpu": gpu, "watts": watts}, duration, priority)
    found = answered(house, taken, _project(asked, house), size)
    item, verdict = found.item, found.verdict
    if output is Format.JSON:
        body = {**item_value(item, verdict, taken.now), "now": verdict.admitted, "warnings": list(found.warnings)}
        say(json.dumps({"formatVersion": FORMAT_VERSION, "kind": "fits", **body}, indent=2))
    else:
        say(_text(item, verdict, taken))
    raise typer.Exit(Exit.OK if verdict.admitted else Exit.HELD)


def _project(asked: Globals, house: House) -> str:
    from reconciler.errors import UsageError

    known = sorted(ref.name for ref in house.store.inventory() if ref.kind == "Project")
    if len(asked.project) != 1:
        raise UsageError("whose work is meant is not said", hint="name one project: --project NAME")
    if asked.project[0] not in known:
        raise UsageError(f"there is no project '{asked.project[0]}' here yet", hint=f"these are: {', '.join(known) or 'none'}")
    return asked.project[0]


def _text(item: Item, verdict: Verdict, taken: Snapshot) -> str:
    from reconciler.report.admission import needs, soon
    from reconciler.report.queue import sentence
    from reconciler.report.show import wrap

    what = f"{item.project}: {needs(item.amounts)}"
    if verdict.admitted:
        return f"{what} would start now, on {verdict.node}"
    when = "never" if verdict.reason.never else soon(verdict.expected, taken.now) if verdict.expected else "not foreseeable when"
    return "\n".join([f"{what} would wait; expected start: {when}", *wrap(sentence(verdict), width(), "  ")])
