"""What a program leaves behind, sent to the tracking server as artifacts."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.errors import Rejected
from reconciler.runs.folder import Folder
from reconciler.runs.log import whole
from reconciler.runs.tracking import Tracking

MOST_FILES = 1000
MOST_BYTES = 4 << 30
"""In all; what is more is left out and named."""
LEFT_OUT = "mlops.receipt.left_out"
"""The tag that names it."""


@dataclass
class Shipment:
    """Remembers what the server has, so that a second try sends only the rest."""

    folder: Folder
    sent: set[str] = field(default_factory=set)

    def send(self, tracking: Tracking) -> dict[str, str]:
        """Send the output and all of `out/`; returns a tag that says what was left out. Raises Transient."""
        root = tracking.artifacts()
        if root is None:
            return {LEFT_OUT: f"not sent: {tracking.artifact_uri()} is not served by the tracking server's proxy"}
        left: list[str] = []
        files = size = 0
        for name, path, length in sorted(results(self.folder.out)):
            files, size = files + 1, size + length
            if files > MOST_FILES or size > MOST_BYTES:
                left.append(name)
            else:
                self._one(tracking, root, name, path, left)
        self._one(tracking, root, "logs/output.txt", b"".join(whole(self.folder)), left)
        return {LEFT_OUT: f"{len(left)} left out: {', '.join(left[:20])}"} if left else {}

    def _one(self, tracking: Tracking, root: str, name: str, content: Path | bytes, left: list[str]) -> None:
        if name in self.sent:
            return
        try:
            tracking.upload(root, name, content)
        except (Rejected, OSError):
            left.append(name)
        self.sent.add(name)


def results(out: Path) -> Iterator[tuple[str, Path, int]]:
    """Name, path and size in bytes of every regular file below `out`. Links are left out: they may lead anywhere."""
    for folder, _, names in os.walk(out):
        for name in names:
            path = Path(folder) / name
            with contextlib.suppress(FileNotFoundError):
                found = path.lstat()
                if stat.S_ISREG(found.st_mode):
                    yield path.relative_to(out).as_posix(), path, found.st_size
