"""Back to what was good: a Deployment to its last good revision, a Model's alias to its last good version."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from reconciler.cli.complete import refs as complete_refs
from reconciler.cli.options import given


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(rollback)


def rollback(
    ctx: typer.Context,
    ref: Annotated[
        str,
        typer.Argument(metavar="REF", help="A deployment or a model: kind/project/name, or a unique name.", autocompletion=complete_refs),
    ],
    reason: Annotated[str, typer.Option(help="Why; kept, and shown by `status` for as long as it holds.")],
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait until it is done.")] = "300s",
) -> None:
    """Go back to the last good one, and keep the bad one out.

    What is served now is quarantined: no pass brings it back until the manifest or the model's alias leads to something else.

    \b
    Example:
      reconcile rollback deployment/clip-finetuning/search --reason "empty answers for German queries"
    """
    from reconciler.cli.inspect import find
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import Pass, open_for, run_pass
    from reconciler.controller import RollsBack
    from reconciler.errors import UsageError
    from reconciler.house import context, writing
    from reconciler.state import AuditEntry

    asked = given(ctx)
    house = open_for(asked, read_only=False)
    found = replace(find(ref, house, asked), key="")
    controller = house.kinds.controller(found.kind)
    if not isinstance(controller, RollsBack):
        able = [kind for kind, each in sorted(house.kinds.controllers.items()) if isinstance(each, RollsBack)]
        raise UsageError(f"{found.kind} cannot be rolled back", hint=f"these can: {', '.join(able) or 'none'}; else revert the commit")
    here = context(house, {}, house.store.inventory(), focused=True)
    if here is None:
        raise UsageError("nothing is installed here yet", hint="`reconcile` makes the first pass")
    with writing(house, house.memos.token):
        told = controller.roll_back(found, here, reason, house.actor)
        house.store.audit([AuditEntry(at=house.now(), actor=house.actor, ref=found, action="rollback", detail={"why": reason})])
    say(f"{found}: {told}")
    only = replace(asked, project=(found.owner,), kind=(found.kind,), selector=())
    raise typer.Exit(run_pass(Pass(wait=True, timeout=timeout), only))
