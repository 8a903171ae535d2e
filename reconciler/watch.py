"""The loop: passes for as long as it is let. A saved file, a run that ends and the clock each cause as much work as they need."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler import allocator
from reconciler.advance import LOOK, SHARE, Watch, advance, heard, looked, saved
from reconciler.alerting.courier import telling
from reconciler.attending import attending
from reconciler.board import Board
from reconciler.converge import converge, outdated, soon
from reconciler.errors import ReconcilerError, StalePlan
from reconciler.house import House, platform_in
from reconciler.looks import Looks
from reconciler.loop import Report
from reconciler.model import Ref
from reconciler.orders.carry import carry_out_orders
from reconciler.pulse import Pulse
from reconciler.secret import secret
from reconciler.selection import Selection
from reconciler.source.follow import Followings, Standing
from reconciler.source.read import Desired, read
from reconciler.touched import MOST, touched, with_dependants
from reconciler.wakeups import Changed, following, manifest_folders, minding, watching

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before the loop tries again after a pass that could not be made at all; doubled each time."""
UNREAD = 2.0
"""Seconds after a pass that could not read a tool until the next one; doubled up to the usual time."""
TIDY_EVERY = 2
"""Whole passes for one garbage collection."""
JITTER = 0.1
"""Of the time between two looks, down: loops must not ask in step, and none may be later than it says."""


def run_forever(
    selection: Selection,
    house: House,
    *,
    every: float,
    stop: threading.Event,
    on_report: Callable[[Report], None],
    on_trouble: Callable[[ReconcilerError, float], None],
    pulse: Pulse | None = None,
    sources: Followings | None = None,
    on_news: Callable[[Standing], None] = lambda _: None,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
    board: Board | None = None,
) -> None:
    """Reconcile until `stop` is set: at once when a watched file changes, every `every` seconds (drift made by hand; of kinds that the
    Platform gives a time of their own, as often as that says), and when runs end.

    A pass that raises is told to `on_trouble` with the seconds until the next try; nothing but `stop` ends the loop. `pulse` is kept,
    `around` is entered for each turn.
    Repositories are followed by `sources`, which the Platform fills; `on_news` is told what came of each new commit. The plan of each
    whole pass is pinned to `board`."""
    allocator.steady()
    files, pulse, failures = Changed(), pulse or Pulse(every), 0
    sources = sources or Followings(house.settings.root, house.settings.state, secret, house.store.rulings.quarantined)
    house = house.paced(lambda: loop.may_give_way and files.is_set())
    loop = _Loop(selection, house, every, stop, on_report, files, pulse, sources, board or Board())
    if house.backoff is not None:
        pulse.circuits = house.backoff.breaker.open
    with (
        watching(selection, house, files, stop),
        following(sources, house, files, stop, on_news),
        minding(lambda: loop.rules, house, files, stop),
        attending(house, stop),
        telling(house),
    ):
        while not stop.is_set():
            pulse.turn()
            house.log.next_pass()
            try:
                with around():
                    loop.turn()
                failures = 0
            except StalePlan:
                loop.watch.pending = True
            except Exception as error:  # a defect costs one pass, not the loop
                failures += 1
                pause = pause_after(failures)
                on_trouble(loop.failed(error), pause)
                _sleep(pause, files, stop)
            _sleep(LOOK, files, stop)


@dataclass
class _Loop:
    """What the loop knows from one turn to the next."""

    selection: Selection
    house: House
    every: float
    stop: threading.Event
    on_report: Callable[[Report], None]
    files: Changed
    pulse: Pulse
    sources: Followings
    board: Board
    watch: Watch = field(default_factory=lambda: Watch(None))
    report: Report | None = None
    quiet: float = 0.0
    """Seconds after a whole pass until the next one, when nothing calls for it before."""
    may_give_way: bool = False
    """What is saved while a whole pass writes is acted on first; but not twice in a row, so that the pass gets to its end."""

    passes: int = 0
    blind: int = 0
    """Whole passes in a row that could not read every tool."""
    looks: Looks = field(init=False)
    kinds: frozenset[str] = frozenset()
    """That there is something of."""
    rules: tuple[str, ...] = ()
    """Where the Platform says that there are files of rules."""

    def __post_init__(self) -> None:
        self.looks = Looks(self.every)
        self.watch.note_start(self.house.settings.state)
        with suppress(ReconcilerError):  # a Store that is busy: the first pass tells
            platform = platform_in({}, self.house.store.inventory())
            self.rules = platform.policy.rules if platform is not None else ()

    def turn(self) -> None:
        """Do the one thing that is due, if any. Raises what a pass raises."""
        began, watch = time.monotonic(), self.watch
        changed = watch.changed()
        if self.report is None or self.board.asked() or watch.wants_pass(quiet=self.quiet):
            self.files.take()
            self._whole(began)
        elif self.files.is_set():
            self._saved(began, self.report)
        elif self.report.interrupted:  # it gave way, and goes on
            self._whole(began)
        elif watch.wants_tasks():
            self.report, done = heard(self.report, self.selection, self.house, self.stop)
            watch.note_tasks(began)
            self._tell(done)
        elif changed or watch.wants_decision():
            self.report, done = advance(self.report, self.house, self.stop)
            watch.note_decision(began, done)
            self._tell(done)
        elif kinds := self.looks.due(self.kinds, began):
            self._look(began, kinds, self.report)
        elif refs := self._again(self.report):
            self.report, done = saved(self.report, refs, self.selection, self.house, self.stop)
            self._noted(began, done)

    def failed(self, error: Exception) -> ReconcilerError:
        """A pass could not be made; why, for people."""
        told = _told(error, self.house)
        self.watch.pending = True
        self.pulse.pass_fails(str(told))
        self.files.take()  # what was saved until now is part of the whole pass that comes next: only news cuts the pause short
        return told

    def _whole(self, began: float) -> None:
        self.pulse.pass_begins()
        self.may_give_way = self.report is not None and not self.report.interrupted
        try:
            carry_out_orders(self.house, self._read)
            self.report = converge(self.selection, self.house, stop=self.stop, newer=self.files.is_set)
        finally:
            self.may_give_way = False
        self.pulse.pass_ends()
        self.board.pin(self.report.proposal, self.house.now())
        if (ctx := self.report.proposal.context) is not None:
            if self.house.shard is None or self.house.shard.number == 1:  # one fetches for all
                self.sources.take(ctx.platform, own=True)
            self.looks.take(ctx.platform.poll, self.house.store)
            self.rules = ctx.platform.policy.rules
        self.kinds = frozenset(ref.kind for ref in self.report.proposal.resources if not ref.key)
        self.looks.note(self.kinds, began)
        self.watch.note_pass(began, self.report.proposal.context)
        self.watch.pending = bool(outdated(self.report)) or self.report.interrupted
        self.quiet = self._until_next(self.report)
        self.on_report(self.report)
        self._tidy()

    def _tidy(self) -> None:
        """What a pass leaves behind holds connections, and the oldest garbage is hardly ever collected by itself. What the first passes
        have loaded stays, and is looked through no more: that was a third of the time of a pass in which nothing changes."""
        self.passes += 1
        if self.passes % TIDY_EVERY:
            return
        gc.collect()
        if self.passes == TIDY_EVERY:
            gc.freeze()
        allocator.give_back()

    def _until_next(self, report: Report) -> float:
        """Seconds until everything is to be looked at again; never in step with other loops."""
        usual = self.looks.whole(self.kinds) * random.uniform(1 - JITTER, 1)
        probe = self.house.backoff.breaker.due() if self.house.backoff is not None else None
        self.blind = self.blind + 1 if any(said != "ok" for said in report.proposal.tools.values()) else 0
        unread = UNREAD * 2.0 ** min(self.blind - 1, 10) if self.blind else None
        sooner = [each for each in (soon(report), probe, unread) if each is not None]
        return min(usual, max(min(sooner, default=usual), self.watch.cost / SHARE))

    def _look(self, began: float, kinds: frozenset[str], report: Report) -> None:
        """At kinds whose time has come; at everything when that is the time of all."""
        if kinds == self.kinds:
            self._whole(began)
            return
        self.looks.note(kinds, began)
        self.report, done = looked(report, kinds, self.selection, self.house, self.stop)
        self._noted(began, done)

    def _again(self, report: Report) -> frozenset[Ref]:
        """What failed and is to be tried again now, with what waits for it; nothing when a whole pass is the shorter way."""
        failed = self.house.backoff.due() if self.house.backoff is not None else frozenset()
        if not failed:
            return failed
        resources = report.proposal.resources
        again = {replace(ref, key="") for ref in failed} & resources.keys()
        found = with_dependants(again, {ref: each for ref, each in resources.items() if not ref.key})
        if not again or len(found) > MOST:
            self.watch.pending = True
            return frozenset()
        return found

    def _noted(self, began: float, done: Report) -> None:
        """A pass over a part has ended."""
        self.watch.note_decision(began, done)
        self.watch.pending |= bool(outdated(done))
        self._tell(replace(done, statuses=self.report.statuses) if self.report is not None else done)

    def _saved(self, began: float, report: Report) -> None:
        """A pass over what the changed manifests concern; over everything where that cannot be told."""
        paths = self.files.take()
        refs = None if self.selection.filtered or not self._are_manifests(paths) else touched(report, self._read())
        if refs is None:
            self._whole(began)
        elif refs:
            self.report, done = saved(report, refs, self.selection, self.house, self.stop)
            self._noted(began, done)

    def _are_manifests(self, paths: Collection[str]) -> bool:
        root = self.house.settings.root.absolute()
        folders = manifest_folders(self.selection, root)
        return all(each and any(Path(each).is_relative_to(folder) for folder in folders) for each in paths)

    def _read(self) -> Desired:
        store = self.house.store
        root_paths, quarantined = store.meta("root_paths") or "", store.rulings.quarantined()
        return read(self.selection, self.house.kinds, self.house.settings, store.inventory(), root_paths, quarantined, self.house.checks)

    def _tell(self, done: Report | None) -> None:
        if done is not None:
            self.on_report(done)


def _told(error: Exception, house: House) -> ReconcilerError:
    if isinstance(error, ReconcilerError):
        return error
    import traceback

    house.log.warning("pass_failed", error=repr(error), trace=traceback.format_exc())
    return ReconcilerError(f"the pass failed, which is a defect of the reconciler: {type(error).__name__}: {error}")


def pause_after(failures: int) -> float:
    """Seconds after so many passes in a row that could not be made; there may be thousands, over a long night."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))


def _sleep(seconds: float, files: Changed, stop: threading.Event) -> None:
    """Wait, unless a file changes or the loop is to end."""
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0 and not files.wait(min(left, LOOK)):
        pass
