"""What is followed, and what is told about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from reconciler.errors import Terminal

_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NO_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|^[./-]|\.lock(/|$)|[./]$")
"""What no branch and no tag may have in its name, as git's own check has it."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What to follow, and with whose rights."""

    name: str
    """Of the source, for messages."""
    url: str
    """`https://`, `ssh://`, `user@host:path`, `file:///`, an absolute path; or, in a person's clone, the name of one of its remotes."""
    revision: str
    """A branch, a tag, or a full commit id. `refs/heads/…` or `refs/tags/…` where a branch and a tag share a name."""
    token: Callable[[], str] | None = field(default=None, repr=False)
    """For https, asked for at the moment of use: a forge's token, or `user:password`. None = none."""
    ssh_key: Path | None = None
    """Private key file, in place of what ssh would find itself."""
    signers: Path | None = None
    """OpenSSH `allowed_signers`; a file outside the clone."""
    keyring: Path | None = None
    """Public GPG keys, armoured or not; a file outside the clone."""
    ours: bool = True
    """True: a clone that we make and own. False: a person's clone, that is moved forward."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit says of itself, safe to print."""

    id: str
    author: str
    """`Name <mail>`."""
    at: datetime
    """When it was committed, with its zone: an author's date survives rebases and can be months old."""
    subject: str


@dataclass(frozen=True, slots=True)
class Moved:
    """What a check-out did; `before` is empty when nothing was checked out."""

    before: str
    after: str
    rewritten: bool
    """The commit before is no ancestor of the one after: history was replaced, or we went back."""


def is_id(text: str) -> bool:
    """Whether this is a full commit id, SHA-1 or SHA-256."""
    return _ID.fullmatch(text) is not None


def must_be_id(source: str, text: str) -> None:
    """Raises Terminal for anything but a full commit id; git would take some texts for options."""
    if not is_id(text):
        raise Terminal(f"source {source}: {printable(text, 80)!r} is no full commit id", hint="newest() gives one")


def must_be_revision(source: str, text: str) -> None:
    """Raises Terminal for what can be neither a branch, nor a tag, nor a commit id."""
    if not text or _NO_NAME.search(text):
        raise Terminal(
            f"source {source}: {printable(text, 80)!r} cannot be the name of a branch or a tag",
            hint="revision: a branch, a tag, or a full commit id",
        )


def short(commit: str) -> str:
    """A commit id as people write it."""
    return commit[:12]


def listed(names: Iterable[str]) -> str:
    """Up to three names, and how many more there are."""
    every = [printable(each, 120) for each in names]
    return ", ".join(every) if len(every) <= 3 else f"{', '.join(every[:3])} and {len(every) - 3} more"


def printable(text: str, most: int = 300) -> str:
    """Foreign text on one line, at most `most` characters, with what a terminal or a browser would act on written as an escape."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in cut)
