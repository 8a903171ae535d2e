"""Between two passes: what waits for room is admitted as soon as something has ended, without a look at anything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler import exchange
from reconciler.admission.values import Level
from reconciler.controller import Asks, Context
from reconciler.errors import ReconcilerError
from reconciler.house import House
from reconciler.loop import Report, carry_out, propose
from reconciler.model import Blocked, Delete, Done, Plan, Ref, Result
from reconciler.model.serving import wake_file
from reconciler.platform.process import fallen
from reconciler.selection import Selection

LOOK = 0.25
"""Seconds between two looks at the jobs: one listing of a folder."""
RARE_LOOK = 1.0
"""The same where nothing runs and nothing is served."""
RETRY = 2.0
"""Seconds after which what waits is decided about again although nothing ended: backoffs, windows and heat change with time alone."""
SHARE = 0.2
"""Of the time, at most, that whole passes may take while runs come and go; the same for decisions about what waits."""
LEAST_PAUSE = 1.0
"""Seconds between two whole passes, at least."""
GATEWAY, FALLEN, TASKS = "gateway", "fallen", "tasks"
"""Stand among the jobs for when the gateway asked for more the last time, for the services that have died, and for what tasks ask for."""


def held_part(report: Report, house: House) -> Report | None:
    """The report narrowed to what waits for room, as a proposal of now; None when nothing does, and nothing that runs is too hot."""
    waiting = tuple(
        each.action.wanted
        for each in report.results
        if isinstance(each.action, Blocked) and each.action.held and each.action.wanted is not None
    )
    before = report.proposal
    if before.policy is None or not (waiting or _pressed(before.context, house)):
        return None
    # What an input became in that pass stands in the inventory of now, not in that of then.
    unknown = any("*" in outputs for each in waiting if not isinstance(each, Delete) for outputs in each.resource.inputs.values())
    part = replace(
        before,
        plan=Plan(waiting),
        inventory=house.store.inventory() if unknown else before.inventory,
        policy=replace(before.policy, partial=True),
        selection=replace(before.selection, part=True),
        lease=before.lease + 1,  # ours: whoever wrote since may have other manifests
    )
    return replace(report, proposal=part)


def _pressed(ctx: Context | None, house: House) -> bool:
    """Whether something stands paused, or runs on a machine that is critically hot: how that goes on changes with time alone.

    Looks at the sensors as long as something runs, for they tell of a heat that lasts only when they are asked often."""
    states = {each.state for each in ctx.jobs.look().values()} if ctx is not None and ctx.jobs is not None else set()
    if ctx is None or "paused" in states:
        return ctx is not None
    if not states & {"starting", "running"}:
        return False
    try:
        return house.sensors(ctx.platform).sample().heat.level is Level.CRITICAL
    except (ReconcilerError, OSError):  # the next whole pass says so
        return False


def advance(report: Report, house: House, stop: threading.Event) -> tuple[Report, Report | None]:
    """Start what may start of what `report` says that waits, and pause or resume what heat demands: the report with what came of it, and
    what became of what waits alone (None: nothing waits). Looks at no tool.

    Raises StoreError while another process writes, and StalePlan when one wrote just now."""
    part = held_part(report, house)
    if part is None:
        return report, None
    done = carry_out(part.proposal, house, stop)
    results = merged(report.results, done.results)
    told = {each.ref: each for each in done.statuses}
    whole = replace(
        report,
        proposal=replace(report.proposal, lease=part.proposal.lease),
        results=results,
        statuses=tuple(told.get(each.ref, each) for each in report.statuses),
    )
    return whole, replace(done, statuses=whole.statuses) if done.results else None


def heard(report: Report, selection: Selection, house: House, stop: threading.Event) -> tuple[Report, Report | None]:
    """Take up what tasks ask for, by a pass over the kinds whose children ask by themselves: the report with what came of it, and that
    alone (None: the selection leaves them out). Tasks come and go every few seconds, and a whole pass looks at everything.

    Raises StoreError while another process writes, and StalePlan when one wrote just now."""
    asking = frozenset(kind for kind, each in house.kinds.controllers.items() if isinstance(each, Asks))
    kinds = asking & selection.kinds if selection.kinds else asking
    if not kinds:
        return report, None
    return looked(report, kinds, selection, house, stop)


def looked(report: Report, kinds: frozenset[str], selection: Selection, house: House, stop: threading.Event) -> tuple[Report, Report]:
    """A pass over `kinds` alone: the report with what came of it, and that alone.

    Raises StoreError while another process writes, and StalePlan when one wrote just now."""
    part = carry_out(propose(replace(selection, kinds=kinds), house), house, stop)
    return folded(report, part, lambda ref: ref.kind in kinds), part


def saved(report: Report, refs: frozenset[Ref], selection: Selection, house: House, stop: threading.Event) -> tuple[Report, Report]:
    """A pass over `refs` alone, whose manifests have changed or whose time has come: the report with what came of it, and that alone.

    Raises StoreError while another process writes, and StalePlan when one wrote just now."""
    part = carry_out(propose(replace(selection, refs=refs), house), house, stop)
    return folded(report, part, lambda ref: replace(ref, key="") in refs), part


def folded(report: Report, part: Report, inside: Callable[[Ref], bool]) -> Report:
    """`report` with what a pass over a part of it says; `inside` tells what is in that part."""
    before, now = report.proposal, part.proposal
    others = {ref: each for ref, each in before.observations.items() if not inside(ref)}
    left = {ref: each for ref, each in before.resources.items() if not inside(ref)}
    proposal = replace(before, lease=now.lease, observations={**others, **now.observations}, resources={**left, **now.resources})
    return replace(
        report,
        proposal=proposal,
        results=(*(each for each in report.results if not inside(each.action.ref)), *part.results),
        statuses=(*(each for each in report.statuses if not inside(each.ref)), *part.statuses),
    )


def merged(before: tuple[Result, ...], after: tuple[Result, ...]) -> tuple[Result, ...]:
    """`before` with the results of `after` in the places of the same Refs."""
    newer: dict[Ref, Result] = {each.action.ref: each for each in after}
    return tuple(newer.get(each.action.ref, each) for each in before)


@dataclass
class Watch:
    """Tells when it is worth to look again. Times are monotonic seconds."""

    ctx: Context | None
    states: Mapping[str, str] = field(default_factory=dict)
    passed: float = field(default_factory=time.monotonic)
    """End of the last whole pass."""
    cost: float = 0.0
    """Seconds that it took."""
    decided: float = field(default_factory=time.monotonic)
    pondered: float = 0.0
    """Seconds that the last decision took."""
    pending: bool = False
    """Something ended since the last whole pass."""
    asked: bool = False
    """Tasks have asked for something, or jobs of theirs have moved, since they were heard."""
    heard: float = field(default_factory=time.monotonic)
    heeded: float = 0.0
    """Seconds that it took to hear them the last time."""

    jobs: dict[str, str] = field(default_factory=dict)
    """Of each job and replica, and which services have died."""
    jobs_seen: float = 0.0
    """When those were looked at last."""

    def __post_init__(self) -> None:
        self.states = self._unmoved({})

    def note_start(self, state_dir: Path) -> None:
        """Before the first pass: whoever asks for a pass while that one runs is heard after it."""
        self.states = {GATEWAY: str(_modified(wake_file(state_dir)))}

    def changed(self) -> bool:
        """Whether a job started, ended, was paused or was reported, the gateway asked for more, or a service died or came back, since this
        was asked the last time."""
        if self.ctx is None:  # no pass has told yet where to look
            return False
        now, before = self._look(), self.states
        moved = {name for name in now.keys() | before.keys() if now.get(name) != before.get(name)}
        tasks = {name for name in moved if name == TASKS or name.startswith(exchange.PREFIX)}
        self.states = now
        self.asked |= bool(tasks)
        self.pending |= bool(moved - tasks)
        return bool(moved)

    def wants_pass(self, quiet: float | None) -> bool:
        """Whether a whole pass is due: something ended, or nothing was looked at for `quiet` seconds (None = never for that)."""
        since = time.monotonic() - self.passed
        if quiet is not None and since >= quiet:
            return True
        return self.pending and since >= max(LEAST_PAUSE, self.cost / SHARE)

    def wants_tasks(self) -> bool:
        """Whether tasks are to be heard."""
        return self.asked and time.monotonic() - self.heard >= max(LOOK, self.heeded / SHARE)

    def note_tasks(self, began: float) -> None:
        self.heard = self.decided = time.monotonic()
        self.heeded, self.asked = self.heard - began, False

    def wants_decision(self) -> bool:
        return time.monotonic() - self.decided >= max(RETRY, self.pondered / SHARE)

    def note_decision(self, began: float, done: Report | None = None) -> None:
        """`done` is what came of it. What an earlier run serves needed no job, so nobody tells of its end: a whole pass has to."""
        self.decided = time.monotonic()
        self.pondered = self.decided - began
        self.pending |= done is not None and any(isinstance(each.outcome, Done) for each in done.results)

    def note_pass(self, began: float, ctx: Context | None) -> None:
        self.passed = self.decided = time.monotonic()
        self.cost, self.pending, self.asked = self.passed - began, False, False
        self.ctx = ctx or self.ctx
        # What moved while the pass ran may be newer than what it saw: that stays a change. What it launched itself is none.
        self.states = self._unmoved(self.states)

    def _unmoved(self, before: Mapping[str, str]) -> dict[str, str]:
        """`before` for what is there now; what was not seen before has only just been launched."""
        return {
            name: before.get(name, now if name in (GATEWAY, FALLEN, TASKS) else "starting") for name, now in self._look(fresh=True).items()
        }

    def _look(self, *, fresh: bool = False) -> dict[str, str]:
        if self.ctx is None or self.ctx.jobs is None:
            return {}
        now = time.monotonic()
        if fresh or self.jobs.keys() - {FALLEN} or now - self.jobs_seen >= RARE_LOOK:
            found = {name: "reported" if each.reported else each.state for name, each in self.ctx.jobs.look().items()}
            self.jobs, self.jobs_seen = {**found, FALLEN: " ".join(sorted(fallen(self.ctx.state_dir)))}, now
        gateway, tasks = _modified(wake_file(self.ctx.state_dir)), exchange.stamp(exchange.folder(self.ctx.state_dir))
        return {**self.jobs, GATEWAY: str(gateway), TASKS: str(tasks)}


def _modified(path: Path) -> int:
    """Nanoseconds; 0 = it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
