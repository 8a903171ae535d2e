"""Everything that a decision about one model depends on. Values only.

Marks are tags of the registered model, set in the request that creates it; a version gets all that does not change with it in the
request that creates it too, so that nothing of ours is ever unmarked, and a repeat after a crash finds what the first try made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from controllers.tools.mlflow_registry import VersionInfo
from controllers.tools.mlflow_runs import RunInfo
from reconciler.model import JSON, Mark, Progress, Ref
from reconciler.model.serving import TrialResult

Goal = Literal["maximize", "minimize"]


class Tag:
    """Tags that are ours. On both the registered model and its versions:"""

    INSTALLATION = "mlops.installation"
    REF = "mlops.ref"
    PROJECT = "mlops.project"
    # on the registered model
    MARK_DIGEST = "mlops.digest"
    LABEL = "mlops.label."
    EXPERIMENT = "mlops.experiment"
    ALIAS = "mlops.alias"
    """The alias that we set; another one in the manifest takes its place."""
    CHAMPION = "mlops.champion"
    """Number of the version that must have it."""
    # on a version, from the moment it is made
    RUN = "mlops.run"
    LABELLED = "mlops.run.name"
    ARTIFACT = "mlops.artifact"
    DIGEST = "mlops.digest"
    """Of its files: `reconciler.model.content`."""
    SIZE = "mlops.size"
    DATASET = "mlops.dataset."
    CODE = "mlops.code"
    METRICS = "mlops.metrics"
    """What the run had logged, as JSON."""
    RUNTIMES = "mlops.runtimes"
    PYTHON = "mlops.python"
    PACKAGES = "mlops.packages"
    QUANTIZATION = "mlops.quantization"
    # on a version, as it is found out
    SIGNATURE = "mlops.signature"
    """Path of the signature among the run's artifacts."""
    SIGNER = "mlops.signer"
    """Fingerprint of the key that made it."""
    TRIAL = "mlops.trial"
    VERDICT = "mlops.verdict"
    EVIDENCE = "mlops.evidence"
    PROMOTED = "mlops.promoted"
    """When it got the alias for the first time."""
    QUARANTINED = "mlops.quarantined"
    """Why it must not be served any more. People, monitors and `reconcile` set it; removing the tag takes it back."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the last trial of a version showed, and what it was a trial of."""

    key: str
    result: TrialResult


@dataclass(frozen=True)
class Version:
    """One version of the model that we registered."""

    info: VersionInfo

    @property
    def number(self) -> str:
        return self.info.number

    @property
    def run(self) -> str:
        return self.info.tags.get(Tag.RUN, "") or self.info.run

    @property
    def label(self) -> str:
        """What people call its run: `rank8-s0`."""
        return self.info.tags.get(Tag.LABELLED, "") or self.run[:8]

    @property
    def artifact(self) -> str:
        return self.info.tags.get(Tag.ARTIFACT, "")

    @property
    def digest(self) -> str:
        return self.info.tags.get(Tag.DIGEST, "")

    @property
    def size(self) -> int | None:
        text = self.info.tags.get(Tag.SIZE, "")
        return int(text) if text.isdecimal() else None

    @property
    def quarantined(self) -> str:
        """Why it is not served; empty = it may be."""
        found = self.info.tags.get(Tag.QUARANTINED)
        return "" if found is None else found or "no reason was given"

    @property
    def verdict(self) -> str:
        """As it was written last: `pass`, `fail`, `hold`; empty = never judged."""
        return self.info.tags.get(Tag.VERDICT, "")

    @property
    def promoted(self) -> str:
        return self.info.tags.get(Tag.PROMOTED, "")

    @property
    def datasets(self) -> Mapping[str, str]:
        """What its run was trained on -> digest."""
        found = self.info.tags.items()
        return {key.removeprefix(Tag.DATASET): each for key, each in sorted(found) if key.startswith(Tag.DATASET)}

    @cached_property
    def metrics(self) -> Mapping[str, float]:
        """As its run had logged them when it was registered."""
        found = mapping(self.info.tags.get(Tag.METRICS))
        return {name: float(each) for name, each in found.items() if isinstance(each, int | float)}

    @cached_property
    def trial(self) -> Trial | None:
        """What is written on it of its last trial; None = nothing that can be read."""
        raw = mapping(self.info.tags.get(Tag.TRIAL))
        result = result_of(raw)
        return Trial(str(raw.get("key", "")), result) if result is not None else None


@dataclass(frozen=True)
class Tries:
    """What the notebook knows of the launches of one trial."""

    key: str = ""
    launched: int = 0
    failed: int = 0
    """Of those before the last one: ended without a result, and not because we stopped them."""
    why: str = ""


@dataclass(frozen=True)
class Scene:
    """One model as the registry, its experiment and the runner tell it at one moment."""

    name: str
    """In the registry."""
    versions: Sequence[Version] = ()
    """Ours, the newest first."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    experiment: Ref | None = None
    there: bool = False
    """Whether the experiment is there."""
    metric: str = ""
    """The experiment's own; empty = it has none."""
    goal: Goal = "maximize"
    runs: Sequence[RunInfo] = ()
    """Ours of that experiment, in whatever state."""
    awaited: bool = False
    """Runs of the experiment are still to come, or nobody knows yet which."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Run and artifact (`RUN/model`) -> why they cannot become a version."""
    tries: Tries = Tries()
    jobs: Mapping[str, Progress] = field(default_factory=dict)
    """Trials of this model that the runner knows, by job id."""
    results: Mapping[str, TrialResult] = field(default_factory=dict)
    """Results that lie here, by key."""
    signer: str = ""
    """Fingerprint of the key that signs; empty = nothing is signed, or the key cannot be read here."""
    public_key: str = ""
    trouble: str = ""
    """Why something that the manifest names cannot be used here: the signing key."""

    def version(self, number: str) -> Version | None:
        return next((each for each in self.versions if each.number == number), None)

    def of_run(self, run: str, artifact: str) -> Version | None:
        """The version that this run's artifact became: the first one, when there are several."""
        return next((each for each in reversed(self.versions) if (each.run, each.artifact) == (run, artifact)), None)

    @property
    def champion(self) -> Version | None:
        """The version that must have the alias as things stand: the one that got it last, or after a quarantine the last good one
        before it."""
        noted = self.version(self.tags.get(Tag.CHAMPION, ""))
        if noted is not None and not noted.quarantined:
            return noted
        good = [each for each in self.versions if each.promoted and not each.quarantined and each.verdict == "pass"]
        return max(good, key=lambda each: (each.promoted, int(each.number)), default=None)


def model_name(ref: Ref) -> str:
    """In the registry, which takes no `/`. Neither part holds a dot, so that no two models share a name."""
    return f"{ref.project}.{ref.name}"


def mark_of(tags: Mapping[str, str]) -> Mark | None:
    """Whose a registered model is; None: nobody's."""
    if Tag.REF not in tags:
        return None
    return Mark(tags.get(Tag.INSTALLATION, ""), tags[Tag.REF], tags.get(Tag.MARK_DIGEST, ""))


def mapping(text: str | None) -> Mapping[str, JSON]:
    """A tag that holds a JSON object; empty when somebody wrote something else there."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def result_of(raw: Mapping[str, JSON]) -> TrialResult | None:
    """A trial's result from plain values; None when they are not one. What a newer version added is left out."""
    known = {name: raw[name] for name in TrialResult.__slots__ if name in raw}
    try:
        found = TrialResult(**known)
        numbers = (found.load_seconds, found.p50, found.p95, found.memory, found.rows, *found.metrics.values())
    except (TypeError, AttributeError):
        return None
    return found if all(isinstance(each, int | float) for each in numbers) else None
