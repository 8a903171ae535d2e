"""The log of predictions: what was asked, what was answered, and by which version.

Redaction and sampling come before anything is queued, so that what must not be written is in no queue either."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticSerializationError, to_json

from reconciler.gateway.parquet import Kind, read_parts
from reconciler.gateway.parts import FLUSH, Parts
from reconciler.model.serving import Route, Target, folder

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: Mapping[str, Kind] = {
    "time": "time",
    "request_id": "text",
    "id": "text",
    "deployment": "text",
    "model": "text",
    "version": "text",
    "revision": "text",
    "run": "text",
    "seconds": "real",
    "instance": "text",
    "prediction": "text",
}
"""One row for each instance; `time` is when it was answered, `seconds` how long its request took, `instance` and `prediction` are JSON."""
LONGEST_ID = 200
"""Characters; what is longer does not name an instance."""


class PredictionWriter:
    """Writes below `serving/predictions`. `flush`: seconds that a row waits at most."""

    def __init__(self, state_dir: Path, *, flush: float = FLUSH, clock: Callable[[], float] = time.time) -> None:
        self._parts = Parts(folder(state_dir) / "predictions", COLUMNS, flush=flush, clock=clock)
        self._clock = clock
        self._refused = 0

    @property
    def written(self) -> int:
        """Predictions on disk."""
        return self._parts.written

    @property
    def dropped(self) -> int:
        """Predictions that should have been written and were not: too many waited, or the disk refused them."""
        return self._parts.dropped + self._refused

    def write(
        self, route: Route, target: Target, request_id: str, instances: Sequence[Any], predictions: Sequence[Any], seconds: float
    ) -> list[str]:
        """Ids of the predictions, one each; they are written where the route asks for it. Never waits, never raises."""
        ids = ids_of(route, request_id, instances)
        wanted = route.predictions
        if not wanted.log or not sampled(request_id, wanted.sample):
            return ids
        try:
            rows, size = self._rows(route, target, request_id, ids, instances, predictions, seconds)
            self._parts.put(route.project, route.name, rows, size, wanted.retain)
        except Exception:  # nothing that is wrong with the log may fail a request
            self._refused += len(ids)
        return ids

    def close(self) -> None:
        """Write what waits."""
        self._parts.close()

    def _rows(
        self,
        route: Route,
        target: Target,
        request_id: str,
        ids: Sequence[str],
        instances: Sequence[Any],
        predictions: Sequence[Any],
        seconds: float,
    ) -> tuple[list[tuple[Any, ...]], int]:
        now, deployment = self._clock(), route.path
        about = (deployment, target.model, target.version, target.digest, target.run, seconds)
        paths = [tuple(path.split(".")) for path in route.predictions.redact]
        rows, size = [], 0
        for id_, instance, prediction in zip(ids, instances, predictions, strict=True):
            for path in paths:
                instance = without(instance, path)
            asked, told = as_text(instance), as_text(prediction)
            rows.append((now, request_id, id_, *about, asked, told))
            size += len(asked) + len(told) + 200
        return rows, size


def read(state_dir: Path, project: str, name: str, since: datetime | None = None) -> pa.Table:
    """The logged predictions of a deployment, the oldest first; with `since` only those of that time and later.

    Raises UsageError for what is not the name of a deployment, Terminal for a file that cannot be read."""
    return read_parts(folder(state_dir) / "predictions", COLUMNS, project, name, since)


# --- what is written of an instance ------------------------------------------------------------------------------------


def ids_of(route: Route, request_id: str, instances: Sequence[Any]) -> list[str]:
    """What each prediction is called: the instance's own id where the route names a field for it, else made from the request's id.

    A field that must not be written is no id."""
    field = route.predictions.id
    if field is None or field in route.predictions.redact:
        return [f"{request_id}-{number}" for number in range(len(instances))]
    return [_own(each, field) or f"{request_id}-{number}" for number, each in enumerate(instances)]


def _own(instance: Any, field: str) -> str:
    found = instance.get(field) if isinstance(instance, dict) else None
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    text = found if isinstance(found, str) else str(found) if abs(found) < 1 << 64 else ""  # longer ones take long to spell out
    return text if len(text) <= LONGEST_ID else ""


def sampled(request_id: str, share: float) -> bool:
    """Whether a request is among the `share` (0..1) that is written: the same answer for the same request, wherever it is asked."""
    if share >= 1.0:
        return True
    drawn = hashlib.blake2b(request_id.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(drawn) < share * 2.0**64


def without(found: Any, path: Sequence[str]) -> Any:
    """A copy of `found` without the field at `path`; the rest is shared with it.

    A number in the path is the place in an array, which then holds null; any other name means that field of each of its elements.
    A field whose own name holds dots is found too."""
    if isinstance(found, list):
        if path[0].isascii() and path[0].isdecimal():
            at = int(path[0])
            return [(without(each, path[1:]) if len(path) > 1 else None) if here == at else each for here, each in enumerate(found)]
        return [without(each, path) for each in found]
    if not isinstance(found, dict):
        return found
    kept = found
    for length in range(1, len(path) + 1):
        name = ".".join(path[:length])
        if name not in found:
            continue
        if length == len(path):
            kept = {key: each for key, each in kept.items() if key != name}
        else:
            kept = {**kept, name: without(found[name], path[length:])}
    return kept


def as_text(found: Any) -> str:
    """Compact JSON."""
    try:
        return to_json(found, inf_nan_mode="constants").decode()
    except (PydanticSerializationError, ValueError):  # half of a surrogate pair has no UTF-8
        return json.dumps(found, separators=(",", ":"))
