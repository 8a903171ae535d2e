"""What a run inherits of the loop: the names that are said to pass, and no file, socket or variable more; nor do its children."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from reconciler.runs.program import environment
from tests.contract.job_house import JobHouse

CANARY = "canary-of-the-loop"
STEERS = (
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "GIT_DIR",
    "SSH_AUTH_SOCK",
    "BASH_ENV",
    "ENV",
    "AWS_SECRET_ACCESS_KEY",
    "MLOPS_STORE",
    "HTTPS_PROXY",
    "UV_INDEX_URL",
)
"""What decides what runs, where it reads from, or whose rights it has."""
OF_UV = {"HTTPS_PROXY", "UV_INDEX_URL"}
"""What the supervisor, which is ours and installs packages, gets besides; the run does not."""
PROGRAM = """
import json, os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open_ = [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{each}")]
print(json.dumps({"open": open_, "environ": dict(os.environ), "umask": oct(os.umask(0o077))}), flush=True)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobHouse]:
    for name in STEERS:
        monkeypatch.setenv(name, f"/nowhere/{CANARY}/{name}")
    with contextlib.closing(JobHouse(tmp_path)) as found:
        yield found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_neither_the_run_nor_its_children_nor_its_supervisor_see_what_the_loop_has(house: JobHouse, tmp_path: Path) -> None:
    secret = tmp_path / CANARY
    secret.write_text("x")
    held = os.open(secret, os.O_RDONLY)
    os.set_inheritable(held, True)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.set_inheritable(True)
        job_id = house.start(PROGRAM, env={"DECLARED": "yes"})
        house.running(job_id)
        os.close(held)
        told = json.loads(house.output(job_id).splitlines()[0])
        processes = house.processes(job_id)
        assert len(processes) == 2, "the program and its child"
        family = [*processes, *(parent for each in processes for parent in each.parents() if parent.pid != os.getpid())]
        mine = {process.pid for process in psutil.Process().parents()}
        for each in family:
            if each.pid in mine:
                continue
            raw = Path(f"/proc/{each.pid}/environ").read_bytes().decode()
            leaked = {line.partition("=")[0] for line in raw.split("\0") if CANARY in line}
            assert leaked <= (OF_UV if "reconciler.runs.supervise" in each.cmdline() else set()), (each.cmdline(), leaked)
            targets = [str(path.readlink()) for path in Path(f"/proc/{each.pid}/fd").iterdir() if os.path.lexists(path)]
            assert not [target for target in targets if CANARY in target], (each.cmdline(), targets)
            assert not [one for one in each.net_connections("inet") if one.status == psutil.CONN_LISTEN], each.cmdline()
    assert told["environ"]["DECLARED"] == "yes"
    assert not set(STEERS) & set(told["environ"])
    assert told["umask"] == "0o77", "what a run writes is its owner's"
    assert [each for each in told["open"] if each.startswith("socket:")] == []


def test_what_passes_is_named(house: JobHouse) -> None:
    """The whole list: a name that is added to it is added here, with a reason."""
    job = house.job("")
    base = dict.fromkeys(("PATH", "HOME", "LANG", "TMPDIR", "CUDA_VISIBLE_DEVICES", "USER", "SHELL", *STEERS), "x")
    found = environment(job, house.at(job.id), Path("/venv/bin/python"), base)
    assert {name for name, value in found.items() if value == "x"} == {"HOME", "LANG", "TMPDIR", "CUDA_VISIBLE_DEVICES"}


def test_what_is_kept_of_a_run_is_private(house: JobHouse) -> None:
    job_id = house.start("print('ready')\n")
    house.ended(job_id)
    folder = house.at(job_id).path
    loose = {
        str(path.relative_to(folder)): oct(path.lstat().st_mode & 0o777)
        for path in (folder, *folder.rglob("*"))
        if not stat.S_ISLNK(path.lstat().st_mode) and path.lstat().st_mode & 0o077
    }
    assert loose == {}
