"""Pointers of Git LFS: a clone without LFS, or before `git lfs pull`, has these few lines in place of a file. Pure.

Source: git-lfs, docs/spec.md: the first line names the version, and a pointer is shorter than 1024 bytes."""

from __future__ import annotations

LONGEST = 1023
"""Bytes of a pointer."""
HEAD = 64
"""Bytes of a file that tell whether it is one."""
WAY_OUT = "fetch the data with `git lfs pull` where it lies, or take it out of LFS"
_BEGINS = b"version https://git-lfs.github.com/spec/v1"


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file that begins with `head` (its first HEAD bytes are enough) is a pointer of Git LFS in place of the file itself."""
    return head.startswith((_BEGINS + b"\n", _BEGINS + b"\r\n"))
