"""The interface is what its description says, over a Store with something of every kind: whatever is asked, no answer is a defect."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import unsupported_method

from reconciler.alerting.values import Silence
from reconciler.loop import propose
from reconciler.model import Condition, Health, Location, Owned, Ref, Status
from reconciler.selection import Selection
from reconciler.state import AuditEntry, Queued
from tests.contract.api_lab import Lab
from tests.contract.crash_child import house_in
from tests.forked import reconcile
from tests.unit.admission_world import item, lease

ROOT = Path(__file__).parents[2]
PLATFORM = """kind: Platform
metadata: {name: playground}
spec:
  installation: lab
  mlflow: {managed: false, endpoint: "http://127.0.0.1:9"}
  database: {managed: false, url: {fromEnv: NOWHERE}}
  admission: {capacity: {memory: 16Gi, cpu: 8}, sensors: none}
"""


def everything(root: Path) -> Lab:
    """An installation as it stands after a pass over the examples of all kinds: recorded, for no tool is up."""
    (root / "manifests").mkdir(parents=True)
    lab = Lab(root, house=house_in(root, None))
    lab.write("platform", PLATFORM)
    shutil.copy(ROOT / "manifests/kinds/playground.yaml", root / "manifests")
    shutil.copytree(ROOT / "manifests/kinds/playground", root / "manifests/kinds/playground", dirs_exist_ok=True)
    for path in (ROOT / "manifests/kinds").glob("*/full.yaml"):
        if path.parent.name != "platform":
            shutil.copy(path, root / "manifests" / f"{path.parent.name}.yaml")
    proposal = propose(Selection((root / "manifests",)), lab.house)
    store, now = lab.house.store, lab.house.now()
    with store.writer("test"):
        for number, (ref, each) in enumerate(proposal.resources.items()):
            told = each.declared
            outputs = {"id": str(number), "versions": json.dumps({"1": {"verdict": "pass", "memory": "5"}})}
            store.record(
                Owned(
                    ref, str(number), "root", each.digest, told["spec"], each.prune, outputs, each.references, each.location, declared=told
                ),
                audit=AuditEntry(now, "test", ref, "create", glyph="+", detail={"changes": ["spec.a"]}),
            )
        policies = {ref: each for ref, each in proposal.resources.items() if ref.kind == "AlertPolicy"}
        store.put_memos({ref: {"policy": each.spec.model_dump(mode="json")} for ref, each in policies.items()})
        store.work.grant([replace(lease("serve", "a", 6), since=now, queued=now)])
        store.work.put_queue([Queued(replace(item("next", "a", 4, seconds=60), since=now), template="t", detail={"asked": [4, 0, 0, 0]})])
        store.put_statuses(
            [*(_status(ref, number) for number, ref in enumerate(proposal.resources)), _status(Ref("Experiment", "a", "e", "r/ 1"), 5)]
        )
    store.alerts.silence(
        Silence("abc", now, now + timedelta(hours=1), "why", "ann", (), ("a",)), audit=AuditEntry(now, "ann", None, "silence")
    )
    store.suspend(next(iter(proposal.resources)), "by hand", "ann")
    store.doors.order(Ref("Workflow", "a", "w"), "run", "ann", {})
    (root / "state/sensors.json").write_text(
        json.dumps({"format": 1, "heat": {}, "memory": {}, "energy": {}, "busy": None, "carry": {}, "history": [], "source": "x"})
    )
    lab.board.pin(proposal, now)
    return lab


def _status(ref: Ref, number: int) -> Status:
    health = list(Health)[number % len(Health)]
    conditions = (Condition("Ready", number % 2 == 0, "Because", "why"), Condition("Synced", None, "NotKnown", ""))
    return Status(ref, health, conditions, "digest", Location("a.yaml", 1), "it is so")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = everything(tmp_path_factory.mktemp("openapi") / "root")
    with found.up():
        yield found
    found.house.store.close()


def test_there_is_something_of_every_kind(lab: Lab) -> None:
    kinds = {ref.kind for ref in lab.house.store.inventory()}
    assert kinds == set(lab.house.kinds.kinds)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda each: each.value)
def test_answers_are_as_described(lab: Lab, mode: GenerationMode) -> None:
    """Whatever is sent: no 5xx, and each status, type and body is one that is described."""
    key, asked = {"Authorization": f"Bearer {lab.token('admin')}"}, 0
    for found in schemathesis.openapi.from_url(f"{lab.url}/api/v1/openapi.json", headers=key).get_all_operations():
        operation = found.ok()
        if operation.path.endswith("/events"):  # has no end
            continue
        with contextlib.suppress(Unsatisfiable):  # where nothing can be wrong
            asked += hold_against(operation, mode, key)
    print(f"{asked} requests ({mode.value})")
    assert asked > 100


def hold_against(operation: Any, mode: GenerationMode, key: dict[str, str]) -> int:
    """Ask many times; how often."""
    asked = 0

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    def answers(case: Case) -> None:
        nonlocal asked
        asked += 1
        answer = case.call(headers=key)
        if answer.content != b"Invalid HTTP request received.":  # the server's word for what is no HTTP
            case.validate_response(answer, excluded_checks=[unsupported_method])

    answers()
    return asked


def test_every_real_resource_can_be_asked_for(lab: Lab) -> None:
    """Those that a generator does not guess, with what belongs to each."""
    document = httpx.get(f"{lab.url}/api/v1/openapi.json", trust_env=False).json()
    assert document["openapi"].startswith("3.1")
    with lab.client(lab.token("admin")) as client:
        for ref in lab.house.store.statuses():
            path = f"/resources/{ref.kind}/{ref.project or '-'}/{ref.name}"
            for rest in ("", "/history", "/why"):
                assert client.get(path + rest, params={"key": ref.key}).status_code == 200, (ref, rest)
        for form, type_ in {"html": "text/html", "markdown": "text/markdown", "json": "application/json"}.items():
            assert client.get("/report", params={"format": form}).headers["content-type"].startswith(type_)


def test_each_operation_has_a_name_a_summary_and_its_refusals() -> None:
    from reconciler.api.v1.app import framework

    document = framework().openapi()
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    for each in operations:
        assert each["description"] or each["summary"]
        assert {"401", "403", "404", "429", "503"} <= each["responses"].keys()
        assert each["responses"]["404"] == {"$ref": "#/components/responses/Refusal404"}
    assert "application/problem+json" in document["components"]["responses"]["Refusal404"]["content"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_the_command_line_says_the_same(lab: Lab) -> None:
    def told(*words: str) -> Any:
        ran = reconcile(
            *words, "-o", "json", "--root", str(lab.root), "--state-dir", str(lab.root / "state"), cwd=lab.root, env={"PATH": ""}
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    with lab.client(lab.token("admin")) as client:
        status = told("status", "--all")
        assert client.get("/resources?limit=500").json()["items"] == status.pop("resources")
        mine = client.get("/status").json()
        assert {name: mine[name] for name in status if name not in ("at", "formatVersion", "kind")} == {
            name: value for name, value in status.items() if name not in ("at", "formatVersion", "kind")
        }
        entries = client.get("/history?limit=50").json()["items"]
        for each in entries:
            del each["number"]
        assert entries == told("history", "--limit", "50")["entries"]
        models = client.get("/models?limit=500").json()["items"]
        assert all(each.pop("links") for each in models), "the API knows pages of the tools besides"
        assert models == told("models")["models"]
        queue, same = client.get("/queue").json(), told("queue")
        for name in ("running", "waiting", "aside", "warnings"):
            assert [_still(each) for each in queue[name]] == [_still(each) for each in same[name]], name
        assert client.get("/quotas").json()["projects"] == told("top")["projects"]
        alerts = told("alerts")
        assert client.get("/alerts").json()["alerts"] == alerts["alerts"]
        assert client.get("/alerts").json()["silences"] == alerts["silences"]
        assert alerts["reports"], "an example has one"
        assert client.get("/alerts").json()["reports"] == alerts["reports"]
        why, same = client.get("/resources/experiment/a/e/why?key=next").json(), told("why", "experiment/a/e#next")
        assert why["state"] == same["state"] == "waiting"
        assert why["remedies"] == same["remedies"]


def _still(value: Any) -> Any:
    """Without what changes with the clock."""
    return (
        {name: each for name, each in value.items() if name not in ("waitedSeconds", "expectedEnd", "expected")}
        if isinstance(value, dict)
        else value
    )


def test_a_list_that_is_as_it_was_is_not_sent_again(lab: Lab) -> None:
    with lab.client() as client:
        for path in ("/resources?limit=3", "/status", "/projects", "/experiments", "/history", "/plan"):
            first = client.get(path)
            again = client.get(path, headers={"if-none-match": first.headers["etag"]})
            assert (first.status_code, again.status_code, again.content) == (200, 304, b""), path
        first = client.get("/resources?limit=3")
        assert client.get("/resources?limit=4").headers["etag"] != first.headers["etag"]
        with lab.client(lab.token("viewer", "a")) as other:
            assert other.get("/resources?limit=3").headers["etag"] != first.headers["etag"]
        ref = next(iter(lab.house.store.statuses()))
        lab.house.store.put_statuses([replace(lab.house.store.statuses()[ref], message="it is otherwise")])
        assert client.get("/resources?limit=3", headers={"if-none-match": first.headers["etag"]}).status_code == 200
