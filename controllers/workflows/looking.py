"""What Airflow and the repository of specs say, in a few listings for all workflows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from controllers.tools.airflow import ACTIVE, Airflow, DagInfo, PoolInfo, RunInfo, TaskInfo, connect, moment
from controllers.workflows.compiling import dag_id, digest_in, tag
from reconciler import delivery, exchange
from reconciler.controller import Context
from reconciler.model import JSON, Ref, Resource
from schemas.workflow import WorkflowSpec

KIND = "Workflow"
SERVICES = ("airflow", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
SEEN, LAST = "seen", "last"
"""In a workflow's notebook: until when its runs were looked through (Unix seconds), and the last that ended."""
RUNS, KEPT_RUNS = "runs", 10
"""In it: the runs that were seen to end, the newest last; how many of them."""
OVERLAP, LONGEST = 60.0, 600.0
"""Seconds by which two looks overlap; and after which the notebook says so although nothing ended."""
FAILURE = "failure"
"""XCom with which a task tells of its failure (`reconciler.workflows.operator`)."""
WAITS_FOR_SLOT = "scheduled"


@dataclass(frozen=True)
class Delivered:
    """A spec in the repository."""

    dag: str
    digest: str
    ref: str
    installation: str


@dataclass
class Sight:
    """One pass's look. Each part is read when it is first asked for."""

    ctx: Context
    airflow: Airflow = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.airflow = connect(self.ctx)
        self.at = self.ctx.now().timestamp()

    @cached_property
    def dags(self) -> Mapping[str, DagInfo]:
        return {each.id: each for each in self.airflow.dags(tag(self.ctx.installation))}

    @cached_property
    def delivered(self) -> Mapping[str, Delivered]:
        """What the repository holds; a file that is no spec is left out, and is delivered again."""
        place = repository(self.ctx)
        return dict(_specs(place)) if place is not None and (place / ".git").exists() else {}

    @cached_property
    def errors(self) -> str:
        """Why the loader could not be read; empty = it could."""
        found = self.airflow.import_errors() if any(each.errors for each in self.dags.values()) or not self.dags else {}
        ours = exchange.LOADER.partition(".")[0]
        traces = (text.strip() for name, text in sorted(found.items()) if name.rpartition("/")[2].startswith(ours))
        return next((trace.splitlines()[-1] for trace in traces if trace), "")

    @cached_property
    def active(self) -> Mapping[str, Sequence[RunInfo]]:
        """Runs that go on, by DAG."""
        return _by_dag(self.airflow.runs(list(self.dags), states=ACTIVE))

    @cached_property
    def tasks(self) -> Sequence[TaskInfo]:
        """Every unfinished task of those."""
        return list(self.airflow.tasks([dag for dag, runs in self.active.items() if runs]))

    @cached_property
    def pools(self) -> Mapping[str, PoolInfo]:
        return self.airflow.pools()

    @cached_property
    def requests(self) -> Sequence[exchange.Request]:
        return list(exchange.requests(exchange.folder(self.ctx.state_dir)))

    def ended(self, resources: Sequence[Resource[WorkflowSpec]]) -> Mapping[str, RunInfo]:
        """The run of each that ended last, as far as it ended since its notebook was written."""
        since = {dag_id(each.ref): float(self.ctx.memo(each.ref).get(SEEN) or 0.0) for each in resources}
        known = {dag: at for dag, at in since.items() if at and dag in self.dags}
        found: dict[str, RunInfo] = {}
        looks = [
            (list(known), min(known.values(), default=0.0) - OVERLAP),
            ([dag for dag in since if dag not in known and dag in self.dags], 0.0),
        ]
        for dags, start in looks:
            text = _iso(start) if start > 0 else ""
            for run in self.airflow.runs(dags, states=("success", "failed"), since=text):
                if run.dag not in found or moment(found[run.dag].ended) < moment(run.ended):
                    found[run.dag] = run
        return found

    def failure(self, run: RunInfo) -> dict[str, JSON]:
        """Why a run failed: the task that failed first, with what it said of itself, or else with what its log says."""
        failed = sorted(self.airflow.tasks([run.dag], [run.id], ("failed",)), key=lambda each: (moment(each.ended), each.task))
        if not failed:
            return {"why": "no task of it failed: it was marked by hand"}
        first = failed[0]
        told = self.airflow.xcom(first, FAILURE)
        found = told if isinstance(told, dict) else self.airflow.last_words(first)
        return {"task": first.task, "attempt": first.attempt, **found}


def sight(ctx: Context) -> Sight:
    """The pass's one look."""
    return ctx.client(Sight, Sight)


def look_anew(ctx: Context) -> Sight:
    """The same, from now: what was looked at before a write says nothing about what came of it."""
    with ctx.lock:
        ctx.clients.pop(Sight, None)
    return sight(ctx)


def note(resource: Resource[Any], ctx: Context) -> None:
    """Write down the last run that ended. What was looked through is written when it matters."""
    seen = ctx.client(Ended, lambda _: Ended())
    if not seen.looked:
        return
    look, page, newest = sight(ctx), ctx.memo(resource.ref), seen.found.get(dag_id(resource.ref))
    before = page.get(LAST) or {}
    if newest is not None and (before.get("id"), before.get("state"), before.get("ended")) != (newest.id, newest.state, newest.ended):
        page[LAST], page[SEEN] = told_of(newest, look), look.at
        page[RUNS] = remembered(page.get(RUNS) or (), newest)
    elif look.at - float(page.get(SEEN) or 0.0) > LONGEST:
        page[SEEN] = look.at


def remembered(before: Sequence[Mapping[str, JSON]], newest: RunInfo) -> list[dict[str, JSON]]:
    """The runs that a notebook remembers, the newest last; one that ended twice, having been cleared, is there once."""
    told = {name: getattr(newest, name) for name in ("id", "state", "type", "started", "queued", "ended")}
    return [*[dict(each) for each in before if each.get("id") != newest.id], told][-KEPT_RUNS:]


def look_at(ref: Ref, ctx: Context) -> RunInfo | None:
    """The run that ended last, as this pass has seen it."""
    return ctx.client(Ended, lambda _: Ended()).found.get(dag_id(ref))


@dataclass
class Ended:
    """What `observe` has found out for `note`."""

    looked: bool = False
    found: dict[str, RunInfo] = field(default_factory=dict)
    told: dict[tuple[str, str], dict[str, JSON]] = field(default_factory=dict)
    """By DAG and run: another workflow's first run by hand has the same name."""


def told_of(run: RunInfo, look: Sight) -> dict[str, JSON]:
    """A run as a notebook keeps it."""
    ref = ref_of(run.dag)
    before = (look.ctx.memo(ref).get(LAST) if ref is not None else None) or {}
    if (before.get("id"), before.get("state"), before.get("ended")) == (run.id, run.state, run.ended):
        return dict(before)  # why it failed was asked already
    shared = look.ctx.client(Ended, lambda _: Ended())
    name = (run.dag, run.id)
    if name not in shared.told:
        told = ("id", "state", "type", "started", "queued", "ended", "note", "version")
        kept = {key: value for key, value in asdict(run).items() if key in told}
        shared.told[name] = {**kept, **({"failure": look.failure(run)} if run.state == "failed" else {})}
    return shared.told[name]


def repository(ctx: Context) -> Path | None:
    """Where specs are delivered; None: an existing Airflow, and nobody said which repository its bundle reads."""
    given = ctx.platform.airflow
    if given.managed:
        return ctx.state_dir / "services" / "airflow" / exchange.DAGS
    return Path(given.bundle).expanduser() if given.bundle else None


def ref_of(dag: str) -> Ref | None:
    """The workflow that a DAG of ours stands for."""
    project, _, name = dag.partition(".")
    return Ref(KIND, project, name) if project and name else None


def _specs(place: Path) -> Iterator[tuple[str, Delivered]]:
    for dag, text in delivery.specs(place).items():
        try:
            raw = json.loads(text)
            yield dag, Delivered(dag, digest_in(raw["tags"]), str(raw["ref"]), str(raw["installation"]))
        except (ValueError, KeyError, TypeError):
            continue


def _by_dag(runs: Iterator[RunInfo]) -> dict[str, list[RunInfo]]:
    found: dict[str, list[RunInfo]] = defaultdict(list)
    for each in runs:
        found[each.dag].append(each)
    return found


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def trouble(ctx: Context) -> str:
    """Why the repository cannot be delivered to; empty = it can. Of an Airflow of ours it is made before that starts."""
    if ctx.platform.airflow.managed:
        return ""
    place = repository(ctx)
    if place is None:
        return "no delivery: this Airflow is not ours, and the Platform does not say which repository its bundle reads"
    return "" if (place / ".git").exists() else f"no delivery: {place} is not a git repository"
