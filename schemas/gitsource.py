"""Repositories that manifests come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import StringConstraints

from schemas.base import Duration, FromFile, RelativePath, SecretRef, Strict, duration_value

LEAST_EVERY = 5.0
"""Seconds between two questions to a remote, at least."""
OnMachine = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
"""A path on this machine; relative = below the installation's root."""


class Followed(Strict):
    """What is followed of a repository, and whose commits are trusted."""

    revision: Annotated[str, StringConstraints(min_length=1, max_length=250)] = "main"
    """A branch, a tag, or a full commit id, which stays."""
    every: Duration = "1m"
    """How often the remote is asked, give or take a tenth; a push that a webhook tells of is fetched at once."""
    token: SecretRef | None = None
    """For https."""
    ssh_key: FromFile | None = None
    """Private key for ssh; unset = what ssh finds itself."""
    signers: OnMachine | None = None
    """OpenSSH allowed signers (ssh-keygen(1), ALLOWED SIGNERS): a commit that none of them has signed is not used. Outside of the
    repository itself: what comes with a commit cannot vouch for it."""
    keyring: OnMachine | None = None
    """The same with public GPG keys."""
    webhook: SecretRef | None = None
    """What the forge signs its pushes with: `POST /hooks/git/NAME` of `reconcile watch --listen`. Unset = nobody can push."""


class Follow(Followed):
    """The installation's own repository: its clone is moved forward to what is newest, when nobody's work is lost by that."""

    remote: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = "origin"
    """Of the clone, by name; or a URL."""


class Git(Followed):
    """Another repository, cloned and kept by the reconciler."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """`https://`, `ssh://`, `user@host:path`, `file:///` or an absolute path."""
    checkout: RelativePath | None = None
    """Where its files are kept, relative to the installation's root: a project whose code lies in it has its `path` there. Unset = below
    the state folder."""


def check(found: Followed) -> Iterator[tuple[str, str]]:
    """Conditions that span fields."""
    if duration_value(found.every).total_seconds() < LEAST_EVERY:
        yield "every", f"must be {LEAST_EVERY:g}s at least"
