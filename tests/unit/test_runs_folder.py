"""A job's folder: its lock, its output, its metrics."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.errors import Terminal
from reconciler.runs.folder import Ending, Folder, acquire, folder_of, folders, is_held, progress_of, read_result, tail, write_result
from reconciler.runs.log import Log, whole
from reconciler.runs.metrics import Series, final, parse
from reconciler.runs.results import results


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    found = folder_of(tmp_path, "job1")
    found.out.mkdir(parents=True)
    return found


def test_the_lock_is_free_held_and_free_again(folder: Folder) -> None:
    assert not is_held(folder.lock)
    handle = acquire(folder.lock)
    assert handle is not None
    assert is_held(folder.lock)
    assert acquire(folder.lock, wait=0.05) is None
    os.close(handle)
    assert not is_held(folder.lock)


def test_the_lock_ends_with_the_process_that_holds_it(folder: Folder) -> None:
    hold = "import sys, pathlib\nfrom reconciler.runs.folder import acquire\nacquire(pathlib.Path(sys.argv[1]))\n"
    hold += "print('held', flush=True)\ninput()\n"
    process = subprocess.Popen([sys.executable, "-c", hold, str(folder.lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert is_held(folder.lock)
    process.kill()
    process.wait()
    assert not is_held(folder.lock)


def test_a_lock_on_a_removed_folder_is_not_a_lock(folder: Folder) -> None:
    old = acquire(folder.lock)
    shutil.rmtree(folder.path)
    folder.path.mkdir()
    new = acquire(folder.lock)
    assert new is not None
    assert is_held(folder.lock)
    for handle in (old, new):
        assert handle is not None
        os.close(handle)


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "../x", ".hidden", "a\n", "x" * 129, "-rf"])
def test_ids_that_are_no_names_are_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(Terminal):
        folder_of(tmp_path, bad)


def test_no_state_folder_has_no_jobs(tmp_path: Path) -> None:
    assert list(folders(tmp_path / "nowhere")) == []


def test_a_result_is_read_as_written(folder: Folder) -> None:
    ending = Ending("job1", "run/p/e#a", "FAILED", "exit 3", exit_code=3, since=1.0, ended=2.0, peak=5, tags={"a": "b"})
    write_result(folder, ending)
    assert read_result(folder) == ending
    found = progress_of(folder, "run/p/e#a")
    assert (found.state, found.why, found.exit_code, found.peak, found.memory) == ("ended", "exit 3", 3, 5, 5)


def test_what_a_supervisor_of_another_version_writes_besides_is_passed_over(folder: Folder) -> None:
    folder.result.write_text(json.dumps({"id": "a", "ref": "r", "status": "FINISHED", "exit_code": 0, "mood": "good"}), encoding="utf-8")
    assert progress_of(folder, "r").exit_code == 0
    folder.result.unlink()
    folder.progress.write_text(json.dumps({"state": "running", "since": 5.0, "mood": "good"}), encoding="utf-8")
    assert progress_of(folder, "r").unburied, "its supervisor is gone, and nobody has seen to its program"


def test_a_half_written_result_is_none(folder: Folder) -> None:
    folder.result.write_text('{"id": "jo')
    assert read_result(folder) is None


def test_the_tail_begins_with_a_whole_line(folder: Folder) -> None:
    folder.log.write_text("".join(f"line {number}\n" for number in range(1000)))
    text = tail(folder, 100)
    assert text.startswith("line 9")
    assert text.endswith("line 999\n")
    assert len(text) <= 100


def test_the_tail_of_a_short_output_is_all_of_it(folder: Folder) -> None:
    assert tail(folder) == ""
    folder.log.write_bytes(b"caf\xc3\xa9 \xff\n")
    assert tail(folder) == "café \ufffd\n"


def test_a_long_output_keeps_its_ends(folder: Folder) -> None:
    log = Log(folder, most=1000, kept=100)
    with folder.log.open("ab", buffering=0) as program:
        for number in range(500):
            program.write(f"line {number:04d}\n".encode())
            log.bound()
            assert folder.log.stat().st_size <= 1000
    text = b"".join(whole(folder)).decode()
    assert text.startswith("line 0000\nline 0001\n")
    assert text.endswith("line 0498\nline 0499\n")
    assert "the middle of a very long output was left out" in text
    assert tail(folder, 50).endswith("line 0499\n")
    assert len(text) < 1400


def test_a_short_output_is_left_alone(folder: Folder) -> None:
    Log(folder, most=10, kept=5).bound()
    folder.log.write_text("0123456789")
    Log(folder, most=10, kept=5).bound()
    assert b"".join(whole(folder)) == b"0123456789"


def test_the_tail_spans_a_cut(folder: Folder) -> None:
    folder.log.write_text("one\ntwo\nthree\n")
    Log(folder, most=5, kept=10).bound()
    with folder.log.open("a") as program:
        program.write("four\n")
    assert tail(folder) == "two\nthree\nfour\n"


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_a_line_of_metrics() -> None:
    found = parse(b'{"step": 3, "loss": 0.5, "lr": 1, "name": "x", "ok": true, "none": null, "a%b": 2}', 9, 77)
    assert [tuple(each) for each in found] == [("loss", 0.5, 77, 3), ("lr", 1.0, 77, 3), ("a_b", 2.0, 77, 3)]


@pytest.mark.parametrize("line", [b"", b"nothing", b"[1, 2]", b"3", b"{", b"\xff\xfe", b'{"step": 1}', b'{"": 3}'])
def test_a_line_that_says_nothing(line: bytes) -> None:
    assert parse(line, 0, 0) == []


def test_without_a_step_lines_are_counted_and_epochs_are_steps(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"loss": 3}\n{"loss": 2}\n{"epoch": 7, "loss": 1}\n{"step": 8, "epoch": 2, "loss": 0}\n')
    found = [(each.key, each.step, each.value) for each in Series(path).read()]
    assert found == [("loss", 1, 3), ("loss", 2, 2), ("loss", 7, 1), ("epoch", 8, 2), ("loss", 8, 0)]


def test_what_was_not_taken_is_read_again_and_half_lines_wait(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    series = Series(path)
    assert series.read() == []
    path.write_text('{"step": 1, "loss": 2}\n{"step": 2, "lo')
    assert [each.step for each in series.read()] == [1]
    assert [each.step for each in series.read()] == [1], "nobody took it"
    series.accept()
    assert series.read() == []
    with path.open("a") as file:
        file.write('ss": 1}\n{"step": 3, "loss": 0}')
    assert [each.step for each in series.read()] == [2]
    assert [each.step for each in series.read(last=True)] == [2, 3]
    series.accept()
    assert (series.offset, series.step) == (path.stat().st_size, 3)


def test_numbers_that_are_none_are_kept_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"a": NaN, "b": Infinity, "c": 1e999, "d": 1' + "0" * 400 + "}")
    found = {each.key: each.value for each in final(tmp_path / "metrics.json", 4)}
    assert math.isnan(found["a"])
    assert found["b"] == found["c"] == math.inf
    assert "d" not in found


def test_final_metrics_that_are_not_there(tmp_path: Path) -> None:
    assert final(tmp_path / "metrics.json", 0) == []
    (tmp_path / "metrics.json").write_text(json.dumps([1, 2]))
    assert final(tmp_path / "metrics.json", 0) == []


def test_links_are_not_results(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (folder.out / "link").symlink_to(tmp_path / "secret")
    (folder.out / "linked").symlink_to(tmp_path)
    (folder.out / "deep").mkdir()
    (folder.out / "deep" / "file").write_text("four")
    os.mkfifo(folder.out / "pipe")
    assert [(name, size) for name, _, size in results(folder.out)] == [("deep/file", 4)]
