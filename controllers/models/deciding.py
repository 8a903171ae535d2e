"""Who gets the alias, and what has to be found out first. Pure: the one place where a model's rules come together.

Runs are looked at from the best down, at most `selecting.MOST`, until one passes or something has to be waited for. A run whose logged
metrics fail never becomes a version; the champion is judged too, whenever what it is judged by changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from controllers.models import trials
from controllers.models.gates import Proof, Rival, State, Verdict, absolute, against, logged
from controllers.models.scene import Goal, Scene, Version
from controllers.models.selecting import MOST, criterion, label_of, ranked
from controllers.models.trials import How
from controllers.tools.mlflow_runs import RunInfo
from reconciler.model import Resource
from schemas.model import Champion, ModelSpec

_UNTRIED = trials.Standing(How.WAITS)


@dataclass(frozen=True)
class Judged:
    """One run or version with what was found about it."""

    run: str
    label: str
    version: Version | None
    verdict: Verdict
    refused: str = ""
    """Why it is out, whatever the gates say: quarantined, or its files are not there."""
    trial: trials.Standing = _UNTRIED
    value: float | None = None
    """Of the metric that counts."""

    @property
    def state(self) -> State:
        return "fail" if self.refused else self.verdict.state

    @property
    def number(self) -> str:
        """Of the version; empty = it is none yet."""
        return self.version.number if self.version is not None else ""

    @property
    def why(self) -> str:
        """What is in its way; empty = nothing."""
        return self.refused or self.verdict.why

    @property
    def settled(self) -> bool:
        """Whether its verdict stands until something changes: it does not wait for a trial, its own or the champion's."""
        open_ = any(each.state == "hold" and each.name == "champion" for each in self.verdict.gates)
        return self.version is not None and not self.refused and self.trial.how is How.DONE and not open_


@dataclass(frozen=True)
class Decision:
    """What follows from a scene."""

    metric: str
    """What counts; empty = nothing was declared."""
    champion: Judged | None = None
    """Who must have the alias until `promote` says otherwise."""
    walked: tuple[Judged, ...] = ()
    """What was looked at, the best first."""
    judged: tuple[Judged, ...] = ()
    """The same with the champion and with what is approved."""
    register: RunInfo | None = None
    """A run that has to become a version next."""
    promote: Judged | None = None
    """Gets the alias now."""
    waits: Judged | None = None
    """Passed, and needs somebody's approval."""
    refused: str = ""
    """Why what is approved does not get the alias."""

    @property
    def tries(self) -> tuple[Judged, ...]:
        """Versions whose trial has to be made, the champion first: nothing can take its place before."""
        wanted = [each for each in self.judged if each.version is not None and not each.refused and each.trial.how is How.WANTED]
        return tuple(sorted(wanted, key=lambda each: each is not self.champion))

    @property
    def alias(self) -> str:
        """Number of the version that must have the alias; empty = none."""
        return (self.promote or self.champion or _NOBODY).number


_NOBODY = Judged("", "", None, Verdict())


def decide(resource: Resource[ModelSpec], scene: Scene) -> Decision:
    """What the manifest asks for in this scene."""
    judge = _Judge(resource, scene)
    champion, walked, approved = judge.champion, judge.walk(), judge.approved()
    first = [each for each in (approved, *walked, champion) if each is not None]
    decision = Decision(
        judge.criterion[0],
        champion,
        tuple(walked),
        _once(first),
        judge.to_register(approved, walked[-1] if walked else None),
    )
    return _promotion(decision, approved, resource.spec)


def _promotion(decision: Decision, approved: Judged | None, spec: ModelSpec) -> Decision:
    """Who gets the alias now, or who waits for whom."""
    now = decision.champion.number if decision.champion else ""
    winner = next((each for each in decision.walked if each.state == "pass" and each.version is not None), None)
    if winner is not None and winner.number == now:
        winner = None
    if spec.approval == "automatic":
        return replace(decision, promote=winner)
    if approved is not None and approved.number != now and approved.state == "pass" and approved.version is not None:
        return replace(decision, promote=approved, waits=winner if winner and winner.run != approved.run else None)
    if approved is not None and approved.state == "fail":
        decision = replace(decision, refused=f"`approved: {spec.approved}` gives it to {told(approved)}, and {approved.why}")
    if approved is None and spec.approved:
        decision = replace(decision, refused=f"`approved: {spec.approved}` names no version and no finished run")
    return replace(decision, waits=winner if winner and (approved is None or winner.run != approved.run) else None)


def told(judged: Judged) -> str:
    """`v3 from rank8-s0`, or the run's name while it is no version."""
    return f"v{judged.number} from {judged.label}" if judged.version is not None else judged.label


def _once(found: Iterable[Judged]) -> tuple[Judged, ...]:
    """Each run or version once, as it was judged first."""
    kept: dict[tuple[str, str], Judged] = {}
    for each in found:
        kept.setdefault((each.run, each.number), each)
    return tuple(kept.values())


class _Judge:
    """Judges runs and versions of one scene."""

    def __init__(self, resource: Resource[ModelSpec], scene: Scene) -> None:
        self._resource, self._spec, self._scene = resource, resource.spec, scene
        self.criterion: tuple[str, Goal] = criterion(self._spec, scene)
        self._runs = {each.id: each for each in scene.runs}
        self._gates = self._spec.gates
        self.champion = self._alone(scene.champion) if scene.champion is not None else None
        gone = self._runs.get(self.champion.run) if self.champion is not None else None
        if gone is not None and gone.deleted and self._gates.champion is None:
            # a run that somebody puts into the trash does not make a worse one the best
            self._gates = self._gates.model_copy(update={"champion": Champion()})

    def walk(self) -> list[Judged]:
        """From the best down, until one passes, is the champion, or has to be waited for. Nothing while runs are still to come: the best
        of all is not known before."""
        found: list[Judged] = []
        if self._scene.awaited or not self._scene.there:
            return found
        for candidate in ranked(self._spec, self._scene)[:MOST]:
            found.append(self._run(candidate.run))
            if found[-1].state != "fail":
                break
        return found

    def approved(self) -> Judged | None:
        """What the manifest approves, as far as it is there. A version that had the alias before needs no comparison: it is a reviewed way
        back."""
        named = self._spec.approved
        if not named or self._spec.approval != "required":
            return None
        version = self._scene.version(named) or self._scene.of_run(named, self._spec.artifact)
        if version is not None:
            return self._alone(version) if version.promoted else self._version(version)
        run = self._runs.get(named)
        return self._run(run) if run is not None and run.status == "FINISHED" and not run.deleted else None

    def to_register(self, *wanted: Judged | None) -> RunInfo | None:
        """The first of these that is no version yet, and that nothing speaks against."""
        return next((self._runs[each.run] for each in wanted if each and each.version is None and each.state != "fail"), None)

    def _run(self, run: RunInfo) -> Judged:
        version = self._scene.of_run(run.id, self._spec.artifact)
        if version is not None:
            return self._version(version)
        refused = self._scene.refused.get(f"{run.id}/{self._spec.artifact}", "")
        gates, rival = logged(self._gates, run.metrics), self._rival()
        if rival is not None and self._gates.evaluation is None:  # what is told without its files is told before it has a version
            gates += [each for each in [against(self._gates, Proof(run.metrics), rival, self.criterion)] if each]
        return Judged(run.id, label_of(run), None, Verdict(tuple(gates)), refused, value=run.metrics.get(self.criterion[0]))

    def _version(self, version: Version) -> Judged:
        """With all gates, the one against the champion too, unless this is the champion."""
        if self.champion is not None and version.number == self.champion.number:
            return self.champion
        own, rival = self._alone(version), self._rival()
        if rival is None or own.state == "fail":
            return own
        gate = against(self._gates, self._proof(version, own.trial), rival, self.criterion)
        return replace(own, verdict=Verdict((*own.verdict.gates, gate))) if gate is not None else own

    def _alone(self, version: Version) -> Judged:
        trial = trials.standing(self._resource, self._scene, version)
        proof = self._proof(version, trial)
        refused = f"it is quarantined: {version.quarantined}" if version.quarantined else ""
        value = proof.metrics.get(self.criterion[0])
        return Judged(version.run, version.label, version, Verdict(tuple(absolute(self._gates, proof))), refused, trial, value)

    def _proof(self, version: Version, trial: trials.Standing) -> Proof:
        run = self._runs.get(version.run)
        return Proof({**version.metrics, **(run.metrics if run is not None else {})}, version.size, trial.result)

    def _rival(self) -> Rival | None:
        champion = self.champion
        if champion is None or champion.version is None:
            return None
        return Rival(champion.number, self._proof(champion.version, champion.trial), champion.state == "fail")
