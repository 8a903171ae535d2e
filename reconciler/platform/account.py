"""Which user a service runs as when we are root and the service refuses to.

PostgreSQL does not run as root. Two ways down, the weaker one first:

* every folder on the way to its files can be entered by an unprivileged user: a plain change of user;
* one cannot (a state folder below /root, mode 0700): the unprivileged user keeps the single capability that enters folders,
  handed down by util-linux' `setpriv`. Nobody's folder gets another mode. `no_setuid_fixup` is needed because access(2), which
  PostgreSQL asks about its own binary, ignores capabilities without it."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import Terminal

USERS = ("postgres", "nobody")
"""Unprivileged users that exist on every Debian, Fedora and macOS, the closest first (initdb needs a user with a name)."""

_CAPABILITIES = (("dac_read_search", 2), ("dac_override", 1))
"""Capabilities that let a process enter folders, the weaker first, with their bit in /proc/self/status (capabilities(7)).
A container's root usually has only the second."""


@dataclass(frozen=True)
class Account:
    """A user to run as. `prefix` goes before the argv; where it is empty the change of user is subprocess's."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()

    @property
    def direct(self) -> bool:
        """subprocess changes the user itself."""
        return not self.prefix

    def own(self, path: Path) -> None:
        """Give one file or folder of ours to this user."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)


def unprivileged(paths: Iterable[Path]) -> Account | None:
    """The user to run as so that all of `paths` can be reached; None when we are not root and run as ourselves.

    Raises Terminal when no such user exists or `setpriv` is needed and missing."""
    if os.geteuid() != 0:
        return None
    uid, gid = _find_user()
    blocked = [folder for path in paths if (folder := first_closed(path, uid, gid)) is not None]
    return Account(uid, gid, _setpriv(uid, gid, blocked[0]) if blocked else ())


def first_closed(path: Path, uid: int, gid: int) -> Path | None:
    """The first folder above `path` that (uid, gid) may not enter; None when the way is free. Reads mode bits only."""
    for folder in reversed(path.resolve().parents):
        if not folder.exists():
            continue
        if not may_enter(folder.stat(), uid, gid):
            return folder
    return None


def may_enter(folder: os.stat_result, uid: int, gid: int) -> bool:
    """Whether the mode bits let (uid, gid), with no other groups, into a folder. The first class that fits decides, as in the kernel."""
    bit = stat.S_IXUSR if folder.st_uid == uid else stat.S_IXGRP if folder.st_gid == gid else stat.S_IXOTH
    return bool(folder.st_mode & bit)


def _find_user() -> tuple[int, int]:
    for name in USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise Terminal("PostgreSQL does not run as root, and there is no user " + " or ".join(USERS), hint="run as an ordinary user")


def _setpriv(uid: int, gid: int, closed: Path) -> tuple[str, ...]:
    hint = f"run as an ordinary user, or put the state folder and the Python environment where others may enter {closed}"
    program = shutil.which("setpriv")
    capability = _held_capability()
    if program is None or capability is None:
        lack = "the program setpriv" if program is None else "a capability to enter folders"
        raise Terminal(f"PostgreSQL does not run as root, and another user cannot enter {closed} without {lack}", hint=hint)
    held = f"-all,+{capability}"
    return (
        *(program, f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
        *(f"--inh-caps={held}", f"--ambient-caps={held}", f"--bounding-set={held}", "--securebits=+noroot,+no_setuid_fixup", "--"),
    )


def _held_capability() -> str | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    bounding = next((int(line.split()[1], 16) for line in lines if line.startswith("CapBnd:")), 0)
    return next((name for name, bit in _CAPABILITIES if bounding >> bit & 1), None)
