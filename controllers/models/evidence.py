"""What is written on a version: why it passed or did not, and what others must know to serve it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from controllers.models.deciding import Judged
from controllers.models.scene import Scene, Tag, Version, mapping
from controllers.runs.standing import Tag as RunTag
from controllers.tools.mlflow_runs import RunInfo
from reconciler.model import JSON, Outputs, canonical
from reconciler.model.serving import Descriptor, TrialResult
from schemas.model import Compatibility, ModelSpec

LONGEST = 5000
"""Characters of a tag that every backend takes (MLflow, `MAX_TAG_VAL_LENGTH` of its client)."""
TOLD = 50
"""Versions that outputs tell of, the newest first, besides the champion."""


def evidence(judged: Judged, champion: bool, data: str, spec: ModelSpec) -> Mapping[str, JSON]:
    """Why a version's verdict is what it is: gates, metrics, and what they were taken on. The champion keeps the comparison that it won."""
    version = judged.version
    assert version is not None
    gates = [{name: value for name, value in asdict(each).items() if value} for each in judged.verdict.gates]
    if champion and (before := mapping(version.info.tags.get(Tag.EVIDENCE)).get("gates")):
        gates += [each for each in before if isinstance(each, dict) and each.get("name") == "champion"]
    found: dict[str, JSON] = {"run": version.run, "model": version.digest, "verdict": judged.state, "gates": gates}
    evaluation, result = spec.gates.evaluation, judged.trial.result
    if evaluation is not None:
        found["evaluation"] = {"dataset": evaluation.dataset, "digest": data, "rows": result.rows if result is not None else 0}
        found["metrics"] = dict(result.metrics) if result is not None else {}
    if version.datasets:
        found["trained"] = dict(version.datasets)
    if code := version.info.tags.get(Tag.CODE):
        found["code"] = code
    if result is not None and result.runtime:
        found["served"] = {"runtime": result.runtime, "python": result.python}
    return found


def is_written(wanted: Mapping[str, JSON], version: Version) -> bool:
    """Whether the version carries this evidence. When it was judged is no part of it."""
    have = {name: each for name, each in mapping(version.info.tags.get(Tag.EVIDENCE)).items() if name != "judged"}
    return version.verdict == wanted["verdict"] and canonical(have) == canonical(_short(wanted))


def written(wanted: Mapping[str, JSON], at: str) -> str:
    """As a tag."""
    return json.dumps({**_short(wanted), "judged": at}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _short(wanted: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """Without the gates that passed, then without metrics, where it would be longer than a tag."""
    for less in (lambda found: found, _without_passed, lambda found: {**_without_passed(found), "metrics": {}, "trained": {}}):
        short: Mapping[str, JSON] = less(wanted)
        if len(canonical(short)) < LONGEST - 60:
            return short
    return {"run": wanted["run"], "verdict": wanted["verdict"]}


def _without_passed(found: Mapping[str, JSON]) -> dict[str, JSON]:
    return {**found, "gates": [each for each in found["gates"] if each["state"] != "pass"]}


def trial_text(key: str, result: TrialResult) -> str:
    """A trial's result as a tag. The packages are left out where they make it too long."""
    whole = {"key": key, **asdict(result)}
    text = canonical(whole)
    return text if len(text) <= LONGEST else canonical({**whole, "packages": {}, "why": result.why[:1000]})


def facts(run: RunInfo, label: str, artifact: str, digest: str, size: int, said: Descriptor) -> dict[str, str]:
    """Tags that a version gets in the request that makes it: where it comes from and what it is."""
    metrics = canonical({name: value for name, value in sorted(run.metrics.items()) if not name.startswith("system/")})
    found = {
        Tag.RUN: run.id,
        Tag.LABELLED: label,
        Tag.ARTIFACT: artifact,
        Tag.DIGEST: digest,
        Tag.SIZE: str(size),
        Tag.METRICS: metrics if len(metrics) <= LONGEST else "",
        Tag.RUNTIMES: canonical(sorted(said.runtimes)),
        Tag.PYTHON: said.python,
        Tag.PACKAGES: canonical(dict(said.packages)),
        Tag.QUANTIZATION: said.quantization,
        Tag.CODE: run.tags.get("mlops.code", ""),
        Tag.VERDICT: "hold",
    }
    found |= {name: each for name, each in run.tags.items() if name.startswith(RunTag.DATASET)}
    return {name: each for name, each in found.items() if each}


def outputs(scene: Scene, spec: ModelSpec) -> Outputs:
    """What Deployments are told. All text: `datasets`, `runtimes`, `needs` and `versions` are JSON.

    An empty `version` says that none has the alias yet."""
    champion = scene.champion
    shown = [*scene.versions[:TOLD], *([champion] if champion is not None else [])]
    of = {each.number: {**_told(each, scene, spec), "verdict": each.verdict, "quarantined": each.quarantined} for each in shown}
    own = _told(champion, scene, spec) if champion is not None else dict.fromkeys(_FIELDS, "")
    return {"alias": spec.alias, "version": champion.number if champion is not None else "", **own, "versions": canonical(of)}


_FIELDS = ("run", "digest", "source", "signature", "publicKey", "datasets", "memory", "runtimes", "needs")


def _told(version: Version, scene: Scene, spec: ModelSpec) -> dict[str, str]:
    tags, trial = version.info.tags, version.trial
    packages = mapping(tags.get(Tag.PACKAGES))
    signed = tags.get(Tag.SIGNATURE, "") if spec.sign is not None else ""
    return {
        "run": version.run,
        "digest": version.digest,
        "source": _location(version.info.source),
        "signature": signed,
        "publicKey": scene.public_key if spec.sign is not None else "",
        "datasets": canonical(version.datasets),
        "memory": str(trial.result.memory) if trial is not None and trial.result.memory else "",
        "runtimes": tags.get(Tag.RUNTIMES, "[]"),
        "needs": canonical(needs(spec.compatibility, packages)),
    }


def needs(declared: Compatibility | None, made_with: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """What a machine must have to serve it, as `reconciler.model.runtimes.Needs` takes it."""
    asked = declared or Compatibility()
    return {"madeWith": dict(made_with), "python": asked.python or "", "packages": dict(asked.packages), "metal": asked.metal}


def _location(source: str) -> str:
    """`mlflow-artifacts:/12/RUN/artifacts/model` -> the path that the artifact proxy knows it by."""
    return source.partition(":")[2].lstrip("/")
