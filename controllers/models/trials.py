"""The trial of a version: the program that loads it as it would be served, under a lease. Pure, but for the folder's path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from controllers.models.scene import Scene, Tries, Version
from controllers.runs.standing import STOPPED, lives
from reconciler.model import KNOWN_AFTER_APPLY, Demand, Progress, Ref, Resource, digest_of, output
from reconciler.model.demand import one_core
from reconciler.model.serving import TrialResult, folder
from schemas.base import duration_value
from schemas.model import ModelSpec

LAUNCHES = 2
"""Trials of one version that may end without a result before that is its result."""
DEFAULT_MEMORY = "1Gi"
TOLD_DIGITS = 20
UNTOLD = "it ended without a word"


class How(StrEnum):
    """How the trial of a version stands."""

    WAITS = "waits"
    """What it needs is not known yet: the version of the evaluation data."""
    WANTED = "wanted"
    RUNS = "runs"
    DONE = "done"
    """There is a result; it may have to be written on the version yet."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The answer; `result` with How.DONE only."""

    how: How
    key: str = ""
    result: TrialResult | None = None
    noted: bool = False
    """It is written on the version."""


def trials_folder(state_dir: Path) -> Path:
    return folder(state_dir) / "trials"


def dataset(resource: Resource[ModelSpec]) -> Ref | None:
    """The evaluation data, as a resource; None = none is asked for."""
    if resource.spec.gates.evaluation is None:
        return None
    return next((each for each in resource.references if each.kind == "Dataset"), None)


def data_digest(resource: Resource[ModelSpec]) -> str | None:
    """Digest of the version of the evaluation data; empty = there is none to be had; None = not known yet."""
    ref = dataset(resource)
    if ref is None:
        return ""
    found = output(resource.inputs.get(ref, {}), "digest")
    return None if found in ("", KNOWN_AFTER_APPLY) else found


def key_of(spec: ModelSpec, digest: str, data: str) -> str:
    """What makes two trials the same: the files, the data, and what is asked. Whose model it is does not matter."""
    evaluation = spec.gates.evaluation
    return digest_of([digest, data, evaluation.target if evaluation else "", spec.trial.requests])[:32]


def standing(resource: Resource[ModelSpec], scene: Scene, version: Version) -> Standing:
    """How the trial stands that this version needs as things are declared now."""
    data = data_digest(resource)
    if data is None:
        return Standing(How.WAITS)
    key = key_of(resource.spec, version.digest, data)
    if version.trial is not None and version.trial.key == key:
        return Standing(How.DONE, key, version.trial.result, noted=True)
    if (found := scene.results.get(key)) is not None:
        return Standing(How.DONE, key, found)
    if any(lives(each) for each in jobs_of(scene, key).values()):
        return Standing(How.RUNS, key)
    tries = counted(scene, key)
    if tries.failed >= LAUNCHES:
        why = f"its trial ended {tries.failed} times without a result: {tries.why or UNTOLD}"
        return Standing(How.DONE, key, TrialResult(version.digest, "", why))
    return Standing(How.WANTED, key)


def job_id(ref: Ref, key: str, number: int) -> str:
    """Of the `number`-th launch. Another model's trial of the same files has another one: each runs under its own lease."""
    return f"{_prefix(ref, key)}{number}"


def jobs_of(scene: Scene, key: str) -> Mapping[str, Progress]:
    """Launches of the trial of this key that the runner knows."""
    return {id: each for id, each in scene.jobs.items() if id.startswith(f"trial-{key[:TOLD_DIGITS]}-")}


def counted(scene: Scene, key: str) -> Tries:
    """What is known of the launches so far, the last one included when it has ended: one that the runner does not know any more, although
    its result does not lie here, has ended too. A launch that we stopped ourselves, to make room, does not count as failed."""
    before = scene.tries if scene.tries.key == key else Tries(key)
    if not before.launched:
        return before
    last = next((each for id, each in jobs_of(scene, key).items() if id.endswith(f"-{before.launched}")), None)
    if last is not None and (lives(last) or last.why.startswith(STOPPED)):
        return before
    why = (last.why if last is not None else "") or before.why
    return replace(before, failed=before.failed + 1, why=why)


def demand(resource: Resource[ModelSpec]) -> Demand:
    """What a trial asks of the machine. It is no new launch in the sense of the launch budget: it follows from a run that was."""
    wanted = resource.spec.trial.resources
    amounts = one_core({**wanted.model_dump(), "memory": wanted.memory or DEFAULT_MEMORY})
    return Demand(
        work="batch",
        peak=amounts,
        steady=amounts,
        seconds=duration_value(wanted.duration).total_seconds() if wanted.duration else None,
        template=f"{resource.ref}/trial/{wanted.memory or ''}",
        declared=wanted.memory is not None,
        fresh=False,
    )


def _prefix(ref: Ref, key: str) -> str:
    return f"trial-{key[:TOLD_DIGITS]}-{digest_of(str(ref))[:8]}-"
