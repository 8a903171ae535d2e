"""An installation that is measured: its commands, its tools' addresses, its loop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import estate, measure
from benchmarks.measure import Run
from reconciler.platform import Services, ServiceSpec

RECONCILE = str(Path(sys.executable).with_name("reconcile"))


@dataclass(frozen=True)
class Site:
    """The folder of an installation, with the log of everything that runs there."""

    root: Path

    @property
    def log(self) -> Path:
        return self.root.with_name(f"{self.root.name}.log")

    def reconcile(self, *arguments: str, allowed: tuple[int, ...] = (0,), env: Mapping[str, str] | None = None) -> Run:
        """One command, which must end with one of the `allowed` codes."""
        return measure.checked(measure.run([RECONCILE, *arguments], self.root, self.log, env), self.log, allowed=allowed)

    def down(self) -> None:
        """Stop the services, whatever happened."""
        measure.run([RECONCILE, "platform", "down"], self.root, self.log)

    @property
    def mlflow(self) -> str:
        """Address of the server."""
        return self._services().endpoint("mlflow").url

    @property
    def database(self) -> str:
        """Address of the server's database, with the password: not for print."""
        return self._services().endpoint("postgres").for_database("mlflow").url

    def _services(self) -> Services:
        return Services(self.root / ".mlops", [ServiceSpec("mlflow")])

    @contextmanager
    def loop(self, every: str, *more: str, env: Mapping[str, str] | None = None) -> Iterator[int]:
        """`reconcile watch` for as long as the block lasts; its process id."""
        with self.log.open("ab") as out:
            child = subprocess.Popen(
                [RECONCILE, "watch", "--every", every, *more],
                cwd=self.root,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
            )
        try:
            yield child.pid
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def installation(folder: Path, resources: int) -> Iterator[Site]:
    """An estate of so many resources, everything created; its services are stopped at the end."""
    site = Site(folder / f"estate-{resources}")
    estate.build(site.root, resources)
    try:
        yield site
    finally:
        site.down()
