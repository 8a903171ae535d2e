"""The client: one object for the code of one project."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from reconciler.client import hardware, place
from reconciler.client.errors import ClientError, NotAsked, Unavailable, warn
from reconciler.client.marks import CONTEXT, DATASET, INSTALLATION, LABEL, PROJECT, REF, UNMANAGED
from reconciler.client.outbox import OWN, Outbox, now
from reconciler.client.patience import Circuit, Patience
from reconciler.client.runs import Run, active, lent
from reconciler.client.spool import Spool
from reconciler.client.tracking import Tracking

if TYPE_CHECKING:
    from datetime import datetime

    from reconciler.client.answers import Answers, Fit
    from reconciler.client.asynchronous import Aio
    from reconciler.client.datasets import Datasets, DataVersion
    from reconciler.client.decorated import F
    from reconciler.client.resources import Change, Resources
    from reconciler.client.serving import Serving

RUN_ID = "MLFLOW_RUN_ID"
"""Set by the reconciler for the programs that it starts (and by MLflow's own launchers): the run that they are."""


@dataclass(frozen=True)
class Status:
    """How the project stands, as far as can be told now."""

    project: str
    ready: bool | None
    """Whether every resource is; None = the installation could not be asked."""
    resources: Mapping[str, str]
    """Ref to health, with the message where there is one."""
    waiting: int
    """Records that MLflow has not got yet."""
    troubles: Mapping[str, str]
    """Tool to why it does not answer; empty = all do."""


class MLOpsClient:
    """What a project's code asks the platform for. Make one with `from_project`; use it as a context manager, or `close` it.

    What is written to MLflow while MLflow is away is kept and delivered later; everything else raises a ClientError."""

    def __init__(self, where: place.Place, *, patience: Patience | None = None, answers: Answers | None = None) -> None:
        self.place = where
        self._patience = patience or Patience()
        self._tracking = Tracking(lambda: (where.mlflow(), where.credentials()), Circuit(self._patience))
        self._outbox = Outbox(self._tracking, Spool(where.state / "client" / where.project))
        self._given = answers

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
        datasets: Iterable[DataVersion] = (),
        nested: bool = False,
    ) -> Run:
        """A run, for `with`. In a program that the reconciler has started it is that program's own run, whatever is asked for here.

        `datasets`: the versions that it reads, from `load_data_version`. `nested`: within another run."""
        outer = active.get()
        if outer is not None and not nested:
            raise NotAsked("a run is active already", hint="end it first, or start_run(..., nested=True)")
        told = {**(tags or {}), **{f"{DATASET}{each.name}": each.version for each in datasets}}
        running = os.environ.get(RUN_ID)
        if outer is None and running and running not in lent:
            run = Run(self._outbox, running, attached=True)
            if told:
                run.set_tags(told)
        else:
            run = self._begin(experiment, name, told, outer)
        if params:
            run.log_params(params)
        return run

    def _begin(self, experiment: str, name: str | None, tags: Mapping[str, str], outer: Run | None) -> Run:
        key = f"{OWN}{os.urandom(16).hex()}"
        ours = {**self._marks(), PROJECT: self.project, "mlflow.source.name": sys.argv[0] or "python", "mlflow.source.type": "LOCAL"}
        record = {
            "op": "run",
            "key": key,
            "experiment": self._full(experiment),
            "marks": self._marks(),
            "name": name or key.removeprefix(OWN)[:8],
            "tags": {**tags, **ours, **{f"{CONTEXT}{each}": value for each, value in hardware.machine().items()}},
            "started": now(),
            "of": outer.key if outer is not None else "",
        }
        self._outbox.put(record)
        return Run(self._outbox, key, attached=False, url=self.place.mlflow() if key in self._outbox.ids else "")

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
        from reconciler.client.decorated import tracked

        return lambda function: tracked(self, experiment, name, function)

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

    # --- data ---

    def version_dataset(self, name: str, path: str | Path | None = None) -> DataVersion:
        """A version in DVC of the bytes at `path`, relative to the project; of a dataset that is known already its own path.

        Where a manifest declares the dataset, the bytes are safe in DVC now and the next pass makes them its present version."""
        return self._datasets.version(name, path)

    def dvc_add(self, path: str | Path, name: str | None = None) -> DataVersion:
        """`version_dataset`, named after the file unless `name` says otherwise."""
        return self.version_dataset(name or re.sub(r"[^a-z0-9]+", "-", Path(path).stem.lower()).strip("-"), path)

    def dvc_push(self, name: str, remote: str | None = None) -> int:
        """Send the present version to a remote of the Platform (unset = its only one); how many files went."""
        return self._datasets.push(name, remote)

    def dvc_pull(self, name: str, remote: str | None = None) -> DataVersion:
        """Bring the present version to the dataset's path, from a remote where the cache lacks it. Other bytes there are left alone."""
        return self._datasets.pull(name, remote)

    def load_data_version(self, name: str, version: str | None = None) -> DataVersion:
        """The bytes of a version (unset = the present one), of this project or as `project/name` of one that shares it."""
        return self._datasets.load(name, version)

    # --- admission and state ---

    def should_run_task(
        self,
        memory: str | None = None,
        cpu: str | None = None,
        *,
        gpu: str | None = None,
        watts: str | None = None,
        duration: str | None = None,
        priority: int | None = None,
    ) -> Fit:
        """Whether work that asks for this (`memory="2Gi"`, `duration="10m"`) would start now, by quota, memory and heat. Reserves nothing.

        Where admission cannot be asked the answer is no, with the reason `Unknown` and a warning. Raises NotAsked for a wrong quantity,
        Refused (or NotConfigured) where MLOPS_API is set and its token may not ask (or its address is none)."""
        from reconciler.client.answers import Fit, fit

        given = {"memory": memory, "cpu": cpu, "gpu": gpu, "watts": watts, "duration": duration, "priority": priority}
        try:
            return fit(self._answers, {name: str(value) for name, value in given.items() if value is not None})
        except Unavailable as error:
            warn(f"admission could not be asked: {error}")
            return Fit(False, "Unknown", error.message)

    def get_status(self) -> Status:
        """How the project's resources stand, and which tools do not answer. Never raises for a tool that is away."""
        troubles = dict[str, str]()
        resources, ready = dict[str, str](), None
        try:
            told = [each for each in self._answers.status()["resources"] if not each.get("key")]
            resources = {each["ref"]: f"{each['health']}{': ' if each['message'] else ''}{each['message']}" for each in told}
            ready = all(each["ready"] for each in told)
        except ClientError as error:
            troubles["reconcile"] = str(error)
        try:
            self._tracking.answers()
        except ClientError as error:
            troubles["mlflow"] = str(error)
        return Status(self.project, ready, resources, self.waiting(), troubles)

    def get_workspace_path(self, *parts: str) -> Path:
        """A path in the project's folder. Raises NotAsked for one that leads out of it."""
        found = self.place.folder.joinpath(*parts)
        if not found.resolve().is_relative_to(self.place.folder.resolve()):
            raise NotAsked(f"{'/'.join(parts)} leads out of {self.place.folder}")
        return found

    # --- what is declared: changes of manifests, never of a tool ---

    def resources(self, kind: str) -> Resources:
        """The project's resources of any kind, as manifests write it: `Workflow`."""
        from reconciler.client.resources import Resources

        return Resources(kind, self.place, self._answers)

    @property
    def datasets(self) -> Resources:
        return self.resources("Dataset")

    @property
    def experiments(self) -> Resources:
        return self.resources("Experiment")

    @property
    def models(self) -> Resources:
        return self.resources("Model")

    @property
    def deployments(self) -> Resources:
        return self.resources("Deployment")

    @property
    def monitors(self) -> Resources:
        return self.resources("Monitor")

    @property
    def workflows(self) -> Resources:
        return self.resources("Workflow")

    def deploy_model(self, model: str, name: str | None = None, **fields: Any) -> Change:
        """Declare a Deployment of a Model (`urgent`, `urgent@champion`), or change the one of that name. `fields` are those of its spec."""
        return self.deployments.ensure(name or model.partition("@")[0].rpartition("/")[2], model=model, **fields)

    def set_reference_data(self, monitor: str, dataset: str, path: str | None = None) -> Sequence[Change]:
        """Let a Monitor hold what it sees against a dataset; with `path` the dataset is declared, too."""
        declared = [self.datasets.ensure(dataset, path=path)] if path is not None else []
        fields = {"dataset": dataset, "training": None, "window": None, "deployment": None}
        return [*declared, self.monitors.update(monitor, reference=fields)]

    def monitor_predictions(self, deployment: str, name: str | None = None, **fields: Any) -> Sequence[Change]:
        """Let a deployment's predictions be logged, and watched by a Monitor (named like it); `fields` are those of the Monitor's spec."""
        logged = self.deployments.update(deployment, predictions={"log": True})
        return [logged, self.monitors.ensure(name or deployment, deployment=deployment, **fields)]

    # --- models in use ---

    def predict(self, deployment: str, instances: Sequence[Any]) -> Mapping[str, Any]:
        """Ask a deployment through the gateway: `predictions` and `ids`. The key comes from MLOPS_GATEWAY_KEY."""
        return self._serving.predict(deployment, instances)

    def log_labels(self, deployment: str, labels: Mapping[str, Any]) -> None:
        """Tell what came true: the id of a prediction to its label."""
        self._serving.label(deployment, labels)

    def logged_predictions(self, deployment: str, since: datetime | None = None) -> Sequence[Mapping[str, Any]]:
        """What the gateway has logged of a deployment, the oldest first."""
        return self._serving.logged(deployment, since)

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

    # --- parts, made when they are needed ---

    @cached_property
    def _answers(self) -> Answers:
        from reconciler.client.answers import Program

        if self._given is None and (url := os.environ.get("MLOPS_API")):
            from reconciler.client.remote import Api

            return Api(self.place, url, Circuit(self._patience))
        return self._given or Program(self.place)

    @cached_property
    def _datasets(self) -> Datasets:
        from reconciler.client.datasets import Datasets

        self.place.need_checkout("a version of data")
        return Datasets(self.place)

    @cached_property
    def _serving(self) -> Serving:
        from reconciler.client.serving import Serving

        return Serving(self.place, Circuit(self._patience))

    def _full(self, name: str) -> str:
        own = name.removeprefix(f"{self.project}/")
        if not re.fullmatch(LABEL, own):
            raise NotAsked(f"'{name}' is not the name of an experiment", hint="lower-case letters, digits and `-`")
        return f"{self.project}/{own}"

    def _marks(self) -> dict[str, str]:
        return {REF: f"{UNMANAGED}{self.project}", INSTALLATION: self.place.installation}
