"""What a loop leaves for those who operate it: its log, over a kill, and who changed what in a tool. The tests build on each other."""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.e2e.installation import RECONCILE, Installation, dataset, experiment, project, start
from tests.e2e.training import until

pytestmark = pytest.mark.xdist_group("mlflow")
CANARY = f"canary-{uuid.uuid4().hex}"


class Loop:
    """`reconcile watch` of an installation."""

    def __init__(self, here: Installation) -> None:
        self.here = here
        self.log = here.root / ".mlops/logs/watch.jsonl"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.here.root.parent / "watch.txt").open("a") as out:
            self.process = subprocess.Popen(
                [RECONCILE, "watch", "--every", "2s"], cwd=self.here.root, env=self.here.environment, stdout=out, stderr=out
            )

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.read_text("ascii").splitlines()] if self.log.exists() else []
        return [each for each in found if event in ("", each["event"])]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> Iterator[Loop]:
    name = f"trail-{uuid.uuid4().hex[:6]}"
    here = start(tmp_path_factory.mktemp("trail") / "root", mlflow_url, name)
    path = here.root / "manifests/platform.yaml"
    login = "username: bob, password: {fromEnv: CANARY}"
    path.write_text(path.read_text().replace("endpoint:", f"{login}, endpoint:"))
    here.env = {"CANARY": CANARY, "NAME": name}
    report = "lifecycle: {drift: report}\n"
    here.write(
        {
            "manifests/all.yaml": "---\n".join(
                [
                    project(name),
                    experiment("e", name, "  tags: {owner: vision}\n") + report,
                    dataset("d", name, "d.csv", "  writeBack: file\n") + report,
                ]
            ),
            f"code/{name}/d.csv": "a\n1\n",
        }
    )
    here.commit("first")
    found = Loop(here)
    found.start()
    try:
        until(lambda: any(each["ready"] == 4 for each in found.lines("pass")))
        yield found
    finally:
        if found.process is not None and found.process.poll() is None:
            found.end(signal.SIGTERM)


def test_a_pass_says_what_it_wrote_how_long_that_took_and_how_things_stand(loop: Loop) -> None:
    name, revision = loop.here.env["NAME"], loop.here.git("rev-parse", "--short=7", "HEAD").strip()
    lines = loop.lines()
    assert [each["event"] for each in lines][:2] == ["loop_started", "leads"]
    writes = {each["ref"]: each for each in loop.lines("write")}
    made = writes[f"experiment/{name}/e"]
    assert (made["tool"], made["action"], made["outcome"], made["attempts"]) == ("mlflow", "create", "done", 1)
    assert made["duration"] > 0
    assert revision.startswith(made["revision"][:7])
    assert writes[f"dataset/{name}/d"]["tool"] == "dvc"
    first = next(each for each in loop.lines("pass") if each["writes"])
    assert {each["pass"] for each in writes.values()} == {first["pass"]}
    assert (first["whole"], first["resources"], first["failed"]) == (True, 4, 0)
    turned = [each for each in loop.lines("condition") if each["ref"] == f"experiment/{name}/e"]
    assert ("Ready", "None", "True") in [(each["condition"], each["from"], each["to"]) for each in turned]
    assert stat.S_IMODE(loop.log.stat().st_mode) == 0o600


def test_a_kill_leaves_whole_lines_and_the_next_loop_tells_only_what_is_news(loop: Loop) -> None:
    assert loop.end(signal.SIGKILL) == -signal.SIGKILL
    assert loop.log.read_bytes().endswith(b"}\n")
    before = len(loop.lines())
    loop.start()
    until(lambda: len(loop.lines("loop_started")) == 2 and loop.lines()[-1]["event"] == "pass")
    fresh = loop.lines()[before:]
    assert {each["event"] for each in fresh} <= {"loop_started", "leads", "standby", "pass"}, "nothing turned and nothing was written"


def test_a_mistake_is_told_once_with_its_place(loop: Loop) -> None:
    loop.here.write({"manifests/wrong.yaml": experiment("w", loop.here.env["NAME"], "  descripton: typo\n")})
    until(lambda: bool(loop.lines("manifest")))
    [wrong] = loop.lines("manifest")
    assert wrong["level"] == "warning"
    assert wrong["at"].startswith("manifests/wrong.yaml:")
    (loop.here.root / "manifests/wrong.yaml").unlink()
    until(lambda: loop.lines("pass")[-1]["ready"] == 4)


def test_no_secret_is_in_it_though_it_was_used(loop: Loop) -> None:
    found = [path for path in loop.here.root.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert found == []
    assert CANARY not in (loop.here.root.parent / "watch.txt").read_text()


def test_what_mlflow_knows_of_a_change_by_hand_is_between_which_looks_it_came(loop: Loop, mlflow_url: str) -> None:
    name, base = loop.here.env["NAME"], f"{mlflow_url}/api/2.0/mlflow/experiments"
    found = httpx.get(f"{base}/get-by-name", params={"experiment_name": f"{name}/e"}, trust_env=False).json()["experiment"]
    body = {"experiment_id": found["experiment_id"], "key": "owner", "value": "somebody"}
    began = datetime.now(UTC) - timedelta(seconds=5)
    httpx.post(f"{base}/set-experiment-tag", json=body, trust_env=False).raise_for_status()
    ref = f"experiment/{name}/e"
    until(lambda: "was changed in the tool" in loop.here.status()[ref]["message"])
    told = loop.here.status()[ref]["message"]
    window = re.search(r"tags.owner was changed in the tool between (\S+) (\S+) and .* UTC \(MLflow tells neither who nor when\)", told)
    assert window is not None, told
    assert datetime.fromisoformat(f"{window[1]}T{window[2]}+00:00") >= began.replace(microsecond=0), "the loop looks every two seconds"
    drifted = [each for each in loop.lines("condition") if each["ref"] == ref and each["reason"] == "Drifted"]
    assert "MLflow tells neither" in drifted[-1]["message"]
    lines = len(drifted)
    passes = len(loop.lines("pass"))
    until(lambda: len(loop.lines("pass")) > passes + 1)
    assert len([each for each in loop.lines("condition") if each["ref"] == ref and each["reason"] == "Drifted"]) == lines, (
        "told once, in words that stay"
    )
    loop.here.ok("--confirm", ref)
    assert "changed: between" in loop.here.ok("history", ref).out


def test_git_tells_who_changed_a_dvc_file(loop: Loop) -> None:
    name = loop.here.env["NAME"]
    ref, path = f"dataset/{name}/d", loop.here.root / f"code/{name}/d.csv.dvc"
    path.write_text(path.read_text().replace("md5: ", "md5: 0"))
    until(lambda: "not committed to git" in loop.here.status()[ref]["message"])
    loop.here.git("add", "-A")
    loop.here.git("-c", "user.name=Grace", "-c", "user.email=grace@example.org", "commit", "-q", "-m", "another version")
    commit = loop.here.git("rev-parse", "--short", "HEAD").strip()
    plan = loop.here.plan()
    [change] = next(each["changes"] for each in plan["actions"] if each["ref"] == ref)
    assert change["note"].startswith("changed in the tool by Grace <grace@example.org> on ")
    assert change["note"].endswith(f"UTC (commit {commit})")
    loop.here.ok("--confirm", ref)
    assert "changed: by Grace <grace@example.org> on" in loop.here.ok("history", ref).out
