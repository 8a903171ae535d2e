"""What an installation keeps beside its Store: data of the tools, which no backup of the Store holds. Only looks whether it is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.platform import PlatformSpec

_KEPT = (
    ("services/postgres", "the databases of MLflow and Airflow"),
    ("services/mlflow", "MLflow's artifacts: files of runs and models"),
    ("services/airflow", "Airflow's workflows, logs and accounts"),
    ("services/evidently", "Evidently's reports of the Monitors"),
    ("dvc", "the DVC cache: the bytes of every version of a dataset"),
    ("serving", "the gateway's keys (as hashes), and its logs of predictions, labels and traffic"),
    ("bentoml", "packages of the deployments"),
    ("monitors", "what the Monitors' windows showed"),
    ("runs", "folders of the runs: what they print and write"),
    ("checkpoints", "checkpoints of trainings"),
    ("nodes", "further machines that take tasks"),
)
"""Below the state folder. What is made again when it is missed (environments, caches, tokens of services) is not told."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One thing that is kept elsewhere. `where`: a path, or the URL of a server."""

    where: str
    what: str


def beside(state: Path, platform: PlatformSpec | None) -> tuple[Kept, ...]:
    """What there is now, in the state folder and where the Platform puts it."""
    there = [Kept(str(state / name), what) for name, what in _KEPT if (state / name).exists()]
    return (*there, *(_elsewhere(platform) if platform else ()))


def _elsewhere(platform: PlatformSpec) -> Iterator[Kept]:
    if platform.dvc.cache_dir is not None:
        yield Kept(platform.dvc.cache_dir, "the DVC cache: the bytes of every version of a dataset")
    if platform.mlflow.endpoint is not None:
        yield Kept(platform.mlflow.endpoint, "MLflow, which others run: its database and artifacts")
    if platform.mlflow.managed and not platform.database.managed:
        yield Kept("spec.database.url", "the database of MLflow, which others run")
    if platform.airflow.endpoint is not None:
        yield Kept(platform.airflow.endpoint, "Airflow, which others run")
