"""The sampler: real files, simulated or recorded sensors, a clock that the test moves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.admission.values import Level
from reconciler.errors import Terminal
from reconciler.hardware import keep
from reconciler.hardware.detector import detect
from reconciler.hardware.probe import Look, MemoryUse, Probe, Silent
from reconciler.hardware.sampler import POINTS, Sampler, open_sampler
from reconciler.hardware.system import SystemUse, load, reader
from reconciler.hardware.values import Reading
from schemas.platform import Admission, Simulated

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        return self.at

    def on(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def trace(folder: Path, *lines: str) -> str:
    (folder / "trace.jsonl").write_text("\n".join(lines))
    return "trace.jsonl"


def play(
    folder: Path, clock: Clock, *lines: str, speed: float = 1.0, loop: bool = False, state: str | None = "state", write: bool = True
) -> Sampler:
    asked = Admission(sensors=Simulated(trace=trace(folder, *lines), speed=speed, loop=loop))
    return open_sampler(asked, folder, None if state is None else folder / state, now=clock, write=write)


def sensor(what: str, said: Callable[[], Level | None], name: str = "x", **other: object) -> Probe[Level]:
    """A probe whose sensor says what the test wants; None = it fails."""

    def read() -> Level:
        found = said()
        if found is None:
            raise Silent("gone")
        return found

    def interpret(raw: Level, at: float, carry: object) -> Look:
        return Look(name, (Reading(name, what, raw),))

    return Probe(name, what, read, interpret, **other)  # type: ignore[arg-type]


HOT = ('{"at": 0, "level": "nominal", "used": 0.2, "watts": 10}', '{"at": 20, "level": "critical", "used": 1.8, "watts": 40}')
COOLS = (*HOT, '{"at": 40, "level": "nominal", "used": 0.2, "watts": 10}')


# --- this machine --------------------------------------------------------------------------------------------------


def test_this_machine_is_sampled(tmp_path: Path) -> None:
    machine, sample = detect(), open_sampler(Admission(), tmp_path, tmp_path / "state").sample()
    assert 0 < sample.memory_available <= sample.memory_total == machine.memory
    assert machine.cores >= 0.01
    assert sample.load >= 0
    assert machine.chip
    assert machine.system.split()[0] in ("Linux", "macOS")
    assert detect() == machine


def test_detecting_does_not_load_what_is_heavy(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from reconciler.hardware.detector import detect
from reconciler.hardware.sampler import open_sampler
from schemas.platform import Admission
detect()
open_sampler(Admission(), Path(), None).sample()
print([name for name in ("mlx", "mlx.core", "numpy", "pynvml", "ray", "mlflow") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path)
    heavy = [] if not Path("/dev/nvidiactl").exists() else ["pynvml"]
    assert said.stdout.strip() == str(heavy)


def test_slow_facts_are_asked_once_and_kept(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert not (state / "machine.json").exists()
    detect(state)
    assert not state.exists(), "looking asks nothing and writes nothing"
    asked = detect(state, ask=True)
    kept = state / "machine.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    before = kept.stat().st_mtime_ns
    assert detect(state, ask=True) == detect(state) == asked
    assert kept.stat().st_mtime_ns == before
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "working_set": 123, "metal": True}))
    assert (detect(state).working_set, detect(state).metal) == (123, True)
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "of": "another boot"}))
    assert detect(state).working_set is None


# --- sensors that are not asked ------------------------------------------------------------------------------------


def test_without_sensors_heat_is_unknown_and_memory_still_told(tmp_path: Path) -> None:
    sampler = open_sampler(Admission(sensors="none"), tmp_path, tmp_path / "state")
    sample = sampler.sample()
    assert sample.heat.level is Level.UNKNOWN
    assert sample.memory_level is Level.UNKNOWN
    assert sample.memory_available > 0
    assert sampler.probes == ()


def test_a_trace_that_is_not_there_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="of the simulated sensors cannot be read") as caught:
        open_sampler(Admission(sensors=Simulated(trace="nowhere.jsonl")), tmp_path, None)
    assert "nowhere.jsonl" in caught.value.message


# --- simulated -----------------------------------------------------------------------------------------------------


def test_a_trace_goes_through_the_same_filter(tmp_path: Path) -> None:
    clock = Clock()
    sampler = play(tmp_path, clock, *COOLS)
    seen: list[tuple[int, str]] = []
    for second in range(220):
        heat = sampler.sample().heat
        if not seen or seen[-1][1] != str(heat.level):
            seen.append((second, str(heat.level)))
            assert heat.since == clock.at
        clock.on(1)
    assert seen == [(0, "nominal"), (25, "critical"), (100, "serious"), (130, "fair"), (160, "nominal")]


def test_a_trace_played_faster_is_filtered_faster(tmp_path: Path) -> None:
    clock = Clock()
    sampler = play(tmp_path, clock, *COOLS, speed=60.0)
    levels = []
    for _ in range(60):
        levels.append(str(sampler.sample().heat.level))
        clock.on(0.1)
    assert levels[4] == "critical"
    assert levels[-1] == "nominal", "160 s of the trace are 2.7 s"


def test_energy_and_power_of_a_trace(tmp_path: Path) -> None:
    clock = Clock()
    sampler = play(tmp_path, clock, *HOT)
    first = sampler.sample()
    clock.on(30)
    second = sampler.sample()
    assert (second.watts, second.heat.watts) == (40.0, 40.0)
    assert first.joules is not None
    assert second.joules is not None
    assert second.joules - first.joules == pytest.approx(20 * 10 + 10 * 40)


def test_memory_of_a_trace_replaces_the_machines(tmp_path: Path) -> None:
    sample = play(tmp_path, Clock(), '{"at": 0, "memory": 0.97}').sample()
    assert sample.memory_available == int(sample.memory_total * (1 - 0.97))
    assert sample.memory_level is Level.CRITICAL
    assert sample.heat.level is Level.UNKNOWN


def test_a_trace_without_memory_leaves_the_machines_own(tmp_path: Path) -> None:
    sampler = play(tmp_path, Clock(), *HOT)
    assert sampler.sample().memory_available > 0
    assert {each.what for each in sampler.probes} == {"heat", "memory"}


# --- what the next process knows -----------------------------------------------------------------------------------


def test_the_next_process_goes_on_where_this_one_was(tmp_path: Path) -> None:
    clock = Clock()
    first = play(tmp_path, clock, *COOLS)
    for _ in range(30):
        first.sample()
        clock.on(1)
    assert first.sample().heat.level is Level.CRITICAL
    clock.on(15)
    again = play(tmp_path, clock, *COOLS).sample()
    assert again.heat.level is Level.CRITICAL, "the sensor says nominal since 5 s"
    assert again.heat.since == START + timedelta(seconds=25)
    clock.on(61)
    assert play(tmp_path, clock, *COOLS).sample().heat.level is Level.SERIOUS


def test_the_state_is_private_whole_and_rarely_written(tmp_path: Path) -> None:
    clock = Clock()
    sampler = play(tmp_path, clock, *HOT)
    path = tmp_path / "state" / "sensors.json"
    writes = []
    for _ in range(31):
        sampler.sample()
        writes.append(path.stat().st_mtime_ns)
        clock.on(1)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert [second for second in range(31) if second == 0 or writes[second] != writes[second - 1]] == [0, 10, 20, 25]
    assert keep.load(path).heat.level is Level.CRITICAL
    assert not [each for each in path.parent.iterdir() if each.name.startswith(".")]


def test_reading_only_writes_nothing_and_still_knows(tmp_path: Path) -> None:
    clock = Clock()
    first = play(tmp_path, clock, *COOLS)
    for _ in range(30):
        first.sample()
        clock.on(1)
    before = (tmp_path / "state" / "sensors.json").read_bytes()
    clock.on(15)
    assert play(tmp_path, clock, *COOLS, write=False).sample().heat.level is Level.CRITICAL
    assert (tmp_path / "state" / "sensors.json").read_bytes() == before
    assert play(tmp_path, clock, *COOLS, state="other", write=False).sample().heat.level is Level.NOMINAL
    assert not (tmp_path / "other").exists()
    play(tmp_path, clock, *COOLS, state=None).sample()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["state", "trace.jsonl"]


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": 1}', '{"format": 99}', '{"format": 1, "heat": 3}'])
def test_a_broken_state_is_an_empty_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "sensors.json").write_text(content)
    assert play(tmp_path, Clock(), *HOT).sample().heat.level is Level.NOMINAL


def test_the_state_of_another_source_means_nothing(tmp_path: Path) -> None:
    clock = Clock()
    hot = play(tmp_path, clock, '{"at": 0, "level": "critical"}')
    hot.sample()
    assert play(tmp_path, clock, '{"at": 0, "level": "nominal"}').sample().heat.level is Level.NOMINAL
    assert open_sampler(Admission(sensors="none"), tmp_path, tmp_path / "state", now=clock).sample().heat.level is Level.UNKNOWN


def test_a_state_folder_that_cannot_be_written_does_not_stop_sampling(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    sampler = Sampler((sensor("heat", lambda: Level.FAIR),), reader(), Clock(), tmp_path / "state" / "sensors.json")
    assert sampler.sample().heat.level is Level.FAIR


def test_history_is_spaced_and_bounded(tmp_path: Path) -> None:
    clock = Clock()
    sampler = play(tmp_path, clock, *HOT, loop=True)
    for _ in range(60):
        sampler.sample()
        clock.on(1)
    points = sampler.history()
    assert [round(at - START.timestamp()) for at, _, _ in points] == [0, 10, 20, 30, 40, 50]
    assert points[0][1:] == (10.0, 0.2)
    for _ in range(POINTS + 50):
        sampler.sample()
        clock.on(10)
    assert len(sampler.history()) == POINTS
    assert play(tmp_path, clock, *HOT, loop=True).history()[0][0] >= sampler.history()[0][0] - 10


# --- several probes ------------------------------------------------------------------------------------------------


def test_a_coarse_probe_is_asked_only_while_the_better_one_is_silent() -> None:
    says: dict[str, Level | None] = {"good": Level.NOMINAL, "coarse": Level.CRITICAL}
    clock, asked = Clock(), []

    def coarse() -> Level | None:
        asked.append(clock.at)
        return says["coarse"]

    sampler = Sampler(
        (sensor("heat", lambda: says["good"], "good"), sensor("heat", coarse, "coarse", instead_of=("good",))), reader(), clock
    )
    assert sampler.sample().heat.level is Level.NOMINAL
    assert asked == []
    assert "not asked: good" in sampler.looks[1].silent
    assert [each.silent for each in sampler.examine()] == ["", ""], "people see both"
    says["good"] = None
    clock.on(6)
    assert sampler.sample().heat.level is Level.CRITICAL


def test_a_probe_that_fails_leaves_the_others(tmp_path: Path) -> None:
    clock = Clock()
    sampler = Sampler((sensor("heat", lambda: None, "broken"), sensor("heat", lambda: Level.FAIR, "fine")), reader(), clock)
    sample = sampler.sample()
    assert (sample.heat.level, sample.heat.source) == (Level.FAIR, "fine")
    assert sampler.looks[0].silent == "gone"


def test_what_a_probe_carries_comes_back_to_it_also_in_the_next_process(tmp_path: Path) -> None:
    seen = []

    def interpret(raw: int, at: float, carry: object) -> Look:
        seen.append(dict(carry))  # type: ignore[call-overload]
        return Look("other name", carry={"n": float(len(seen))})

    probe = Probe("counting", "memory", lambda: 0, interpret)
    clock, path = Clock(), tmp_path / "sensors.json"
    Sampler((probe,), reader(), clock, path).sample()
    clock.on(1)
    Sampler((probe,), reader(), clock, path, state=keep.load(path)).sample()
    assert seen == [{}, {"n": 1.0}]


# --- load ----------------------------------------------------------------------------------------------------------


def test_load_is_what_was_used_since_the_look_before() -> None:
    use = SystemUse(MemoryUse(1, 1), busy=103.0, loadavg=7.0)
    assert load(use, 12.0, (10.0, 100.0), 4.0) == 1.5
    assert load(use, 12.0, None, 4.0) == 4.0, "the mean of a minute may count waiting tasks: not more than there are cores"
    assert load(use, 12.0, (10.0, 200.0), 8.0) == 7.0, "another boot"
    assert load(use, 500.0, (10.0, 100.0), 8.0) == 7.0


def test_a_busy_process_shows_in_the_load() -> None:
    sampler = Sampler((), reader(), lambda: datetime.now(UTC))
    sampler.sample()
    end = datetime.now(UTC) + timedelta(seconds=0.5)
    while datetime.now(UTC) < end:
        pass
    assert sampler.sample().load > 0.5


# --- several processes ---------------------------------------------------------------------------------------------


def test_processes_that_sample_at_once_never_leave_half_a_state(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom reconciler.hardware import keep\nfrom reconciler.hardware.sampler import open_sampler\n"
        "from schemas.platform import Admission\nroot = Path(sys.argv[1])\n"
        "for _ in range(40):\n"
        "    open_sampler(Admission(), root, root / 'state').sample()\n"
        "    assert keep.load(root / 'state' / 'sensors.json').source, 'half a file was read'\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=Path.cwd()) for _ in range(3)]
    assert [each.wait(timeout=120) for each in running] == [0, 0, 0]
    assert sorted(each.name for each in (tmp_path / "state").iterdir()) == ["sensors.json"]
