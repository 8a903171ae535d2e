"""What one process keeps between its passes, each of which gets a context of its own: the sampler, the runner of jobs, a measurement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.controller import JobRunner, Services
from reconciler.settings import Settings
from schemas.platform import Admission, PlatformSpec

if TYPE_CHECKING:
    from reconciler.hardware.sampler import Sampler
    from reconciler.hardware.values import Sample
    from reconciler.platform.shared import Meter

Secret = Callable[[Any], str]


class OneMeter:
    """The services of a Platform, read anew for each pass; what they use is measured for all of them together."""

    def __init__(self, settings: Settings, secret: Secret) -> None:
        self._settings, self._secret = settings, secret
        self._meter: Meter | None = None

    def __call__(self, spec: PlatformSpec) -> Services:
        from reconciler.platform.shared import Meter, Shared

        self._meter = self._meter or Meter()
        return Shared(spec, self._settings.state, self._secret, self._meter)


class OneSampler:
    """The sampler that a Platform asks for, opened once: its filter lives on what it saw before."""

    def __init__(self, settings: Settings, read_only: bool) -> None:
        self._settings, self._read_only = settings, read_only
        self._opened: dict[str, Sampler] = {}

    def __call__(self, spec: PlatformSpec) -> Sampler:
        from reconciler.hardware.sampler import open_sampler

        key = spec.admission.model_dump_json()
        if key not in self._opened:
            self._opened[key] = open_sampler(spec.admission, self._settings.root, self._settings.state, write=not self._read_only)
        return self._opened[key]

    def last(self) -> Sample | None:
        """The newest sample that was taken in this process; asks no sensor."""
        taken = [each.last for each in list(self._opened.values()) if each.last is not None]
        return max(taken, key=lambda each: each.at, default=None)


class OneRunner:
    """The runner of jobs, opened once: the supervisors that it started are its children, and it has to see them end.

    It works with the Platform and the services that it was asked for last."""

    def __init__(self, settings: Settings, secret: Secret) -> None:
        self._state, self._root, self._secret = settings.state, settings.root.absolute(), secret
        self._last: tuple[PlatformSpec, Services] | None = None
        self._runner: JobRunner | None = None

    def __call__(self, spec: PlatformSpec, services: Services) -> JobRunner:
        from reconciler.runs.jobs import Jobs

        self._last = (spec, services)
        if self._runner is None:
            self._runner = Jobs(self._state, self._credentials, self._ray, self._sensors)
        return self._runner

    def _given(self) -> tuple[PlatformSpec, Services]:
        assert self._last is not None
        return self._last

    def _credentials(self) -> tuple[str, str] | None:
        mlflow = self._given()[0].mlflow
        return (mlflow.username, self._secret(mlflow.password)) if mlflow.username and mlflow.password else None

    def _ray(self) -> str:
        return self._given()[1].endpoint("ray")

    def _sensors(self) -> tuple[Admission, Path]:
        return self._given()[0].admission, self._root
