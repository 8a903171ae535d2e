"""What there is to do about a model, in the order in which it is done, each step with the difference that it makes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from controllers.models.comparing import compared
from controllers.models.deciding import Decision, Judged, decide
from controllers.models.evidence import evidence, is_written
from controllers.models.gates import milliseconds, number
from controllers.models.scene import Scene, Tag, Version
from controllers.models.selecting import label_of
from controllers.models.trials import How, data_digest
from controllers.runs.standing import lives
from controllers.tools.mlflow_runs import RunInfo
from reconciler.model import JSON, Change, Resource
from reconciler.model.units import memory
from schemas.model import ModelSpec


@dataclass(frozen=True)
class Register:
    """Make a version of a run's files."""

    run: RunInfo
    change: Change


@dataclass(frozen=True)
class Sign:
    """Sign a version's files."""

    version: Version
    change: Change


@dataclass(frozen=True)
class Note:
    """Write on a version what its trial showed."""

    judged: Judged
    change: Change


@dataclass(frozen=True)
class Judge:
    """Write on a version what came of its gates, and why."""

    version: Version
    evidence: dict[str, JSON]
    change: Change


@dataclass(frozen=True)
class Point:
    """Let the alias name another version; an empty number: none."""

    number: str
    change: Change


@dataclass(frozen=True)
class Try:
    """Launch the trial of a version. Needs a lease."""

    judged: Judged
    change: Change


Step: TypeAlias = Register | Sign | Note | Judge | Point | Try


def steps(resource: Resource[ModelSpec], scene: Scene) -> tuple[Step, ...]:
    """All of them, as things stand; what they lead to shows when they are done."""
    decision = decide(resource, scene)
    return (
        *_registrations(resource, scene, decision),
        *_signatures(resource, scene, decision),
        *_notes(decision),
        *_verdicts(resource, decision),
        *_alias(resource, scene, decision),
        *_trial(scene, decision),
    )


def needs_room(todo: tuple[Step, ...]) -> bool:
    """Whether a trial is to be launched and everything that can be done without is done: what a lease is waited for, waits whole."""
    return bool(todo) and all(isinstance(each, Try | Register) for each in todo)


def _registrations(resource: Resource[ModelSpec], scene: Scene, decision: Decision) -> Iterator[Register]:
    if (run := decision.register) is not None and not (resource.spec.sign and scene.trouble):
        value = run.metrics.get(decision.metric)
        best = decision.champion.value if decision.champion is not None else None
        beside = f" (the champion's is {number(best)})" if best is not None else ""
        note = f"{decision.metric} {number(value)}{beside}" if value is not None else ""
        yield Register(run, Change("versions.new", None, label_of(run), note=note))


def _signatures(resource: Resource[ModelSpec], scene: Scene, decision: Decision) -> Iterator[Sign]:
    """For those that may be served. A version that another key has signed is signed again."""
    if resource.spec.sign is None or scene.trouble:
        return
    for each in decision.judged:
        if each.version is None or each.refused:
            continue
        have = each.version.info.tags.get(Tag.SIGNER, "")
        if Tag.SIGNATURE not in each.version.info.tags or have != scene.signer:
            yield Sign(each.version, Change(f"versions.{each.number}.signature", have[:12] or None, scene.signer[:12]))


def _notes(decision: Decision) -> Iterator[Note]:
    for each in decision.judged:
        if each.version is not None and each.trial.how is How.DONE and not each.trial.noted:
            yield Note(each, Change(f"versions.{each.number}.trial", _tried(each.version), "done", note=_showed(each)))


def _verdicts(resource: Resource[ModelSpec], decision: Decision) -> Iterator[Judge]:
    for each in decision.judged:
        if each.version is None or not each.settled:
            continue
        champion = decision.champion is not None and each.number == decision.champion.number
        found = evidence(each, champion, data_digest(resource) or "", resource.spec)
        if not is_written(found, each.version):
            change = Change(f"versions.{each.number}.verdict", each.version.verdict or None, each.state, note=each.why)
            yield Judge(each.version, dict(found), change)


def _alias(resource: Resource[ModelSpec], scene: Scene, decision: Decision) -> Iterator[Point]:
    """An alias that names what people registered beside us is left alone until there is a version of ours to name."""
    spec, want = resource.spec, decision.alias
    have = scene.aliases.get(spec.alias, "")
    path = f"alias.{spec.alias}"
    if want:
        noted = scene.tags.get(Tag.CHAMPION) == want
        chosen = scene.version(want)
        if decision.promote is not None and spec.sign is not None and chosen is not None and Tag.SIGNATURE not in chosen.info.tags:
            return  # what is to be signed is signed first
        if have != want or not noted or (chosen is not None and not chosen.promoted):
            yield Point(want, Change(path, have or None, want, note=_from(decision, scene)))
    elif Tag.CHAMPION in scene.tags or scene.version(have) is not None:
        gone = scene.version(scene.tags.get(Tag.CHAMPION, ""))
        why = f"v{gone.number} is quarantined: {gone.quarantined}" if gone is not None and gone.quarantined else "no version may have it"
        yield Point("", Change(path, have or None, None, note=why))


def _from(decision: Decision, scene: Scene) -> str:
    """Why the alias moves."""
    noted = scene.version(scene.tags.get(Tag.CHAMPION, ""))
    if noted is not None and noted.quarantined:
        return f"v{noted.number} is quarantined: {noted.quarantined}"
    new = decision.promote
    if new is None:
        return "moved by hand in MLflow"
    before = decision.champion if decision.champion is not new else None
    return ", ".join([new.label, *compared(decision.metric, new, before)])


def _trial(scene: Scene, decision: Decision) -> Iterator[Try]:
    """One at a time: a model holds one lease."""
    if any(lives(each) for each in scene.jobs.values()):
        return
    for each in decision.tries[:1]:
        assert each.version is not None
        note = "loaded as it would be served, asked and measured"
        yield Try(each, Change(f"versions.{each.number}.trial", _tried(each.version), "launched", note=note))


def _tried(version: Version) -> str | None:
    return "of something else" if version.trial is not None else None


def _showed(judged: Judged) -> str:
    result = judged.trial.result
    if result is None or result.why:
        return result.why if result is not None else ""
    return f"{milliseconds(result.p95)} for 95 of 100 answers, {memory(result.memory)}"
