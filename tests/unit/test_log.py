"""The log of the loop: bounded, private, whole lines, and nothing in it that is secret or that a terminal would act on."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from reconciler.errors import Terminal
from reconciler.log import LONGEST, Log
from reconciler.platform import logs
from reconciler.platform.attend import Attendant, Turn, turns
from reconciler.secret import hidden, secret
from schemas.base import FromEnv, FromFile

FLOOD = "line {number} of a flood that goes on for as long as somebody listens\n"


def _log(path: Path, size: int = 1 << 20, files: int = 2) -> Log:
    log = Log()
    log.keep(path, size, files)
    return log


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_a_line_tells_when_how_bad_what_and_in_which_pass(tmp_path: Path) -> None:
    log = _log(tmp_path / "logs/watch.jsonl")
    log.next_pass()
    log.told("info", "write", ref="dataset/p/d", duration=0.25, error="", attempts=0)
    log.aside.warning("service_died", service="mlflow")
    log.next_pass()
    log.told("warning", "pass")
    first, second, third = _lines(tmp_path / "logs/watch.jsonl")
    assert list(first) == ["time", "level", "event", "pass", "ref", "duration", "attempts"]
    assert (first["level"], first["event"], first["attempts"]) == ("info", "write", 0)
    assert str(first["time"]).endswith("Z")
    assert "pass" not in second
    assert second["level"] == "warning"
    assert third["pass"] != first["pass"]


def test_files_are_private_and_bounded_under_a_flood(tmp_path: Path) -> None:
    size, files = 20_000, 3
    log = _log(tmp_path / "logs/watch.jsonl", size, files)
    for number in range(3_000):
        log.told("info", "flood", number=number)
    found = sorted((tmp_path / "logs").iterdir())
    assert [each.name for each in found] == ["watch.jsonl", "watch.jsonl.1", "watch.jsonl.2", "watch.jsonl.3"]
    assert all(each.stat().st_size <= size for each in found)
    assert {stat.S_IMODE(each.stat().st_mode) for each in found} == {0o600}
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    kept = [line["number"] for each in reversed(found) for line in _lines(each)]
    assert kept == list(range(kept[0], 3_000)), "what is left is the end, without a gap"


def test_two_loops_of_one_folder_lose_nothing_to_each_others_rotation(tmp_path: Path) -> None:
    path = tmp_path / "watch.jsonl"
    one, other = _log(path, 5_000, 9), _log(path, 5_000, 9)
    for number in range(200):
        (one if number % 2 else other).told("info", "turn", number=number)
    found = [line["number"] for each in sorted(tmp_path.iterdir(), key=lambda each: each.name, reverse=True) for line in _lines(each)]
    assert found == list(range(200))


def test_a_file_that_was_moved_away_is_begun_anew_and_a_cut_line_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "watch.jsonl"
    path.write_text('{"event": "cut off by a full di')
    log = _log(path)
    log.told("info", "after")
    assert json.loads(path.read_text().splitlines()[1])["event"] == "after"
    path.rename(tmp_path / "elsewhere")
    log.told("info", "anew")
    assert [each["event"] for each in _lines(path)] == ["anew"]


def test_a_killed_loop_has_cut_the_last_line_at_most_and_the_next_one_begins_below_it(tmp_path: Path) -> None:
    path = tmp_path / "watch.jsonl"
    program = (
        "import sys, pathlib\nfrom reconciler.log import Log\nlog = Log()\nlog.keep(pathlib.Path(sys.argv[1]), 1 << 30, 1)\n"
        "print('begun', flush=True)\nwhile True:\n    log.told('info', 'flood', text='x' * 20_000)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline()
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    written = path.read_text().splitlines()
    assert len(written) > 10
    _log(path, 1 << 30).told("info", "after")
    found = path.read_text().splitlines()
    assert found[:-1] == written, "what was written stays, and the next line is one of its own"
    assert json.loads(found[-1])["event"] == "after"
    assert all(json.loads(line)["event"] == "flood" for line in written[:-1])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_costs_lines_and_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "watch.jsonl").symlink_to("/dev/full")
    log = _log(tmp_path / "watch.jsonl")
    for _ in range(5):
        log.told("info", "lost")
    said = capsys.readouterr().err
    assert said.count("cannot be written: No space left on device") == 1


def test_no_secret_that_was_resolved_gets_in_in_any_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "canary/pass word+1")
    (tmp_path / "key").write_text("-----BEGIN KEY-----\ncanaryKeyLineOne0123456789\ncanaryKeyLineTwo0123456789\n-----END KEY-----\n")
    value, key = secret(FromEnv(fromEnv="CANARY")), secret(FromFile(fromFile=str(tmp_path / "key")))
    log = _log(tmp_path / "watch.jsonl")
    log.told("warning", "write", error=f"refused: {value}", detail={"url": ["https://h/x?a=canary%2Fpass%20word%2B1"], value: 1})
    log.told("warning", "write", error=f"{ValueError(value)!r} {key!r}", trace=f"Traceback\n  {key}")
    log.aside.info("event", at="postgresql://bob:unknown-canary@host/db", header="Authorization: Bearer unknown-canary-token")
    log.told("info", "event", at="https://host/x?token=unknown-canary&b=1")
    text = (tmp_path / "watch.jsonl").read_text()
    assert "canary" not in text, text
    assert text.count("***") >= 8
    assert "postgresql://***@host/db" in text
    assert "b=1" in text


def test_what_is_no_secret_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "ab")
    assert secret(FromEnv(fromEnv="SHORT")) == "ab"
    for text in ("about table", "https://host/path@v1?x=a@b", "see basic rules", "dataset/p/d: 5 = 6"):
        assert hidden(text) == text


def test_a_reference_that_cannot_be_resolved_names_itself_alone(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="NOT_THERE_AT_ALL is not set"):
        secret(FromEnv(fromEnv="NOT_THERE_AT_ALL"))
    with pytest.raises(Terminal, match="cannot be read: No such file"):
        secret(FromFile(fromFile=str(tmp_path / "none")))


def test_nothing_acts_on_a_terminal_and_no_value_is_endless(tmp_path: Path) -> None:
    log = _log(tmp_path / "watch.jsonl")
    log.told("info", "named", name="\x1b[31mred\u202e\x00\r\n\u009b", long="y" * 100_000)
    raw = (tmp_path / "watch.jsonl").read_bytes()
    assert set(raw) <= set(range(0x20, 0x7F)) | {0x0A}
    assert raw.count(b"\n") == 1
    assert len(raw) < LONGEST + 500
    assert _lines(tmp_path / "watch.jsonl")[0]["name"] == "\x1b[31mred\u202e\x00\r\n\u009b"


def test_information_is_for_the_file_and_for_whoever_asks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Log().info("quiet")
    Log().warning("loud", why="\x1b[2J")
    Log(verbose=True).info("asked for")
    said = capsys.readouterr().err
    assert "quiet" not in said
    assert "loud" in said
    assert "asked for" in said
    assert "\x1b" not in said


def test_a_services_log_is_bounded_while_it_is_written(tmp_path: Path) -> None:
    """A child that floods its log through an inherited descriptor, as services do."""
    home = tmp_path / "services/noisy"
    home.mkdir(parents=True)
    logs.rotate(home / "log")
    attendant = Attendant(tmp_path, 200_000, 2)
    program = (
        "import sys, time\nfor n in range(60_000):\n    if n % 1000 == 0 or n == 59_999:\n"
        "        time.sleep(0.5 if n == 59_999 else 0.03)\n"
        f"    sys.stdout.write({FLOOD!r}.format(number=n)); sys.stdout.flush()\n"
    )
    with (home / "log").open("ab") as out:
        child = subprocess.Popen([sys.executable, "-c", program], stdout=out)
    most, cuts = 0, 0
    while child.poll() is None:
        cuts += len(attendant.bound())
        most = max(most, sum(each.stat().st_size for each in home.iterdir()))
        time.sleep(0.005)
    attendant.bound()
    assert cuts > 3
    assert sorted(each.name for each in home.iterdir()) == ["log", "log.1", "log.2"]
    assert most < 60_000 * len(FLOOD) / 3
    assert {stat.S_IMODE(each.stat().st_mode) for each in home.iterdir()} == {0o600}
    lines = [line for name in ("log.2", "log.1", "log") for line in (home / name).read_text().splitlines()]
    numbers = [int(line.split()[1]) for line in lines]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 59_999
    assert b"\x00" not in (home / "log").read_bytes(), "appended, not written at an old place"


def test_following_goes_on_over_cuts_and_starts(tmp_path: Path) -> None:
    path, heard, done = tmp_path / "log", list[str](), threading.Event()
    logs.rotate(path)
    logs.bound(path, 1, 3)
    thread = threading.Thread(target=lambda: heard.extend(logs.follow(path, done.is_set, pause=0.01)))
    thread.start()
    time.sleep(0.1)
    try:
        for number in range(400):
            with path.open("a") as out:
                out.write(f"{number}\n")
            if number % 50 == 25:
                logs.bound(path, 20, 3)
            if number % 100 == 80:
                logs.rotate(path, 3)
            time.sleep(0.002)
        time.sleep(0.2)
    finally:
        done.set()
        thread.join(10)
    assert heard == [str(number) for number in range(400)]


def test_the_last_lines_go_back_over_a_cut_and_not_over_a_start(tmp_path: Path) -> None:
    path, began = tmp_path / "log", time.time()
    path.write_text("one\ntwo\n")
    assert logs.bound(path, 4, 2)
    path.write_text("three\n")
    assert logs.tail(path, 2, since=began - 5).splitlines() == ["two", "three"]
    assert logs.tail(path, 2).splitlines() == ["three"]
    os.utime(path.with_name("log.1"), (began - 60, began - 60))
    assert logs.tail(path, 2, since=began - 5).splitlines() == ["three"]


def test_fewer_files_than_before_leave_none_behind(tmp_path: Path) -> None:
    for name in ("log", "log.1", "log.2", "log.3", "log.4"):
        (tmp_path / name).write_text("text\n")
    assert not logs.bound(tmp_path / "log", 1000, 1)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.1"]


def test_what_became_of_services_between_two_looks() -> None:
    before = {"gone": (1, True), "same": (2, True), "dies": (3, True), "again": (4, True), "coming": (0, False), "dead": (5, False)}
    now = {"same": (2, True), "dies": (3, False), "again": (40, True), "coming": (6, True), "dead": (5, False), "new": (7, True)}
    assert turns(before, now) == [
        Turn("again", "started", 40),
        Turn("coming", "started", 6),
        Turn("dies", "died", 3),
        Turn("gone", "stopped", 1),
        Turn("new", "started", 7),
    ]
    assert turns(None, {"up": (1, True), "dead": (2, False), "intent": (0, False)}) == [Turn("up", "found", 1), Turn("dead", "died", 2)]
