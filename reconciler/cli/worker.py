"""A further node: takes tasks of workflows where it has room and is cool enough."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.complete import nodes
from reconciler.cli.options import given


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(worker)


def worker(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the node; one worker for each.", autocompletion=nodes)],
    memory: Annotated[str | None, typer.Option(metavar="QUANTITY", help="What it may give away. [default: the machine's]")] = None,
    cpu: Annotated[str | None, typer.Option(metavar="QUANTITY", help="Cores that it may give away. [default: the machine's]")] = None,
    gpu: Annotated[str | None, typer.Option(metavar="QUANTITY", help="Devices that it may give away. [default: the machine's]")] = None,
    reserve: Annotated[str | None, typer.Option(metavar="QUANTITY", help="Memory that is left to the system and to people.")] = None,
    trace: Annotated[str | None, typer.Option(metavar="FILE", help="Play a trace instead of reading this machine's sensors.")] = None,
) -> None:
    """Work for the reconciler of this state folder: tell this machine's sensors, and run the tasks that it is given.

    Root and state folder must be the same for all nodes, at the same paths: one machine, or a network file system with locks.
    Ends with Ctrl-C; what runs goes on, and the next worker of this name takes it up.

    \b
    Examples:
      reconcile worker studio
      reconcile worker half --memory 8Gi --cpu 4
    """
    from pydantic import ValidationError

    from reconciler.cli.output import tell
    from reconciler.cli.pass_ import stop_on_signal
    from reconciler.errors import UsageError
    from reconciler.hardware.sampler import utc_now
    from reconciler.runs.folder import is_id
    from reconciler.runs.worker import Worker
    from schemas.platform import Admission

    asked = given(ctx)
    settings = asked.settings()
    asked.refuse_below(settings)
    if not is_id(name):
        raise UsageError(f"{name!r} is no name for a node", hint="letters, digits, `_`, `.`, `-`; at most 128")
    amounts = {key: value for key, value in (("memory", memory), ("cpu", cpu), ("gpu", gpu)) if value is not None}
    wanted = {"capacity": amounts or None, "memoryReserve": reserve, **({"sensors": {"trace": trace}} if trace else {})}
    try:
        admission = Admission.model_validate(wanted)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    tell(f"worker {name} takes tasks; Ctrl-C ends it.")
    with stop_on_signal() as stop:
        Worker(settings.state, settings.root.absolute(), name, admission, utc_now).run(stop)
