"""The services of one installation as controllers see them: ours where the Platform manages them, else the address that it names."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.errors import Terminal, Transient
from reconciler.model import JSON
from reconciler.platform import airflow, process
from reconciler.platform.ray import OBJECT_STORE
from reconciler.platform.recipes import RECIPES
from reconciler.platform.services import Services
from reconciler.platform.spec import ServiceSpec
from schemas.platform import PlatformSpec, Ray

MEASURED_FOR = 10.0
"""Seconds for which what the services use is taken as measured: their process trees take 15 to 25 ms of CPU to read."""


class Meter:
    """What was measured last, for all who ask. Its owner keeps it for as long as the process lives."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: tuple[float, int] | None = None

    def __call__(self, measure: Callable[[], int]) -> int:
        """The last value, measured anew when it is too old."""
        now, last = self._clock(), self._last
        if last is None or now - last[0] >= MEASURED_FOR:
            self._last = last = (now, measure())
        return last[1]

    def forget(self) -> None:
        """What was measured holds no longer."""
        self._last = None


class Shared:
    """`reconciler.controller.Services` over the processes of a state folder and the addresses in a Platform."""

    def __init__(self, spec: PlatformSpec, state_dir: Path, secret: Callable[[Any], str], meter: Meter | None = None) -> None:
        self._spec = spec
        self._meter = meter or Meter()
        self._state_dir = state_dir
        self._missing = ""
        """Why our services cannot be described, such as a secret that is not set; nothing else suffers from it."""
        try:
            specs = service_specs(spec, secret)
        except Terminal as error:
            specs, self._missing = [], error.message
        self.managed = Services(state_dir, specs)
        self._asked = [each.name for each in specs if not RECIPES[each.name].on_demand]

    def endpoint(self, name: str) -> str:
        """Base URL. Raises Transient when the service was never started here."""
        if name == "mlflow" and self._spec.mlflow.endpoint is not None:
            return self._spec.mlflow.endpoint
        if name in airflow.SERVICES and self._spec.airflow.endpoint is not None:
            return self._spec.airflow.endpoint
        if self._missing:
            raise Transient(self._missing)
        return self.managed.endpoint(name).url

    @property
    def usual(self) -> tuple[str, ...]:
        """Our services that are up in any case; the others are started when a resource needs them."""
        return tuple(self.managed.with_needs(self._asked))

    def start(self, names: Sequence[str]) -> None:
        """Start those of `names` that are ours and do not run, with what they need; does not wait."""
        if self._missing:
            raise Terminal(self._missing)
        ours = [name for name in names if name in self.managed.names]
        if ours:
            self._meter.forget()
            self.managed.start(ours)

    def stop(self, names: Sequence[str]) -> None:
        self._meter.forget()
        self.managed.stop([name for name in names if name in self.managed.names])

    def renew(self, names: Sequence[str]) -> None:
        self._meter.forget()
        self.managed.renew([name for name in names if name in self.managed.names])

    def report(self) -> Mapping[str, Mapping[str, JSON]]:
        """State, url, pid, version and message of each service; `external` for one that is not ours.

        A service that is started on demand and was not is left out."""
        told: dict[str, Mapping[str, JSON]] = {
            name: {"state": each.state, "url": each.url, "pid": each.pid, "version": each.version, "message": each.message}
            for name, each in self.managed.status(probe=True).items()
            if each.state != "stopped" or not RECIPES[name].on_demand
        }
        if self._missing:
            told["mlflow"] = {"state": "stopped", "url": None, "pid": None, "version": None, "message": self._missing}
        if self._spec.mlflow.endpoint is not None:
            told["mlflow"] = _look(self._spec.mlflow.endpoint, "version")
        if self._spec.airflow.endpoint is not None:
            told.update(dict.fromkeys(airflow.SERVICES, _look(self._spec.airflow.endpoint, "api/v2/version")))
        return told

    def memory(self) -> int:
        """Bytes that our services use, all their processes together, measured within the last MEASURED_FOR seconds."""
        return self._meter(self._measure)

    def _measure(self) -> int:
        return sum(process.pss_bytes(each.pid) or 0 for each in self.managed.status(probe=False).values() if each.pid is not None)

    def pristine(self, names: Sequence[str]) -> bool:
        """True when all of `names` are ours and have no data yet."""
        return all(name in self.managed.names and not (self._state_dir / "services" / name).exists() for name in names)


def service_specs(spec: PlatformSpec, secret: Callable[[Any], str]) -> list[ServiceSpec]:
    """What the Platform asks of the services that we run."""
    specs: list[ServiceSpec] = []
    if spec.mlflow.managed:
        database = {} if spec.database.managed or spec.database.url is None else {"database": secret(spec.database.url)}
        mlflow = spec.mlflow
        specs.append(ServiceSpec("mlflow", port=mlflow.port, workers=mlflow.workers, interpreter=mlflow.interpreter, extra=database))
        if spec.database.managed and spec.database.port is not None:
            specs.append(ServiceSpec("postgres", port=spec.database.port))
    specs.append(ServiceSpec("ray", port=spec.ray.port, interpreter=spec.ray.interpreter, extra=_ray_options(spec.ray)))
    specs.append(ServiceSpec("gateway", port=spec.gateway.port, interpreter=spec.gateway.interpreter))
    specs.append(ServiceSpec("evidently", port=spec.evidently.port, interpreter=spec.evidently.interpreter))
    if spec.airflow.managed:
        for name in airflow.SERVICES:
            port = spec.airflow.port if name == airflow.API else None
            specs.append(ServiceSpec(name, port=port, interpreter=spec.airflow.interpreter))
    return specs


def _ray_options(ray: Ray) -> dict[str, str]:
    """Only what differs from the defaults, so that a Ray that was started without a manifest at hand is taken for what it is."""
    cpus = {} if ray.cpus is None else {"cpus": str(ray.cpus)}
    return {**cpus, **({} if ray.object_store == OBJECT_STORE else {"objectStore": str(ray.object_store)})}


def _look(url: str, version_at: str) -> Mapping[str, JSON]:
    """Whether a server of somebody else answers where it tells its version; a wrong password still counts as an answer."""
    import httpx

    try:
        where = f"{url.rstrip('/')}/{version_at}"
        answer = httpx.get(where, timeout=5.0, trust_env=False, verify=where.startswith("https"))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return {"state": "unreachable", "url": url, "pid": None, "version": None, "message": f"no answer: {type(error).__name__}"}
    version = _version(answer.text) if answer.is_success else None
    return {"state": "external", "url": url, "pid": None, "version": version, "message": ""}


def _version(text: str) -> str:
    """As MLflow says it (the bare text), or as Airflow does (`{"version": ...}`)."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return str(found.get("version") if isinstance(found, dict) else text.strip())[:40]
