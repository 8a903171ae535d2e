"""Reads what decisions about models depend on: registry, runs, notebooks, trials. Nothing is written here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controllers.models.scene import Goal, Scene, Tag, Tries, Version, model_name, result_of
from controllers.models.trials import trials_folder
from controllers.runs.observing import OPEN, SETTLED, Listing, listing
from controllers.tools import mlflow_registry as registry
from controllers.tools import signing
from controllers.tools.mlflow import Mlflow
from controllers.tools.mlflow_registry import ModelInfo, VersionInfo
from reconciler.controller import Context
from reconciler.errors import ReconcilerError
from reconciler.model import Progress, Ref, Resource
from reconciler.model.serving import TrialResult
from schemas.model import ModelSpec

REFUSED, TRIES, PUBLIC_KEY = "refused", "tries", "publicKey"
"""In a model's notebook: runs whose files cannot become a version; launches of its trial; the public part of the key that signs."""


class Around:
    """What models have around them: experiments, jobs, results. Read once for all models that are looked at together."""

    def __init__(self, resources: Sequence[Resource[ModelSpec]], mlflow: Mlflow, ctx: Context) -> None:
        self._ctx = ctx
        # jobs before results: one that has ended by now has left its result by then
        jobs = ctx.jobs.look() if ctx.jobs is not None else {}
        self._jobs: Mapping[str, Progress] = {id: each for id, each in jobs.items() if id.startswith("trial-")}
        self._results = _results(ctx)
        experiments = {each.ref: experiment_of(each) for each in resources}
        self._runs: Listing = listing(mlflow, [ref for ref in experiments.values() if ref is not None], ctx)
        metrics = {each.id: each.tags.get("mlops.metric", "") for each in mlflow.seen()}
        self._metrics = {ref: metrics.get(id, "") for ref, id in self._runs.ids.items()}
        self._keys: dict[str, tuple[str, str, str]] = {}

    def scene(self, resource: Resource[ModelSpec], info: ModelInfo, versions: Iterable[VersionInfo]) -> Scene:
        """One model in it."""
        experiment, page = experiment_of(resource), self._ctx.memo(resource.ref)
        ours = [Version(each) for each in versions if each.tags.get(Tag.INSTALLATION) == self._ctx.installation and Tag.RUN in each.tags]
        metric, goal = _criterion(self._metrics.get(experiment, "") if experiment else "")
        public_key, signer, trouble = self._signing(resource)
        return Scene(
            name=info.name,
            versions=ours,
            aliases=dict(info.aliases),
            tags=dict(info.tags),
            description=info.description,
            experiment=experiment,
            there=experiment in self._runs.ids,
            metric=metric,
            goal=goal,
            runs=tuple(self._runs.all.get(experiment, ())) if experiment else (),
            awaited=experiment is not None and _awaited(self._ctx.memo(experiment), self._runs, experiment),
            refused=dict(page.get(REFUSED) or {}),
            tries=Tries(**(page.get(TRIES) or {})),
            jobs={id: each for id, each in self._jobs.items() if each.ref == str(resource.ref)},
            results=self._results,
            signer=signer,
            public_key=public_key,
            trouble=trouble,
        )

    def _signing(self, resource: Resource[ModelSpec]) -> tuple[str, str, str]:
        """(public key, fingerprint, what is wrong). Where the key cannot be read, the public part of the last one still stands: files must
        not pass unchecked because a secret is missing here."""
        sign = resource.spec.sign
        if sign is None:
            return "", "", ""
        known = str(self._ctx.memo(resource.ref).get(PUBLIC_KEY) or "")
        try:
            return *signing.public_of(self._ctx.secret(sign.key)), ""
        except ReconcilerError as error:
            return known, signing.fingerprint_of(known) if known else "", f"the signing key cannot be used: {error}"


def experiment_of(resource: Resource[ModelSpec]) -> Ref | None:
    """The Experiment whose runs compete."""
    return next((each for each in resource.references if each.kind == "Experiment"), None)


def scene_now(resource: Resource[ModelSpec], around: Around, mlflow: Mlflow) -> Scene | None:
    """One model at this moment; None when it is not registered."""
    info = registry.model(mlflow, model_name(resource.ref))
    return around.scene(resource, info, registry.versions(mlflow, f"name = '{info.name}'")) if info is not None else None


def _awaited(page: Mapping[str, Any], runs: Listing, experiment: Ref) -> bool:
    """Whether runs are still to come. The experiment notes which were open when it was looked at last; those that have finished since are
    not waited for until it is looked at again."""
    if page.get(SETTLED):
        return False
    open_keys = page.get(OPEN)
    if open_keys is None:
        return True
    done = {each.tags.get("mlops.key", "")[:16] for each in runs.all.get(experiment, ()) if each.status == "FINISHED" and not each.deleted}
    return any(key not in done for key in open_keys)


def _criterion(text: str) -> tuple[str, Goal]:
    """`loss (minimize)`, as the experiment carries it."""
    name, _, goal = text.rpartition(" ")
    return (name, "minimize" if goal == "(minimize)" else "maximize") if name else ("", "maximize")


def _results(ctx: Context) -> Mapping[str, TrialResult]:
    found: dict[str, TrialResult] = {}
    for path in sorted(trials_folder(ctx.state_dir).glob("*.json")):
        try:
            raw = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        result = result_of(raw) if isinstance(raw, dict) else None
        if result is not None:
            found[path.stem] = result
    return found
