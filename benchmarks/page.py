"""docs/performance.md: one section for each part that was measured; the parts that were not keep what they said."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import MIB

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_HEAD = """# Performance

Written by `make bench`; `python -m benchmarks --only PART` measures a part again. Whole processes, the real tools, CPU seconds of the
command and its children. Machines differ and are shared: compare the ratios within one section, not the seconds between two machines.
Latencies are wall time, so they hold what else the machine did; the load is told with each section.
"""


@dataclass(frozen=True)
class Budget:
    """One figure beside what it may be at most (or, with `least`, at least)."""

    what: str
    limit: float
    measured: float
    unit: str
    least: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.least else self.measured <= self.limit

    def row(self) -> str:
        sign, verdict = (">=" if self.least else "<="), ("met" if self.met else "**over**" if not self.least else "**missed**")
        return f"| {self.what} | {sign} {self.limit:g} {self.unit} | {figure(self.measured)} {self.unit} | {verdict} |"


@dataclass(frozen=True)
class Section:
    """What one part of the benchmarks has to say."""

    title: str
    lines: Sequence[str]


def figure(value: float) -> str:
    """Three digits that count, in plain notation."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def budgets(rows: Sequence[Budget]) -> list[str]:
    """Table of budgets."""
    return ["| budget | allowed | measured | |", "|---|---:|---:|---|", *(each.row() for each in rows), ""]


def machine() -> str:
    """Where and with what a section was measured."""
    import psutil

    tools = ", ".join(f"{name} {version(name)}" for name in ("mlflow", "dvc", "pydantic", "sqlalchemy"))
    memory, load = round(psutil.virtual_memory().total / (MIB << 10)), psutil.getloadavg()
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, {memory} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {tools}; {_terraform()}. Load of the machine over the last 5 and 15 minutes: "
        f"{load[1]:.1f} and {load[2]:.1f}."
    )


def merged(page: str, sections: Sequence[Section], order: Sequence[str]) -> str:
    """The page with these sections in the places of those of the same title; `order` names all titles."""
    said = {title.strip(): body.strip() for title, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL)}
    said |= {each.title: "\n".join(each.lines).strip() for each in sections}
    return "\n".join([_HEAD, *(f"## {title}\n\n{said[title]}\n" for title in order if title in said)])


def _terraform() -> str:
    program = shutil.which("terraform")
    if program is None:
        return "no terraform on PATH"
    try:
        return subprocess.run([program, "version"], capture_output=True, text=True, timeout=30, check=False).stdout.partition("\n")[0]
    except (OSError, subprocess.TimeoutExpired):
        return "terraform of an unknown version"
