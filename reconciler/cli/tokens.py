"""`reconcile token`: who may ask the API."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import projects as complete_projects
from reconciler.cli.complete import tokens
from reconciler.cli.options import Format, Output, given

if TYPE_CHECKING:
    from datetime import timedelta

    from reconciler.house import House

app = typer.Typer(
    help="Tokens of the API: make, list, end. Only hashes of them are kept.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
_NAME = re.compile(r"[A-Za-z0-9._@+-]{1,100}")


class RoleName(StrEnum):
    """What a token may be for."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who has it: stands in the audit log, and as owner of rules.")],
    role: Annotated[
        RoleName, typer.Option(help="viewer reads; operator suspends, resumes, runs, rolls back; approver approves; admin does all.")
    ] = RoleName.VIEWER,
    of: Annotated[
        list[str] | None,
        typer.Option("--of", metavar="PROJECT", help="Only for this project; repeatable. [default: all]", autocompletion=complete_projects),
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="DURATION", help="Ends by itself after this time, such as 90d.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Make a token. Its text is written to stdout, this once; nobody can read it again.

    \b
    Examples:
      reconcile token create ci --role operator --of vision
      TOKEN=$(reconcile token create dashboard --expires 90d)
    """
    from reconciler.api.v1.authenticate import new_token
    from reconciler.cli.output import say, tell
    from reconciler.errors import UsageError
    from reconciler.report.tokens import token_json, token_told
    from reconciler.state.records import EVERY

    house = _house(ctx)
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name of a token", hint="letters, digits and `._@+-`, 100 at most")
    for each in of or ():
        _must_be_known(each, house)
    now = house.now()
    until = None if expires is None else now + _span(expires)
    token, text = new_token(name, role.value, frozenset(of or [EVERY]), actor=house.actor, now=now, expires=until)
    house.store.doors.add_token(token)
    if output is Format.JSON:
        say(token_json(token, now, text))
        return
    say(text)
    tell(f"{token_told(token, now)} It is not shown again.")
    tell(f"Next: send it as `Authorization: Bearer TOKEN`; `reconcile token revoke {token.id}` ends it.")


@app.command("list")
def list_(
    ctx: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Show those that are good no longer too.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """The tokens: whose, what for, until when.

    \b
    Example:
      reconcile token list --all
    """
    from reconciler.cli.output import say
    from reconciler.report.tokens import tokens_json, tokens_text

    house, asked = _house(ctx), given(ctx)
    found, now = house.store.doors.tokens(), house.now()
    say(tokens_json(found, now) if output is Format.JSON else tokens_text(found, now, all_=all_, color=asked.color()))


@app.command()
def revoke(
    ctx: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="The part of a token between `mlt_` and the next `_`.", autocompletion=tokens)],
    output: Output = Format.TEXT,
) -> None:
    """End a token at once.

    \b
    Example:
      reconcile token revoke 3f9c2e1b7a50
    """
    from reconciler.cli.output import say
    from reconciler.errors import UsageError
    from reconciler.report.tokens import token_json

    house = _house(ctx)
    found = house.store.doors.revoke_token(id_, house.actor)
    if found is None:
        raise UsageError(f"there is no token '{id_}'", hint="`reconcile token list` names them")
    said = f"Token {found.id} `{found.name}` is revoked: the API refuses it from now on."
    say(token_json(found, house.now()) if output is Format.JSON else said)


def _house(ctx: typer.Context) -> House:
    """Raises UsageError where there is no installation: tokens belong to one."""
    from reconciler.cli.pass_ import open_for
    from reconciler.errors import UsageError

    asked = given(ctx)
    settings = asked.settings()
    asked.refuse_nowhere(settings)
    if not settings.state.is_dir():
        raise UsageError("nothing was reconciled here yet", hint="`reconcile` first; tokens are for what it makes")
    return open_for(asked, read_only=False)


def _must_be_known(name: str, house: House) -> None:
    from difflib import get_close_matches

    from reconciler.errors import UsageError

    known = {ref.name for ref in (*house.store.inventory(), *house.store.statuses()) if ref.kind == "Project"}
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"projects are: {', '.join(sorted(known)) or 'none yet'}"
        raise UsageError(f"there is no project '{name}'", hint=hint)


def _span(text: str) -> timedelta:
    """Raises UsageError when it is not a duration."""
    from reconciler.errors import UsageError
    from schemas.base import duration_value

    try:
        return duration_value(text)
    except ValueError as error:
        raise UsageError(str(error), hint="for --expires") from None
