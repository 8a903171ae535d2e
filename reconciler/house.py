"""What the corridor stands in: registered kinds, Store, services, clock, listeners. Fields and how they are opened; no policy."""

from __future__ import annotations

import getpass
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import ValidationError

from reconciler.attribute import Attributions
from reconciler.backoff import Backoff
from reconciler.controller import Call, Context, JobRunner, Needs, Services
from reconciler.errors import StalePlan, StoreError, Terminal
from reconciler.events import Event, Listener, silent
from reconciler.kept import OneMeter, OneRunner, OneSampler
from reconciler.log import Log
from reconciler.model import JSON, Owned, Ref, Resource, Status
from reconciler.registry import Kinds, discover
from reconciler.secret import secret
from reconciler.settings import Settings
from reconciler.shard import Shard
from reconciler.validate import Checks
from schemas.platform import PlatformSpec

if TYPE_CHECKING:
    from reconciler.state import Store


class Wire:
    """Every call to a tool: counted, and written to a file as JSON lines when one is named."""

    def __init__(self, log: Path | None = None) -> None:
        self.count = 0
        self.writes = 0
        self.by_tool: dict[str, int] = {}
        self.on_call: Callable[[Call], None] = lambda _: None
        """Told of each call after it was counted: by who paces the loop, of one loop at a time."""
        self.listeners: list[Callable[[Call], None]] = []
        """Told besides, for as long as the process lives."""
        self._log = log
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> None:
        with self._lock:
            self.count += 1
            self.writes += call.write
            self.by_tool[call.tool] = self.by_tool.get(call.tool, 0) + 1
            if self._log is not None:
                line = {"tool": call.tool, "method": call.method, "target": call.target, "write": call.write, "status": call.status}
                with self._log.open("a", encoding="utf-8") as out:
                    out.write(json.dumps({**line, "seconds": round(call.seconds, 4)}) + "\n")
        self.on_call(call)
        for each in self.listeners:
            each(call)


WRITTEN, WHOLE = "written_by_shard", "*"
"""In the Store, where there are shards: how often each of them wrote, and who looks after everything."""
STORE_ID = "store_id"
"""In the Store: which one it is. A plan that was saved beside another one is not for this one."""
TOLD_SINCE = "told_since"
"""In the Store: when the last whole pass began whose statuses somebody waits for."""
ANSWERS = ("running", "external", "unreachable", "degraded")
"""States of a service that waiting does not change; `unreachable` is one that somebody else runs."""


@dataclass
class Memos:
    """The notebooks of all Refs, read once, and the ones that changed."""

    loaded: dict[Ref, dict[str, JSON]]
    token: int = 0
    """The last writer's lease when they were read or saved: another one since, and somebody else may have noted something."""
    before: dict[Ref, str] = field(default_factory=dict)

    def __call__(self, ref: Ref) -> MutableMapping[str, JSON]:
        if ref not in self.before:
            self.before[ref] = json.dumps(self.loaded.get(ref, {}), sort_keys=True)
        return self.loaded.setdefault(ref, {})

    def through(self, moving: Mapping[Ref, Ref]) -> Callable[[Ref], MutableMapping[str, JSON]]:
        """The same, where what is not moved yet has its notes under its old name, and so have its children."""

        def page(ref: Ref) -> MutableMapping[str, JSON]:
            old = moving.get(replace(ref, key="")) if moving else None
            return self(replace(old, key=ref.key) if old is not None else ref)

        return page

    def move(self, old: Ref, new: Ref) -> None:
        """The Store has them under the new name from now on."""
        for ref in [each for each in list(self.loaded) if replace(each, key="") == old]:
            self.loaded[replace(new, key=ref.key)] = self.loaded.pop(ref)
        for ref in [each for each in list(self.before) if replace(each, key="") == old]:
            self.before[replace(new, key=ref.key)] = self.before.pop(ref)

    def follow(self, store: Store) -> int:
        """Forget what was read and noted here when somebody else wrote since; the token of the last writer's lease."""
        token = store.last_token()  # before the notebooks: newer ones with an older token are read again, not the other way round
        if token != self.token:
            self.loaded, self.before, self.token = store.memos(), {}, token
        return token

    def touched(self) -> set[Ref]:
        """Refs whose notebooks were written since the last `changed`."""
        return {ref for ref, before in list(self.before.items()) if json.dumps(self.loaded.get(ref, {}), sort_keys=True) != before}

    def changed(self) -> dict[Ref, dict[str, JSON] | None]:
        """Notebooks that were written since the last call; None = emptied."""
        found: dict[Ref, dict[str, JSON] | None] = {}
        for ref in self.touched():
            found[ref] = self.loaded.get(ref) or None
            self.before[ref] = json.dumps(self.loaded.get(ref, {}), sort_keys=True)
        return found


@dataclass(frozen=True)
class House:
    """Everything that a pass needs and does not compute."""

    settings: Settings
    kinds: Kinds
    store: Store
    wire: Wire
    memos: Memos
    tell: Listener
    now: Callable[[], datetime]
    actor: str
    log: Log
    services: Callable[[PlatformSpec], Services]
    sensors: OneSampler
    """The one sampler of this process."""
    jobs: Callable[[PlatformSpec, Services], JobRunner]
    """The one runner of this process, which works with what was asked for last."""
    attributions: Attributions = field(default_factory=Attributions)
    checks: Checks = field(default_factory=Checks)
    read_only: bool = False
    backoff: Backoff | None = None
    """What failed waits for its next try; None: everything is tried in each pass, as a person who runs one wants it."""

    shard: Shard | None = None
    """The part of the installation that this loop looks after; None = all of it."""
    gives_way: Callable[[], bool] = lambda: False
    """Whether what is left of a pass is to wait for something more urgent."""

    def paced(self, gives_way: Callable[[], bool]) -> House:
        """The house of a loop, in which what fails, and what takes long, does not hold up the rest."""
        backoff = Backoff()
        self.wire.on_call = backoff.breaker.heard
        return replace(self, backoff=backoff, gives_way=gives_way)


def open_house(
    settings: Settings,
    *,
    read_only: bool = False,
    on_event: Listener = silent,
    actor: str = "",
    wire_log: Path | None = None,
    kinds: Kinds | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    verbose: bool = False,
) -> House:
    """Open the Store (an empty one when it does not exist and `read_only`) and find the kinds.

    Raises StoreError when the Store cannot be opened."""
    from reconciler.state import open_store

    where: str | Path = settings.store or settings.state / "store.db"
    if not read_only:
        _make_state_folder(settings.state)
    store = open_store(where, read_only=read_only, now=now)
    memos = Memos({}, -1)
    memos.follow(store)

    return House(
        settings=settings,
        kinds=kinds or discover(),
        store=store,
        wire=Wire(wire_log),
        memos=memos,
        tell=on_event,
        now=now,
        actor=actor or _whoami(),
        log=Log(verbose=verbose),
        services=OneMeter(settings, secret),
        sensors=OneSampler(settings, read_only),
        jobs=OneRunner(settings, secret),
        read_only=read_only,
    )


def _make_state_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the state folder {folder} cannot be made: {error.strerror}", hint="name another one with --state-dir") from error


def context(
    house: House,
    resources: Mapping[Ref, Resource[Any]],
    inventory: Mapping[Ref, Owned],
    *,
    focused: bool = False,
    moving: MutableMapping[Ref, Ref] | None = None,
) -> Context | None:
    """The controllers' view of the house for this pass; None when no Platform is declared or recorded. `moving`: see `Context`."""
    from reconciler.admission.ledger import seen_by_admission
    from reconciler.admission.slots import slots
    from reconciler.admission.standing import room
    from reconciler.hardware.detector import detect
    from reconciler.runs.nodes import names
    from reconciler.source.revision import last_change

    spec = platform_in(resources, inventory)
    if spec is None:
        return None
    kinds = {ref.kind for ref in (*resources, *inventory)} & house.kinds.controllers.keys()
    wanted = {name for kind in kinds for name in house.kinds.controller(kind).services} | _needed(resources, house.kinds)
    services, old_names = house.services(spec), {} if moving is None else moving
    ctx = Context(
        installation=spec.installation,
        platform=spec,
        root=house.settings.root.absolute(),
        state_dir=house.settings.state,
        services=services,
        wanted=tuple(sorted(wanted)),
        secret=secret,
        memo=house.memos.through(old_names),
        projects={ref.name: each for ref, each in resources.items() if ref.kind == "Project"},
        now=house.now,
        log=house.log,
        wire=house.wire,
        moving=old_names,
        focused=focused,
        jobs=house.jobs(spec, services),
        learned=house.store.work.learned(),
        last_change=last_change,
    )
    seen = seen_by_admission(house, ctx, resources.values(), inventory)
    since = house.store.meta(told_since(house))
    return replace(
        ctx,
        room=lambda owner: room(seen(), owner),
        slots=lambda project: slots(seen(), project),
        is_here=lambda node: node not in names(house.settings.state) or node == detect(house.settings.state).name,
        told=_told(house) if since else ctx.told,
        undelivered=house.store.deliveries.troubles,
        told_since=datetime.fromisoformat(since) if since else None,
    )


def _told(house: House) -> Callable[[Ref], Status | None]:
    statuses = cache(house.store.statuses)
    return lambda ref: statuses().get(ref)


def _needed(resources: Mapping[Ref, Resource[Any]], kinds: Kinds) -> set[str]:
    """Services that single resources ask for."""
    able = {kind: each for kind, each in kinds.controllers.items() if isinstance(each, Needs)}
    return {name for ref, each in resources.items() if ref.kind in able for name in able[ref.kind].needs(each)}


def _stale(house: House) -> StalePlan:
    house.memos.follow(house.store)
    return StalePlan("another pass wrote between this plan and its turn", hint="make the plan again")


def begin(house: House) -> int:
    """How often was written what concerns this loop: to be asked before anything is read that a plan depends on."""
    count = _written(house)
    house.memos.follow(house.store)
    return count


def _written(house: House) -> int:
    """One more for each time that somebody was the writer; of other shards' times nothing here depends."""
    if house.shard is None:
        return house.store.last_token()
    counts = _counts(house)
    return counts.get(WHOLE, 0) + counts.get(str(house.shard), 0)


def _counts(house: House) -> dict[str, int]:
    return dict(json.loads(house.store.meta(WRITTEN) or "{}"))


def _count(house: House) -> None:
    """Let the others know. Without shards the lease's own token tells it."""
    counts = _counts(house)
    if house.shard is not None or counts:
        key = WHOLE if house.shard is None else str(house.shard)
        house.store.set_meta(WRITTEN, json.dumps({**counts, key: counts.get(key, 0) + 1}))


def told_since(house: House) -> str:
    """Where the Store keeps when the last whole pass of this loop began."""
    return TOLD_SINCE if house.shard is None else f"{TOLD_SINCE} {house.shard}"


@contextmanager
def writing(house: House, after: int) -> Iterator[None]:
    """Be the one writer; save the notebooks at the end, whatever happened.

    `after` is what `begin` said before the plan was made. Raises StalePlan when somebody wrote since, StoreError while somebody does."""
    if _written(house) != after:  # asked before the lease is taken: a stale plan must not make another one stale
        raise _stale(house)
    with house.store.writer(house.actor) as token:
        if (token - 1 if house.shard is None else _written(house)) != after:
            raise _stale(house)
        _count(house)
        if house.store.meta(STORE_ID) is None:
            house.store.set_meta(STORE_ID, uuid4().hex)
        try:
            yield
        finally:
            changed = house.memos.changed()
            if changed:
                house.store.put_memos(changed)
            house.memos.token = token


def await_services(
    house: House,
    services: Services,
    names: Sequence[str],
    deadline: float,
    stop: threading.Event,
    newer: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until all of `names` work, starting what waits for another one; gives up at `deadline` (monotonic seconds), and as soon as
    manifests are `newer`: they may say what to do about it.

    Somebody else's server that does not answer is not waited for: nothing here brings it up."""
    while not stop.is_set() and not newer() and time.monotonic() < deadline:
        try:
            services.start(names)
        except Terminal:  # told already as the failure of the Platform's own action; what needs the service shows as unknown
            return
        report = services.report()
        late = [name for name in names if report.get(name, {}).get("state") not in ANSWERS]
        if not late:
            return
        house.tell(Event("wait", f"waiting for {', '.join(late)} to come up"))
        stop.wait(0.5)


def bring(platform: PlatformSpec, house: House) -> bool:
    """Fetch what the Platform's repositories have that is new, once; True when files have changed. The installation's own folder stays as
    somebody has it: `reconcile watch` follows that."""
    from reconciler.source.follow import Followings

    if not any(each.git is not None for each in platform.sources):
        return False
    house.tell(Event("phase", "fetching repositories"))
    sources = Followings(house.settings.root, house.settings.state, secret, house.store.rulings.quarantined)
    sources.take(platform, own=False)
    return bool(sources.look(at_once=True))


def platform_in(resources: Mapping[Ref, Resource[Any]], inventory: Mapping[Ref, Owned]) -> PlatformSpec | None:
    """The Platform: as it is declared, else as it was applied last; None where there is neither."""
    for ref, resource in resources.items():
        if ref.kind == "Platform" and isinstance(resource.spec, PlatformSpec):
            return resource.spec
    for ref, owned in inventory.items():
        if ref.kind == "Platform":
            with suppress(ValidationError):  # recorded by another version: the same as not known
                return PlatformSpec.model_validate(owned.applied)
    return None


def _whoami() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return f"uid {os.getuid()}"
