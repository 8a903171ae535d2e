"""The contract of a kind: the only file that its author must read.

A controller looks after one kind in one real tool. Once per pass the engine calls::

    observe(all resources of the kind)          one batch; reads only
      -> diff(each)                             pure
      -> apply(action) or delete(owned)         writes; only what the plan says
      -> observe(those written) -> diff         must be empty, or it is reported as left over
      -> health(each)                           pure

A controller describes a difference; it never decides what to do about it. Pauses, ownership, retries, deadlines,
conditions and events are the engine's. Everything that a controller needs from outside comes in through `Context`.

Rules
 * observe returns `Absent` only after a complete listing; a failed page, a missing key or a refused connection is `Unknown`.
 * observe returns more Refs than it was asked for, unless `ctx.focused`: objects that carry this installation's mark. They are
   orphans, or about to be pruned.
 * apply writes exactly `action.changes` (all fields on Create) and the mark, and is safe to repeat after a crash.
 * delete gets only what was recorded: the manifest is gone. "Already gone" is success.
 * Raise `Transient` for what may pass (the engine retries), `Terminal` for what will not.
 * Names in tools are `ref.path` (`project/name`). What a tool supplies by default is observed, never desired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from reconciler.model import (
    JSON,
    Absent,
    Attribution,
    Create,
    Demand,
    Diff,
    Drift,
    Fields,
    Health,
    HealthReport,
    Job,
    Learned,
    Limits,
    Observation,
    Outcome,
    Owned,
    Present,
    Progress,
    Ref,
    Replace,
    Resource,
    Status,
    Update,
)
from reconciler.model.demand import UNLIMITED, Slots
from reconciler.model.performance import Entered
from reconciler.model.ranking import Ranking
from schemas.base import KindInfo, Spec
from schemas.platform import PlatformSpec

if TYPE_CHECKING:
    from reconciler.admission.values import Lease

T = TypeVar("T")
K = TypeVar("K", bound=Spec, contravariant=True)


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a tool, for the wire log."""

    tool: str
    method: str
    target: str
    write: bool
    """False: it cannot have changed anything."""
    status: str
    seconds: float


class Services(Protocol):
    """The shared services, as a controller may see them."""

    def endpoint(self, name: str) -> str:
        """Base URL of a running service. Raises Transient when it is not up."""

    def start(self, names: Sequence[str]) -> None:
        """Start what is not running; does not wait."""

    def stop(self, names: Sequence[str]) -> None:
        """Stop; what depends on a stopped service is stopped first."""

    def renew(self, names: Sequence[str]) -> None:
        """Before a start: end what runs otherwise than declared. Replaced while it runs where that can be done, else stopped."""

    def report(self) -> Mapping[str, Mapping[str, JSON]]:
        """For each service: state, url, pid, version, message."""

    def memory(self) -> int:
        """Bytes that our own services use now."""

    def pristine(self, names: Sequence[str]) -> bool:
        """True when all of these are ours and have never been started: they can hold nothing yet."""


class Logger(Protocol):
    def info(self, event: str, **context: Any) -> Any: ...
    def warning(self, event: str, **context: Any) -> Any: ...


class JobRunner(Protocol):
    """Where leased work executes. A job outlives the reconciler, and is found again by the next one."""

    def launch(self, job: Job) -> None:
        """Start it. Safe to repeat: a job of this id that was started is left alone. Raises Transient or Terminal."""

    def look(self) -> Mapping[str, Progress]:
        """Every job that has a folder, by id. Reads only; for Ray jobs one call."""

    def stop(self, job_id: str, why: str) -> None:
        """Ask it to end (then make it); does not wait. Already ended is fine."""

    def pause(self, job_id: str) -> None:
        """Halt its processes; they keep their memory."""

    def resume(self, job_id: str) -> None:
        """Let them go on."""

    def tend(self) -> None:
        """See to what a dead supervisor has left. Safe to repeat."""

    def forget(self, job_id: str) -> None:
        """Remove what is kept of a job that has ended and is reported."""

    def give_up(self, checkpoint: str) -> None:
        """The work that goes on from this checkpoint (`Job.checkpoint`) is not wanted any more. Safe to repeat."""

    def sweep(self) -> None:
        """Remove what was given up a day ago and not launched since, and what never started. Safe to repeat."""


@dataclass(frozen=True)
class Context:
    """What a controller gets from outside; no engine and no Store."""

    installation: str
    """The id that every mark carries."""
    platform: PlatformSpec
    root: Path
    """The installation's root: where project paths start."""
    state_dir: Path
    """Private folder of the installation: the tools' own data."""
    services: Services
    wanted: tuple[str, ...]
    """Services that the manifests of this pass need."""
    secret: Callable[[Any], str]
    """Value of a `{fromEnv}` or `{fromFile}` reference. Raises Terminal when it is not there."""
    memo: Callable[[Ref], MutableMapping[str, JSON]]
    """A small notebook for each Ref, kept in the Store; writes are saved at the end of the step."""
    projects: Mapping[str, Resource[Any]]
    """Every Project by name, for paths and for what it allows."""
    now: Callable[[], datetime]
    log: Logger
    wire: Callable[[Call], None]
    """Tell every call to a tool."""
    jobs: JobRunner | None = None
    """Where leased work executes; None: nowhere."""
    granted: Mapping[Ref, Lease] = field(default_factory=dict)
    """Leases of this moment: what is not here may not be started."""
    learned: Mapping[str, Learned] = field(default_factory=dict)
    """By `Demand.template`: what earlier work of this sort was measured to need."""
    room: Callable[[Ref], Limits] = lambda _: UNLIMITED
    """The most that a resource with its children can ever hold at once, beside the standing reservations of all others."""
    slots: Callable[[str], Slots] = lambda _: Slots(1, 1)
    """By project: how many tasks of its workflows may be in flight, by its quota and by how hot the machine is."""
    told: Callable[[Ref], Status | None] = lambda _: None
    """What the last whole pass said of a resource."""
    undelivered: Callable[[str], Mapping[str, str]] = lambda _: {}
    """By receiver of an AlertPolicy: why messages do not arrive there; only those where they do not."""
    told_since: datetime | None = None
    """When that pass began to look; None = there was none."""
    is_here: Callable[[str], bool] = lambda _: True
    """Whether a lease's node is this machine."""
    last_change: Callable[[Path], Attribution | None] = lambda _: None
    """Who changed a file last, by git: the commit, or that it is not committed; None outside git."""
    owned: Mapping[Ref, Owned] = field(default_factory=dict)
    """What this installation owns, with what each manifest said; filled for `Exports` only."""
    deadline: float = 60.0
    """Seconds that one call to a tool may take."""
    moving: MutableMapping[Ref, Ref] = field(default_factory=dict)
    """New name -> the one by which it goes in its tool until this pass has moved it. `observe` is asked for both; runs and notes are found
    under the old one."""
    focused: bool = False
    """True: only what is asked for matters (a filter, a second look); observe need not list what else carries our mark."""
    clients: MutableMapping[type, Any] = field(default_factory=dict)
    """Clients opened in this pass; use `client`."""
    lock: RLock = field(default_factory=RLock)

    def client(self, kind: type[T], make: Callable[[Context], T]) -> T:
        """The pass's one client of this type, made at the first use; safe to call from several threads."""
        with self.lock:
            if kind not in self.clients:
                self.clients[kind] = make(self)
            found: T = self.clients[kind]
            return found

    def declared(self, ref: Ref) -> Fields | None:
        """The spec that its manifest gave it last, without defaults; None = not known. For `Exports` only."""
        owned = self.owned.get(ref)
        return owned.declared.get("spec") if owned is not None and owned.declared else None


@runtime_checkable
class Controller(Protocol[K]):
    """One kind in one real tool: five verbs."""

    info: KindInfo
    """Name, schema, scope and default prune policy of the kind; from its schema module."""
    tool: str
    """Whose outage makes this kind Unknown, for example `mlflow`; empty = none."""
    services: tuple[str, ...]
    """Shared services that must be up before observe."""

    def observe(self, resources: Sequence[Resource[K]], ctx: Context) -> Mapping[Ref, Observation]:
        """Look at all of them with list calls, not one call each. Reads only."""

    def diff(self, resource: Resource[K], seen: Present) -> Diff:
        """What differs from the manifest. Pure."""

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        """Carry out one action. Safe to repeat."""

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """Remove what was recorded. Safe to repeat."""

    def health(self, resource: Resource[K], seen: Present) -> HealthReport:
        """How it is. Pure."""


@runtime_checkable
class Projects(Protocol):
    """Optional: shows a desired resource as fields, for the plan of a Create and for the inventory's `applied`."""

    def desired(self, resource: Resource[Spec]) -> Mapping[str, JSON]: ...


@runtime_checkable
class Expands(Protocol):
    """Optional: the resource stands for several things, each with a status and a place in the queue of its own."""

    child: Controller[Any]
    """Looks after the children. Its observe also returns Refs with a key that nobody asked for: marked and not wanted any more; it is
    called for that although no child is. Its delete lets go of such a one."""
    released: str
    """What becomes of a child that is not wanted any more, in words: `it ends where it runs, and what it made is kept`."""

    def facts(self, resources: Sequence[Resource[Any]], ctx: Context) -> Mapping[Ref, Mapping[str, JSON]]:
        """What the children depend on besides manifest and inputs, such as the contents of code files. Reads only, one batch."""

    def children(self, resource: Resource[Any], seen: Observation, facts: Mapping[str, JSON]) -> Sequence[Resource[Any]]:
        """All of them, or none when they are known to be as desired. `resource` is bound. Pure."""

    def sum_up(
        self, resource: Resource[Any], own: HealthReport, children: Sequence[tuple[Resource[Any], Health, str]], ctx: Context
    ) -> HealthReport:
        """The parent's health from its own and its children's (resource, health, reason); may note in its memo that all is settled.
        Called with every child, or with none when `children` gave none."""


@runtime_checkable
class Demands(Protocol):
    """Optional: the resource asks for memory, cores or heat and goes through admission."""

    def demand(self, action: Create | Update | Replace, ctx: Context) -> Demand | None:
        """What this action would use from now on; None = it needs no admission. Reads nothing from outside but `ctx.learned`.

        Raises Terminal for what can never start as it is declared: the plan tells it, and nothing is tried."""


@runtime_checkable
class Needs(Protocol):
    """Optional: a resource needs services that the kind as a whole does not."""

    def needs(self, resource: Resource[Any]) -> tuple[str, ...]:
        """Names of services. Pure."""


@runtime_checkable
class Ranks(Controller[Any], Protocol):
    """Optional: the resource's children can be compared; for `reconcile leaderboard`."""

    def ranking(self, resources: Sequence[Resource[Any]], ctx: Context) -> Mapping[Ref, Ranking]:
        """The finished children of each, the best first. Reads only, one batch."""


@runtime_checkable
class Compares(Controller[Any], Protocol):
    """Optional: the tool keeps comparisons beside the runs that are compared; for `reconcile compare --log`."""

    def enter(self, entered: Entered, ctx: Context) -> tuple[str, bool]:
        """Enter it, once for each digest: its id, and whether it is new. Safe to repeat. Raises Transient or Terminal."""


@runtime_checkable
class RollsBack(Protocol):
    """Optional: a resource can go back to what it was before its last change, without its manifest; for `reconcile rollback`."""

    def roll_back(self, ref: Ref, ctx: Context, why: str, by: str) -> str:
        """Note that what stands now is not wanted again, until manifest or inputs lead to something else; the next pass carries it out.

        Returns what it goes back to, in words. Raises Terminal when there is nothing to go back from or to."""


@runtime_checkable
class Asks(Protocol):
    """Optional: the kind's children come and go by themselves, every few seconds: a pass over this kind alone takes them up."""

    asks: bool


@runtime_checkable
class Starts(Protocol):
    """Optional: a resource can be started; for `reconcile run`, and for what reacts to something."""

    def start(self, ref: Ref, ctx: Context, conf: Mapping[str, JSON], by: str, run: str = "") -> str:
        """Start it once; returns the id of that run. With `run` as its id, and safe to repeat. Raises Terminal when it cannot be started,
        Transient when it cannot yet."""

    def ended(self, ref: Ref, run: str, ctx: Context) -> Mapping[str, JSON] | None:
        """How that run ended: `state`, `seconds`, `why`, and `tasks` by name with `state`, `seconds`, `attempts`; None while it goes on."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """Something that one resource asks to be done with another one, once."""

    key: str
    """Of the resource that asks: the same when it is asked for again."""
    verb: Literal["start", "roll_back"]
    """`Starts.start` or `RollsBack.roll_back` of the other one's controller."""
    ref: Ref
    """The other one."""
    why: str
    id: str
    """Names this time, so that what was done before a crash is not done again."""
    conf: Mapping[str, JSON] = field(default_factory=dict)
    """For what is started."""
    refused: str = ""
    """Why it is not to be done after all, for people; empty = it is."""


@runtime_checkable
class Reacts(Protocol):
    """Optional: what became of a resource calls for something to be done with others. Asked at the end of each pass that may write."""

    def reactions(self, resource: Resource[Any], ctx: Context) -> Sequence[Reaction]:
        """What is to be done now. Reads its memo only."""

    def reacted(self, resource: Resource[Any], reaction: Reaction, said: str, ctx: Context, *, carried_out: bool) -> None:
        """Note that it was done, or (`carried_out` False) that it will not be, with what came of it in words."""


@runtime_checkable
class Attributes(Protocol):
    """Optional: the tool keeps records of who changed what."""

    def attribution(self, drifts: Sequence[Drift], ctx: Context) -> Mapping[Ref, Attribution]:
        """Who made each of these changes, and when, as far as the tool tells. Reads only, a few calls at most for all of them; a failure
        costs the answer only. Called when drift is new. What has no entry is told as drift of which nothing more is known."""


@runtime_checkable
class Adopts(Protocol):
    """Optional: an object that observe cannot find by name can still be found by its content."""

    def find(self, resource: Resource[Spec], ctx: Context) -> Present | Absent: ...


@runtime_checkable
class Moves(Protocol):
    """Optional: what was made can be renamed in its tool and keeps what belongs to it; for `lifecycle.movedFrom`. A kind that cannot says
    in an attribute `unmovable` why, and what to do instead."""

    def move(self, owned: Owned, resource: Resource[Any], ctx: Context) -> Outcome:
        """Rename the object of `owned` (its old Ref and its id) to `resource.ref`, its marks and its children's with it, and nothing else:
        what differs besides comes to `apply` afterwards. `Done` has the new id. Safe to repeat: after a crash, `observe` finds the object
        under either name with either mark. Raises Conflict where it is not ours any more, or the new name is taken."""


@runtime_checkable
class Exports(Protocol):
    """Optional: turns real objects into manifests, for `reconcile import`."""

    def found(self, ctx: Context) -> Sequence[str]:
        """What `export` takes, for everything of this kind that there is, ours or not: one listing. Objects that no manifest can say are
        among them, so that `export` tells why."""

    def export(self, external_id: str, ctx: Context) -> Mapping[str, JSON]:
        """The whole manifest as plain values, such that it plans to no changes; see `reconciler.model.manifest`. `external_id` is the
        tool's id or the object's name there, or `project/name`. What the tool does not keep comes from `ctx.declared`.

        Raises Terminal for what is not there, and for what cannot be said truly: better none than one that would change the object."""
