"""Where a Store lives, as people write it: the path of an SQLite file, or an SQLAlchemy URL. Never shows a password."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, exc, make_url

from reconciler.errors import StoreError

FORMS = "use a path or sqlite:///path for SQLite, or postgresql+psycopg://..."
_OPEN = frozenset({"host", "port", "dbname", "user", "sslmode", "connect_timeout", "application_name"})
"""Options of a URL that hold no secret; any other one may."""


def parsed(given: str) -> URL:
    """The URL. Raises StoreError, which never shows what could not be read: a password may be in it."""
    try:
        return make_url(given)
    except (exc.ArgumentError, ValueError) as error:
        raise StoreError("the Store's URL cannot be understood", hint=FORMS) from error


def shown(url: URL) -> str:
    """For people: no password, and of the options only where it is, since a password may be among them too."""
    return url.set(query={name: url.query[name] for name in ("host", "port") if name in url.query}).render_as_string(hide_password=True)


def file_of(url: URL) -> str:
    """The file of an SQLite URL. Raises StoreError when it names none."""
    if not url.database or url.database == ":memory:":
        raise StoreError("the Store must outlive the program: its SQLite URL names no file", hint=FORMS)
    return url.database


def from_anywhere(given: str) -> str:
    """The same place, whatever folder the program runs in. Raises StoreError for what is no place."""
    if "://" not in given:
        return str(Path(given).absolute())
    url = parsed(given)
    if url.get_backend_name() != "sqlite":
        return given
    return url.set(database=str(Path(file_of(url)).absolute())).render_as_string(hide_password=False)


def is_secret(given: str) -> bool:
    """Whether it may hold a password, so that it must not be written where others read. Raises StoreError for what is no place."""
    if "://" not in given:
        return False
    url = parsed(given)
    return url.get_backend_name() != "sqlite" and (url.password is not None or not url.query.keys() <= _OPEN)
