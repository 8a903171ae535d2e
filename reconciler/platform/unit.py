"""One service on disk and in the process table: seen, launched, gathered for a stop.

Its folder holds `record.json` (the process), `ready` (the process that has answered once), `port`, `log`, `log.1` ... and the recipe's
own files; while the process is replaced also `next.json` and `log.next` of the one to come."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError, Transient
from reconciler.files import write_private
from reconciler.platform import logs, ports, process
from reconciler.platform.process import Record
from reconciler.platform.recipes import Recipe
from reconciler.platform.spec import Probe, ServiceSpec, ServiceState, ServiceStatus, Site

if TYPE_CHECKING:
    import psutil


@dataclass
class Unit:
    """One service of one state folder. What changes something is called with the lock held."""

    spec: ServiceSpec
    recipe: Recipe
    state_dir: Path
    needs: Mapping[str, Unit]
    clock: Callable[[], float]
    child: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    """The process, where it was this object that spawned it: kept to be reaped."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def home(self) -> Path:
        return self.state_dir / "services" / self.name

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def site(self) -> Site:
        """What the recipe is told. The port is 0 while none was chosen yet."""
        port = self.spec.port or self.recipe.port or ports.remembered(self.home / "port") or 0
        return Site(self.spec, self.home, port, {name: unit.site for name, unit in self.needs.items()})

    @property
    def digest(self) -> str:
        """Changes when the service would have to be started again to be as specified."""
        wanted = [self.spec.port, self.spec.workers, self.spec.interpreter, sorted(self.spec.extra.items())]
        return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]

    def alive(self) -> Record | None:
        """The running process; one that was spawned and not recorded is found too. Writes nothing."""
        if self.child is not None:
            self.child.poll()
        record = process.read_record(self.home / "record.json")
        if process.is_alive(record):
            return record
        return self._unrecorded(record) if record is None or record.pid == 0 else None

    def launch(self) -> None:
        """Spawn it, unless it runs already. Raises Transient or Terminal when it cannot be started."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        record_path = self.home / "record.json"
        running = self.alive() or self._unrecorded(None)
        if running is not None:
            process.write_record(record_path, running)
            return
        self._end_stragglers()
        self._settle_port()
        logs.rotate(self.log)
        self.recipe.prepare(self.site)
        started = self.clock()
        process.write_record(record_path, Record(0, "", started, self.digest))
        self.child = process.spawn(self.recipe.launch(self.site), self._mark, self.log)
        process.write_record(record_path, Record(self.child.pid, process.birth(self.child.pid) or "gone", started, self.digest))

    def replaceable(self) -> bool:
        """Whether the one that runs listens where it is wanted, and can go on while the next one starts."""
        record = self.alive() if self.recipe.launch_beside else None
        return record is not None and self.probe().pid == record.pid

    def replace(self) -> None:
        """Start another one beside the one that runs, and end that one once the new one answers.

        Raises Transient when the new one does not answer, or Terminal when it cannot be started; the one before goes on then."""
        self.settle()
        if self.recipe.launch_beside is None or not self.replaceable():
            return
        self.recipe.prepare(self.site)
        write_private(self.home / "log.next", "")
        process.write_record(self.home / "next.json", Record(0, "", self.clock(), self.digest))
        child = process.spawn(self.recipe.launch_beside(self.site), self._mark, self.home / "log.next")
        deadline = time.monotonic() + self.recipe.ready_seconds
        while child.poll() is None and self.probe().pid != child.pid and time.monotonic() < deadline:
            time.sleep(0.1)
        self.settle()
        record = self.alive()
        if record is None or record.pid != child.pid:
            raise Transient(f"{self.name} was not replaced: the new one did not answer\n{logs.tail(self.home / 'log.next', 12)}".rstrip())
        self.child = child

    @property
    def unsettled(self) -> bool:
        """Whether a replacement is under way or was cut short, so that there may be two."""
        return (self.home / "next.json").exists()

    def settle(self) -> None:
        """Leave one of two: the one that answers is recorded, the other one ended; it finishes what it has in hand. Safe to repeat, at
        whatever moment it or `replace` was cut short."""
        wanted = process.read_record(self.home / "next.json")
        if wanted is None:
            return
        record, answers, found = self.alive(), self.probe().pid, process.marked_processes(self._mark)
        if answers != (record.pid if record else 0) and any(each.pid == answers for each in found):
            record = Record(answers or 0, process.birth(answers or 0) or "gone", wanted.started, wanted.digest)
            if (self.home / "log.next").exists():
                logs.rotate(self.log)
                (self.home / "log.next").replace(self.log)
            process.write_record(self.home / "record.json", record)
            self.mark_ready(record)
        if record is not None:
            stays = {each.pid for each in process.tree(record.pid)}
            others = [each for each in found if each.pid not in stays]
            process.end(others, {each.pid: self.recipe.stop_signal for each in others}, timeout=30.0)
        (self.home / "next.json").unlink(missing_ok=True)

    def probe(self) -> Probe:
        """A look at the work it does. Without what it needs it does none, and asking it would only take its time-out.

        A recipe that cannot look says so instead of raising."""
        missing = next((name for name, unit in self.needs.items() if unit.alive() is None), None)
        if missing is not None:
            return Probe(False, f"{missing}, which it needs, is not running")
        try:
            return self.recipe.probe(self.site)
        except ReconcilerError as error:
            return Probe(False, str(error))

    def mark_ready(self, record: Record) -> None:
        """Remember that this very process has answered."""
        if not self._was_ready(record):
            write_private(self.home / "ready", record.birth)

    def status(self, probe: bool, look: Probe | None = None) -> ServiceStatus:
        """How it is; without `probe` only whether its process lives. `look` is a probe of just now. Writes nothing."""
        record = self.alive()
        if record is None:
            return self._absent()
        look = look or (self.probe() if probe else Probe(self._was_ready(record)))
        state, message = self._judge(record, look)
        return ServiceStatus(
            self.name,
            state,
            record.pid,
            self.url(),
            datetime.fromtimestamp(record.started, UTC),
            look.version,
            message,
            process.pss_bytes(record.pid, session_only=self.recipe.leads) if probe else None,
        )

    def url(self) -> str | None:
        """Its address without a password; None before the first start."""
        try:
            return self.recipe.endpoint(self.site).public_url if self.site.port else None
        except Transient:
            return None

    def members(self) -> tuple[list[psutil.Process], dict[int, int]]:
        """All its processes, and for a stop the signal for each that must get one (the others follow their parent)."""
        record = self.alive()
        found = {each.pid: each for each in process.tree(record.pid)} if record else {}
        group = record.pid if record else 0
        signals: dict[int, int] = {}
        for each in [*process.marked_processes(self._mark), *process.living(self.recipe.strays(self.site))]:
            found.setdefault(each.pid, each)
        for pid in found:
            with contextlib.suppress(OSError):
                if group in (0, pid if self.recipe.leads else os.getpgid(pid)):
                    signals[pid] = self.recipe.stop_signal
        return list(found.values()), signals

    def drain(self) -> None:
        """Before a stop: end the work that it does for others."""
        if self.alive() is not None:
            self.recipe.drain(self.site)

    def forget(self) -> None:
        """After a stop: nothing of it is remembered but its port and its data."""
        for name in ("record.json", "ready"):
            (self.home / name).unlink(missing_ok=True)
        self.recipe.tidy(self.site)

    @property
    def _mark(self) -> str:
        return process.mark(self.name, self.state_dir)

    def _unrecorded(self, intent: Record | None) -> Record | None:
        """A live process of ours that the record does not name: looked for where an intent says that there may be one, before a launch."""
        if not self.home.exists():
            return None
        pid = self.recipe.find(self.site) if self.recipe.find else process.leader(process.marked_processes(self._mark))
        born = process.birth(pid) if pid else None
        if pid is None or born is None:
            return None
        return Record(pid, born, intent.started if intent else process.started(pid), intent.digest if intent else "")

    def _was_ready(self, record: Record) -> bool:
        try:
            return (self.home / "ready").read_text(encoding="utf-8") == record.birth
        except OSError:
            return False

    def _judge(self, record: Record, look: Probe) -> tuple[ServiceState, str]:
        if not look.ok:
            young = self.clock() - record.started < self.recipe.ready_seconds
            return ("starting" if young and not self._was_ready(record) else "unhealthy"), look.message
        if record.digest not in ("", self.digest):
            return "degraded", f"runs with older settings (reconcile platform restart {self.name})"
        return ("degraded", look.message) if look.message else ("running", "")

    def _absent(self) -> ServiceStatus:
        record = process.read_record(self.home / "record.json")
        if record is None or record.pid == 0:
            return ServiceStatus(self.name, "stopped", url=self.url())
        last = logs.tail(self.log, 1).strip()
        return ServiceStatus(
            self.name, "dead", url=self.url(), message=f"its process is gone; last words: {last}" if last else "its process is gone"
        )

    def _end_stragglers(self) -> None:
        """Children that outlived a killed parent hold its port."""
        left, strays = process.marked_processes(self._mark), process.living(self.recipe.strays(self.site))
        if left or strays:
            asked = {each.pid: self.recipe.stop_signal for each in left}
            process.end([*left, *strays], {**asked, **{each.pid: signal.SIGKILL for each in strays}}, timeout=5.0)

    def _settle_port(self) -> None:
        """Choose and remember a port, or check that the one asked for is free. Raises Transient, naming who has it."""
        if self.spec.port is None and self.recipe.port is not None:
            return
        wanted = self.spec.port or ports.remembered(self.home / "port")
        if wanted is None or (self.spec.port is None and not ports.is_free(wanted)):
            ports.remember(self.home / "port", ports.choose(self._mark))
        elif not ports.is_free(wanted):
            raise Transient(
                f"{self.name}: port {wanted} is taken by {ports.holder(wanted)}", hint="name another port, or stop that process"
            )
