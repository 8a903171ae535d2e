"""Routes: the queue, quotas, this machine, and why one thing is as it is. Sensors and jobs are asked rarely, and never waited for long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from starlette.responses import Response

from reconciler.admission.decide import decide
from reconciler.admission.ledger import look
from reconciler.admission.values import Snapshot, Verdict
from reconciler.api.v1 import standing
from reconciler.api.v1.answers import answer
from reconciler.api.v1.asker import Asker
from reconciler.api.v1.door import Asking, Door, TheDoor
from reconciler.api.v1.kept import Kept
from reconciler.api.v1.problems import Problem
from reconciler.api.v1.resources import Key, KindPart, NamePart, ProjectPart, visible
from reconciler.errors import UsageError
from reconciler.hardware import keep
from reconciler.hardware.detector import detect
from reconciler.model import Ref
from reconciler.report.admission import WORDS
from reconciler.report.hardware import hardware_value
from reconciler.report.queue import queue_value, waits_aside
from reconciler.report.show import rfc3339
from reconciler.report.top import top_value
from reconciler.report.why import why_value
from reconciler.views.admission import learned_of, reasons, told

router = APIRouter(tags=["admission"])
FRESH, BOUND = 2.0, 10.0
"""Seconds for which a decision is kept; that who asks waits for it."""
Of = Annotated[list[Annotated[str, Query(max_length=64)]], Query(max_length=100, description="Only these projects; repeatable.")]
T = TypeVar("T")


@dataclass(frozen=True)
class Decided:
    """The queue at one moment, decided about."""

    taken: Snapshot
    verdicts: Mapping[Ref, Verdict]
    warnings: tuple[str, ...]


def kept(door: Door, name: str, ask: Callable[[], T], seconds: float = FRESH) -> T:
    """One answer of sensors or tools, shared by all who ask."""
    found: Kept[T] = door.shared.setdefault(name, Kept(door.asks, ask, seconds=seconds, bound=BOUND))
    return found()


def decided(door: Door) -> Decided:
    """Raises Problem 404 before there is a Platform."""

    def ask() -> Decided:
        taken = look(door.house)
        decision = decide(taken)
        return Decided(taken, told(taken, decision, learned_of(door.house)), tuple(decision.warnings))

    try:
        return kept(door, "decided", ask)
    except UsageError as error:
        raise Problem(404, str(error)) from None


@router.get("/queue", operation_id="getQueue", response_model=standing.Queue)
def queue(door: TheDoor, who: Asking, project: Of = []) -> Response:  # noqa: B006 - FastAPI copies it
    """What runs and what waits: reason, what is in the way, expected start."""
    found = decided(door)
    taken, verdicts = _of(found, who, project)
    aside = [each for each in waits_aside(door.pictures.now().statuses, found.taken) if _asked(who, project, each.ref.owner)]
    return answer(queue_value(taken, verdicts, warnings=found.warnings if who.everywhere else (), aside=aside))


@router.get("/quotas", operation_id="getQuotas", response_model=standing.Quotas)
def quotas(door: TheDoor, who: Asking, project: Of = []) -> Response:  # noqa: B006
    """Who uses what: the machines, and each project's quota with what it borrows and lends."""
    found = decided(door)
    value = top_value(found.taken, projects=project, warnings=found.warnings if who.everywhere else ())
    value["projects"] = [each for each in value["projects"] if who.may("read", each["project"])]
    return answer(value)


def _asked(who: Asker, projects: list[str], project: str) -> bool:
    return who.may("read", project) and (not projects or project in projects)


def _of(found: Decided, who: Asker, projects: list[str]) -> tuple[Snapshot, Mapping[Ref, Verdict]]:
    """What may be seen of it, and of others not even that they are in the way."""
    leases = tuple(each for each in found.taken.leases if _asked(who, projects, each.project))
    waiting = tuple(each for each in found.taken.queue if _asked(who, projects, each.project))
    verdicts = found.verdicts if who.everywhere else {ref: discreet(each, who) for ref, each in found.verdicts.items()}
    return replace(found.taken, leases=leases, queue=waiting), verdicts


def discreet(verdict: Verdict, who: Asker) -> Verdict:
    """The verdict without what the asker may not see."""
    blockers = tuple(each for each in verdict.blockers if who.sees(each))
    return verdict if blockers == verdict.blockers else replace(verdict, blockers=blockers, message=WORDS[verdict.reason])


@router.get("/hardware", operation_id="getHardware", response_model=standing.Hardware)
def hardware(door: TheDoor, who: Asking) -> Response:
    """This machine, and one look at all of its sensors, two seconds old at most."""

    def ask() -> dict[str, Any]:
        platform = door.pictures.platform()
        if platform is None:
            raise Problem(404, "no Platform was applied yet, which says what sensors are asked")
        return hardware_value(detect(door.house.settings.state), door.house.sensors(platform).sample())

    return answer(kept(door, "hardware", ask))


@router.get("/hardware/history", operation_id="getHardwareHistory", response_model=standing.Points)
def history(door: TheDoor, who: Asking, minutes: Annotated[int, Query(ge=1, le=60, description="How far back.")] = 60) -> Response:
    """Power, heat and memory of the last hour, as the loop's sampler keeps them. Reads no sensor."""
    state = keep.load(door.house.settings.state / "sensors.json")
    points, taken = state.history, dict(state.memory_used)
    least = door.house.now().timestamp() - minutes * 60
    moments = [
        {"at": rfc3339(datetime.fromtimestamp(at, UTC)), "watts": watts, "headroomUsed": used, "memoryUsed": taken.get(at)}
        for at, watts, used in points
        if at >= least
    ]
    return answer({"items": moments})


@router.get("/resources/{kind}/{project}/{name}/why", operation_id="explainResource", response_model=standing.Why, tags=["resources"])
def why(door: TheDoor, who: Asking, kind: KindPart, project: ProjectPart, name: NamePart, key: Key = "") -> Response:
    """Why it waits, runs, fails or is blocked; and what would let it start now."""
    ref = visible(door, door.pictures.now(), who, kind, project, name, key)
    found = kept(door, f"why {ref}", lambda: reasons(door.house, ref, _needed(door)))
    if len(door.shared) > MOST_KEPT:
        door.shared.clear()
    verdict = discreet(found.verdict, who) if found.verdict is not None else None
    causes = tuple(each for each in found.causes if who.sees(each.status.ref))
    remedies = found.remedies if who.everywhere else ()  # they name whom they would stop
    return answer(why_value(replace(found, verdict=verdict, causes=causes, remedies=remedies), door.house.now()))


MOST_KEPT = 500
"""Answers that are kept at a time."""


def _needed(door: Door) -> dict[Ref, tuple[Ref, ...]]:
    """What each resource refers to: as the loop read it last, else as it was applied."""
    if (last := door.board.last) is not None:
        return {ref: (*each.references, *each.requires) for ref, each in last.proposal.resources.items()}
    return {ref: each.references for ref, each in door.pictures.inventory().items()}
