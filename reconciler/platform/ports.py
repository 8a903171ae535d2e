"""TCP ports of 127.0.0.1: which are free, who has one, which one is ours."""

from __future__ import annotations

import socket
import zlib
from pathlib import Path

from reconciler.files import write_private

FIRST, COUNT = 20_000, 10_000
"""Where ports are chosen: below the range that kernels hand out to clients (Linux 32768, macOS 49152), so that ours stay free."""


def is_free(port: int) -> bool:
    """True when a server could listen on 127.0.0.1:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
            trial.listen(1)
        except OSError:
            return False
    return True


def choose(seed: str) -> int:
    """A free port; the same for the same seed as long as that one is free. Raises OSError when none is."""
    start = zlib.crc32(seed.encode())
    for step in range(COUNT):
        port = FIRST + (start + step) % COUNT
        if is_free(port):
            return port
    raise OSError(f"no free port between {FIRST} and {FIRST + COUNT}")


def choose_range(seed: str, count: int, apart_from: int = 0) -> int:
    """The first of `count` free ports in a row, `apart_from` not among them; the same for the same seed as long as they are free.

    Raises OSError when there are none."""
    blocks = COUNT // count
    start = zlib.crc32(seed.encode())
    for step in range(blocks):
        first = FIRST + (start + step) % blocks * count
        if range_is_free(first, count) and apart_from not in range(first, first + count):
            return first
    raise OSError(f"no {count} free ports in a row between {FIRST} and {FIRST + COUNT}")


def range_is_free(first: int, count: int) -> bool:
    """True when a server could listen on each of them now."""
    return all(is_free(port) for port in range(first, first + count))


def remembered(path: Path) -> int | None:
    """The port written at `path`; None when there is none."""
    try:
        port = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return port if 0 < port < 65536 else None


def remember(path: Path, port: int) -> None:
    """Keep `port` for the next start."""
    write_private(path, f"{port}\n")


def holder(port: int) -> str:
    """Who listens on `port`, for an error message: `pid 12 (python3 -m http.server)`."""
    import psutil

    for process in psutil.process_iter():
        try:
            listens = any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in process.net_connections("tcp"))
            if listens:
                return f"pid {process.pid} ({' '.join(process.cmdline())[:80] or process.name()})"
        except psutil.Error:
            continue
    return "another process (whose it is cannot be seen by this user)"
