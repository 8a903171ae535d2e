"""Bring-up and stop over small real processes: order, twins, kills, ports, words in errors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from reconciler.errors import Transient
from reconciler.platform import Services, ServiceSpec, process
from reconciler.platform.process import Launch
from reconciler.platform.recipes import Recipe
from reconciler.platform.spec import Endpoint, Probe, Site

SERVER = """
import os, signal, socket, subprocess, sys, time
port, how = int(sys.argv[1]), sys.argv[2]
print("hello from", port, flush=True)
if how == "fails": sys.exit("cannot read the config")
if how == "stubborn": signal.signal(signal.SIGTERM, signal.SIG_IGN)
if how == "child": subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
if how == "busy" and not os.path.exists("second"):
    open("second", "w").close(); sys.exit("come back later")
with socket.create_server(("127.0.0.1", port)) as server:
    while True:
        server.accept()[0].close()
"""


def _launch(site: Site) -> Launch:
    return Launch((sys.executable, "-c", SERVER, str(site.port), site.spec.extra.get("how", "works")), site.home)


def _probe(site: Site) -> Probe:
    try:
        socket.create_connection(("127.0.0.1", site.port), timeout=1).close()
    except OSError as error:
        return Probe(False, str(error))
    return Probe(True, version="1")


def _recipe(name: str, *needs: str) -> Recipe:
    def endpoint(site: Site) -> Endpoint:
        return Endpoint(name, "tcp", "127.0.0.1", site.port)

    return Recipe(name, lambda site: None, _launch, _probe, endpoint, needs=lambda spec: needs, ready_seconds=20.0, busy=("come back",))


RECIPES: Mapping[str, Recipe] = {"base": _recipe("base"), "other": _recipe("other"), "top": _recipe("top", "base")}


def services(state: Path, **how: str) -> Services:
    return Services(state, [ServiceSpec(name, extra={"how": each}) for name, each in (how or {"top": "works"}).items()], recipes=RECIPES)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "a state"
    for name in RECIPES:
        for each in process.marked_processes(process.mark(name, tmp_path / "a state")):
            each.kill()


def marked(state: Path, name: str) -> list[int]:
    return [each.pid for each in process.marked_processes(process.mark(name, state))]


def kill(pid: int) -> None:
    victim = psutil.Process(pid)
    victim.kill()
    victim.wait(5)


def test_needed_first_and_stopped_last(state: Path) -> None:
    told: list[str] = []
    up = services(state).ensure(["top"], on_event=lambda name, what: told.append(f"{name} {what.split()[0]}"))
    assert told == ["base starting", "base ready", "top starting", "top ready"]
    assert {name: each.state for name, each in up.items()} == {"base": "running", "top": "running"}
    again = services(state)
    assert {name: each.pid for name, each in again.ensure(["top"]).items()} == {name: each.pid for name, each in up.items()}
    again.stop(["base"])
    assert [marked(state, "top"), marked(state, "base")] == [[], []]
    assert {each.state for each in again.status().values()} == {"stopped"}


def test_a_chosen_port_stays_over_a_restart(state: Path) -> None:
    first = services(state)
    first.ensure(["base"])
    url = first.endpoint("base").url
    first.stop()
    first.ensure(["base"])
    assert services(state).endpoint("base").url == url
    assert first.logs("base").startswith("hello from")
    assert (state / "services" / "base" / "log.1").exists()


def test_a_dead_one_is_told_and_brought_back(state: Path) -> None:
    house = services(state)
    pid = house.ensure(["top"])["base"].pid
    assert pid is not None
    kill(pid)
    seen = house.status()
    assert seen["base"].state == "dead"
    assert "last words: hello" in seen["base"].message
    back = house.ensure(["top"])
    assert back["base"].pid != pid
    assert back["top"].pid == seen["top"].pid


def test_children_that_outlive_their_parent_are_ended(state: Path) -> None:
    house = services(state, base="child")
    pid = house.ensure(["base"])["base"].pid
    assert pid is not None
    child = psutil.Process(pid).children()[0]
    kill(pid)
    house.ensure(["base"])
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    house.stop()
    assert marked(state, "base") == []


def test_one_that_ignores_the_signal_is_killed(state: Path) -> None:
    house = services(state, base="stubborn")
    house.ensure(["base"])
    begun = time.monotonic()
    house.stop(timeout=0.5)
    assert time.monotonic() - begun < 5
    assert marked(state, "base") == []


def test_a_failed_start_shows_its_last_words_and_holds_up_only_its_dependants(state: Path) -> None:
    house = services(state, base="fails", other="works", top="works")
    with pytest.raises(Transient, match=r"base ended while it started[\s\S]*cannot read the config"):
        house.ensure(["top", "other"])
    assert {name: each.state for name, each in house.status().items()} == {"base": "dead", "other": "running", "top": "stopped"}


def test_a_busy_start_is_tried_again(state: Path) -> None:
    assert services(state, base="busy").ensure(["base"])["base"].state == "running"


def test_a_start_without_waiting_goes_one_step_at_a_time(state: Path) -> None:
    house = services(state)
    house.start(["top"])
    assert marked(state, "top") == []
    house.ensure(["base"])
    house.start(["top"])
    assert len(marked(state, "top")) == 1


def test_a_deadline_is_kept_and_says_what_it_waited_for(state: Path) -> None:
    def blind(site: Site) -> Probe:
        return Probe(False, "no answer yet")

    house = Services(state, [ServiceSpec("base")], recipes={"base": replace(RECIPES["base"], probe=blind)})
    with pytest.raises(Transient, match=r"base was not ready in 1 s: no answer yet"):
        house.ensure(["base"], deadline=1)
    assert house.status()["base"].state == "starting"
    late = Services(state, [ServiceSpec("base")], lambda: time.time() + 100, recipes={"base": replace(RECIPES["base"], probe=blind)})
    assert late.status()["base"].state == "unhealthy"


def test_a_taken_port_names_who_has_it(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        house = Services(state, [ServiceSpec("base", port)], recipes=RECIPES)
        with pytest.raises(Transient, match=rf"port {port} is taken by pid {os.getpid()} \("):
            house.ensure(["base"])


def test_a_chosen_port_that_was_taken_meanwhile_is_chosen_anew(state: Path) -> None:
    house = services(state, base="works")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (state / "services" / "base").mkdir(parents=True)
        (state / "services" / "base" / "port").write_text(str(taken.getsockname()[1]))
        house.ensure(["base"])
        assert house.endpoint("base").port != taken.getsockname()[1]


def test_other_settings_than_it_runs_with_are_told(state: Path) -> None:
    services(state, base="works").ensure(["base"])
    changed = Services(state, [ServiceSpec("base", workers=2, extra={"how": "works"})], recipes=RECIPES)
    assert changed.status()["base"].state == "degraded"


def test_two_starters_at_once_make_no_twin(state: Path) -> None:
    starters = [threading.Thread(target=services(state).ensure, args=(["top"],)) for _ in range(4)]
    for each in starters:
        each.start()
    for each in starters:
        each.join()
    assert len(marked(state, "base")) == len(marked(state, "top")) == 1


def test_a_starter_killed_at_any_moment_makes_no_twin(state: Path) -> None:
    script = textwrap.dedent(
        f"""
        import importlib.util, pathlib
        found = importlib.util.spec_from_file_location("toys", {str(Path(__file__))!r})
        toys = importlib.util.module_from_spec(found); found.loader.exec_module(toys)
        house = toys.services(pathlib.Path({str(state)!r}), base="works")
        print("go", flush=True)
        house.start(["base"])
        """
    )
    for step in range(6):
        starter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert starter.stdout is not None
        starter.stdout.readline()
        time.sleep(step * 0.003)
        starter.kill()
        starter.wait()
        starter.stdout.close()
        house = services(state, base="works")
        pid = house.ensure(["base"])["base"].pid
        assert marked(state, "base") == [pid]
        house.stop()
        assert marked(state, "base") == []


def test_a_process_that_was_not_recorded_is_found(state: Path) -> None:
    house = services(state, base="works")
    pid = house.ensure(["base"])["base"].pid
    process.write_record(state / "services" / "base" / "record.json", process.Record(0, "", time.time(), ""))
    fresh = services(state, base="works")
    assert fresh.status()["base"].pid == pid
    assert fresh.ensure(["base"])["base"].pid == pid
    (state / "services" / "base" / "record.json").unlink()
    fresh.stop()
    assert marked(state, "base") == []


def test_what_runs_is_found_without_manifests(state: Path) -> None:
    services(state).ensure(["top"])
    found = Services.recorded(state, RECIPES)
    assert found.names == ("base", "top")
    found.stop()
    assert [marked(state, "top"), marked(state, "base")] == [[], []]
    assert Services.recorded(state, RECIPES).names == ()
