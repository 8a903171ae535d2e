"""The ledger at work: what the Store, the runner and the sensors say, put together into a snapshot; and grants written back.

`open_books`, `snapshot` and `look` only read. `settle` and `keep` write, and are called with the writer's lease held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from reconciler.admission.calibrate import fit
from reconciler.admission.memory import estimate, learn, length
from reconciler.admission.order import lease_of
from reconciler.admission.scene import blind_node, node_of, quotas_of, rules_of
from reconciler.admission.values import Decision, Item, Lease, Node, Past, Snapshot
from reconciler.controller import Context
from reconciler.errors import ReconcilerError
from reconciler.hardware.detector import detect
from reconciler.model import Amounts, Demand, Learned, Owned, Progress, Ref, Resource
from reconciler.runs import nodes
from reconciler.serving.look import is_slot

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.state import Held, Queued

LIVE = ("starting", "running", "paused")
DEFAULT_PRIORITY = 5
HEARD_SECONDS = 600.0
"""How long a job that no tracking server knows is kept after its end."""


@dataclass(frozen=True)
class Books:
    """Leases and queue as they are: what the Store says, corrected by which jobs live."""

    leases: tuple[Lease, ...]
    """Those whose work lives, or was granted and is about to start; `adopted` included."""
    over: tuple[Held, ...]
    """Those whose work has ended, or is not wanted any more: to be released."""
    found: Mapping[Ref, str]
    """Jobs that live without the Store knowing which lease they run under: Ref -> job."""
    adopted: tuple[Lease, ...]
    """Of jobs that live and of which the Store knows nothing, because it was lost or a launch was not answered: charged as they were."""
    ending: tuple[Held, ...]
    """Live work that was asked to make room."""
    queue: tuple[Queued, ...]
    learned: Mapping[str, Learned]
    past: Past
    jobs: Mapping[str, Progress]


def open_books(house: House, ctx: Context, demands: Mapping[Ref, Demand] | None) -> Books:
    """What is granted and what waits. Reads only. `demands` are what this pass wants to start; None: nobody has looked, so that a
    lease whose work has not started yet counts as it stands."""
    work = house.store.work
    held, queue = work.books()
    queue = tuple(_as_called(each, ctx) for each in queue)
    named = {each.job: str(each.ref) for each in held if each.job}  # a job knows the name of which it was started; its lease that of now
    jobs = {id: replace(each, ref=named.get(id, each.ref)) for id, each in (ctx.jobs.look() if ctx.jobs is not None else {}).items()}
    living = {each.ref: each.id for each in jobs.values() if each.state in LIVE}
    leases: list[Lease] = []
    over: list[Held] = []
    found: dict[Ref, str] = {}
    ending: list[Held] = []
    for each in held:
        lease, job = each.lease, each.job
        if not job and str(lease.ref) in living:  # we were killed between the start and the note of it
            found[lease.ref] = job = living[str(lease.ref)]
        alive = job in jobs and jobs[job].state in LIVE
        if alive and each.preemptor is not None:
            ending.append(replace(each, job=job))
        about_to_start = not job and not lease.ending and (demands is None or lease.ref in demands)
        if alive or about_to_start:
            leases.append(replace(lease, paused=alive and jobs[job].state == "paused"))
        elif job in jobs and jobs[job].unburied:  # what a dead supervisor left running is charged until it was ended
            leases.append(replace(lease, ending=True, paused=False))
        else:
            over.append(each)
    adopted = _adopted(house, ctx, jobs, {each.ref for each in held}, queue)
    return Books((*leases, *adopted), tuple(over), found, adopted, tuple(ending), queue, work.learned(), work.past(), jobs)


def _as_called(queued: Queued, ctx: Context) -> Queued:
    """What waits, by the name that this pass gives it: it keeps its place."""
    new = next((new for new, old in ctx.moving.items() if old == replace(queued.ref, key="")), None)
    return queued if new is None else replace(queued, item=replace(queued.item, ref=replace(new, key=queued.ref.key)))


def _adopted(house: House, ctx: Context, jobs: Mapping[str, Progress], known: Set[Ref], queue: Sequence[Queued]) -> tuple[Lease, ...]:
    """Leases for live jobs whose work has none: work that runs is charged, whatever became of the note that let it start."""
    strays: dict[Ref, Progress] = {}
    for each in jobs.values():
        ref = Ref.parse(each.ref, house.kinds.kinds) if each.state in LIVE else None
        if ref is not None and ref not in known:
            strays.setdefault(ref, each)
    if not strays:
        return ()
    now, name, waiting = ctx.now(), detect(house.settings.state).name, {each.ref: each.item for each in queue}
    found: list[Lease] = []
    for ref, job in strays.items():
        since = datetime.fromtimestamp(job.since, UTC) if job.since else now
        lease = Lease(ref, ref.owner, name, job.granted, DEFAULT_PRIORITY, since, since)
        if is_slot(job.id):  # a replica is neither paused nor stopped for others
            lease = replace(lease, work="serving", preemptible=False)
        if (item := waiting.get(ref)) is not None:
            lease = replace(lease_of(item, name, since), amounts=job.granted)
        found.append(replace(lease, paused=job.state == "paused"))
    return tuple(found)


def snapshot(
    house: House,
    ctx: Context,
    resources: Iterable[Resource[Any]],
    inventory: Mapping[Ref, Owned],
    books: Books,
    demands: Mapping[Ref, Demand],
    *,
    part: bool = False,
) -> Snapshot:
    """Everything that a decision about `demands` depends on. Asks the sensors; writes nothing.

    `part`: only a part of what waits was looked at, and the rest stands in the queue as before."""
    admission = ctx.platform.admission
    quotas = quotas_of(resources, inventory)
    leased = {each.ref for each in books.leases}
    priorities = {name: each.priority for name, each in quotas.items()}
    waiting = items({ref: each for ref, each in demands.items() if ref not in leased}, books, ctx, priorities)
    if part:
        waiting += tuple(each.item for each in books.queue if each.ref not in demands and each.ref not in leased)
    here, others = node(house, ctx, books), nodes.registered(house.settings.state, ctx.now().timestamp())
    known = {here.name} | nodes.names(house.settings.state)
    return Snapshot(
        now=ctx.now(),
        nodes=(here, *(each for each in others if each.name != here.name)),
        quotas=quotas,
        # this machine may have got another name since: what runs is charged to it all the same
        leases=tuple(each if each.node in known else replace(each, node=here.name) for each in books.leases),
        queue=waiting,
        rules=rules_of(admission),
        past=books.past,
        here=here.name,
    )


def items(demands: Mapping[Ref, Demand], books: Books, ctx: Context, priorities: Mapping[str, int]) -> tuple[Item, ...]:
    """Demands as items of the queue: what waits already keeps its place."""
    before = {each.item.ref: each.item for each in books.queue}
    stopped = {each.ref: each.lease for each in books.over if each.preemptor is not None}
    now, margin = ctx.now(), ctx.platform.admission.margin
    made: list[Item] = []
    for ref, demand in demands.items():
        known, victim = before.get(ref), stopped.get(ref)
        learned = books.learned.get(demand.template)
        since = known.since if known else victim.queued if victim else now
        preempted = known.preempted if known else victim.preempted + 1 if victim else 0
        made.append(
            Item(
                ref=ref,
                project=ref.owner,
                amounts=estimate(demand, learned, demand.facts, margin),
                priority=demand.priority or priorities.get(ref.owner, DEFAULT_PRIORITY),
                since=since,
                work=demand.work,
                seconds=length(demand, learned),
                preemptible=demand.preemptible,
                not_before=demand.not_before,
                largest_buffer=demand.largest_buffer,
                preempted=preempted,
            )
        )
    return tuple(made)


def node(house: House, ctx: Context, books: Books) -> Node:
    """This machine now. A sensor that fails costs what it would have told, nothing else.

    What a run uses above its lease counts as used by somebody else: nobody is given what it holds."""
    machine, admission = detect(house.settings.state, ask=not house.read_only), ctx.platform.admission
    try:
        sampler = house.sensors(ctx.platform)
        sample = sampler.sample()
        model = fit([(at, watts, used) for at, watts, used in sampler.history() if watts is not None])
    except (ReconcilerError, OSError) as error:
        ctx.log.warning("sensors_failed", error=str(error))
        return blind_node(machine, admission)
    leased = {str(each.ref): each.amounts.memory for each in books.leases}
    used = sum(min(each.memory, leased.get(each.ref, 0)) for each in books.jobs.values() if each.state in LIVE)
    return node_of(machine, sample, admission, system=_system(ctx, books.jobs), jobs=used, model=model)


def _system(ctx: Context, jobs: Mapping[str, Progress]) -> Amounts:
    """Memory of the shared services, as measured now. Jobs and replicas are processes below Ray's head, and have leases of their own."""
    below = sum(each.memory for each in jobs.values() if each.backend in ("ray", "serve") and each.state in LIVE)
    return Amounts(memory=max(0, ctx.services.memory() - below))


def seen_by_admission(
    house: House, ctx: Context, resources: Iterable[Resource[Any]], inventory: Mapping[Ref, Owned]
) -> Callable[[], Snapshot]:
    """What controllers are told of quotas, machine and leases: looked at once, when it is first asked for."""

    @cache
    def taken() -> Snapshot:
        return snapshot(house, ctx, resources, inventory, open_books(house, ctx, None), {}, part=True)

    return taken


def look(house: House) -> Snapshot:
    """The snapshot of what was recorded, with today's sensors; for `queue`, `top` and `why`. Raises UsageError without a Platform."""
    from reconciler.errors import UsageError
    from reconciler.house import context

    inventory = house.store.inventory()
    ctx = context(house, {}, inventory, focused=True)
    if ctx is None:
        raise UsageError("nothing is installed here yet", hint="`reconcile` makes the first pass")
    books = open_books(house, ctx, None)
    return snapshot(house, ctx, (), inventory, books, {}, part=True)


def settle(house: House, ctx: Context, books: Books) -> None:
    """Give back what is over, and learn from it; what was pre-empted waits again. Safe to repeat."""
    learned: dict[str, Learned] = {}
    why: dict[Ref, str] = {}
    for each in books.over:
        progress = books.jobs.get(each.job)
        why[each.ref] = progress.why if progress is not None else "it is not wanted any more, and nothing runs"
        if progress is None or progress.state != "ended" or not progress.peak or not each.template:
            continue
        overran = progress.why.startswith("used ")
        if progress.exit_code == 0 or overran:
            seconds = max(0.0, progress.ended - progress.since) if progress.exit_code == 0 else 0.0
            before = learned.get(each.template) or books.learned.get(each.template)
            learned[each.template] = learn(before, progress.peak, seconds, progress.watts, overran)
    victims = [each.waiting() for each in books.over if each.preemptor is not None]
    house.store.work.release([each.ref for each in books.over], actor=house.actor, why=why, requeue=victims, learned=learned)
    if books.adopted:
        house.store.work.grant(books.adopted, actor=house.actor, why={each.ref: "it was found running" for each in books.adopted})
        living = {each.ref: each.id for each in books.jobs.values() if each.state in LIVE}
        for lease in books.adopted:
            house.store.work.set_job(lease.ref, living[str(lease.ref)])
    for ref, job in books.found.items():
        house.store.work.set_job(ref, job)
    if ctx.jobs is not None:
        for each in books.ending:  # we may have been killed between the note and the signal; asking twice does no harm
            ctx.jobs.stop(each.job, f"preempted: {each.why}")
    tidy(ctx, books)


def tidy(ctx: Context, books: Books) -> None:
    """Remove what is kept of jobs whose end everybody knows: the tracking server has it, and what it taught was learned."""
    if ctx.jobs is None:
        return
    ctx.jobs.tend()
    needed = {books.found.get(each.ref) for each in books.leases}
    for each in books.jobs.values():
        if each.state in ("ended", "lost") and each.reported and each.id not in needed and not _fresh(each, ctx):
            ctx.jobs.forget(each.id)
    ctx.jobs.sweep()


def _fresh(job: Progress, ctx: Context) -> bool:
    """What is nobody's child is no run: only its controller hears of its end, in the next pass that looks at everything."""
    return "#" not in job.ref and ctx.now().timestamp() - job.ended < HEARD_SECONDS


def keep(
    house: House, ctx: Context, taken: Snapshot, decision: Decision, books: Books, demands: Mapping[Ref, Demand], gone: Sequence[Ref] = ()
) -> None:
    """Write a decision down: grants, stops, pauses, the queue that is left, what must be remembered.

    `gone` are Refs in the stored queue that nobody wants to start any more."""
    work = house.store.work
    before = {each.ref: each for each in books.queue}
    waiting = {each.ref: _queued(each, demands.get(each.ref), before.get(each.ref)) for each in taken.queue}
    waited_for = {ref: str(each.detail.get("reason", "")) for ref, each in before.items()}
    if decision.preemptions:  # with the room that they make kept for whom it is made: nothing lies between the two
        work.preempt(decision.preemptions, actor=house.actor, past=replace(taken.past, earmarks=decision.past.earmarks))
    templates = {ref: each.template for ref, each in demands.items()}
    work.grant(decision.grants, templates, actor=house.actor, why=waited_for, past=decision.past)
    jobs = {each.ref: each.job for each in work.leases()}
    runner = ctx.jobs
    if runner is not None:
        for stop in decision.preemptions:
            if jobs.get(stop.ref):
                runner.stop(jobs[stop.ref], f"preempted: {stop.why}")
        for refs, act, why in ((decision.pauses, runner.pause, "critically hot"), (decision.resumes, runner.resume, "")):
            for ref in refs:
                if jobs.get(ref):
                    act(jobs[ref])
                    work.mark(ref, paused=bool(why), why=why)
    granted = {each.ref for each in decision.grants}
    left = [
        replace(each, detail={**each.detail, "reason": str(decision.explain(ref).reason)})
        for ref, each in waiting.items()
        if ref not in granted
    ]
    work.put_queue(left, gone)


def _queued(item: Item, demand: Demand | None, before: Queued | None) -> Queued:
    """A row of the queue. What was not looked at in this pass (`demand` None) keeps what is known of it."""
    from reconciler.state import Queued

    if demand is None:
        return replace(before, item=item) if before is not None else Queued(item)
    detail = {"declared": demand.declared, "asked": list(demand.peak), "fresh": demand.fresh, "facts": bool(demand.facts)}
    return Queued(item, True, demand.template, detail)
