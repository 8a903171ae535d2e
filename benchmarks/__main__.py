"""`make bench`: load, validate, plan and a no-op pass at several sizes, on real MLflow and DVC, beside `terraform plan`."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import estate, measure
from benchmarks.measure import Run

RECONCILE = str(Path(sys.executable).with_name("reconcile"))
REPEATS = 3
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


@dataclass
class Size:
    """Everything that was measured at one size."""

    resources: int
    rows: dict[str, Run] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    writes: int = 0


def main() -> None:
    """Measure every size and write the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000])
    options.add_argument("--keep", action="store_true", help="leave the page as it is, print only")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlops-bench-", ignore_cleanup_errors=True) as folder:
        sizes = [_measure(Path(folder), size) for size in chosen.sizes]
        start = measure.median([measure.run([RECONCILE, "--help"], Path(folder), Path(folder) / "log") for _ in range(REPEATS)])
    page = _page(sizes, start)
    print(page)
    if not chosen.keep:
        PAGE.write_text(page, encoding="utf-8")


def _measure(folder: Path, resources: int) -> Size:
    here, log, wire = folder / f"estate-{resources}", folder / f"log-{resources}", folder / f"wire-{resources}"
    estate.build(here, resources)
    size = Size(resources)
    print(f"{resources}: creating everything (not one of the budgets)", flush=True)
    try:
        size.rows["create everything, services from nothing"] = _checked(
            measure.run([RECONCILE, "--wait", "--timeout", "3600s"], here, log), log
        )
        for name, arguments in {
            "load and validate, cold cache": ["validate"],
            "load and validate": ["validate"],
            "no-op dry run": ["--dry-run", "--detailed-exitcode", "--wire-log", str(wire)],
            "no-op pass": ["--wire-log", str(wire)],
        }.items():
            runs: list[Run] = []
            for _ in range(1 if "cold" in name else REPEATS):
                wire.unlink(missing_ok=True)
                if "cold" in name:
                    shutil.rmtree(here / ".mlops" / "cache", ignore_errors=True)
                runs.append(_checked(measure.run([RECONCILE, *arguments], here, log), log))
            size.rows[name] = measure.median(runs)
            print(f"{resources}: {name}: {size.rows[name]}", flush=True)
        size.calls, size.writes = measure.calls(wire)
    finally:
        measure.run([RECONCILE, "platform", "down"], here, log)
    _terraform(folder, resources, size, log)
    return size


def _terraform(folder: Path, resources: int, size: Size, log: Path) -> None:
    program = shutil.which("terraform")
    if program is None:
        return
    here = folder / f"terraform-{resources}"
    estate.terraform(here, resources)
    quiet = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    _checked(measure.run([program, "init", "-input=false"], here, log, quiet), log)
    runs = [_checked(measure.run([program, "plan", "-detailed-exitcode", "-input=false"], here, log, quiet), log) for _ in range(REPEATS)]
    size.rows["terraform plan, nothing to do"] = measure.median(runs)
    print(f"{resources}: terraform plan: {size.rows['terraform plan, nothing to do']}", flush=True)


def _checked(run: Run, log: Path) -> Run:
    if run.code != 0:
        sys.exit(f"a measured command ended with {run.code}:\n{log.read_text(errors='replace')[-3000:]}")
    return run


def _page(sizes: list[Size], start: Run) -> str:
    terraform = _said([shutil.which("terraform") or "terraform", "version"]).partition("\n")[0] or "no terraform on PATH"
    tools = ", ".join(f"{name} {version(name)}" for name in ("mlflow", "dvc", "pydantic", "sqlalchemy"))
    lines = [
        "# Performance",
        "",
        "Written by `make bench`; medians of three runs after a first one, whole processes, CPU seconds of the command and its children.",
        "Machines differ and are shared: compare the ratios within one table, not the seconds between two machines.",
        "",
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, {_memory()} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {tools}; {terraform}.",
        "",
        f"`reconcile --help`: {start.cpu:.2f} s CPU (budget 0.25).",
        "",
        "Five of eight resources are MLflow experiments, three are DVC datasets, the rest are projects and quotas. The no-op pass",
        "compares every one of them with the real tools; `terraform plan` compares as many `terraform_data` resources with its state",
        "file and calls no remote.",
        "",
        "| resources | what | CPU s | wall s | peak MiB |",
        "|---:|---|---:|---:|---:|",
    ]
    for size in sizes:
        lines += [f"| {size.resources:,} | {name} | {run.cpu:.2f} | {run.wall:.2f} | {run.peak:.0f} |" for name, run in size.rows.items()]
    lines += [
        "",
        "| resources | calls per tool in a no-op pass | writes | CPU ms per resource | CPU of `terraform plan` / ours |",
        "|---:|---|---:|---:|---:|",
    ]
    for size in sizes:
        noop, other = size.rows["no-op dry run"], size.rows.get("terraform plan, nothing to do")
        told = ", ".join(f"{tool} {count}" for tool, count in sorted(size.calls.items()))
        ratio = f"{other.cpu / noop.cpu:.1f}" if other else "not measured"
        lines.append(f"| {size.resources:,} | {told} | {size.writes} | {1000 * noop.cpu / size.resources:.2f} | {ratio} |")
    return "\n".join(lines) + "\n"


def _memory() -> int:
    import psutil

    return round(psutil.virtual_memory().total / (1 << 30))


def _said(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout
    except OSError:
        return ""


if __name__ == "__main__":
    main()
