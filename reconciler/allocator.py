"""Memory that was freed, given back to the system: a loop that runs for months must not grow by what its passes left behind.

glibc keeps an arena for each thread and what was freed in it (mallopt(3) M_ARENA_MAX, malloc_trim(3)); each pass looks and writes with
threads of its own. Other C libraries, and macOS, give back by themselves."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from functools import cache
from typing import Any

M_ARENA_MAX = -8
ARENAS = 2


def steady() -> None:
    """Let all threads of this process share few arenas. To be said before the threads begin."""
    with suppress(AttributeError):
        if (libc := _libc()) is not None:
            libc.mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Give what is free to the system; a few milliseconds."""
    with suppress(AttributeError):
        if (libc := _libc()) is not None:
            libc.malloc_trim(0)


@cache
def _libc() -> Any:
    """The C library of this process; None where it is not glibc."""
    if sys.platform != "linux":
        return None
    with suppress(OSError):
        found = ctypes.CDLL(None)
        return found if hasattr(found, "gnu_get_libc_version") else None
    return None
