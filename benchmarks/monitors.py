"""Whether a Monitor tells a changed stream from one that has not changed, on real data; and what a look at a large window costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import loop
from benchmarks.measure import MIB, Run, checked, percentile
from benchmarks.measure import run as measured
from benchmarks.page import Budget, Section, budgets, machine
from benchmarks.streams import ROWS, Data, Window, clean, digits, draw, load, numbers, shifts
from reconciler.gateway.feedback import Feedback
from reconciler.gateway.predictions import PredictionWriter
from reconciler.model.monitoring import Source, WindowResult, WindowSpec
from reconciler.model.serving import PredictionLog, Route, Target

TITLE = "Monitors"
WINDOWS = 50
"""Clean ones of each data set."""
LARGE = 100_000
NOON = 1_795_176_000.0
CHECKS: Mapping[str, Any] = {"drift": {}, "quality": {}, "predictions": {}, "labels": {}}
TARGET = Target("bench.stream.0a1b2c3d", 100, "stable", "1", "bench/stream", "run", "0a1b2c3d4e", "sklearn")
ROUTE = Route("bench", "stream", (TARGET,), predictions=PredictionLog(log=True))


@dataclass(frozen=True)
class Told:
    """What was made of the windows of one data set."""

    name: str
    normal: int
    columns: int
    raised: int
    windows: int
    shifts: Mapping[str, str]
    """What changed -> what was said; `missed` and `other column first` are failures."""


def run(folder: Path) -> Section:
    """Both parts."""
    told = streams(folder)
    large, small = _cost(folder / "large", LARGE), _cost(folder / "small", 500)
    alone, busy = loop.beside(folder / "loop", partial(_looking, folder / "large"))
    missed = sum(_is_missed(said) for each in told for said in each.shifts.values())
    rows = [
        Budget(
            f"clean windows that were called changed, of {sum(each.windows for each in told)}",
            0,
            sum(each.raised for each in told),
            "windows",
        ),
        Budget(f"known changes missed or told of another column first, of {sum(len(each.shifts) for each in told)}", 0, missed, "changes"),
        Budget(f"a window of {LARGE:,} rows of 20 columns: peak memory", 1024, large.peak, "MiB"),
    ]
    lines = [
        machine(),
        f"Also {', '.join(f'{name} {version(name)}' for name in ('evidently', 'pandas', 'scipy', 'scikit-learn'))}.",
        "",
        *table(told),
        "",
        f"A look at {LARGE:,} rows of 20 columns against as many: {_figures(large)}; at 500 rows of the same: {_figures(small)}.",
        "Whole processes, the import of Evidently included; drift and quality of every column, one snapshot written.",
        "",
        f"The loop over {loop.SMALL} resources, from a saved file to converged, by itself: {_saved(alone)}; while that large window",
        f"is looked at, again and again: {_saved(busy)}. {len(busy)} saves each, in turns.",
    ]
    return Section(TITLE, [*budgets(rows), *lines])


def _saved(seconds: Sequence[float]) -> str:
    return f"p50 {percentile(seconds, 0.5):.2f} s, p95 {percentile(seconds, 0.95):.2f} s"


@contextmanager
def _looking(folder: Path) -> Iterator[None]:
    """Looks at the window of `_cost` in `folder` one after the other, until the block ends."""
    stop, command = threading.Event(), [sys.executable, "-m", "reconciler.monitoring", str(folder / "spec.json")]

    def again() -> None:
        while not stop.is_set():
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None:
                if stop.wait(0.1):
                    process.kill()
                    process.wait()

    thread = threading.Thread(target=again, name="looking")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _figures(cost: Run) -> str:
    return f"{cost.wall:.1f} s, {cost.cpu:.1f} s CPU, {cost.peak:.0f} MiB"


def table(told: Sequence[Told]) -> list[str]:
    """The streams, and what was made of each."""
    names = list(told[0].shifts)
    lines = [
        f"Windows of {ROWS} rows of the data sets that scikit-learn ships, drawn with replacement from the half of the rows that reference",
        "and model do not know; all checks with their defaults. Clean: nothing was changed. Each other column is one window in which one",
        "thing was changed; it says which column was told of first, `(wrong)` when that is another one than the one that was changed.",
        "",
        f"| data | reference | columns | clean, raised | {' | '.join(names)} |",
        f"|---|---:|---:|---:|{'---|' * len(names)}",
    ]
    for each in told:
        said = [each.shifts.get(name, "") for name in names]
        lines.append(f"| {each.name} | {each.normal} | {each.columns} | {each.raised} of {each.windows} | {' | '.join(said)} |")
    return lines


def streams(folder: Path) -> list[Told]:
    """Every data set."""
    os.environ["DO_NOT_TRACK"] = "1"
    return [*(_stream(data, folder / data.name.replace(" ", "-")) for data in load()), _pictures(folder / "digits")]


def _is_missed(said: str) -> bool:
    return said.startswith("missed") or "(wrong)" in said


def _stream(data: Data, folder: Path) -> Told:
    folder.mkdir(parents=True)
    data.normal.to_parquet(folder / "normal.parquet", index=False)
    reference = Source("data", path=str(folder / "normal.parquet"))
    raised = sum(_look(folder / f"clean{number}", data, clean(data, number), reference).verdict == "fail" for number in range(WINDOWS))
    said = {each.what: _said(each, _look(folder / each.what.replace(" ", "-"), data, each, reference)) for each in shifts(data)}
    return Told(data.name, len(data.normal), len(data.normal.columns) - 1, raised, WINDOWS, said)


def _look(state: Path, data: Data, window: Window, reference: Source) -> WindowResult:
    from reconciler.monitoring.look import look

    answers = data.answer(window.rows)
    instances = [window.change(row) for row in window.rows.drop(columns=[data.target]).to_dict("records")]
    end = _log(state, instances, answers, window.rows[data.target].tolist())
    current = Source("log", "bench", "stream", NOON, end)
    return look(_spec(state, current, reference, {name: {} for name in CHECKS}, data.target))


def _said(window: Window, found: WindowResult) -> str:
    failed = next((each for each in found.checks if each.check == window.check and each.verdict == "fail"), None)
    if failed is None:
        return "missed"
    first = failed.columns[0]["column"] if failed.columns else ""
    hint = ", 100 times" if failed.suggestion.endswith("100 times what it was") else ""
    wrong = first != window.column or (window.what == "other unit" and not hint)
    return f"{first}{hint}{' (wrong)' if wrong else ''}"


def _pictures(folder: Path) -> Told:
    """An embedding, held against the log of earlier. Changed: only some of the digits are asked, or the pictures come upside down."""
    from reconciler.monitoring.look import look

    folder.mkdir(parents=True)
    pictures = digits()
    normal, held = pictures[::2], pictures[1::2]

    def asked(name: str, seen: Iterable[Mapping[str, Any]]) -> WindowResult:
        state = folder / name
        middle = _log(state, [*normal], ["x"] * len(normal), [])
        end = _log(state, rows := [*seen], ["x"] * len(rows), [], middle)
        reference = Source("log", "bench", "stream", NOON, middle)
        return look(_spec(state, Source("log", "bench", "stream", middle, end), reference, {"drift": {}}, ""))

    raised = sum(asked(f"clean{number}", draw(held, ROWS, number)).verdict == "fail" for number in range(WINDOWS))
    upside = [{"pixels": each["pixels"][::-1]} for each in draw(held, ROWS, 1000)]
    darker = [{"pixels": [value * 0.5 for value in each["pixels"]]} for each in draw(held, ROWS, 1001)]
    expected = Window("", None, "drift", "pixels")  # type: ignore[arg-type]
    said = {
        "shifted values": f"{_said(expected, asked('upside', upside))} (upside down)",
        "other unit": f"{_said(expected, asked('darker', darker))} (half as bright)",
    }
    return Told("digits, as an embedding", len(normal), 1, raised, WINDOWS, said)


def _cost(folder: Path, rows: int) -> Run:
    """One look as a process, at `rows` rows of 20 columns and a reference of as many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    pq.write_table(pa.table(numbers(rows, 1)), folder / "normal.parquet")
    seen = numbers(rows, 2)
    instances = [dict(zip(seen, row, strict=True)) for row in zip(*(each.tolist() for each in seen.values()), strict=True)]
    end = _log(folder, instances, ["x"] * rows, [])
    spec = _spec(
        folder,
        Source("log", "bench", "stream", NOON, end),
        Source("data", path=str(folder / "normal.parquet")),
        {"drift": {}, "quality": {}},
        "",
    )
    path, log = folder / "spec.json", folder / "log"
    path.write_text(json.dumps(asdict(spec)))
    cost = checked(measured([sys.executable, "-m", "reconciler.monitoring", str(path)], Path.cwd(), log), log)
    result = json.loads(Path(spec.result).read_text())
    if (result["verdict"], result["rows"], bool(result["snapshot"])) != ("pass", rows, True):
        sys.exit(f"the large window was not looked at as it should be: {result['why']} {result['trouble']}")
    return replace(cost, peak=result["memory"] / MIB)  # the kernel's figure begins with the peak of this process


def _spec(state: Path, current: Source, reference: Source, checks: Mapping[str, Any], target: str) -> WindowSpec:
    return WindowSpec(
        key="window",
        ref="monitor/bench/stream",
        state_dir=str(state),
        current=current,
        reference=reference,
        checks=checks,
        result=str(state / "result.json"),
        target=target,
        workspace=str(state / "evidently"),
        project="0197b0a8-0000-7000-8000-000000000001",
        snapshot="0197b0a8-0000-7000-8000-0000000000aa",
        retain=1e9,
    )


def _log(state: Path, instances: Sequence[Any], answers: Sequence[Any], labels: Sequence[Any], at: float = NOON) -> float:
    """Write predictions as the gateway does, and their labels; the moment after the last."""
    state.mkdir(parents=True, exist_ok=True)
    now = at
    writer, feedback = PredictionWriter(state, clock=lambda: now), Feedback(state, clock=lambda: now)
    for start in range(0, len(instances), 1000):
        _until(lambda so_far=start: so_far - writer.written < 20_000)  # type: ignore[misc]
        part = slice(start, start + 1000)
        ids = writer.write(ROUTE, TARGET, f"r{at:.0f}-{start}", instances[part], answers[part], 0.004)
        if labels:
            feedback.add(ROUTE, [{"id": id_, "label": label} for id_, label in zip(ids, labels[part], strict=True)])
        now += 1.0
    for each in (writer, feedback):
        each.close()
        if each.dropped:
            sys.exit("the log could not be written")
    return now


def _until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.01)
