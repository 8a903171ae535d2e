"""Which schema a Store has, and bringing it to this program's. Alembic is loaded only when there is something to do."""

from __future__ import annotations

from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from reconciler.errors import StoreError
from reconciler.state.tables import HEAD, VERSION_TABLE, metadata

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent / "migrations"


class SchemaState(Enum):
    """How the tables that are there compare with those that this program knows."""

    EMPTY = auto()
    OLDER = auto()
    CURRENT = auto()


def state_of(connection: Connection, place: str) -> SchemaState:
    """Raises StoreError when a newer version made the Store, or when the tables are somebody else's."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables:
        if taken := sorted(tables & set(metadata.tables)):
            hint = "name another file or database for the Store"
            raise StoreError(f"{place} is not a Store, but has tables named {', '.join(taken)}", hint=hint)
        return SchemaState.EMPTY
    revision = revision_of(connection)
    if revision == HEAD:
        return SchemaState.CURRENT
    if revision is None:
        return SchemaState.EMPTY
    if not is_known(revision):
        message = f"the Store {place} was made by a newer version: its schema is {revision}, this program knows up to {HEAD}"
        raise StoreError(message, hint="update mlops-reconciler")
    return SchemaState.OLDER


def revision_of(connection: Connection) -> str | None:
    """The revision that a Store's tables are at; None where they were never made whole."""
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def is_known(revision: str) -> bool:
    """Whether this program can read and bring up to date what is at `revision`."""
    return revision == HEAD or revision in _known()


def migrate(connection: Connection, place: str, to: str = "head") -> None:
    """Run what is missing up to the revision `to`, inside the caller's transaction: all of it or nothing. Raises StoreError."""
    from alembic import command
    from alembic.util import CommandError

    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise StoreError(f"the Store {place} cannot be brought up to date: {error}") from error


def missing_tables(connection: Connection, place: str) -> frozenset[str]:
    """Tables that a Store of an older version does not have yet: to be read as empty.

    Raises StoreError when a table that it has cannot be read by this program, because a column was added since."""
    inspector = inspect(connection)
    there = set(inspector.get_table_names())
    for name, table in metadata.tables.items():
        if name in there and not {each.name for each in table.columns} <= {each["name"] for each in inspector.get_columns(name)}:
            raise StoreError(f"the Store {place} was made by an older version", hint="`reconcile` brings it up to date")
    return frozenset(metadata.tables.keys() - there)


def _known() -> set[str]:
    from alembic.script import ScriptDirectory

    return {each.revision for each in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    # Config reads `%` as the start of a variable.
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config
