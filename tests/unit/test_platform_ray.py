"""The Ray recipe as data, its ports, its private folder, and what of Ray is shown when nothing needs it."""

from __future__ import annotations

import socket
import stat
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from controllers.platform import PlatformController
from reconciler.errors import Terminal, Transient
from reconciler.model import Create, Present, Resource, Update
from reconciler.platform import airflow, ports, ray
from reconciler.platform.private import short_folder
from reconciler.platform.recipes import RECIPES
from reconciler.platform.shared import Shared, service_specs
from reconciler.platform.spec import ServiceSpec, Site
from reconciler.testing import FakeServices, make_context, make_resource
from reconciler.testing.context import INSTALLATION
from schemas.platform import KIND, PlatformSpec


def site(tmp_path: Path, **extra: str) -> Site:
    return Site(ServiceSpec("ray", extra=extra), tmp_path, 29_999)


def platform(**ray: object) -> PlatformSpec:
    return PlatformSpec.model_validate({"installation": INSTALLATION, "ray": ray})


def options(given: Site) -> dict[str, str]:
    return {name: value for name, _, value in (each.removeprefix("--").partition("=") for each in ray.launch(given).argv)}


def test_every_port_is_its_own_and_none_is_left_to_ray(tmp_path: Path) -> None:
    given = site(tmp_path, cpus="3", objectStore="80M")
    ray.prepare(given)
    try:
        found = options(given)
        workers = range(int(found["min-worker-port"]), int(found["max-worker-port"]) + 1)
        named = [
            int(value) for name, value in found.items() if name.endswith("port") and name not in ("min-worker-port", "max-worker-port")
        ]
        named.append(int(ray.launch(given).env["DASHBOARD_METRIC_PORT"]))
        assert len(named) == len(set(named)) == 10
        assert len(workers) == 128
        assert not set(named) & set(workers)
        assert (found["dashboard-host"], found["node-ip-address"], found["dashboard-port"]) == ("127.0.0.1", "127.0.0.1", "29999")
        assert (found["num-cpus"], found["object-store-memory"]) == ("3", "80000000")
        assert int(found["memory"]) == psutil.virtual_memory().total
        assert ray.launch(given).argv[0] == sys.executable
    finally:
        ray.tidy(given)
    assert not Path((tmp_path / "folder").read_text()).exists()


def test_the_same_ports_again_unless_somebody_took_one(tmp_path: Path) -> None:
    given = site(tmp_path)
    ray.prepare(given)
    first = ports.remembered(tmp_path / "ports")
    token, folder = (tmp_path / "token").read_text(), (tmp_path / "folder").read_text()
    ray.prepare(given)
    assert first is not None
    assert ports.remembered(tmp_path / "ports") == first
    with socket.create_server(("127.0.0.1", first + 20)):
        ray.prepare(given)
        assert ports.remembered(tmp_path / "ports") not in (None, first)
    assert ((tmp_path / "token").read_text(), (tmp_path / "folder").read_text()) == (token, folder)
    ray.tidy(given)


def test_a_range_leaves_out_the_port_that_is_spoken_for() -> None:
    first = ports.choose_range("seed", 140)
    assert ports.choose_range("seed", 140) == first
    assert ports.choose_range("seed", 140, apart_from=first + 139) not in range(first - 139, first + 140)
    assert ports.FIRST <= first <= ports.FIRST + ports.COUNT - 140


def test_apples_gpu_is_one_device_to_share(tmp_path: Path) -> None:
    assert "--num-gpus=1" in ray._resources({}, "Darwin", "arm64")
    assert not [each for system in ("Linux", "Darwin") for each in ray._resources({}, system, "x86_64") if "gpus" in each]


def test_what_is_wrong_is_told_before_a_start(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="ray has no option 'gpus'"):
        ray.prepare(site(tmp_path, gpus="1"))
    with pytest.raises(Terminal, match="the interpreter of ray is not a program: /nowhere/python"):
        ray.prepare(Site(ServiceSpec("ray", interpreter="/nowhere/python"), tmp_path, 1))
    with pytest.raises(Transient, match="never started here"):
        ray.endpoint(site(tmp_path))


def test_the_token_is_in_the_address_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret-_token")
    where = ray.endpoint(site(tmp_path))
    assert "s3cret" not in repr(where) + where.public_url
    with ray.connect(where.url, 1.0) as client:
        assert client.headers["Authorization"] == "Bearer s3cret-_token"
        assert str(client.base_url) == "http://127.0.0.1:29999"


# --- a private folder with a short path ----------------------------------------------------------------------------


def test_a_private_folder_is_short_closed_and_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = short_folder(tmp_path / "note", "mlops-x-", 36)
    try:
        assert made.parent == Path("/tmp")
        assert len(str(made)) <= 36
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        assert short_folder(tmp_path / "note", "mlops-x-", 36) == made
        made.rmdir()
        assert short_folder(tmp_path / "note", "mlops-x-", 36) == made
        assert made.is_dir()
    finally:
        made.rmdir()


def test_a_folder_that_others_can_enter_or_a_link_in_its_place_is_not_used(tmp_path: Path) -> None:
    made = short_folder(tmp_path / "note", "mlops-x-", 36)
    made.chmod(0o755)
    second = short_folder(tmp_path / "note", "mlops-x-", 36)
    assert second != made
    second.rmdir()
    second.symlink_to(made)
    third = short_folder(tmp_path / "note", "mlops-x-", 36)
    assert third not in (made, second)
    second.unlink()
    made.rmdir()
    third.rmdir()


# --- what nothing needs ----------------------------------------------------------------------------------------------


def test_nobody_misses_a_ray_that_was_not_started(tmp_path: Path) -> None:
    shared = Shared(platform(), tmp_path / "state", lambda reference: "")
    assert "ray" in shared.managed.names
    assert "ray" not in shared.report()
    assert set(shared.usual) == {"postgres", "mlflow"}
    assert set(shared.report()) == {"postgres", "mlflow"}
    with pytest.raises(Transient, match="ray was never started here"):
        shared.endpoint("ray")
    assert [name for name, recipe in RECIPES.items() if recipe.on_demand] == ["ray", "gateway", "evidently", *airflow.SERVICES]


def test_only_what_differs_from_the_defaults_makes_another_ray(tmp_path: Path) -> None:
    def extra(spec: PlatformSpec) -> dict[str, str]:
        return next(dict(each.extra) for each in service_specs(spec, str) if each.name == "ray")

    assert extra(platform()) == {}
    assert extra(platform(objectStore="100M")) == {}
    assert extra(platform(cpus=4, objectStore="1Gi")) == {"cpus": "4", "objectStore": "1Gi"}


def test_a_change_restarts_the_service_that_it_is_about_and_no_other(tmp_path: Path) -> None:
    services = FakeServices(["postgres", "mlflow", "ray"])
    ctx = make_context(tmp_path, services=services, wanted=["mlflow", "ray"])
    controller = PlatformController()
    resource = make_resource(KIND, "main", {"installation": INSTALLATION})
    controller.apply(Create(resource), ctx)
    for more, stopped in (({"ray": {"cpus": 3}}, ["ray"]), ({"ray": {"cpus": 3}, "mlflow": {"workers": 2}}, ["mlflow"])):
        services.stopped.clear()
        later: Resource[Any] = make_resource(KIND, "main", {"installation": INSTALLATION, **more})
        seen = controller.observe([later], ctx)[later.ref]
        assert isinstance(seen, Present)
        controller.apply(Update(later, seen, controller.diff(later, seen)), ctx)
        assert services.stopped == stopped
