"""Traces that stand in for sensors."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.admission.values import Level
from reconciler.errors import Terminal
from reconciler.hardware.simulated import Moment, Trace, load, look, memory_share, started

TRACES = Path(__file__).parent.parent.parent / "examples" / "traces"
EXAMPLE = Trace(
    (Moment(0, Level.NOMINAL, 0.3, 10, 0.4), Moment(60, Level.SERIOUS, 1.1, 35, 0.4), Moment(100, Level.UNKNOWN, None, None, 0.4)), "x"
)


def write(folder: Path, *lines: str) -> Path:
    path = folder / "trace.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_a_line_holds_until_the_next_one() -> None:
    assert [look(EXAMPLE, at).readings[0].level for at in (0, 59.9, 60, 99, 100, 10_000)] == [
        Level.NOMINAL,
        Level.NOMINAL,
        Level.SERIOUS,
        Level.SERIOUS,
        Level.UNKNOWN,
        Level.UNKNOWN,
    ]
    assert look(EXAMPLE, 200).readings[0].used is None


def test_a_loop_begins_again() -> None:
    again = Trace(EXAMPLE.moments, "x", loop=True)
    assert look(again, 170).readings[0].level is Level.SERIOUS, "70 s into the second round"
    assert again.joules(250) == 2 * (60 * 10 + 40 * 35) + 50 * 10


def test_energy_is_the_area_below_the_power() -> None:
    assert [EXAMPLE.joules(at) for at in (0, 30, 60, 80, 1000)] == [0, 300, 600, 1300, 2000]


@given(st.floats(0, 1000), st.floats(0, 1000), st.booleans())
def test_energy_never_shrinks(a: float, b: float, loop: bool) -> None:
    trace = Trace(EXAMPLE.moments, "x", loop)
    assert trace.joules(min(a, b)) <= trace.joules(max(a, b)) + 1e-6


def test_what_a_line_leaves_out_stays_and_null_takes_it_back(tmp_path: Path) -> None:
    found = load(
        write(
            tmp_path,
            "# a comment",
            '{"at": 0, "level": "fair", "used": 0.7, "watts": 9, "memory": 0.5}',
            "",
            '{"at": 5, "watts": 20}',
            '{"at": 6, "used": 1.2}',
            '{"at": 7, "level": null, "used": null, "memory": null}',
        )
    )
    assert found.moments == (
        Moment(0, Level.FAIR, 0.7, 9, 0.5),
        Moment(5, Level.FAIR, 0.7, 20, 0.5),
        Moment(6, None, 1.2, 20, 0.5),
        Moment(7, Level.UNKNOWN, None, 20, None),
    )
    assert look(found, 6).readings[0].level is Level.SERIOUS, "headroom decides where a line gives it and no level"
    assert [each.what for each in look(found, 7).readings] == ["heat"]
    assert memory_share(found, 6) == 0.5


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "not JSON"),
        ("[]", "found list"),
        ('{"at": 0, "heat": 3}', "found heat"),
        ('{"level": "fair"}', "'at' is None"),
        ('{"at": -1}', "'at' is -1"),
        ('{"at": true}', "'at' is True"),
        ('{"at": 0, "level": "hot"}', "'level' is 'hot'"),
        ('{"at": 0, "used": "1"}', "'used' is '1'"),
        ('{"at": 0, "used": NaN}', "'used' is nan"),
        ('{"at": 0, "memory": 40}', "'memory' is 40"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_allowed(tmp_path: Path, line: str, told: str) -> None:
    path = write(tmp_path, '{"at": 0, "level": "fair"}', line)
    with pytest.raises(Terminal) as caught:
        load(path)
    assert f"{path}:2" in caught.value.message
    assert told in caught.value.message
    assert caught.value.hint


def test_time_only_grows(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="the line before is at 5"):
        load(write(tmp_path, '{"at": 5}', '{"at": 4}'))


@pytest.mark.parametrize("content", [None, b"", b"# nothing\n", b"\xff\xfe"])
def test_a_trace_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "trace.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Terminal, match=r"the trace .*trace\.jsonl of the simulated sensors"):
        load(path)


def test_all_processes_are_at_the_same_place(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert started(state, EXAMPLE, 1.0, 1000.0) == 1000.0
    assert started(state, EXAMPLE, 1.0, 1500.0) == 1000.0
    assert started(state, EXAMPLE, 1.0, 1500.0, write=False) == 1000.0
    assert (state / "playback.json").stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in state.iterdir()) == ["playback.json", "playback.json.lock"]


def test_of_many_that_start_at_once_one_decides(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda at: started(tmp_path / "state", EXAMPLE, 1.0, float(at)), range(64)))
    assert len(found) == 1


def test_another_trace_speed_or_loop_is_another_playback(tmp_path: Path) -> None:
    began = started(tmp_path, EXAMPLE, 1.0, 1000.0)
    assert started(tmp_path, EXAMPLE, 2.0, 1100.0) == 1100.0
    assert started(tmp_path, Trace(EXAMPLE.moments, "y"), 2.0, 1200.0) == 1200.0
    assert began == 1000.0


def test_reading_writes_nothing(tmp_path: Path) -> None:
    assert started(tmp_path / "state", EXAMPLE, 1.0, 1000.0, write=False) == 1000.0
    assert started(None, EXAMPLE, 1.0, 1000.0) == 1000.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", '{"trace": "x", "speed": 1.0, "loop": false}', json.dumps({"started": "then"})])
def test_a_broken_note_of_the_start_is_written_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "playback.json").write_text(content)
    assert started(tmp_path, EXAMPLE, 1.0, 1000.0) == 1000.0
    assert started(tmp_path, EXAMPLE, 1.0, 2000.0) == 1000.0


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("hot-afternoon", ["nominal", "fair", "serious", "critical", "serious", "fair", "nominal"]),
        ("always-hot", ["serious"]),
        ("sensor-falls-silent", ["nominal", "serious", "unknown"]),
        ("memory-runs-out", ["nominal"]),
    ],
)
def test_the_examples_play_what_they_say(name: str, levels: list[str]) -> None:
    trace = load(TRACES / f"{name}.jsonl")
    seen = [str(look(trace, each.at).readings[0].level) for each in trace.moments]
    assert [each for at, each in enumerate(seen) if at == 0 or seen[at - 1] != each] == levels


def test_every_example_is_tested() -> None:
    assert {each.stem for each in TRACES.glob("*.jsonl")} == {"hot-afternoon", "always-hot", "sensor-falls-silent", "memory-runs-out"}


def test_memory_of_a_trace_has_a_level() -> None:
    trace = load(TRACES / "memory-runs-out.jsonl")
    assert [str(look(trace, at).readings[1].level) for at in (0, 60, 90, 120)] == ["nominal", "fair", "serious", "critical"]
