"""Looks after services that run beside the loop: says when one has come or gone, and keeps what they write within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from reconciler.platform import logs
from reconciler.platform.process import is_alive, read_record

What = Literal["found", "started", "stopped", "died"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One service is no more as it was."""

    service: str
    what: What
    pid: int


@dataclass
class Attendant:
    """The services of one state folder, from one look to the next."""

    state_dir: Path
    size: int
    """Bytes of a log, at most (until the next look)."""
    files: int
    """Older logs of each service."""
    _before: Mapping[str, tuple[int, bool]] | None = field(default=None, init=False)

    def look(self) -> list[Turn]:
        """What has changed since the last look; what lives at the first one was found. Asks no service anything."""
        now = {path.parent.name: self._stand(path) for path in sorted((self.state_dir / "services").glob("*/record.json"))}
        before, self._before = self._before, now
        return turns(before, now)

    def bound(self) -> list[str]:
        """Cut the logs that have grown too long; whose they were. Raises OSError."""
        return [path.parent.name for path in (self.state_dir / "services").glob("*/log") if logs.bound(path, self.size, self.files)]

    @staticmethod
    def _stand(path: Path) -> tuple[int, bool]:
        record = read_record(path)
        return (record.pid if record is not None else 0), is_alive(record)


def turns(before: Mapping[str, tuple[int, bool]] | None, now: Mapping[str, tuple[int, bool]]) -> list[Turn]:
    """What came of each service between two looks: (pid, alive) by name, pid 0 while it is being started. Pure."""
    if before is None:
        return [Turn(name, "found" if alive else "died", pid) for name, (pid, alive) in now.items() if pid]
    found = []
    for name in sorted(before.keys() | now.keys()):
        old, lived = before.get(name, (0, False))
        pid, alive = now.get(name, (0, False))
        if alive and (pid, alive) != (old, lived):
            found.append(Turn(name, "started", pid))
        elif lived and not alive:
            found.append(Turn(name, "died" if pid == old else "stopped", old))
    return found
