"""Private folders with short paths, for what cannot live in a state folder whose path may be long: Unix sockets."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from pathlib import Path

from reconciler.files import write_private
from reconciler.platform.account import Account


def short_folder(note: Path, prefix: str, longest: int, account: Account | None = None) -> Path:
    """A folder with a plain path of at most `longest` bytes that only its owner and root enter; its path is kept in the file `note`.

    The same as before where that one is still ours and closed to others; otherwise a new one, below the usual folder for temporary
    files or, where that has a long or odd path, below /tmp. The owner is `account`, or we."""
    kept = Path(_read(note) or "/")
    if kept.parent.is_dir() and kept.parent != kept:
        with contextlib.suppress(FileExistsError):
            kept.mkdir(mode=0o700)
            if account:
                account.own(kept)
        found = kept.lstat()
        owner = account.uid if account else os.geteuid()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077:
            return kept
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) + len(prefix) + len("/12345678") > longest or not re.fullmatch(r"[\w./-]+", base, re.ASCII):
        base = "/tmp"
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    if account:
        account.own(made)
    write_private(note, str(made))
    return made


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
