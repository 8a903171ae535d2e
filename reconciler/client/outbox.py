"""Everything that is written to MLflow goes through here as a record: it is done now, or kept and done later, in the same order.

::

    {"op": "experiment", "name", "tags"}
    {"op": "run", "key", "experiment", "tags", "of", "name", "marks", "started"}     key: the client's own name for the run
    {"op": "log", "run", "metrics", "params", "tags"}                                run: such a key, or an id
    {"op": "artifact", "run", "name", "file", "copy"}
    {"op": "end", "run", "status", "ended"}"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from reconciler.client.errors import NotAsked, Refused, Unavailable, warn
from reconciler.client.marks import CLIENT_RUN
from reconciler.client.spool import REFUSED, Record, Spool
from reconciler.client.tracking import Metric, Tracking


class Outbox:
    """Records to one MLflow server, with the spool behind it. Safe to use from many threads."""

    def __init__(self, tracking: Tracking, spool: Spool) -> None:
        self._tracking, self._spool = tracking, spool
        self._lock = threading.RLock()
        self._warned = self._lost = False
        self._looked = False

    @property
    def ids(self) -> dict[str, str]:
        """Ids of runs by the client's names for them; those that are not in MLflow yet are missing."""
        return self._spool.ids

    def put(self, record: Record) -> None:
        """Do it now; where MLflow gives no answer, or something waits before it, keep it. Raises Refused when MLflow said no."""
        with self._lock:
            self._earlier()
            if self._lost and not self._spool.waiting and str(record.get("run", "")).startswith(OWN) and record["run"] not in self.ids:
                return  # its run was lost
            if self._spool.waiting and not self._caught_up():
                self._keep(record)
                return
            try:
                perform(self._tracking, record, self._spool.ids)
            except Unavailable as error:
                self._keep({**record, "tried": True})
                if not self._lost:
                    self._warn(error)

    def flush(self) -> int:
        """Deliver what waits, of earlier processes too; how many records went. Raises Unavailable when MLflow is still away."""
        with self._lock:
            self._looked = True
            before = self._spool.refused
            sent = self._spool.deliver(self._perform_later)
            self._warned = False
            if refused := self._spool.refused - before:
                warn(f"MLflow refused {refused} of {sent} records that had waited: {self._spool.folder / REFUSED} has them and its answers")
            return sent

    def waiting(self) -> int:
        """Records that were not delivered yet, those of processes that are gone included."""
        return self._spool.left()

    def close(self) -> None:
        """Try once more to deliver what waits, and let go of everything."""
        with self._lock:
            if self._spool.waiting:
                self._caught_up()
            self._spool.close()
            self._tracking.close()

    def _earlier(self) -> None:
        """What an earlier process could not deliver goes before the first record of this one."""
        if not self._looked:
            self._looked = True
            if self._spool.folder.is_dir() and self._spool.left():
                self._caught_up()

    def _caught_up(self) -> bool:
        if self._tracking.circuit.open:
            return False
        try:
            self.flush()
        except Unavailable as error:
            self._warn(error)
            return False
        return not self._spool.waiting

    def _perform_later(self, record: Record, ids: dict[str, str]) -> None:
        perform(self._tracking, {**record, "tried": True}, ids)

    def _keep(self, record: Record) -> None:
        """A disk that takes nothing either must not end a training: then it is lost, and that is said."""
        try:
            if record["op"] == "artifact":
                copy = self._spool.keep(Path(record["file"]))
                record = {**record, "file": str(copy), "copy": copy.name}
            self._spool.put(record)
        except (OSError, NotAsked) as error:
            if not self._lost:
                warn(f"MLflow is away and what is logged cannot be kept, so that it is lost: {error}")
            self._lost = True

    def _warn(self, error: Unavailable) -> None:
        if not self._warned:
            self._warned = True
            text = f"{error.message}: what is logged is kept in {self._spool.folder} and delivered later (client.flush())"
            warn(text)


def perform(tracking: Tracking, record: Record, ids: dict[str, str]) -> None:
    """Do what a record says; safe to repeat. Raises Unavailable, or Refused."""
    match record:
        case {"op": "experiment", "name": str(name), "tags": dict(tags)}:
            tracking.experiment(name, tags)
        case {"op": "run", "key": str(key)}:
            home = tracking.experiment(record["experiment"], record["marks"])
            tags = dict(record["tags"])
            if record.get("of"):
                tags["mlflow.parentRunId"] = _id(record["of"], ids)
            fresh = not record.get("tried")
            ids[key] = tracking.begin(home, record["name"], tags, record["started"], (CLIENT_RUN, key), fresh=fresh)
        case {"op": "log", "run": str(run)}:
            metrics = [Metric(*each) for each in record.get("metrics", ())]
            tracking.log(_id(run, ids), metrics, record.get("params", {}), record.get("tags", {}))
        case {"op": "artifact", "run": str(run), "name": str(name), "file": str(file)}:
            if not Path(file).is_file():
                raise Refused(f"the copy of {name} is gone")
            tracking.upload(_id(run, ids), name, Path(file))
        case {"op": "end", "run": str(run), "status": str(status), "ended": int(ended)}:
            tracking.end(_id(run, ids), status, ended)
        case _:
            raise Refused("a record that this version of the client does not know")


def _id(run: str, ids: dict[str, str]) -> str:
    if not run.startswith(OWN):
        return run
    if run not in ids:
        raise Refused("the run of this record was never made")
    return ids[run]


OWN = "own-"
"""Begins the client's name for a run, which no id of MLflow does."""


def now() -> int:
    """Unix milliseconds."""
    return round(time.time() * 1000)


def log_record(run: str, **parts: Any) -> Record:
    return {"op": "log", "run": run, **{name: found for name, found in parts.items() if found}}
