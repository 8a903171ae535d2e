"""Back to what was good: a Deployment to its last good revision, a Model's alias to its last good version, the manifests to an earlier
commit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import good_revisions, sources
from reconciler.cli.complete import refs as complete_refs
from reconciler.cli.options import Globals, given

if TYPE_CHECKING:
    from reconciler.house import House


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(rollback)


def rollback(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; kept, and shown by `status` for as long as it holds.")],
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="[REF]",
            help="A deployment or a model: kind/project/name, or a unique name. [default: the manifests]",
            autocompletion=complete_refs,
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="REV", help="Commit to go back to. [default: the last one at which all was Ready]", autocompletion=good_revisions
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a repository in the Platform's `sources`, not the root.", autocompletion=sources)
    ] = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait until a REF is done.")] = "300s",
) -> None:
    """Go back to the last good one, and keep the bad one out.

    With a REF: what is served now is quarantined; no pass brings it back until the manifest or the model's alias leads to something else.
    Rules of the policy that name the verb `rollback` are asked first.

    Without one: the manifests' folder becomes what it was at REV, by one new commit in the installation's repository; nothing is pushed,
    no history rewritten. Of a further source (--source) the clone goes back, and no commit is made. The revision that was there is
    quarantined: it is not taken again, under whatever commit, until `reconcile resume revision/COMMIT`.

    \b
    Examples:
      reconcile rollback deployment/clip-finetuning/search --reason "empty answers for German queries"
      reconcile rollback --to 3f9c2e1 --reason "every run fails since the new batch size"
      reconcile rollback --source vision --to 8b1d770 --reason "its quota was wrong"
    """
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.cli.revisions import roll_root, roll_source
    from reconciler.errors import UsageError

    asked = given(ctx)
    if ref is not None and (to is not None or source is not None):
        raise UsageError("--to and --source go without a REF", hint="a REF goes back to what was good by itself")
    house = open_for(asked, read_only=False)
    if ref is not None:
        _roll_back(ref, reason, timeout, asked, house)
    elif source is None:
        say(roll_root(asked, house, to or "", reason))
    elif to is None:
        raise UsageError("say to which commit: --to REV", hint="`reconcile history` names those that were applied")
    else:
        say(roll_source(asked, house, source, to, reason))


def _roll_back(ref: str, reason: str, timeout: str, asked: Globals, house: House) -> None:
    from reconciler.cli.allowed import must_be_allowed
    from reconciler.cli.inspect import find
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import Pass, run_pass
    from reconciler.guard.commands import Command
    from reconciler.orders.start import can_roll_back, roll_back

    found = replace(find(ref, house, asked), key="")
    can_roll_back(house, found.kind)
    said = must_be_allowed(Command("rollback", found, house.actor, reason), house, asked)
    told = roll_back(house, found, reason, house.actor, said)
    say(f"{found}: {told}")
    only = replace(asked, project=(found.owner,), kind=(found.kind,), selector=())
    raise typer.Exit(run_pass(Pass(wait=True, timeout=timeout), only))
