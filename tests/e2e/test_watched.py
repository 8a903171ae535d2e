"""Deployments that are watched, with real replicas, the gateway's real log and real workers: each reference that is not data, and a
breach that takes a version back. The tests build on each other."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest

from reconciler.model.serving import ever_written, folder
from tests.e2e.installation import Installation, project
from tests.e2e.serving import gateway, model, route, train

pytestmark = [pytest.mark.xdist_group("serving"), pytest.mark.full]
ROWS = 60
LOGGED = "resources: {{memory: 512Mi, cpu: 50m}}, predictions: {{log: true}}"
DEPLOYMENT = f"""apiVersion: reconciler.mlops/v1
kind: Deployment
metadata: {{{{name: {{name}}, project: {{project}}}}}}
spec: {{{{model: {{model}}@champion, {LOGGED}}}}}
"""
MONITOR = """apiVersion: reconciler.mlops/v1
kind: Monitor
metadata: {{name: {name}, project: {project}}}
spec:
  deployment: {deployment}
  window: {{count: 60}}
  minRows: 50
  resources: {{memory: 768Mi, cpu: 500m}}
{more}"""
ANSWERS = """  target: y
  reference: {{window: {{start: "{start}", end: "{end}"}}}}
  checks:
    predictions: {{}}
    labels: {{}}
    performance: {{metric: mae, maximum: 0.5}}
    operations: {{errorRate: 0.1, latency: 5s, minRequests: 1}}
  onBreach: [{{alert: critical}}, {{rollback: true}}]
"""
PAIR = "  reference: {{deployment: {project}/watched}}\n  checks: {{drift: {{}}}}\n"
DRAW = np.random.default_rng(5)


@pytest.fixture(scope="module")
def here(serving: Installation) -> Installation:
    """A deployment and one in another project, of the same model. One monitor holds the first against a time in its own log, another the
    second against the first."""
    name = serving.env["NAME"]
    other = f"{name}-b"
    path = serving.root / "manifests/project.yaml"
    told = path.read_text().replace(f"  path: code/{name}\n", f"  path: code/{name}\n  shares: [model/*, deployment/watched]\n")
    path.write_text(told.replace("cpu: 2}", "cpu: 1}"))  # the other project, which has no quota, gets the rest
    (serving.root / "code" / other).mkdir(parents=True)
    train(serving, factor=2, accuracy=0.97)
    model(serving)
    serving.write(
        {
            "manifests/watched.yaml": DEPLOYMENT.format(name="watched", project=name, model="doubler"),
            "manifests/other.yaml": project(other) + "---\n" + DEPLOYMENT.format(name="mirror", project=other, model=f"{name}/doubler"),
        }
    )
    serving.ok("--wait", timeout=300)
    begun = datetime.now(UTC)
    ids = ask(serving, name, "watched")
    label(serving, ids, 2)
    arrived(serving, ROWS)
    more = ANSWERS.format(start=begun.isoformat(), end=datetime.now(UTC).isoformat())
    serving.write(
        {
            "manifests/answers.yaml": MONITOR.format(name="answers", project=name, deployment="watched", more=more),
            "manifests/pair.yaml": MONITOR.format(name="pair", project=other, deployment="mirror", more=PAIR.format(project=name)),
        }
    )
    serving.ok("--wait", timeout=300)
    return serving


def ask(here: Installation, of: str, name: str, shift: float = 0.0) -> list[tuple[str, float]]:
    """(id, x) of a window's worth of predictions."""
    url, headers = gateway(here)
    found: list[tuple[str, float]] = []
    for _ in range(6):
        xs = [float(each) for each in DRAW.normal(1 + shift, 1, ROWS // 6)]
        answer = httpx.post(
            f"{url}/predict/{of}/{name}", json={"instances": [{"x": x} for x in xs]}, headers=headers, timeout=30, trust_env=False
        )
        answer.raise_for_status()
        found += zip(answer.json()["ids"], xs, strict=True)
    return found


def label(here: Installation, asked: Sequence[tuple[str, float]], factor: float) -> None:
    """Tell what was true."""
    url, headers = gateway(here)
    told = {"labels": [{"id": id_, "label": x * factor} for id_, x in asked]}
    httpx.post(f"{url}/feedback/{here.env['NAME']}/watched", json=told, headers=headers, timeout=30, trust_env=False).raise_for_status()


def arrived(here: Installation, rows: int) -> None:
    """Wait until the gateway has written so many predictions of the first deployment."""
    where, deadline = folder(here.root / ".mlops") / "predictions" / here.env["NAME"] / "watched", time.monotonic() + 40
    while ever_written(where) < rows:
        assert time.monotonic() < deadline, "nothing is written"
        time.sleep(0.2)


def looks(here: Installation, ref: str) -> list[dict[str, Any]]:
    """What workers found of a monitor's windows, the oldest first."""
    found = [json.loads(path.read_text()) for path in (here.root / ".mlops/monitors" / ref).glob("*.json")]
    return sorted(found, key=lambda each: each["at"])


def verdicts(look: dict[str, Any]) -> dict[str, str]:
    return {each["check"]: each["verdict"] for each in look["checks"]}


def passes(here: Installation, ref: str, text: str, seconds: float = 150) -> dict[str, Any]:
    """Passes until the monitor says `text`."""
    deadline = time.monotonic() + seconds
    while text not in (found := here.status()[f"monitor/{ref}"])["message"]:
        assert time.monotonic() < deadline, (found["message"], looks(here, ref))
        here.run("--wait", "--timeout", "30s", timeout=300)
    return dict(found)


def answers(here: Installation) -> str:
    return f"{here.env['NAME']}/answers"


def pair(here: Installation) -> str:
    return f"{here.env['NAME']}-b/pair"


def test_a_time_in_the_log_and_another_projects_deployment_are_what_is_normal(here: Installation) -> None:
    late = ask(here, here.env["NAME"], "watched")
    ask(here, f"{here.env['NAME']}-b", "mirror")
    for ref in (answers(here), pair(here)):
        assert passes(here, ref, "the last window is as it was")["ready"]
    found = verdicts(looks(here, answers(here))[-1])
    assert found.pop("operations") in ("pass", "hold"), "what was asked so shortly before may be written after it was answered"
    assert found == {"predictions": "pass", "labels": "hold", "performance": "hold"}
    assert verdicts(looks(here, pair(here))[-1]) == {"drift": "pass"}
    label(here, late, 2)


def test_a_breach_after_another_version_takes_that_version_back_once(here: Installation) -> None:
    name = here.env["NAME"]
    before = route(here, "watched")["targets"][0]["version"]
    train(here, factor=20, accuracy=0.98)
    here.ok("--wait", timeout=300)
    assert route(here, "watched")["targets"][0]["version"] != before
    ask(here, name, "watched")
    found = passes(here, answers(here), "rolled back deployment")
    assert found["health"] == "Degraded"
    assert "another version of the model answers" in found["message"], found
    here.run("--wait", "--timeout", "60s", timeout=300)
    [target] = route(here, "watched")["targets"]
    assert (target["version"], target["weight"]) == (before, 100)
    deployed = here.status()[f"deployment/{name}/watched"]
    assert f"monitor/{name}/answers" in deployed["message"], deployed
    ask(here, name, "watched")
    passes(here, answers(here), "the last window is as it was")
    here.run("--wait", "--timeout", "60s", timeout=300)
    assert [each["version"] for each in route(here, "watched")["targets"]] == [before]
    told = here.ok("history", f"deployment/{name}/watched").out
    assert told.count("rolled back") <= 1, told
    assert "pass" in [verdicts(each).get("operations") for each in looks(here, answers(here))]


def test_what_another_deployment_does_not_see_is_drift(here: Installation) -> None:
    ask(here, here.env["NAME"], "watched")
    ask(here, f"{here.env['NAME']}-b", "mirror", shift=3)
    found = passes(here, pair(here), "drifted")
    assert found["message"].startswith("1 of 1 column drifted; first: x"), found
    assert here.status()[f"monitor/{answers(here)}"]["ready"]


def test_labels_that_came_late_are_judged_with_the_window_that_they_belong_to(here: Installation) -> None:
    def judged() -> list[dict[str, Any]]:
        return [each for each in looks(here, answers(here)) if verdicts(each).get("performance") != "hold"]

    deadline = time.monotonic() + 120
    while not judged():
        assert time.monotonic() < deadline, looks(here, answers(here))
        here.run("--wait", "--timeout", "30s", timeout=300)
        time.sleep(2)
    [found] = judged()
    assert found["labels"] == ROWS
    assert (verdicts(found)["performance"], verdicts(found)["labels"]) == ("pass", "pass"), found
