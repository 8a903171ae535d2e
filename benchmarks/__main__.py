"""`make bench`: the budgets of the design, measured on real MLflow and DVC; writes docs/performance.md."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import admission, loop, metrics, monitors, sensors, serving, sizes, workflows
from benchmarks.page import PAGE, Section, merged

ORDER = (sizes.TITLE, loop.TITLE, admission.TITLE, sensors.TITLE, metrics.TITLE, serving.TITLE, workflows.TITLE, monitors.TITLE)


def main() -> None:
    """Measure the chosen parts and write their sections of the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--only",
        nargs="+",
        choices=("sizes", "loop", "admission", "sensors", "metrics", "serving", "workflows", "monitors"),
        help="parts to measure; all by default",
    )
    options.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000], help="resources of the estates of `sizes`")
    options.add_argument("--no-runs", action="store_true", help="leave out the finished runs of the largest estate")
    options.add_argument("--table", action="store_true", help="of `monitors` the table of streams alone, printed and not kept")
    options.add_argument("--keep", action="store_true", help="leave the page as it is, print only")
    chosen = options.parse_args()
    if chosen.table:
        with tempfile.TemporaryDirectory(prefix="mlops-bench-", ignore_cleanup_errors=True) as folder:
            print("\n".join(monitors.table(monitors.streams(Path(folder)))))
        return
    parts: dict[str, Callable[[Path], Section]] = {  # the quick ones first: they want a machine that does nothing else
        "admission": lambda folder: admission.run(),
        "sensors": lambda folder: sensors.run(),
        "metrics": metrics.run,
        "serving": serving.run,
        "workflows": workflows.run,
        "monitors": monitors.run,
        "loop": loop.run,
        "sizes": lambda folder: sizes.run(folder, chosen.sizes, runs=not chosen.no_runs),
    }
    for name, part in parts.items():
        if name in (chosen.only or parts):
            with tempfile.TemporaryDirectory(prefix="mlops-bench-", ignore_cleanup_errors=True) as folder:
                section = part(Path(folder))
            print("\n".join([f"## {section.title}", "", *section.lines, ""]), flush=True)
            if not chosen.keep:  # each as soon as it is known: an interrupted run has measured something all the same
                PAGE.write_text(merged(PAGE.read_text(encoding="utf-8") if PAGE.exists() else "", [section], ORDER), encoding="utf-8")


if __name__ == "__main__":
    main()
