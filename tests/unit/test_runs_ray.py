"""What of a Ray job is decided without Ray: whether it fits, what is submitted, what two half truths make together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.errors import Transient
from reconciler.model.jobs import Job
from reconciler.platform.process import Record, write_record
from reconciler.runs.folder import acquire, folder_of, write_job
from reconciler.runs.ray import RayRunner, misfit, submission

NODES = [{"CPU": 8.0, "memory": 16e9}, {"CPU": 2.0, "memory": 64e9, "GPU": 1.0}]


def job(tmp_path: Path, **more: object) -> Job:
    given = {"id": "r1", "ref": "experiment/p/e#a", "backend": "ray", "cwd": str(tmp_path), "entrypoint": "train.py"}
    return Job(**{**given, "arguments": (), "requirements": (), **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"cpu": 8000}, None),
        ({"cpu": 2000, "memory": 64_000_000_000, "gpu": 500}, None),
        ({"cpu": 8001}, ("asks Ray for 8.001 cores, no node of it has more than 8", "resources.cpu, or raise ray.cpus of the Platform")),
        ({"gpu": 2000}, ("asks Ray for 2 GPUs, no node of it has more than 1", "lower resources.gpu")),
        ({"gpu": 1500}, ("asks Ray for 1.5 GPUs: above one it gives away whole ones", "whole number")),
        ({"memory": 65_000_000_000}, ("asks Ray for 60.5 GiB, no node of it has more than 59.6 GiB", "lower resources.memory")),
        ({"cpu": 8000, "memory": 32_000_000_000}, ("no single node has all of it", "lower one of")),
    ],
)
def test_what_fits_and_what_never_will(tmp_path: Path, asked: dict[str, int], words: tuple[str, str] | None) -> None:
    trouble = misfit(job(tmp_path, **asked), NODES)
    if words is None:
        assert trouble is None
    else:
        assert trouble is not None
        assert words[0] in trouble.message
        assert words[1] in (trouble.hint or "")


def test_a_head_whose_node_is_not_there_yet_refuses_nothing(tmp_path: Path) -> None:
    assert misfit(job(tmp_path), []) is None


def test_the_request_holds_whole_bytes_and_nothing_of_the_job_but_its_name(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a state; rm -rf", "r1")
    found = submission(job(tmp_path, cpu=250, gpu=500, memory=1 << 30, env={"KEY": "hidden"}), folder)
    assert (found["entrypoint_num_cpus"], found["entrypoint_num_gpus"], found["entrypoint_memory"]) == (0.25, 0.5, 1 << 30)
    assert f"'{folder.path}'" in found["entrypoint"]
    assert found["runtime_env"] == {}
    assert "hidden" not in json.dumps(found)


def nowhere() -> str:
    raise Transient("ray was never started here")


def test_without_ray_a_folder_says_what_it_can(tmp_path: Path) -> None:
    runner = RayRunner(tmp_path, nowhere, lambda: None)
    for name in ("waits", "works", "died"):
        folder = folder_of(tmp_path.resolve(), name)
        folder.path.mkdir(parents=True)
        write_job(folder, job(tmp_path, id=name))
    write_record(folder_of(tmp_path, "died").record, Record(1, "gone", 1.0, ""))
    assert acquire(folder_of(tmp_path, "works").lock) is not None
    seen = runner.look()
    assert {name: (each.state, each.why) for name, each in seen.items()} == {
        "waits": ("starting", "Ray does not answer"),
        "works": ("starting", ""),
        "died": ("lost", "its supervisor ended without a result"),
    }


def test_a_job_that_ray_was_never_told_of_is_not_kept_when_it_cannot_be(tmp_path: Path) -> None:
    runner = RayRunner(tmp_path, nowhere, lambda: None)
    with pytest.raises(Transient, match="never started"):
        runner.launch(job(tmp_path))
    assert "r1" not in runner.look()
