"""Applications and replicas on the real Ray Serve."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from controllers.deployment import DeploymentController
from reconciler.errors import Conflict, Rejected, Terminal, Transient
from reconciler.model import Owned, Ref
from reconciler.model.serving import applications_file, replicas_folder
from reconciler.platform import Services, process
from reconciler.platform.ray import SERVE, connect
from reconciler.runs.jobs import Jobs
from reconciler.serving import register
from reconciler.serving.warmup import Client
from tests.contract.serve_lab import ServeLab, close_lab, open_lab, until

pytestmark = pytest.mark.xdist_group("ray")

GOOD, GREEDY = "demo.sum.aaaaaaaa", "demo.greedy.aaaaaaaa"
FAILING = {
    "raises": "RuntimeError: weights.safetensors is not a model",
    "wrong": "wrong output: prediction 0 for the examples: data must be number",
    "changed": "the model's files are not those of its version",
}
STRANGER = """
from ray import serve

@serve.deployment(ray_actor_options={"num_cpus": 0})
class Theirs:
    pass

app = Theirs.bind()
if __name__ == "__main__":
    import sys, ray
    ray.init(address=sys.argv[1], log_to_driver=False)
    serve.run(app, name="by-hand", route_prefix=None)
"""


@pytest.fixture(scope="module")
def lab(ray_services: Services, ray_url: str) -> Iterator[ServeLab]:
    """Applications of three sorts, asked for at once: ours, somebody else's, and one that a program started."""
    found = open_lab(ray_url)
    (found.folder / "theirs.py").write_text(STRANGER)
    (found.folder / "model").mkdir()
    (found.folder / "model" / "weights").write_bytes(b"changed")
    try:
        _put_theirs(found)
        by_hand = subprocess.Popen([sys.executable, "theirs.py", _gcs(ray_services)], cwd=found.folder, env=_driver(ray_services))
        _declare_all(found)
        assert by_hand.wait(120) == 0
        yield found
    finally:
        close_lab(found)


def _put_theirs(lab: ServeLab) -> None:
    theirs = {"name": "theirs", "route_prefix": None, "import_path": "theirs:app"}
    body = {"applications": [{**theirs, "runtime_env": {"env_vars": {"PYTHONPATH": str(lab.folder), "THEIRS": "secret"}}}]}
    with connect(lab.address, 60) as client:
        assert client.put(SERVE, json={**body, "proxy_location": "Disabled"}).status_code == 200


def _gcs(services: Services) -> str:
    head = process.tree(services.status(probe=False)["ray"].pid or 0)[0]
    return "127.0.0.1:" + next(each.removeprefix("--port=") for each in head.cmdline() if each.startswith("--port="))


def _driver(services: Services) -> dict[str, str]:
    head = process.tree(services.status(probe=False)["ray"].pid or 0)[0].environ()
    return {name: value for name, value in head.items() if name != process.MARK}


def _declare_all(lab: ServeLab) -> None:
    """Each from a thread of its own, as a pass applies."""
    client = lab.client
    specs = [
        lab.spec("sum", cpu=250),
        lab.spec("greedy"),
        lab.spec("raises", env={"HOW": "raises"}),
        lab.spec("wrong", env={"HOW": "wrong"}),
    ]
    specs.append(lab.spec("changed", model=str(lab.folder / "model"), model_digest="0" * 64))
    threads = [threading.Thread(target=client.declare, args=(each,)) for each in specs]
    lab.wire.clear()
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def info(lab: ServeLab, app: str) -> Any:
    return lab.client.applications()[app]


def test_what_is_wanted_at_once_is_written_at_once(lab: ServeLab) -> None:
    calls = [(each.method, each.status) for each in lab.wire.calls]
    assert 1 <= calls.count(("PUT", "200")) <= 2, calls
    assert len(calls) <= 6
    kept = json.loads(applications_file(lab.state).read_text())["applications"]
    assert set(kept) == {GOOD, GREEDY, *(f"demo.{name}.aaaaaaaa" for name in FAILING)}
    assert kept[GOOD] == {"ref": "deployment/demo/sum", "digest": "a" * 64, "replicas": 1, "memory": 512 << 20, "cpu": 250, "gpu": 0}


def test_a_replica_answers_on_its_own_socket_and_nobody_else_reaches_it(lab: ServeLab) -> None:
    [replica] = lab.ready(GOOD)
    assert lab.ask(replica, [1, 2, 3], [4]) == [6.0, 4.0]
    socket = Path(replica.socket)
    assert (socket.stat().st_mode & 0o777, socket.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert (replica.ref, replica.granted, list(replica.example)) == ("deployment/demo/sum", 512 << 20, [[1, 2], [3, 4]])
    assert 50 << 20 < replica.memory <= replica.peak < 512 << 20
    until(lambda: info(lab, GOOD).status == "RUNNING")
    seen = info(lab, GOOD)
    assert (seen.ours, seen.ref, seen.digest, seen.target, seen.running) == (True, "deployment/demo/sum", "a" * 64, 1, 1)
    assert [(each.id, each.pid) for each in seen.replicas] == [(replica.replica, replica.pid)]
    environment = psutil.Process(replica.pid).environ()
    assert environment["OMP_NUM_THREADS"] == "1"


def test_what_is_so_already_is_not_written(lab: ServeLab) -> None:
    lab.wire.clear()
    lab.client.declare(lab.spec("sum", cpu=250))
    lab.client.scale(GOOD, 1)
    lab.client.remove(["demo.nothing.aaaaaaaa"])
    assert not lab.wire.writes


def test_a_model_that_fails_never_serves_and_says_why(lab: ServeLab) -> None:
    apps = {f"demo.{name}.aaaaaaaa": why for name, why in FAILING.items()}
    until(lambda: all(info(lab, app).status == "DEPLOY_FAILED" for app in apps))
    for app, why in apps.items():
        assert why in register.failures(lab.state, app)
        assert info(lab, app).message.splitlines()[-1].startswith(f"reconciler.errors.Terminal: {register.failures(lab.state, app)[:60]}")
        assert not lab.replicas(app)
        left = [register.read(each) for each in (replicas_folder(lab.state) / app).glob("*.json")]
        assert len(left) == 2
        assert all(each is not None and each.state == "failed" and not Path(each.socket or "/nowhere").exists() for each in left)
    lab.client.remove(list(apps))
    register.sweep(lab.state)
    until(lambda: not set(apps) & set(lab.client.applications()))
    register.sweep(lab.state)
    assert not [app for app in apps if (replicas_folder(lab.state) / app).exists()]


def test_others_applications_stay_as_they_are_and_their_names_are_theirs(lab: ServeLab) -> None:
    until(lambda: info(lab, "theirs").status == info(lab, "by-hand").status == "RUNNING")
    before = {name: (each.source, each.config, each.replicas) for name, each in lab.client.applications().items() if not each.ours}
    assert [before[name][0] for name in ("theirs", "by-hand")] == ["declarative", "imperative"]
    for name in ("theirs", "by-hand"):
        for refused in (
            lambda name=name: lab.client.declare(replace(lab.spec("x"), name=name)),
            lambda name=name: lab.client.remove([name]),
        ):
            with pytest.raises(Conflict, match=name):
                refused()
    with pytest.raises(Rejected, match="no application"):
        lab.client.scale("demo.nothing.aaaaaaaa", 2)
    lab.client.scale(GOOD, 2)
    lab.ready(GOOD, 2)
    assert before == {name: (each.source, each.config, each.replicas) for name, each in lab.client.applications().items() if not each.ours}
    assert "theirs" not in applications_file(lab.state).read_text()


def test_what_is_imported_of_serve_is_what_a_manifest_can_say(lab: ServeLab) -> None:
    controller, ctx = DeploymentController(), lab.ctx
    assert {"theirs", "by-hand", "demo/sum"} <= set(controller.found(ctx))
    with pytest.raises(Terminal, match="not deployed by this installation"):
        controller.export("theirs", ctx)
    with pytest.raises(Terminal, match="not known to this Store"):
        controller.export("demo/sum", ctx)
    with pytest.raises(Terminal, match="has 'demo/nothing'"):
        controller.export("demo/nothing", ctx)
    ref = Ref("Deployment", "demo", "sum")
    known = replace(ctx, owned={ref: Owned(ref, ref.path, "root", "", {}, "auto", declared={"spec": {"model": "sum@champion"}})})
    assert controller.export("demo/sum", known)["spec"] == {"model": "sum@champion"}


def test_of_two_that_are_wanted_at_once_the_refused_one_does_not_spoil_the_other(lab: ServeLab) -> None:
    client, errors = lab.client, list[Exception]()

    def refused() -> None:
        with contextlib.suppress(Conflict):
            client.remove(["theirs"])
            errors.append(AssertionError("was granted"))

    threads = [threading.Thread(target=refused), threading.Thread(target=client.scale, args=(GOOD, 2))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not errors
    assert info(lab, GOOD).target == 2


def test_a_replica_that_goes_finishes_what_it_has_in_hand(lab: ServeLab) -> None:
    replicas, answers = lab.ready(GOOD, 2), list[Any]()
    jobs = Jobs(lab.state, lambda: None, lambda: lab.address)
    slots = {each.id: each for each in jobs.look().values() if each.ref.startswith("deployment/demo/sum#")}
    assert {name: (each.ref, each.state, each.backend) for name, each in slots.items()} == {
        f"serve:{GOOD}:{slot}": (f"deployment/demo/sum#aaaaaaaa-{slot}", "running", "serve") for slot in (0, 1)
    }
    threads = [threading.Thread(target=lambda each=each: answers.append(lab.ask(each, "wait"))) for each in replicas]
    for each in threads:
        each.start()
    time.sleep(0.5)
    lab.client.scale(GOOD, 1)
    until(lambda: len(lab.replicas(GOOD, "draining")) == 1)
    assert len([each for each in jobs.look().values() if each.ref.startswith("deployment/demo/sum#")]) == 2, "it goes, but it is not gone"
    for each in threads:
        each.join()
    assert answers == [[0.0], [0.0]]
    until(lambda: len(lab.replicas(GOOD)) == 1)
    [left] = {each.replica for each in replicas} - {each.replica for each in lab.replicas(GOOD)}
    until(lambda: not list((replicas_folder(lab.state) / GOOD).glob(f"{left}*")))


def test_one_that_takes_more_than_it_was_granted_is_replaced_and_one_that_was_killed_too(lab: ServeLab) -> None:
    [greedy], [good] = lab.ready(GREEDY), lab.ready(GOOD)
    for _ in range(2):
        lab.ask(greedy, "grow")
    os.kill(good.pid, signal.SIGKILL)
    until(lambda: good.replica not in {each.replica for each in lab.replicas(GOOD)}, 2)  # its lock went with it, long before Serve knows
    until(lambda: bool(lab.replicas(GREEDY, "draining")))
    for app, before in ((GOOD, good), (GREEDY, greedy)):
        until(lambda app=app, before=before: [each.replica for each in lab.replicas(app, "ready")] not in ([], [before.replica]))
    assert "of 512 MiB granted: set resources.memory to more" in register.failures(lab.state, GREEDY)
    until(lambda: len(lab.ready(GREEDY)) == 1)


def test_requests_go_on_while_serves_controller_is_dead(lab: ServeLab) -> None:
    [replica], stop, answers = lab.ready(GOOD), threading.Event(), list[Any]()

    def load() -> None:
        with Client(Path(replica.socket)) as client:
            while not stop.is_set():
                answers.append(client.predict([[1, 2]]))

    thread = threading.Thread(target=load)
    thread.start()
    [controller] = [each for each in psutil.process_iter(["name"]) if _is_controller(each, lab)]
    controller.kill()
    until(lambda: not controller.is_running() or controller.status() == psutil.STATUS_ZOMBIE)
    until(lambda: _again(lab))
    stop.set()
    thread.join()
    assert len(answers) > 50
    assert set(map(tuple, answers)) == {(3.0,)}
    assert lab.ready(GOOD) == [replace(replica, memory=lab.ready(GOOD)[0].memory, peak=lab.ready(GOOD)[0].peak)]


def _is_controller(one: psutil.Process, lab: ServeLab) -> bool:
    """Serve's controller of this test's own head."""
    with contextlib.suppress(psutil.Error, ValueError):
        [replica] = lab.replicas(GOOD)
        return str(one.info["name"]).startswith("ray::ServeContr") and one.parent() == psutil.Process(replica.pid).parent()
    return False


def _again(lab: ServeLab) -> bool:
    """Whether Serve says again that all is well."""
    with contextlib.suppress(Transient, KeyError):
        return bool(info(lab, GOOD).status == "RUNNING")
    return False


def test_without_ray_and_with_a_wrong_token_it_says_so(lab: ServeLab) -> None:
    elsewhere = replace(lab, address="http://ray:no@127.0.0.1:1")
    with pytest.raises(Transient, match="Ray does not answer"):
        elsewhere.client.applications()
    password = str(httpx.URL(lab.address).password)
    with pytest.raises(Transient, match="refuses this installation's token") as caught:
        replace(lab, address=lab.address.replace("ray:", "ray:x")).client.applications()
    assert password not in str(caught.value)


def test_what_is_removed_ends_and_is_not_counted_any_more(lab: ServeLab) -> None:
    lab.client.remove([GOOD, GREEDY])
    assert json.loads(applications_file(lab.state).read_text()) == {"applications": {}}
    until(lambda: not register.standing(lab.state))
    assert not Jobs(lab.state, lambda: None, lambda: lab.address).look()
    until(lambda: set(lab.client.applications()) == {"theirs", "by-hand"})
