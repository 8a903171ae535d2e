"""The client: one object for the code of one project."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.client import hardware, place
from reconciler.client.errors import NotAsked
from reconciler.client.marks import CONTEXT, DATASET, INSTALLATION, LABEL, PROJECT, REF, UNMANAGED
from reconciler.client.outbox import OWN, Outbox, now
from reconciler.client.patience import Circuit, Patience
from reconciler.client.runs import Run, active
from reconciler.client.spool import Spool
from reconciler.client.tracking import Tracking

if TYPE_CHECKING:
    from reconciler.client.asynchronous import Aio

F = TypeVar("F", bound=Callable[..., Any])
RUN_ID = "MLFLOW_RUN_ID"
"""Set by the reconciler for the programs that it starts (and by MLflow's own launchers): the run that they are."""


class MLOpsClient:
    """What a project's code asks the platform for. Make one with `from_project`; use it as a context manager, or `close` it.

    What is written to MLflow while MLflow is away is kept and delivered later; everything else raises a ClientError."""

    def __init__(self, where: place.Place, *, patience: Patience | None = None) -> None:
        self.place = where
        self._tracking = Tracking(self._where, Circuit(patience or Patience()))
        self._outbox = Outbox(self._tracking, Spool(where.state / "client" / where.project))

    @classmethod
    def from_project(cls, name: str | None = None, root: str | Path | None = None, *, patience: Patience | None = None) -> MLOpsClient:
        """The client of a project, configured by the installation's manifests and the environment. Asks no tool yet.

        Without a name: the project that this program runs for, else the one whose folder this is. Without a root: the installation that
        this program runs for, else the nearest one from here upwards. Raises NotConfigured."""
        return cls(place.find(name, root), patience=patience)

    @property
    def project(self) -> str:
        return self.place.project

    @property
    def aio(self) -> Aio:
        """The same methods for `await` and `async with`."""
        from reconciler.client.asynchronous import Aio

        return Aio(self)

    # --- experiments and runs ---

    def create_experiment(self, name: str) -> str:
        """Make sure that MLflow has the experiment `<project>/<name>`; its full name. One that a manifest declares is left as it is; a
        manifest that names this one later takes it over with its runs."""
        full = self._full(name)
        self._outbox.put({"op": "experiment", "name": full, "tags": self._marks()})
        return full

    def start_run(
        self,
        experiment: str = "default",
        *,
        name: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        datasets: Mapping[str, str] | None = None,
        nested: bool = False,
    ) -> Run:
        """A run, for `with`. In a program that the reconciler has started it is that program's own run, whatever is asked for here.

        `datasets`: name to version (`load_data_version(...).version`) of what it reads. `nested`: within another run."""
        outer = active.get()
        if outer is not None and not nested:
            raise NotAsked("a run is active already", hint="end it first, or start_run(..., nested=True)")
        if outer is None and (running := os.environ.get(RUN_ID)):
            run = Run(self._outbox, running, attached=True)
            told = {**(tags or {}), **{f"{DATASET}{each}": version for each, version in (datasets or {}).items()}}
            if told:
                run.set_tags(told)
        else:
            run = self._begin(experiment, name, {**(tags or {})}, datasets or {}, outer)
        if params:
            run.log_params(params)
        return run

    def _begin(self, experiment: str, name: str | None, tags: dict[str, str], datasets: Mapping[str, str], outer: Run | None) -> Run:
        key = f"{OWN}{os.urandom(16).hex()}"
        marks = {**self._marks(), PROJECT: self.project, "mlflow.source.name": sys.argv[0] or "python", "mlflow.source.type": "LOCAL"}
        data = {f"{DATASET}{each}": version for each, version in datasets.items()}
        record = {
            "op": "run",
            "key": key,
            "experiment": self._full(experiment),
            "marks": self._marks(),
            "name": name or key.removeprefix(OWN)[:8],
            "tags": {**tags, **marks, **data, **{f"{CONTEXT}{each}": value for each, value in hardware.machine().items()}},
            "started": now(),
            "of": outer.key if outer is not None else "",
        }
        self._outbox.put(record)
        url = ""
        if key in self._outbox.ids:
            url = self.place.mlflow()
        return Run(self._outbox, key, attached=False, url=url)

    def _run(self) -> Run:
        """The run that is logged to: the active one, else the one that this program is."""
        found = active.get()
        if found is not None:
            return found
        if running := os.environ.get(RUN_ID):
            return Run(self._outbox, running, attached=True)
        raise NotAsked("no run is active", hint='with client.start_run("experiment"): ...')

    def log_params(self, params: Mapping[str, Any]) -> None:
        """See `Run.log_params`, of the active run."""
        self._run().log_params(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """See `Run.log_metrics`, of the active run."""
        self._run().log_metrics(metrics, step)

    def log_metrics_batch(self, rows: Iterable[Mapping[str, float]], first_step: int = 0) -> None:
        """See `Run.log_metrics_batch`, of the active run."""
        self._run().log_metrics_batch(rows, first_step)

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """See `Run.log_artifact`, of the active run."""
        self._run().log_artifact(path, folder)

    def log_model(self, model: Any, name: str = "model", *, flavor: str | None = None, **options: Any) -> None:
        """See `Run.log_model`, of the active run."""
        self._run().log_model(model, name, flavor=flavor, **options)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """See `Run.set_tags`, of the active run."""
        self._run().set_tags(tags)

    def track_experiment(self, experiment: str = "default", *, name: str | None = None) -> Callable[[F], F]:
        """Decorator: each call is a run. Its arguments are logged as parameters, the numbers of a mapping that it returns as metrics."""

        import inspect

        def decorated(function: F) -> F:
            signature = inspect.signature(function)

            def given(arguments: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
                bound = signature.bind(*arguments, **options)
                bound.apply_defaults()
                return {key: value for key, value in bound.arguments.items() if isinstance(value, str | int | float | bool)}

            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def waited(*arguments: Any, **options: Any) -> Any:
                    told = given(arguments, options)
                    async with self.aio.start_run(experiment, name=name or function.__name__, params=told, nested=active.get() is not None):
                        answer = await function(*arguments, **options)
                        if numbers := _numbers(answer):
                            await self.aio.log_metrics(numbers)
                        return answer

                return waited  # type: ignore[return-value]

            @functools.wraps(function)
            def called(*arguments: Any, **options: Any) -> Any:
                told = given(arguments, options)
                with self.start_run(experiment, name=name or function.__name__, params=told, nested=active.get() is not None) as run:
                    answer = function(*arguments, **options)
                    if numbers := _numbers(answer):
                        run.log_metrics(numbers)
                    return answer

            return called  # type: ignore[return-value]

        return decorated

    # --- the machine ---

    def collect_apple_silicon_metrics(self) -> dict[str, float]:
        """What the machine and this process use now, on Linux too: memory, processor, what MLX holds; heat and power as the reconciler
        has seen them last, where that is not old. Names are those of the system metrics that a run gets."""
        return hardware.metrics(self.place.state)

    def log_apple_silicon_metrics(self, step: int = 0) -> dict[str, float]:
        """Collect them and log them to the active run, below `system/`."""
        found = self.collect_apple_silicon_metrics()
        self._run().log_metrics({f"system/{name}": value for name, value in found.items()}, step)
        return found

    # --- what waits ---

    def flush(self) -> int:
        """Deliver what could not be delivered, by this program or an earlier one; how many records went. Raises Unavailable when MLflow is
        still away: nothing is lost then."""
        return self._outbox.flush()

    def waiting(self) -> int:
        """Records that were not delivered yet."""
        return self._outbox.waiting()

    def close(self) -> None:
        """Deliver what can be delivered and let go of connections and files."""
        self._outbox.close()

    def __enter__(self) -> MLOpsClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- names ---

    def get_workspace_path(self, *parts: str) -> Path:
        """A path in the project's folder. Raises NotAsked for one that leads out of it."""
        found = self.place.folder.joinpath(*parts)
        if not found.resolve().is_relative_to(self.place.folder.resolve()):
            raise NotAsked(f"{'/'.join(parts)} leads out of {self.place.folder}")
        return found

    def _where(self) -> tuple[str, tuple[str, str] | None]:
        return self.place.mlflow(), self.place.credentials()

    def _full(self, name: str) -> str:
        own = name.removeprefix(f"{self.project}/")
        if not re.fullmatch(LABEL, own):
            raise NotAsked(f"'{name}' is not the name of an experiment", hint="lower-case letters, digits and `-`")
        return f"{self.project}/{own}"

    def _marks(self) -> dict[str, str]:
        return {REF: f"{UNMANAGED}{self.project}", INSTALLATION: self.place.installation}


def _numbers(answer: Any) -> dict[str, float]:
    if not isinstance(answer, Mapping):
        return {}
    return {str(key): float(value) for key, value in answer.items() if isinstance(value, int | float) and not isinstance(value, bool)}
