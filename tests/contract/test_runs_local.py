"""Real programs under real supervisors: how they end, and what is left of them."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from reconciler.errors import Terminal, Transient
from reconciler.model.jobs import Job
from reconciler.platform.process import read_record
from reconciler.runs.folder import Folder, is_held, read_job, read_result, write_job
from reconciler.runs.local import LocalRunner
from schemas.platform import Admission, Simulated
from tests.contract.job_house import JobHouse, supervisors

WAITS = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)\n"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[JobHouse]:
    with contextlib.closing(JobHouse(tmp_path)) as found:
        yield found


def supervisor(house: JobHouse, job_id: str) -> int:
    record = read_record(house.at(job_id).record)
    assert record is not None
    return record.pid


def gone(house: JobHouse, job_id: str) -> bool:
    """True when no process of the program is left, after a moment for the kernel."""
    deadline = time.monotonic() + 5
    while house.processes(job_id) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not house.processes(job_id)


def test_a_program_that_ends_well(house: JobHouse) -> None:
    job_id = house.start("import sys\nprint('hello', sys.argv[1:])\n", "--rate", "0.1", "--out", "{out}")
    found = house.ended(job_id)
    assert (found.state, found.exit_code, found.why) == ("ended", 0, "")
    assert found.tail == f"hello ['--rate', '0.1', '--out', '{house.at(job_id).out}']\n"
    assert found.ended >= found.since > time.time() - 60
    assert house.at(job_id).path.stat().st_mode & 0o777 == 0o700
    assert house.at(job_id).job.stat().st_mode & 0o777 == 0o600


def test_a_program_that_fails_says_its_code_and_its_last_lines(house: JobHouse) -> None:
    found = house.ended(house.start("import sys\nprint('almost')\nsys.exit(3)\n"))
    assert (found.exit_code, found.why, found.tail) == (3, "exit 3", "almost\n")


def test_an_exception_reads_as_if_the_program_had_been_started_directly(house: JobHouse) -> None:
    job_id = house.start("def inner():\n    raise ValueError('no such column')\n\ninner()\n")
    assert house.ended(job_id).why == "exit 1"
    direct = subprocess.run([sys.executable, "train.py"], cwd=house.work, capture_output=True, text=True, check=False)
    assert house.output(job_id) == direct.stderr.replace(str(house.work) + "/", "")


def test_a_module_is_run_as_a_module(house: JobHouse) -> None:
    house.work.joinpath("pkg").mkdir()
    house.work.joinpath("pkg", "__init__.py").touch()
    house.work.joinpath("pkg", "part.py").write_text("WORD = 'part'\n")
    program = "from pkg.part import WORD\nfrom . import part\nimport sys\nprint(__name__, WORD, sys.path[0])\n"
    job_id = house.start(program, name="pkg/train.py", entrypoint="pkg.train")
    assert house.ended(job_id).exit_code == 0
    assert house.output(job_id) == f"__main__ part {house.work}\n"


def test_what_the_package_of_the_supervisor_is_called_does_not_reach_the_program(house: JobHouse) -> None:
    """Our files beside the bootstrap (local, ray, jobs ...) are not modules of the program's."""
    program = "import importlib.util\nprint([name for name in ('local', 'ray', 'jobs', 'reconciler') if importlib.util.find_spec(name)])\n"
    job_id = house.start(program)
    house.ended(job_id)
    assert house.output(job_id) == "[]\n"


def test_a_killed_program(house: JobHouse) -> None:
    job_id = house.start(WAITS)
    house.running(job_id)
    for process in house.processes(job_id):
        process.kill()
    found = house.ended(job_id)
    assert (found.state, found.exit_code, found.why) == ("ended", -9, "killed (SIGKILL)")


def test_a_killed_supervisor_is_lost_and_its_program_is_ended(house: JobHouse) -> None:
    job_id = house.start(WAITS)
    house.running(job_id)
    os.kill(supervisor(house, job_id), signal.SIGKILL)
    found = house.wait(job_id, lambda each: each.state == "lost")
    assert found.why == "its supervisor ended without a result"
    assert found.tail == "ready\n"
    assert house.processes(job_id), "the program went on: nobody has seen to it yet"
    house.runner.tend()
    found = house.ended(job_id)
    assert found.state == "lost"
    assert "1 of its processes were still running and were ended" in found.why
    assert found.since > 0
    assert gone(house, job_id)


def test_both_killed_at_once(house: JobHouse) -> None:
    job_id = house.start(WAITS)
    house.running(job_id)
    pids = [supervisor(house, job_id), *(process.pid for process in house.processes(job_id))]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert house.wait(job_id, lambda each: each.state == "lost").exit_code is None
    house.runner.stop(job_id, "gone")
    assert house.ended(job_id).why == "its supervisor ended without a result"


def test_stop_lets_the_program_clean_up(house: JobHouse) -> None:
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(0)))\n"
        "print('ready', flush=True)\ntime.sleep(600)\n"
    )
    job_id = house.start(program)
    house.running(job_id)
    began = time.monotonic()
    house.runner.stop(job_id, "not wanted any more")
    found = house.ended(job_id)
    assert time.monotonic() - began < 5
    assert (found.why, found.exit_code, found.tail) == ("stopped: not wanted any more", 0, "ready\nsaved\n")
    house.runner.stop(job_id, "again")
    assert house.ended(job_id).why == "stopped: not wanted any more"


def test_sigterm_to_the_supervisor_stops_the_program(house: JobHouse) -> None:
    job_id = house.start(WAITS)
    house.running(job_id)
    os.kill(supervisor(house, job_id), signal.SIGTERM)
    assert house.ended(job_id).why == "stopped: by a signal"
    assert gone(house, job_id)


def test_what_does_not_hear_sigterm_is_killed_with_all_its_children(house: JobHouse) -> None:
    hidden = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
    job_id = house.start(f"import subprocess, sys\n{hidden}\n{STUBBORN}")
    house.running(job_id)
    assert len(house.processes(job_id)) == 2
    house.runner.stop(job_id, "enough")
    found = house.ended(job_id)
    assert (found.why, found.exit_code) == ("stopped: enough", -9)
    assert gone(house, job_id)


def test_children_do_not_outlive_their_program(house: JobHouse) -> None:
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
    job_id = house.start(f"import subprocess, sys\n{child}\n")
    assert house.ended(job_id).exit_code == 0
    assert gone(house, job_id)


def test_timeout(house: JobHouse) -> None:
    job_id = house.start(WAITS, timeout=1.0)
    found = house.ended(job_id)
    assert (found.why, found.exit_code) == ("timeout after 1s", -15)


def test_memory_above_the_grant_ends_it_with_the_number_to_set(house: JobHouse) -> None:
    program = f"block = bytearray(150 << 20)\nfor i in range(0, len(block), 4096): block[i] = 1\n{WAITS}"
    job_id = house.start(program, memory=64 << 20)
    found = house.ended(job_id)
    assert found.why.startswith("used 1")
    assert found.why.endswith("MiB of 64 MiB granted: set resources.memory to 190Mi")
    assert found.exit_code == -9
    assert 150 << 20 <= found.peak <= 200 << 20


def test_a_short_peak_is_measured_though_nobody_looked_then(house: JobHouse) -> None:
    # A Linux process inherits the high-water mark of those that it was forked from: only what is above ours tells anything.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    size = max(200 << 20, own + (100 << 20))
    program = f"block = bytearray({size})\nfor i in range(0, len(block), 4096): block[i] = 1\ndel block\n"
    found = house.ended(house.start(program))
    assert found.peak >= size


def test_pause_and_resume(house: JobHouse) -> None:
    program = "import time\nprint('ready', flush=True)\nfor i in range(12):\n    time.sleep(0.1)\n    print(i, flush=True)\n"
    job_id = house.start(program, timeout=3.0)
    house.running(job_id)
    house.runner.pause(job_id)
    house.wait(job_id, lambda found: found.state == "paused")
    assert all(process.status() == psutil.STATUS_STOPPED for process in house.processes(job_id))
    before = house.output(job_id)
    time.sleep(2.5)  # with the time before it, longer than the timeout
    assert house.output(job_id) == before
    house.runner.resume(job_id)
    assert house.ended(job_id).exit_code == 0


def test_a_paused_program_can_be_stopped(house: JobHouse) -> None:
    job_id = house.start(WAITS)
    house.running(job_id)
    house.runner.pause(job_id)
    house.wait(job_id, lambda found: found.state == "paused")
    house.runner.stop(job_id, "too hot")
    found = house.ended(job_id)
    assert (found.why, found.exit_code) == ("stopped: too hot", -15)


def test_the_job_outlives_the_reconciler(house: JobHouse) -> None:
    """The reconciler is a process here; it launches and is killed."""
    job = house.job("import time\nprint('ready', flush=True)\ntime.sleep(1.5)\nprint('done')\n")
    write_to = house.folder / "job"
    write_to.mkdir()
    write_job(Folder(write_to), job)
    launch = (
        "import sys, time\nfrom pathlib import Path\nfrom reconciler.runs.folder import Folder, read_job\n"
        "from reconciler.runs.local import LocalRunner\n"
        f"LocalRunner(Path({str(house.state_dir)!r}), lambda: None).launch(read_job(Folder(Path({str(write_to)!r}))))\n"
        "print('launched', flush=True)\ntime.sleep(600)\n"
    )
    reconciler = subprocess.Popen([sys.executable, "-c", launch], stdout=subprocess.PIPE, text=True)
    assert reconciler.stdout is not None
    assert reconciler.stdout.readline() == "launched\n"
    reconciler.kill()
    reconciler.wait()
    found = house.ended(job.id)
    assert (found.exit_code, found.tail) == (0, "ready\ndone\n")


def test_launched_twice_by_many_runs_once(house: JobHouse) -> None:
    job = house.job("import time\nprint('once', flush=True)\ntime.sleep(0.5)\n")
    runners = [house.open() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda runner: runner.launch(job), runners))
    house.runner.launch(job)
    house.ended(job.id)
    house.runner.launch(job)
    assert house.runner.look()[job.id].state == "ended"
    assert house.output(job.id) == "once\n"


def relaunched_after_a_kill(house: JobHouse, seconds: float) -> None:
    """A reconciler is killed so long after it began to launch; the next one launches the same job."""
    job = house.job("import time\nprint('once', flush=True)\ntime.sleep(0.3)\n")
    (house.folder / "job").mkdir(exist_ok=True)
    write_job(Folder(house.folder / "job"), job)
    launch = (
        "from pathlib import Path\nfrom reconciler.runs.folder import Folder, read_job\nfrom reconciler.runs.local import LocalRunner\n"
        f"job = read_job(Folder(Path({str(house.folder / 'job')!r})))\nprint('now', flush=True)\n"
        f"LocalRunner(Path({str(house.state_dir)!r}), lambda: None).launch(job)\n"
    )
    reconciler = subprocess.Popen([sys.executable, "-c", launch], stdout=subprocess.PIPE, text=True)
    assert reconciler.stdout is not None
    assert reconciler.stdout.readline() == "now\n"
    time.sleep(seconds)
    reconciler.kill()
    reconciler.wait()
    house.runner.launch(job)
    assert house.ended(job.id).exit_code == 0
    assert house.output(job.id) == "once\n"


def test_a_reconciler_killed_while_it_launches_makes_no_twin(house: JobHouse) -> None:
    for milliseconds in (0, 2, 5, 10):
        relaunched_after_a_kill(house, milliseconds / 1000)


@pytest.mark.full
def test_a_reconciler_killed_at_any_moment_of_a_launch_makes_no_twin(house: JobHouse) -> None:
    for step in range(100):
        relaunched_after_a_kill(house, step * 0.0003)


def ended_after_a_kill(house: JobHouse, seconds: float) -> None:
    """The supervisor is killed so long after its launch; whatever it was at, the job comes to an end and leaves nothing running."""
    job_id = house.start("import time\nprint('once', flush=True)\ntime.sleep(600)\n")
    time.sleep(seconds)
    for process in supervisors(house.at(job_id)):
        process.kill()
        process.wait(5)
    assert house.wait(job_id, lambda found: not is_held(house.at(job_id).lock)).state == "lost"
    house.runner.stop(job_id, "lost")
    found = house.ended(job_id)
    assert found.why.startswith("its supervisor ended without a result" if found.state == "lost" else "stopped: lost")
    assert gone(house, job_id)
    assert house.output(job_id) in ("", "once\n")


def test_a_supervisor_may_die_while_it_starts(house: JobHouse) -> None:
    for milliseconds in (20, 250, 400, 600):
        ended_after_a_kill(house, milliseconds / 1000)


@pytest.mark.full
def test_a_supervisor_may_die_at_any_moment(house: JobHouse) -> None:
    for step in range(80):
        ended_after_a_kill(house, step * 0.01)


def test_what_the_sensors_saw_is_on_the_receipt(house: JobHouse) -> None:
    (house.folder / "trace.jsonl").write_text('{"at": 0, "level": "serious", "used": 1.1, "watts": 12}\n')
    sensors = Simulated(trace="trace.jsonl")
    house.runner = LocalRunner(house.state_dir, lambda: None, lambda: (Admission(sensors=sensors), house.folder))
    job_id = house.start("import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass\n")
    found = house.ended(job_id)
    result = read_result(house.at(job_id))
    assert result is not None
    assert result.tags["mlops.receipt.worst_heat"] == "serious"
    assert 1 < float(result.tags["mlops.receipt.energy_joules"]) < 60
    assert result.tags["mlops.receipt.energy_source"] == "simulated"
    assert found.watts is not None
    assert 1 < found.watts <= 12.5


def test_a_second_supervisor_leaves(house: JobHouse) -> None:
    job_id = house.start(WAITS)
    house.running(job_id)
    again = [sys.executable, "-m", "reconciler.runs.supervise", str(house.at(job_id).path)]
    assert subprocess.run(again, check=False, timeout=30).returncode == 0
    assert house.runner.look()[job_id].state == "running"
    assert len(house.processes(job_id)) == 1


def test_a_launch_that_was_cut_off_is_repeated(house: JobHouse) -> None:
    job = house.job("print('ran')\n")
    folder = house.at(job.id)
    folder.path.mkdir(parents=True)
    write_job(folder, job)
    found = house.runner.look()[job.id]
    assert (found.state, found.why) == ("lost", "never started: the reconciler ended while launching it")
    house.runner.launch(job)
    assert house.ended(job.id).tail == "ran\n"


def test_the_program_gets_what_it_declares_and_nothing_else(house: JobHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-in-environment")
    house.credentials = ("tracker", "canary-in-password")
    job_id = house.start(
        "import os, time\nprint(sorted(os.environ.items()), flush=True)\nprint('ready', flush=True)\ntime.sleep(600)\n",
        env={"DECLARED": "yes"},
        cpu=2000,
    )
    house.running(job_id)
    text = house.output(job_id)
    assert "('DECLARED', 'yes')" in text
    assert "('OMP_NUM_THREADS', '2')" in text
    assert "canary" not in text
    folder = house.at(job_id)
    lines = [" ".join(psutil.Process(supervisor(house, job_id)).cmdline()), *(" ".join(each.cmdline()) for each in house.processes(job_id))]
    environments = [psutil.Process(supervisor(house, job_id)).environ(), *(each.environ() for each in house.processes(job_id))]
    assert "canary" not in " ".join(lines) + str(environments)
    assert not folder.credentials.exists()
    assert not [path for path in folder.path.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]


def test_bad_requirements_say_which(house: JobHouse) -> None:
    job_id = house.start("print('never')\n", requirements=("mlops-no-such-package==99",))
    found = house.ended(job_id)
    assert found.exit_code is None
    assert "mlops-no-such-package" in found.why
    assert "change spec.requirements of the Project" in found.why
    assert house.output(job_id) == ""


def test_a_folder_that_is_not_there_is_refused(house: JobHouse) -> None:
    with pytest.raises(Terminal, match=r"check spec\.path"):
        house.runner.launch(house.job("", cwd=str(house.folder / "nowhere")))
    assert house.runner.look() == {}


def test_an_id_that_would_leave_the_folder_is_refused(house: JobHouse) -> None:
    with pytest.raises(Terminal, match="not a job's id"):
        house.runner.launch(house.job("", id="../../elsewhere"))


def test_forget(house: JobHouse) -> None:
    job_id = house.start(WAITS)
    house.running(job_id)
    with pytest.raises(Transient, match="still runs"):
        house.runner.forget(job_id)
    house.runner.stop(job_id, "enough")
    house.ended(job_id)
    house.wait(job_id, lambda _: not psutil.pid_exists(supervisor(house, job_id)))
    house.runner.forget(job_id)
    assert not house.at(job_id).path.exists()
    house.runner.forget(job_id)
    assert job_id not in house.runner.look()


def test_checkpoints_survive_the_job(house: JobHouse) -> None:
    program = (
        "import os, pathlib\nnote = pathlib.Path(os.environ['MLOPS_CHECKPOINT_DIR']) / 'step'\n"
        "print(note.read_text() if note.exists() else 'new')\nnote.write_text('7')\n"
    )
    first = house.start(program, checkpoint="abc123")
    assert house.ended(first).tail == "new\n"
    second = house.start(program, checkpoint="abc123")
    assert house.ended(second).tail == "7\n"


def test_mlx_has_its_limit_and_tells_its_memory(house: JobHouse) -> None:
    """The environment is the tests' own, where MLX is installed: the program finds it through a path file."""
    program = (
        f"import sys\nsys.path.extend({[each for each in sys.path if 'site-packages' in each]!r})\n"
        "import mlx.core as mx\nold = mx.set_memory_limit(1)\nmx.set_memory_limit(old)\n"
        "print('limit', old, mx.__spec__.loader.__class__.__name__)\n"
        "x = mx.ones((1024, 1024)); mx.eval(x)\n"
    )
    job_id = house.start(program, memory=512 << 20)
    found = house.ended(job_id)
    assert found.exit_code == 0, found.tail
    word, size, loader = found.tail.split()
    assert (word, loader) == ("limit", "ExtensionFileLoader")
    assert 256 << 20 <= int(size) < 512 << 20
    assert json.loads(house.at(job_id).stats.read_text())["mlx_peak"] >= 4 << 20


def test_looking_at_many_is_cheap(house: JobHouse) -> None:
    """A ratio, not a time: a look at a hundred ended jobs costs no more than reading their result files forty times."""
    job_id = house.start("print('x' * 3000)\n")
    house.ended(job_id)
    for number in range(100):
        path = house.at(job_id).path
        subprocess.run(["cp", "-r", str(path), str(path.parent / f"copy{number}")], check=True)
    files = [path / "result.json" for path in house.at(job_id).path.parent.iterdir()]
    began = time.process_time()
    for _ in range(40):
        for each in files:
            each.read_bytes()
    reading = time.process_time() - began
    house.runner.look()
    began = time.process_time()
    assert len(house.runner.look()) == 101
    assert time.process_time() - began <= reading


def test_no_job_at_all(tmp_path: Path) -> None:
    with contextlib.closing(JobHouse(tmp_path)) as house:
        assert house.runner.look() == {}
        house.runner.stop("nobody", "why not")
        house.runner.forget("nobody")
        house.runner.pause("nobody")
        house.runner.resume("nobody")


def test_job_is_written_and_read_as_it_was(house: JobHouse) -> None:
    job: Job = house.job("", "--a", "1", env={"A": "b"}, tags={"t": "u"}, timeout=3.5)
    folder = house.at(job.id)
    folder.path.mkdir(parents=True)
    write_job(folder, job)
    assert read_job(folder) == job
