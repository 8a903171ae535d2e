"""The real Ray head, started once, and real jobs on it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from reconciler.errors import Terminal, Transient
from reconciler.model.jobs import Job, Progress
from reconciler.platform import Services, ServiceSpec, process
from reconciler.platform.process import read_record
from reconciler.platform.ray import connect
from reconciler.runs.jobs import Jobs
from reconciler.runs.local import LocalRunner
from reconciler.runs.ray import RayRunner
from tests.contract.job_house import JobHouse

pytestmark = pytest.mark.xdist_group("ray")

WAITS = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"
SAVES = """
import signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: (asked.append(1), print("asked", flush=True)))
print("ready", flush=True)
while not asked:
    time.sleep(0.05)
time.sleep(1.5)
print("saved", flush=True)
sys.exit(7)
"""
TELLS = """
import json, os, signal, sys
adjusted = open("/proc/self/oom_score_adj").read().strip() if sys.platform == "linux" else "0"
blocked = sorted(int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
print(json.dumps({"env": dict(os.environ), "nice": os.nice(0), "oom": adjusted, "blocked": blocked, "arguments": sys.argv[1:]}))
"""


@dataclass
class RayHouse(JobHouse):
    """Runs programs as jobs of Ray."""

    address: str = ""

    def open(self) -> LocalRunner:
        return RayRunner(self.state_dir, lambda: self.address, lambda: self.credentials)

    def job(self, program: str, *arguments: str, name: str = "train.py", **more: Any) -> Job:
        return super().job(program, *arguments, name=name, **{"backend": "ray", "cpu": 500, "memory": 1 << 29, **more})

    def listed(self) -> dict[str, dict[str, Any]]:
        """What Ray itself says of its jobs."""
        with connect(self.address, 15) as client:
            return {each["submission_id"]: each for each in client.get("/api/jobs/").json()}


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs' environment, made once for all tests."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture
def house(tmp_path: Path, environments: Path, ray_url: str) -> Iterator[RayHouse]:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "environments").symlink_to(environments)
    with contextlib.closing(RayHouse(tmp_path, address=ray_url)) as found:
        yield found


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, ray_url: str) -> Iterator[tuple[RayHouse, str]]:
    """A job that goes on until all tests are over."""
    with contextlib.closing(RayHouse(tmp_path_factory.mktemp("standing"), address=ray_url)) as found:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SECRET_OF_THE_RECONCILER", "hidden-1")
            job_id = found.start(WAITS, cpu=100)
        found.running(job_id)
        yield found, job_id


def until(check: Callable[[], bool], seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


def settled(house: RayHouse, job_id: str) -> Progress:
    """The end of a job, without a tracking server to be told."""
    return house.wait(job_id, lambda found: found.state in ("ended", "lost"))


def supervisor(house: RayHouse, job_id: str) -> psutil.Process:
    record = read_record(house.at(job_id).record)
    assert record is not None
    return psutil.Process(record.pid)


def everyone(services: Services) -> list[psutil.Process]:
    pid = services.status(probe=False)["ray"].pid
    assert pid is not None
    return process.tree(pid)


# --- the head --------------------------------------------------------------------------------------------------------


def test_it_is_up_tells_its_version_and_is_found_again(ray_services: Services, ray_url: str) -> None:
    seen = ray_services.status()["ray"]
    print(f"Ray's memory: {(seen.pss_bytes or 0) >> 20} MiB in {len(everyone(ray_services))} processes")
    assert (seen.state, seen.message) == ("running", "")
    assert (seen.version or "").startswith("2.")
    assert seen.url is not None
    assert "***" in seen.url
    assert httpx.URL(ray_url).password not in repr(seen)


def test_a_port_without_the_token_lets_nobody_in(house: RayHouse, ray_url: str) -> None:
    url = httpx.URL(ray_url)
    bare = url.copy_with(username=None, password=None)
    job = {"entrypoint": "true", "submission_id": "stranger"}
    for headers, status in (({}, 401), ({"Authorization": "Bearer guess"}, 403)):
        with httpx.Client(base_url=bare, headers=headers, timeout=15, trust_env=False) as client:
            answers = [client.get("/api/jobs/"), client.post("/api/jobs/", json=job), client.get("/api/v0/nodes")]
            answers.append(client.put("/api/serve/applications/", json={"applications": []}))
            assert [each.status_code for each in answers] == [status] * 4
    submitted = house.start("print('the agent is up')\n")
    assert settled(house, submitted).exit_code == 0
    agent = _ports_of_head(ray_url)["dashboard-agent-listen-port"]
    answer = httpx.post(f"http://127.0.0.1:{agent}/api/job_agent/jobs/", json=job, timeout=15, trust_env=False)
    assert answer.status_code == 401
    with connect(ray_url, 15) as client:
        assert "stranger" not in {each["submission_id"] for each in client.get("/api/jobs/").json()}


def _ports_of_head(ray_url: str) -> dict[str, int]:
    port = str(httpx.URL(ray_url).port)
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f"--dashboard-port={port}" in (argv := one.cmdline()) and "ray.scripts.scripts" in argv:
                options = [each.removeprefix("--").split("=") for each in argv if each.startswith("--") and "port=" in each]
                return {name: int(value) for name, value in options}
    raise AssertionError("no head")


@pytest.mark.usefixtures("standing")
def test_nothing_listens_beyond_this_machine_while_a_job_runs(ray_services: Services) -> None:
    found: set[str] = set()
    ports: set[int] = set()
    for one in everyone(ray_services):
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in one.net_connections("inet"):
                if each.status == psutil.CONN_LISTEN or not each.raddr:
                    found.add(each.laddr.ip)
                    ports.add(each.laddr.port)
    assert found <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert len(ports) >= 8
    assert all(20_000 <= port < 30_000 for port in ports), "a port that Ray chose by itself"


def test_what_a_job_takes_is_not_counted_as_rays(standing: tuple[RayHouse, str], ray_services: Services) -> None:
    pid = ray_services.status(probe=False)["ray"].pid or 0
    whole, own = process.pss_bytes(pid) or 0, ray_services.status()["ray"].pss_bytes or 0
    job = sum(each.memory_full_info().pss for each in process.tree(supervisor(*standing).pid)) if sys.platform == "linux" else 0
    assert 0 < own <= whole - job / 2
    assert len([each for each in everyone(ray_services) if os.getsid(each.pid) == pid]) >= 18


def test_its_folder_is_closed_to_others(ray_services: Services) -> None:
    home = _home(ray_services)
    folder = Path((home / "folder").read_text())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.rglob("plasma_store"))
    assert (home / "token").stat().st_mode & 0o777 == 0o600


def _home(services: Services) -> Path:
    head = everyone(services)[0]
    return Path(head.environ()["RAY_AUTH_TOKEN_PATH"]).parent


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_job_gets_what_it_would_get_here_and_nothing_of_rays(house: RayHouse, ray_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_RECONCILER", "hidden-1")
    monkeypatch.setenv("UV_INDEX_MINE_PASSWORD", "hidden-2")
    job_id = house.start(TELLS, "--out", "{out}", env={"WANTED": "yes"})
    found = settled(house, job_id)
    assert (found.exit_code, found.why, found.state) == (0, "", "ended"), found
    told = json.loads(house.output(job_id))
    assert (told["nice"], told["oom"], told["blocked"]) == (0, "0", [])
    assert told["arguments"] == ["--out", str(house.at(job_id).out)]
    assert told["env"]["WANTED"] == "yes"
    assert not [name for name in told["env"] if name.startswith(("RAY_", "SECRET", "UV_")) or name == "MLOPS_SERVICE"]
    token = httpx.URL(ray_url).password
    assert token not in house.output(job_id)
    assert not house.at(job_id).environment.exists()
    until(lambda: house.listed()[job_id]["status"] == "SUCCEEDED")
    shown = json.dumps(house.listed())
    assert not [secret for secret in ("hidden-1", "hidden-2", "WANTED", token) if secret in shown]


def test_neither_the_head_nor_a_supervisor_has_a_secret_in_its_environment(
    standing: tuple[RayHouse, str], ray_services: Services, ray_url: str
) -> None:
    assert not [name for name in supervisor(*standing).environ() if name.startswith(("RAY_", "SECRET"))]
    token = httpx.URL(ray_url).password
    ours = {"PATH", "HOME", "LANG", "TMPDIR", "DO_NOT_TRACK", "PYTHONUNBUFFERED", "MLOPS_SERVICE", "DASHBOARD_METRIC_PORT"}
    head = everyone(ray_services)[0].environ()
    assert {name for name in head if not name.startswith("RAY_")} <= ours | {"__CF_USER_TEXT_ENCODING"}
    for each in everyone(ray_services):
        with contextlib.suppress(psutil.Error):
            assert token not in json.dumps(each.environ()) + " ".join(each.cmdline())


def test_what_could_never_fit_is_refused_before_ray_hears_of_it(house: RayHouse) -> None:
    total = psutil.virtual_memory().total
    for what, amount, words in (
        ("cpu", 64_000, "asks Ray for 64 cores, no node of it has more than 2"),
        ("memory", 2 * total, "no node of it has more than"),
        ("gpu", 9_000, "asks Ray for 9 GPUs"),
    ):
        job = replace(house.job(WAITS), **{what: amount})  # type: ignore[arg-type]
        with pytest.raises(Terminal, match=words) as caught:
            house.runner.launch(job)
        assert f"lower resources.{what}" in (caught.value.hint or "")
        assert job.id not in house.listed()
        assert not house.at(job.id).path.exists()


def test_a_stop_asks_once_and_lets_it_save(house: RayHouse) -> None:
    job_id = house.start(SAVES)
    house.running(job_id)
    house.runner.stop(job_id, "no longer wanted")
    house.runner.stop(job_id, "asked again")
    found = settled(house, job_id)
    assert (found.state, found.why) == ("ended", "stopped: no longer wanted")
    assert house.output(job_id) == "ready\nasked\nsaved\n"
    until(lambda: not house.processes(job_id))
    house.runner.stop(job_id, "too late")
    until(lambda: house.listed()[job_id]["status"] in ("SUCCEEDED", "FAILED"))


def test_a_job_is_paused_and_goes_on(standing: tuple[RayHouse, str]) -> None:
    house, job_id = standing
    house.runner.pause(job_id)
    assert house.wait(job_id, lambda found: found.state == "paused")
    assert psutil.Process(_program(house, job_id)).status() == psutil.STATUS_STOPPED
    house.runner.resume(job_id)
    assert house.wait(job_id, lambda found: found.state == "running")
    assert psutil.Process(_program(house, job_id)).status() != psutil.STATUS_STOPPED


def _program(house: RayHouse, job_id: str) -> int:
    record = read_record(house.at(job_id).program)
    assert record is not None
    return record.pid


def test_one_that_waits_for_ray_is_starting_and_a_stop_keeps_it_from_running(house: RayHouse) -> None:
    first = house.start(WAITS, cpu=1900)
    house.running(first)
    second = house.start("open('ran', 'w')\n", cpu=1900, name="b.py")
    third = house.start("print('third')\n", cpu=1900, name="c.py")
    until(lambda: house.listed()[second]["status"] == "PENDING")
    seen = house.runner.look()
    assert [(seen[each].state, seen[each].why) for each in (second, third)] == [("starting", "in Ray's queue")] * 2
    house.runner.stop(second, "superseded")
    found = settled(house, second)
    assert (found.state, found.why, found.since) == ("ended", "stopped: superseded", 0.0)
    house.runner.forget(second)
    house.runner.stop(first, "make room")
    assert settled(house, third).exit_code == 0
    until(lambda: second not in house.listed() or house.listed()[second]["status"] in ("STOPPED", "SUCCEEDED", "FAILED"))
    assert not (house.work / "ran").exists()


def test_launched_twice_it_runs_once(house: RayHouse) -> None:
    job = house.job("import os\nopen(f'{os.getpid()}.ran', 'w')\n")
    for runner in (house.runner, house.open(), house.runner):
        runner.launch(job)
    assert settled(house, job.id).exit_code == 0
    house.open().launch(job)
    assert len(list(house.work.glob("*.ran"))) == 1
    assert [each for each in house.listed() if each == job.id] == [job.id]


def test_it_survives_the_process_that_submitted_it(house: RayHouse) -> None:
    job = house.job(WAITS)
    body = """
        import json, os, signal, sys
        from pathlib import Path
        from reconciler.model.jobs import Job
        from reconciler.runs.ray import RayRunner
        given = json.load(sys.stdin)
        RayRunner(Path(given["state"]), lambda: given["address"], lambda: None).launch(Job(**given["job"]))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    given = {"state": str(house.state_dir), "address": house.address, "job": {**vars(job), "env": {}, "tags": {}}}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(body)], input=json.dumps(given), text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert house.running(job.id).state == "running"
    assert Jobs(house.state_dir, lambda: None, lambda: house.address).look()[job.id].state == "running"


def test_a_killed_supervisor_leaves_nothing_running_and_is_told_as_lost(house: RayHouse) -> None:
    job_id = house.start(WAITS)
    house.running(job_id)
    supervisor(house, job_id).kill()
    found = house.wait(job_id, lambda found: found.state == "lost")
    assert found.why == "its supervisor ended without a result"
    house.runner.tend()
    until(lambda: not house.processes(job_id) and house.at(job_id).result.exists())
    assert settled(house, job_id).state == "lost"


def test_one_that_fails_one_that_is_killed_and_one_that_takes_too_much_say_so(house: RayHouse) -> None:
    failing = house.start("import sys\nprint('almost')\nsys.exit(3)\n")
    killed = house.start(WAITS, name="b.py")
    greedy = house.start("import time\nheld = bytearray(600 << 20)\ntime.sleep(600)\n", memory=200 << 20, name="c.py")
    house.running(killed)
    psutil.Process(_program(house, killed)).kill()
    assert settled(house, killed).why == "killed (SIGKILL)"
    found = settled(house, failing)
    assert (found.state, found.exit_code, found.why, found.tail) == ("ended", 3, "exit 3", "almost\n")
    assert "of 200 MiB granted: set resources.memory to" in settled(house, greedy).why


def test_forgetting_takes_its_folder_and_rays_entry(house: RayHouse, standing: tuple[RayHouse, str]) -> None:
    job_id = house.start("print('done')\n")
    running, lasts = standing
    with pytest.raises(Transient, match="still runs"):
        running.runner.forget(lasts)
    assert lasts in running.listed()
    settled(house, job_id)
    until(lambda: house.listed()[job_id]["status"] == "SUCCEEDED")
    house.runner.forget(job_id)
    assert job_id not in house.runner.look()
    until(lambda: house.runner.forget(job_id) or job_id not in house.listed())  # a busy head may not take the first word


def test_without_ray_those_that_run_are_seen_and_none_is_started(standing: tuple[RayHouse, str]) -> None:
    house, job_id = standing
    elsewhere = replace(house, address="http://ray:no@127.0.0.1:1")
    assert elsewhere.runner.look()[job_id].state == "running"
    waiting = house.job(WAITS)
    with pytest.raises(Transient, match="Ray does not answer"):
        elsewhere.runner.launch(waiting)
    wrong = replace(house, address=house.address.replace("ray:", "ray:x"))
    with pytest.raises(Transient, match="refuses this installation's token") as caught:
        wrong.runner.launch(waiting)
    assert str(httpx.URL(house.address).password) not in str(caught.value)


# --- a head of its own -----------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Services, Path]]:
    closed = Path(tempfile.mkdtemp(dir="/tmp")) / ("a long way " * 8) / "state dir"
    services = Services(closed, [ServiceSpec("ray")])
    try:
        yield services, closed
    finally:
        services.stop()
        shutil.rmtree(closed.parents[1])


def test_a_killed_head_comes_back_without_its_jobs_and_a_stop_leaves_nothing(own: tuple[Services, Path], tmp_path: Path) -> None:
    services, state = own
    services.ensure(["ray"])
    with contextlib.closing(RayHouse(tmp_path, address=(url := services.endpoint("ray").url))) as house:
        house.running(running := house.start(WAITS))
        queued = house.start(WAITS, cpu=1000 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1000)
        everybody = everyone(services)
        everybody[0].kill()
        house.wait(running, lambda found: found.state == "lost")
        began = time.monotonic()
        assert Services(state, [ServiceSpec("ray")]).ensure(["ray"])["ray"].state == "running"
        print(f"again after {time.monotonic() - began:.1f} s")
        assert services.endpoint("ray").url == url
        assert house.runner.look()[queued].state == "lost"
        assert house.runner.look()[queued].why == "Ray does not know it: its head was started again"
        house.runner.tend()
        until(lambda: not house.processes(running) and house.at(queued).result.exists())
        house.running(last := house.start(SAVES))
        folder = Path((state / "services" / "ray" / "folder").read_text())
        everybody += everyone(services)
        began = time.monotonic()
        services.stop()
        print(f"stop with a job: {time.monotonic() - began:.1f} s")
        assert settled(house, last).why == "stopped: the platform's Ray was stopped"
        assert "saved" in house.output(last)
        assert not [each for each in everybody if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
        assert not folder.exists()
