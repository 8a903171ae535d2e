"""An installation that follows a repository with a loop of its own, and people who push to it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.installation import RECONCILE, Installation
from tests.e2e.training import until


@dataclass
class Story:
    """An installation that follows a repository, somebody who pushes to it, and the team's own repository."""

    here: Installation
    dev: Installation
    team: Installation
    origin: Path
    log: Path

    def push(self, message: str, files: dict[str, str], *, author: str = "Ada <ada@example.org>", force: bool = False) -> str:
        """Commit files and push them; the short id of the commit."""
        return push(self.dev, message, files, author=author, force=force)

    def said(self, text: str, seconds: float = 180) -> None:
        """Wait until the loop has said it."""
        until(lambda: text in self.log.read_text(), seconds, self.log)

    def ready(self, ref: str, seconds: float = 180) -> None:
        until(lambda: self.here.status().get(ref, {}).get("ready") is True, seconds, self.log)


def push(where: Installation, message: str, files: dict[str, str], *, author: str = "Ada <ada@example.org>", force: bool = False) -> str:
    where.write(files)
    where.git("add", "-A")
    where.git("commit", "-q", "-m", message, f"--author={author}")
    where.git("push", "-q", *(["--force"] if force else []), "origin", "HEAD:main")
    return where.git("rev-parse", "--short=7", "HEAD").strip()


def repository(root: Path, origin: Path, files: dict[str, str]) -> Installation:
    """A clone of a bare repository with a first commit."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(origin)], check=True)
    root.mkdir()
    found = Installation(root)
    found.git("init", "-q", "-b", "main")
    found.git("remote", "add", "origin", str(origin))
    push(found, "first", files)
    return found


@contextmanager
def looping(here: Installation, log: Path, *words: str) -> Iterator[None]:
    """`reconcile watch` beside the test; what it says goes to `log`."""
    with log.open("w") as out:
        argv = [RECONCILE, "watch", "--every", "300s", *words]
        loop = subprocess.Popen(argv, cwd=here.root, env=here.environment, stdout=out, stderr=out)
    try:
        yield
    finally:
        loop.send_signal(signal.SIGTERM)
        assert loop.wait(timeout=60) == 0, log.read_text()
        here.run("platform", "down")
