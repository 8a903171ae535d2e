"""`reconcile platform backup` and `restore`: the Store in a file, and back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import Format, Globals, Output, given

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.platform.data import Kept
    from reconciler.state.archive import Archive

File = Annotated[Path, typer.Argument(metavar="FILE")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(backup)
    app.command()(restore)


def backup(
    ctx: typer.Context,
    file: File,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Write the Store to a file, as it is at one moment; what runs goes on.

    The Store is what the tools cannot tell: what is ours, history, suspensions, the queue. Only you can read the file. Data of the tools
    is not in it; where that is, is told at the end.

    \b
    Examples:
      reconcile platform backup toolkit.zip
      reconcile platform backup "/mnt/backup/toolkit-$(date +%F).zip" -o json
    """
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.report.backup import backup_json, backup_text

    began, asked = time.monotonic(), given(ctx)
    house = open_for(asked, read_only=True)
    path = file.absolute()
    contents = house.store.back_up(path, over=force)
    size, kept, seconds = path.stat().st_size, _kept(house, asked), time.monotonic() - began
    as_json = output is Format.JSON
    say(backup_json(path, size, contents, kept, seconds) if as_json else backup_text(path, size, contents, kept, seconds, _here()))


def restore(
    ctx: typer.Context,
    file: File,
    force: Annotated[bool, typer.Option("--force", help="Also over a Store that holds something; that is backed up first.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Make the Store what a backup holds: all of it, or nothing.

    The file is checked to its end before anything is written. The Store must be empty, and nobody may be reconciling. It may live in
    another database than the one that was backed up: SQLite or PostgreSQL. The next pass is an ordinary one.

    \b
    Examples:
      reconcile platform restore toolkit.zip
      MLOPS_STORE=postgresql+psycopg://ml@db/store reconcile platform restore toolkit.zip
    """
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.report.backup import restored_json, restored_text
    from reconciler.state.archive import opened
    from reconciler.state.backup import check
    from reconciler.state.tables import HEAD

    began, asked = time.monotonic(), given(ctx)
    asked.refuse_nowhere(asked.settings())
    with opened(file.absolute()) as found:
        check(found)
        _must_be_ours(found, asked)
        house = open_for(asked, read_only=False)
        aside = house.settings.state / f"store-before-{house.now():%Y%m%dT%H%M%S.%fZ}.zip"
        done = house.store.restore(found, house.actor, aside if force else None)
    kept, seconds = _kept(house, asked), time.monotonic() - began
    as_json = output is Format.JSON
    say(restored_json(done, kept, seconds) if as_json else restored_text(done, HEAD, kept, house.now(), seconds, _here()))


def _must_be_ours(found: Archive, asked: Globals) -> None:
    """Raise UsageError for the backup of another installation: its marks are not on what is here."""
    from reconciler.cli.pass_ import open_for
    from reconciler.cli.services import platform_of
    from reconciler.errors import UsageError

    platform, there = platform_of(open_for(asked, read_only=True), asked), found.contents.installation
    if platform and there and platform.installation != there:
        hint = "name the manifests that it belongs to with -f, or another backup"
        raise UsageError(f"{found.path} is of the installation {there}, and the one here is {platform.installation}", hint=hint)


def _kept(house: House, asked: Globals) -> tuple[Kept, ...]:
    """What lies beside the Store."""
    from reconciler.cli.services import platform_of
    from reconciler.platform.data import beside

    return beside(house.settings.state, platform_of(house, asked))


def _here() -> str:
    return f"{Path.cwd()}/"
