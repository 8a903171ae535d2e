"""Whole commands over estates of several sizes, with and without finished runs, beside `terraform plan`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import estate, finished, measure
from benchmarks.measure import Run
from benchmarks.page import Budget, Section, budgets, machine
from benchmarks.site import RECONCILE, Site, installation

TITLE = "Passes over estates of several sizes"
REPEATS = 3
RUNS = 20_000
LARGE = 10_000
"""Resources from which the runs are measured too."""
SMALL = 100
DRY, PASS = "no-op dry run", "no-op pass"
DRY_RUNS, PASS_RUNS = f"{DRY}, {RUNS:,} finished runs", f"{PASS}, {RUNS:,} finished runs"
NEW, FIRST = f"dry run that finds {RUNS:,} new runs", f"pass that reads {RUNS:,} finished runs for the first time"
TERRAFORM = "terraform plan, nothing to do"


@dataclass
class Size:
    """Everything that was measured at one size."""

    resources: int
    rows: dict[str, Run] = field(default_factory=dict)
    calls: dict[str, dict[str, int]] = field(default_factory=dict)
    """By the name of the row, then by tool."""
    writes: int = 0


def run(folder: Path, sizes: Sequence[int], *, runs: bool) -> Section:
    """Measure every size; with `runs`, the large one with its finished runs too."""
    found = [_size(folder, resources, runs=runs and resources >= LARGE) for resources in sizes]
    log = folder / "help.log"
    start, empty, client = (
        measure.median([measure.checked(measure.run(each, folder, log), log) for _ in range(REPEATS)])
        for each in ([RECONCILE, "--help"], [sys.executable, "-c", ""], [sys.executable, "-c", "from reconciler.client import MLOpsClient"])
    )
    return Section(TITLE, _lines(found, start, client.cpu - empty.cpu))


def _size(folder: Path, resources: int, *, runs: bool) -> Size:
    size, wire = Size(resources), folder / f"wire-{resources}"
    with installation(folder, resources) as site:
        _note(size, "create everything, services from nothing", [site.reconcile("--wait", "--timeout", "3600s")])
        shutil.rmtree(site.root / ".mlops" / "cache", ignore_errors=True)
        _note(size, "load and validate, cold cache", [site.reconcile("validate")])
        _note(size, "load and validate", [site.reconcile("validate") for _ in range(REPEATS)])
        _noop(site, size, DRY, PASS, wire)
        if runs:
            _with_runs(site, size, wire)
            _noop(site, size, DRY_RUNS, PASS_RUNS, wire)
    _terraform(folder, size)
    return size


def _noop(site: Site, size: Size, dry: str, whole: str, wire: Path) -> None:
    for name, arguments in ((dry, ("--dry-run", "--detailed-exitcode")), (whole, ("--detailed-exitcode",))):
        runs: list[Run] = []
        for _ in range(REPEATS):
            wire.unlink(missing_ok=True)
            runs.append(site.reconcile(*arguments, "--wire-log", str(wire)))
        _note(size, name, runs)
        size.calls[name], writes = measure.calls(wire)
        size.writes += writes


def _with_runs(site: Site, size: Size, wire: Path) -> None:
    """Declare the runs, one of which is launched, and bring all to their end."""
    finished.declare(site, [0], most=1)
    _note(size, "pass that launches one run, until it has ended", [site.reconcile("--wait", "--timeout", "600s")])
    finished.declare(site, range(finished.SEEDS), most=RUNS // finished.SEEDS)
    _note(size, NEW, [site.reconcile("--dry-run", "-o", "json", allowed=(3,))])  # 3: they wait for a yes, being more than the launch budget
    # In a process of its own: the kernel counts the memory of whoever starts a command into that command's peak.
    here, writing = Path(__file__).parent.parent, [sys.executable, "-m", "benchmarks.finished", str(site.root), str(RUNS - 1)]
    measure.checked(measure.run(writing, here, site.log), site.log)
    wire.unlink(missing_ok=True)
    _note(size, FIRST, [site.reconcile("--detailed-exitcode", "--wire-log", str(wire))])
    size.calls[FIRST], writes = measure.calls(wire)
    size.writes += writes
    _note(size, "pass after that, which forgets their statuses", [site.reconcile("--detailed-exitcode")])


def _terraform(folder: Path, size: Size) -> None:
    program = shutil.which("terraform")
    if program is None:
        return
    here, log = folder / f"terraform-{size.resources}", folder / f"terraform-{size.resources}.log"
    estate.terraform(here, size.resources)
    quiet = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    measure.checked(measure.run([program, "init", "-input=false"], here, log, quiet), log)
    plan = [program, "plan", "-detailed-exitcode", "-input=false"]
    _note(size, TERRAFORM, [measure.checked(measure.run(plan, here, log, quiet), log) for _ in range(REPEATS)])


def _note(size: Size, name: str, runs: Sequence[Run]) -> None:
    size.rows[name] = measure.median(runs)
    print(f"{size.resources}: {name}: {size.rows[name]}", flush=True)


def _lines(sizes: Sequence[Size], start: Run, client: float) -> list[str]:
    lines = [
        *budgets(_budgets(sizes, start, client)),
        machine(),
        "",
        "Five of eight resources are MLflow experiments, three are DVC datasets, the rest are projects and quotas. A no-op pass",
        "compares every one of them with the real tools; `terraform plan` compares as many `terraform_data` resources with its state",
        f"file and calls no remote. The {RUNS:,} runs belong to {RUNS // finished.SEEDS:,} experiments; one was launched, and the others",
        "were written into MLflow's database in its image, each with the identity, tags and inputs that the product gives it.",
        f"Medians of {REPEATS} runs; one run of what happens once. A no-op pass must end with exit code 0 of `--detailed-exitcode`:",
        "nothing was changed or launched.",
        "",
        "| resources | what | CPU s | wall s | peak MiB | calls |",
        "|---:|---|---:|---:|---:|---|",
    ]
    for size in sizes:
        for name, each in size.rows.items():
            told = ", ".join(f"{tool} {count}" for tool, count in sorted(size.calls.get(name, {}).items()))
            lines.append(f"| {size.resources:,} | {name} | {each.cpu:.2f} | {each.wall:.2f} | {each.peak:.0f} | {told} |")
    lines += [
        "",
        "| resources | writes in all no-op passes | CPU ms per resource | CPU of `terraform plan` / ours |",
        "|---:|---:|---:|---:|",
    ]
    for size in sizes:
        dry, other = size.rows[DRY], size.rows.get(TERRAFORM)
        ratio = f"{other.cpu / dry.cpu:.1f}" if other else "not measured"
        lines.append(f"| {size.resources:,} | {size.writes} | {1000 * dry.cpu / size.resources:.2f} | {ratio} |")
    return lines


def _budgets(sizes: Sequence[Size], start: Run, client: float) -> list[Budget]:
    rows = [Budget("`reconcile --help`, CPU", 0.25, start.cpu, "s")]
    rows.append(Budget("`from reconciler.client import MLOpsClient`, less an empty program: CPU", 0.15, client, "s"))
    for size in sizes:
        if size.resources <= SMALL:
            rows.append(Budget(f"{DRY}, {size.resources:,} resources (the budget is for 60): CPU", 1.2, size.rows[DRY].cpu, "s"))
        if size.resources < LARGE:
            continue
        for name in (DRY_RUNS, PASS_RUNS) if DRY_RUNS in size.rows else (DRY, PASS):
            what, each = f"{name}, {size.resources:,} resources", size.rows[name]
            rows += [Budget(f"{what}: CPU", 4.0, each.cpu, "s"), Budget(f"{what}: peak memory", 300, each.peak, "MiB")]
            rows.append(Budget(f"{what}: calls to tools", 20, sum(size.calls[name].values()), "calls"))
            if TERRAFORM in size.rows and "dry" in name:
                rows.append(Budget(f"{what}: CPU of `terraform plan` / ours", 5.0, size.rows[TERRAFORM].cpu / each.cpu, "x", least=True))
    return rows
