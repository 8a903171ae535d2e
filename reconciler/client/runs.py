"""A run of an experiment, as a project's code sees it."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar, Token
from pathlib import Path
from types import TracebackType
from typing import Any

from reconciler.client.errors import NotAsked
from reconciler.client.outbox import Outbox, log_record, now
from reconciler.client.tracking import Metric

active: ContextVar[Run | None] = ContextVar("mlops_run", default=None)
"""The run that is logged to, in this thread or task."""
lent: set[str] = set()
"""Runs of ours that plain `mlflow` code finds in the environment: no reason for another thread to take one for its own."""
LONGEST_PARAM = 6000
"""Characters (MLflow: MAX_PARAM_VAL_LENGTH)."""


class Run:
    """One run. A context manager: it ends FINISHED, or FAILED when an exception leaves the block."""

    def __init__(self, outbox: Outbox, key: str, *, attached: bool, url: str = "") -> None:
        self._outbox, self._key, self._url = outbox, key, url
        self.attached = attached
        """It was started by somebody else, the reconciler for example, who ends it."""
        self._token: Token[Run | None] | None = None
        self._environment: dict[str, str | None] = {}

    @property
    def id(self) -> str | None:
        """MLflow's id; None while MLflow does not know of it yet."""
        return self._key if self.attached else self._outbox.ids.get(self._key)

    @property
    def key(self) -> str:
        """The client's own name for it, an id where it is attached."""
        return self._key

    def log_params(self, params: Mapping[str, Any]) -> None:
        """What it was made with; MLflow keeps a parameter as it was logged first."""
        told = {str(name): _text(value) for name, value in params.items()}
        self._outbox.put(log_record(self._key, params=told))

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Numbers at one step. Raises NotAsked for what is not a number."""
        self._outbox.put(log_record(self._key, metrics=_measured(metrics, step, now())))

    def log_metrics_batch(self, rows: Iterable[Mapping[str, float]], first_step: int = 0) -> None:
        """One mapping for each step, in a few requests instead of one for each."""
        at = now()
        found = [each for step, row in enumerate(rows, first_step) for each in _measured(row, step, at)]
        self._outbox.put(log_record(self._key, metrics=found))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self._outbox.put(log_record(self._key, tags={str(name): str(value) for name, value in tags.items()}))

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """A file, or all files of a folder, below `folder` of the run's artifacts."""
        source = Path(path)
        if not source.exists():
            raise NotAsked(f"there is nothing at {source}")
        files = [source] if source.is_file() else sorted(each for each in source.rglob("*") if each.is_file())
        for each in files:
            inside = each.name if source.is_file() else f"{source.name}/{each.relative_to(source).as_posix()}"
            self._artifact(each, f"{folder.strip('/')}/{inside}".lstrip("/"))

    def log_model(self, model: Any, name: str = "model", *, flavor: str | None = None, **options: Any) -> None:
        """A model as the folder `name` of the run's artifacts, which is where a Model manifest looks for it.

        `model` is a folder that is one already (with `mlops.json` or `MLmodel`), or an object: then MLflow's package writes it, in the
        flavour that its type suggests or `flavor` names, with `options` handed on to its `save_model`."""
        if isinstance(model, str | Path):
            if not Path(model).is_dir():
                raise NotAsked(f"{model} is not the folder of a model")
            self._folder(Path(model), name)
            return
        import tempfile

        with tempfile.TemporaryDirectory(prefix="mlops-model-") as place:
            target = Path(place) / "model"
            _saver(flavor or _flavor(model))(model, path=str(target), **options)
            self._folder(target, name)

    def end(self, status: str = "FINISHED") -> None:
        """End it; one that somebody else has started is left running."""
        if not self.attached:
            self._outbox.put({"op": "end", "run": self._key, "status": status, "ended": now()})

    def __enter__(self) -> Run:
        self._token = active.set(self)
        self._lend()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        self._take_back(status)
        if self._token is not None:
            active.reset(self._token)
            self._token = None
        self.end(status)

    def _folder(self, source: Path, name: str) -> None:
        for each in sorted(each for each in source.rglob("*") if each.is_file()):
            self._artifact(each, f"{name}/{each.relative_to(source).as_posix()}")

    def _artifact(self, file: Path, name: str) -> None:
        self._outbox.put({"op": "artifact", "run": self._key, "name": name, "file": str(file.absolute())})

    # --- plain `mlflow` code inside the block ---

    def _lend(self) -> None:
        """Plain `mlflow` code in the block, autologging for example, logs to this run: MLflow takes it from the environment."""
        if self.attached or self.id is None or "MLFLOW_RUN_ID" in os.environ:
            return
        wanted = {"MLFLOW_RUN_ID": self.id, "MLFLOW_TRACKING_URI": self._url}
        self._environment = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        lent.add(self.id)

    def _take_back(self, status: str) -> None:
        if not self._environment:
            return
        mlflow = sys.modules.get("mlflow")
        if mlflow is not None:
            its = mlflow.active_run()
            if its is not None and its.info.run_id == self.id:
                mlflow.end_run(status)
        for name, before in self._environment.items():
            if before is None:
                os.environ.pop(name, None)  # MLflow itself removes the id once it has taken it
            else:
                os.environ[name] = before
        self._environment = {}
        lent.discard(self.id or "")


def _measured(metrics: Mapping[str, float], step: int, at: int) -> list[Metric]:
    found = []
    for name, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise NotAsked(f"metric {name} is {type(value).__name__}, not a number", hint="log_params takes text") from None
        found.append(Metric(str(name), number, at, int(step)))
    return found


def _text(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) and math.isfinite(value) and float(f"{value:g}") == value else str(value)
    return text if len(text) <= LONGEST_PARAM else f"{text[: LONGEST_PARAM - 1]}…"


def _flavor(model: Any) -> str:
    """MLflow's flavour for an object, by the package that its class comes from."""
    flavors = {"sklearn": "sklearn", "torch": "pytorch", "xgboost": "xgboost", "lightgbm": "lightgbm", "transformers": "transformers"}
    packages: Sequence[str] = [each.__module__.partition(".")[0] for each in type(model).__mro__]
    found = next((flavors[each] for each in packages if each in flavors), None)
    if found is None:
        kind = f"{type(model).__module__}.{type(model).__name__}"
        raise NotAsked(f"how a {kind} is written is not known", hint="give its folder, or flavor='pyfunc' and MLflow's options")
    return found


def _saver(flavor: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"mlflow.{flavor}").save_model
    except (ImportError, AttributeError):
        raise NotAsked(f"writing a model as '{flavor}' needs MLflow's package", hint="install mlflow, or give the model's folder") from None
