"""What the installation itself is asked, and the one place that knows how: its program answers, read only. An API can take its place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from reconciler.client.errors import NotAsked, Unavailable
from reconciler.client.place import Place

SECONDS = 60.0


class Answers(Protocol):
    """Raises Unavailable when nobody answers, NotAsked when the question makes no sense there. Answers are the documented JSON of
    `reconcile status`, `fits` and `validate`."""

    def status(self, kinds: Sequence[str] = ()) -> Mapping[str, Any]: ...
    def fits(self, wanted: Mapping[str, str]) -> Mapping[str, Any]: ...
    def mistakes(self, root: Path) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True)
class Fit:
    """Whether work would start now. True and false as itself: `if client.should_run_task(memory="2Gi"): ...`"""

    now: bool
    reason: str
    """CamelCase, such as `Admitted`, `WaitingForMemory`; `Unknown` = admission could not be asked."""
    message: str
    """What is short, and what is in the way."""
    expected: datetime | None = None
    """When it would start, where that can be foretold."""

    def __bool__(self) -> bool:
        return self.now


@dataclass(frozen=True)
class Program:
    """Asks `reconcile`, in a process of its own: it opens the Store read-only, and its packages stay out of this process."""

    place: Place

    def status(self, kinds: Sequence[str] = ()) -> Mapping[str, Any]:
        """Every resource of the project as the last pass left it."""
        words = [word for kind in kinds for word in ("--kind", kind)]
        return self._json("status", "--all", "--project", self.place.project, *words)

    def fits(self, wanted: Mapping[str, str]) -> Mapping[str, Any]:
        """What admission would say of work that asks for this."""
        words = [word for name, value in wanted.items() for word in (f"--{name}", value)]
        return self._json("fits", "--project", self.place.project, *words)

    def mistakes(self, root: Path) -> Sequence[Mapping[str, Any]]:
        """Errors in the manifests below another root."""
        told = self._json("validate", root=root)
        return [each for each in told.get("diagnostics", []) if each.get("severity") == "error"]

    def _json(self, *words: str, root: Path | None = None) -> Mapping[str, Any]:
        # in the root: what the program says of files is relative to there
        where = ["--root", str(root or self.place.root), "--state-dir", str(self.place.state)]
        env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_") and name != "MLOPS_PROJECT"}
        command = [_program(), *words, *where, "-o", "json"]
        try:
            done = subprocess.run(
                command, cwd=root or self.place.root, env=env, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"`reconcile {words[0]}` gave no answer: {type(error).__name__}") from None
        try:
            found = json.loads(done.stdout)
        except ValueError:
            said = [line.removeprefix("error: ") for line in done.stderr.strip().splitlines()] or [f"exit code {done.returncode}"]
            raise NotAsked(f"`reconcile {words[0]}` says: {said[0].strip()}", hint=" ".join(said[1:2]).strip()) from None
        if found.get("kind") == "error":
            raise NotAsked(str(found["message"]), hint=str(found.get("hint") or ""))
        return dict(found)


def _program() -> str:
    """`reconcile` of this interpreter's environment, else the one on the PATH."""
    beside = Path(sys.executable).with_name("reconcile")
    found = str(beside) if beside.exists() else shutil.which("reconcile")
    if found is None:
        raise Unavailable("the program `reconcile` is not on the PATH", hint="it belongs to mlops-reconciler")
    return found


def fit(answers: Answers, wanted: Mapping[str, str]) -> Fit:
    """The answer to `fits` as a value."""
    told = answers.fits(wanted)
    expected = (told.get("expected") or {}).get("at")
    return Fit(
        bool(told["now"]),
        str(told["reason"]),
        str(told["message"]),
        datetime.fromisoformat(expected) if isinstance(expected, str) else None,
    )
