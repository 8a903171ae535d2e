"""An experiment and its runs taken through passes step by step, with a real MLflow, real processes and no engine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from controllers.experiment import ExperimentController
from controllers.run import RunController
from controllers.tools import mlflow_runs
from controllers.tools.mlflow import connect
from controllers.tools.mlflow_runs import RunInfo
from reconciler.admission.values import Lease
from reconciler.controller import Call, Context
from reconciler.model import (
    Absent,
    Amounts,
    Create,
    Demand,
    Diff,
    Done,
    Health,
    HealthReport,
    Observation,
    Outcome,
    Owned,
    Present,
    Progress,
    Ref,
    Resource,
    Update,
)
from reconciler.runs.local import LocalRunner
from reconciler.testing import ServicesAt, make_context, make_resource
from schemas.experiment import KIND
from schemas.project import KIND as PROJECT

PROGRAM = """
import argparse, json, os, pathlib, sys, time
parser = argparse.ArgumentParser()
for name, default in (("data", ""), ("seed", ""), ("out", ""), ("rate", "1"), ("sleep", "0"), ("code", "0"), ("flaky", "")):
    parser.add_argument(f"--{name}", default=default)
given = parser.parse_args()
out = pathlib.Path(given.out)
out.mkdir(parents=True, exist_ok=True)
print("argv", sys.argv[1:], flush=True)
if given.flaky and not pathlib.Path(given.flaky).exists():
    pathlib.Path(given.flaky).touch()
    sys.exit("not yet")
time.sleep(float(given.sleep))
if given.code != "0":
    print("the loss is not a number", file=sys.stderr)
    sys.exit(int(given.code))
told = {"score": float(given.rate) * 2, "seed": int(given.seed)}
(out / "metrics.json").write_text(json.dumps(told))
(out / "seen.json").write_text(json.dumps({"argv": sys.argv[1:], "datasets": os.environ["MLOPS_DATASETS"], "cwd": os.getcwd()}))
"""
Looked: TypeAlias = tuple[Observation, Sequence[Resource[Any]], Mapping[Ref, Observation]]
SCORE = {"name": "score"}
TABLE = Ref("Dataset", "demo", "table")


@dataclasses.dataclass(frozen=True)
class Seen:
    """What one pass saw and did."""

    children: Mapping[Ref, Resource[Any]]
    observations: Mapping[Ref, Observation]
    diffs: Mapping[Ref, Diff]
    outcomes: Mapping[Ref, Outcome]
    demands: Mapping[Ref, Demand]
    health: Mapping[str, HealthReport]
    """By label."""
    whole: HealthReport
    """The experiment's."""


class Lab:
    """One project `demo` with one experiment; each call of `reconcile` is a pass with fresh clients."""

    def __init__(self, folder: Path, url: str, name: str, state_dir: Path) -> None:
        self.name, self.calls = name, list[Call]()
        self.ctx = make_context(folder, installation="runs", services=ServicesAt({"mlflow": url}), wire=self.calls.append)
        self.ctx = replace(self.ctx, state_dir=state_dir)  # shared: the environment is made once
        self.root = self.ctx.root / "demo"
        (self.root / "data").mkdir(parents=True)
        (self.root / "train.py").write_text(PROGRAM)
        (self.root / "data" / "table.csv").write_text("x\n1\n")
        self.runner = LocalRunner(self.ctx.state_dir, lambda: None)
        project: Resource[Any] = make_resource(PROJECT, "demo", {"path": "demo"})
        self.ctx = replace(self.ctx, jobs=self.runner, projects={"demo": project})
        self.digest = "a" * 32
        self.kind, self.runs = ExperimentController(), RunController()
        self.ahead = timedelta()

    def experiment(self, runs: Mapping[str, Any] | None, **spec: Any) -> Resource[Any]:
        """The experiment with these runs, bound to the present version of its one dataset."""
        given = {
            "metric": SCORE,
            "datasets": ["table"],
            **({"runs": {"entrypoint": "train.py", **runs}} if runs is not None else {}),
            **spec,
        }
        made: Resource[Any] = make_resource(
            KIND, self.name, given, root=self.root, references=[TABLE], requires=[Ref("Project", None, "demo")]
        )
        return replace(made, inputs={TABLE: {"digest": self.digest, "path": "data/table.csv"}})

    def fresh(self, granted: Mapping[Ref, Lease] | None = None) -> Context:
        now = self.ctx.now
        return replace(self.ctx, clients={}, granted=granted or {}, now=lambda: now() + self.ahead)

    def look(
        self, experiment: Resource[Any], ctx: Context | None = None
    ) -> tuple[Observation, Sequence[Resource[Any]], Mapping[Ref, Observation]]:
        """The experiment, its children and what is seen of them."""
        ctx = ctx or self.fresh()
        parent = self.kind.observe([experiment], ctx)[experiment.ref]
        facts = self.kind.facts([experiment], ctx)
        children = self.kind.children(experiment, parent, facts.get(experiment.ref, {}))
        return parent, children, self.runs.observe(children, ctx)

    def reconcile(self, experiment: Resource[Any], *, grant: bool = True) -> Seen:
        """One pass: everything that differs is put right, with a lease for everything that asks for one. As the ledger does, what is
        over and reported is forgotten first."""
        for job in self.jobs():
            if job.state == "ended" and job.reported:
                self.runner.forget(job.id)
        ctx = self.fresh()
        parent, children, seen = self.look(experiment, ctx)
        if isinstance(parent, Absent):
            assert isinstance(self.kind.apply(Create(experiment), ctx), Done)
        elif isinstance(parent, Present) and (changes := self.kind.diff(experiment, parent)):
            self.kind.apply(Update(experiment, parent, changes), ctx)
        diffs, outcomes, demands, health = {}, {}, {}, {}
        for child in children:
            found = seen[child.ref]
            action: Create | Update | None = Create(child)
            if isinstance(found, Present):
                diffs[child.ref] = self.runs.diff(child, found)
                action = Update(child, found, diffs[child.ref]) if diffs[child.ref] else None
                health[child.ref.key] = self.runs.health(child, found)
            if action is None:
                continue
            demand = self.runs.demand(action, ctx)
            if demand is not None:
                demands[child.ref] = demand
            late = demand is not None and demand.not_before is not None and demand.not_before > ctx.now()
            if late or (demand is not None and not grant):
                continue
            granted = {child.ref: lease(child.ref)} if demand is not None else {}
            outcomes[child.ref] = self.runs.apply(action, replace(ctx, granted=granted))
        known = {child.ref for child in children}
        for ref, each in seen.items():
            if ref not in known and isinstance(each, Present):
                outcomes[ref] = self.runs.delete(Owned(ref, each.external_id, "root", "", {}, "auto"), ctx)
        own = self.kind.health(experiment, parent) if isinstance(parent, Present) else HealthReport(Health.MISSING)
        summed = [(child, health[child.ref.key].health, health[child.ref.key].reason) for child in children if child.ref.key in health]
        whole = self.kind.sum_up(experiment, own, summed, ctx) if len(summed) == len(children) else own
        return Seen({each.ref: each for each in children}, seen, diffs, outcomes, demands, health, whole)

    def settle(self, experiment: Resource[Any], seconds: float = 60.0) -> Seen:
        """Passes until nothing is left to do and nothing runs."""
        deadline = time.monotonic() + seconds
        while True:
            pass_ = self.reconcile(experiment)
            if not pass_.outcomes and not any(each.health is Health.PROGRESSING for each in pass_.health.values()):
                return pass_
            assert time.monotonic() < deadline, f"not settled: {pass_.health} {self.jobs()}"
            time.sleep(0.2)

    def until(self, what: str, experiment: Resource[Any], told: Any, seconds: float = 30.0) -> Seen:
        """Passes until `told(pass)` holds."""
        deadline = time.monotonic() + seconds
        while not told(pass_ := self.reconcile(experiment)):
            assert time.monotonic() < deadline, f"never {what}: {pass_.health} {self.jobs()}"
            time.sleep(0.2)
        return pass_

    def all_runs(self) -> list[RunInfo]:
        """What MLflow holds, the oldest first."""
        mlflow = connect(ctx := self.fresh())
        ids = list(mlflow.ids([f"demo/{self.name}"]).values())
        return sorted(mlflow_runs.search(mlflow, ids, {"mlops.installation": ctx.installation}), key=lambda each: each.started)

    def writes(self) -> list[str]:
        return [each.target for each in self.calls if each.write]

    def jobs(self) -> list[Progress]:
        """This experiment's."""
        return [each for each in self.runner.look().values() if f"/{self.name}#" in each.ref]

    def end(self) -> None:
        """Leave no process behind."""
        for each in self.jobs():
            if each.state not in ("ended", "lost"):
                self.runner.stop(each.id, "the test is over")
        deadline = time.monotonic() + 30
        while any(each.state not in ("ended", "lost") for each in self.jobs()):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def lease(ref: Ref) -> Lease:
    """What admission would grant."""
    now = datetime.now(UTC)
    return Lease(ref, ref.owner, "here", Amounts(256 << 20, 1000), 5, now, now - timedelta(seconds=3))
