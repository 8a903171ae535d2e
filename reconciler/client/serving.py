"""A project's models in use: asked through the gateway, labelled, watched. Nothing of a deployment is changed but by its manifest."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.client.errors import NotAsked, NotConfigured, Refused, Unavailable
from reconciler.client.marks import LABEL
from reconciler.client.patience import Circuit
from reconciler.client.place import Place

if TYPE_CHECKING:
    import httpx

KEY = "MLOPS_GATEWAY_KEY"
"""Environment variable that holds the project's key (`reconcile keys create`); deployments with `auth: none` need none."""
BUSY = (429, 502, 503, 504)


class Serving:
    """The gateway, for one project. Raises Unavailable when it gives no answer, Refused when the answer was no."""

    def __init__(self, place: Place, circuit: Circuit) -> None:
        self._place, self._circuit = place, circuit

    def predict(self, deployment: str, instances: Sequence[Any]) -> Mapping[str, Any]:
        """`predictions` and `ids`, one for each instance, and `version`, as the gateway answers."""
        return self._post(f"/predict/{self._path(deployment)}", {"instances": list(instances)})

    def label(self, deployment: str, labels: Mapping[str, Any]) -> None:
        """What came true: the id of a prediction to its label."""
        found = [{"id": each, "label": label} for each, label in labels.items()]
        self._post(f"/feedback/{self._path(deployment)}", {"labels": found})

    def logged(self, deployment: str, since: datetime | None = None) -> list[dict[str, Any]]:
        """The logged predictions, the oldest first; with `since` only those of that time and later. `instance` and `prediction` are as
        they were asked and answered. Empty where nothing was logged yet; raises NotAsked without pyarrow."""
        project, _, name = self._path(deployment).partition("/")
        self._place.need_checkout("reading logged predictions")
        folder = self._place.state / "serving" / "predictions" / project / name
        rows = [row for part in sorted(folder.glob("date=*/part-*.parquet")) for row in _rows(part)]
        chosen = [each for each in rows if since is None or each["time"] >= since]
        return sorted(chosen, key=lambda each: each["time"])

    def _path(self, deployment: str) -> str:
        project, _, name = deployment.rpartition("/")
        if not re.fullmatch(LABEL, name) or not re.fullmatch(LABEL, project or self._place.project):
            raise NotAsked(f"'{deployment}' is not a deployment", hint="its name, or project/name")
        return f"{project or self._place.project}/{name}"

    def _post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._circuit.call(lambda: self._once(path, body))

    def _once(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        import httpx

        try:
            base = self._place.endpoint("gateway")
        except NotConfigured as error:
            raise Unavailable(error.message, hint=error.hint) from None
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(self._circuit.patience.timeout, connect=self._circuit.patience.connect)
        try:
            answer = httpx.post(f"{base}{path}", json=body, headers=headers, timeout=timeout, trust_env=False)
        except httpx.TransportError as error:
            raise Unavailable(f"the gateway gave no answer at {base}: {type(error).__name__}") from None
        return _answered(answer, path)


def _answered(answer: httpx.Response, path: str) -> Mapping[str, Any]:
    try:
        told = answer.json() if answer.content else {}
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    if answer.is_success:
        return told
    why = str(told.get("detail") or told.get("title") or answer.status_code)
    if answer.status_code in BUSY:
        raise Unavailable(f"the gateway cannot serve {path} now: {why}")
    hint = f"set {KEY} to a key of the project: reconcile keys create" if answer.status_code in (401, 403) else ""
    raise Refused(f"the gateway refused {path}: {why}", hint=hint, code=str(answer.status_code))


def _rows(part: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise NotAsked("reading the log of predictions needs pyarrow", hint="pip install pyarrow") from None
    try:
        with part.open("rb") as file:
            found: list[dict[str, Any]] = pq.ParquetFile(file).read(use_threads=False).to_pylist()
    except FileNotFoundError:  # its time was over meanwhile
        return []
    return [{**row, "instance": json.loads(row["instance"]), "prediction": json.loads(row["prediction"])} for row in found]
