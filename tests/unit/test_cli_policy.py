"""`reconcile policy`, over a real Store and real DVC data; no service is needed for a project that only has datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_cli import reconcile

PLATFORM = """apiVersion: reconciler.mlops/v1
kind: Platform
metadata: {name: toolkit}
spec:
  installation: toolkit
  policy: {rules: [policies/data.yaml]}
"""
VISION = """apiVersion: reconciler.mlops/v1
kind: Project
metadata: {name: vision}
spec: {path: vision}
"""
DATA = """---
apiVersion: reconciler.mlops/v1
kind: Dataset
metadata: {name: NAME, project: vision, labels: {team: nlp}}
spec: {path: data/NAME.csv, settle: 0s}
"""
RULES = """rules:
  - name: no-faces
    kinds: [Dataset]
    deny: resource.spec.path.contains("faces")
    message: pictures of people
  - name: ask
    kinds: [Dataset]
    requireApproval: resource.spec.path.contains("names")
    owners: [nobody-of-this-name]
    message: names of people
  - name: any-team
    kinds: [Dataset]
    warn: resource.labels.team == "nlp"
    message: it is nlp's
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("digits", "faces", "names"):
        (tmp_path / "vision/data").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"vision/data/{name}.csv").write_text(f"{name}\n1\n")
    for folder in ("manifests", "policies"):
        (tmp_path / folder).mkdir()
    (tmp_path / "manifests/platform.yaml").write_text(PLATFORM)
    declare(tmp_path, "digits", "faces", "names")
    (tmp_path / "policies/data.yaml").write_text(RULES)
    return tmp_path


def declare(tree: Path, *names: str) -> None:
    (tree / "manifests/vision.yaml").write_text(VISION + "".join(DATA.replace("NAME", each) for each in names))


def told(tree: Path, *words: str, code: int = 0) -> dict[str, Any]:
    done = reconcile(*words, "-o", "json", cwd=tree)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def verdicts(found: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["ref"].rpartition("/")[2], f"{each['verdict']} {each['rule']}") for each in found["policies"]}


EXPECTED = {
    ("faces", "deny no-faces"),
    ("names", "requireApproval ask"),
    *((name, "warn any-team") for name in ("digits", "faces", "names")),
}


def test_check_says_the_same_of_now_and_of_a_plan_in_a_file(tree: Path) -> None:
    now = told(tree, "policy", "check", code=1)
    assert verdicts(now) == EXPECTED
    assert now["totals"] == {"actions": 5, "denied": 1, "waiting": 1, "warnings": 3}
    plan = told(tree, "--dry-run", code=3)
    assert verdicts(plan) == EXPECTED
    (tree / "plan.json").write_text(json.dumps(plan))
    offline = told(tree, "policy", "check", "plan.json", code=1)
    assert (verdicts(offline), offline["totals"]) == (EXPECTED, now["totals"])
    declare(tree, "digits", "names")
    assert told(tree, "policy", "check", code=3)["totals"]["denied"] == 0
    declare(tree, "digits")
    assert "1 warning" in reconcile("policy", "check", cwd=tree).stdout


@pytest.mark.parametrize(
    ("text", "why"), [(None, "cannot be read"), ("no", "is not JSON"), ("[]", "holds no plan"), ('{"actions": 3}', "holds no plan")]
)
def test_what_is_no_plan_is_refused(tree: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tree / "plan.json").write_text(text)
    done = reconcile("policy", "check", "plan.json", cwd=tree)
    assert (done.returncode, why in done.stderr) == (1, True)


def test_a_pass_tells_what_it_did_not_do_and_a_yes_of_somebody_else_is_refused(tree: Path) -> None:
    done = reconcile(cwd=tree)
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout.startswith("Done: 3 created, 1 blocked, 1 waiting for approval")
    assert "Policies: 1 denied, 1 waiting for approval, 3 warnings." in done.stdout
    refused = reconcile("approve", "vision", "--yes", cwd=tree)
    assert refused.returncode == 1
    assert "it needs a yes of nobody-of-this-name: rule ask (policies/data.yaml:6): names of people; you are " in refused.stderr
    assert "PolicyDenied" in json.dumps(told(tree, "status", "--all"))
    (tree / "policies/data.yaml").write_text(RULES.replace("[nobody-of-this-name]", "[project]"))
    assert "nobody can say it" in reconcile("--dry-run", cwd=tree).stdout, "the project names no owners"
    (tree / "policies/data.yaml").write_text(RULES.replace("    owners: [nobody-of-this-name]\n", ""))
    assert "Approved 1 of project/vision" in reconcile("approve", "vision", "--yes", cwd=tree).stdout
    assert "1 created" in reconcile(cwd=tree).stdout
    assert told(tree, "--dry-run", code=3)["approvals"] == []


def test_what_belongs_to_no_project_is_approved_by_its_name(tree: Path) -> None:
    text = "rules:\n  - {name: p, kinds: [Platform], requireApproval: 'action.verb == \"update\"', message: the platform}\n"
    (tree / "policies/data.yaml").write_text(text)
    assert reconcile(cwd=tree).returncode == 0
    (tree / "manifests/platform.yaml").write_text(PLATFORM + "  poll: {Dataset: 5m}\n")
    held = reconcile("--dry-run", cwd=tree)
    assert "reconcile approve platform/toolkit --plan-digest" in held.stdout
    assert "asks nobody for approval" in reconcile("approve", "vision", cwd=tree).stderr
    assert "Approved 1 of platform/toolkit" in reconcile("approve", "platform/toolkit", "--yes", cwd=tree).stdout
    assert "1 changed" in reconcile(cwd=tree).stdout


def test_list_and_validate_find_what_cel_finds_without_a_plan(tree: Path) -> None:
    listed = told(tree, "policy", "list")
    own = [each for each in listed["rules"] if not each["shipped"]]
    assert [(each["name"], each["location"]["line"], each["effect"]) for each in own] == [
        ("no-faces", 2, "deny"),
        ("ask", 6, "requireApproval"),
        ("any-team", 11, "warn"),
    ]
    assert "policies/data.yaml:2" in reconcile("policy", "list", cwd=tree).stdout
    (tree / "policies/data.yaml").write_text(RULES.replace("resource.spec.path.contains", "resource.spec.path.holds"))
    assert {each["name"] for each in told(tree, "policy", "list", code=1)["rules"] if each["broken"]} == {"no-faces", "ask"}
    [one, two] = told(tree, "validate", code=1)["diagnostics"]
    assert (one["reason"], one["location"]["line"], two["location"]["line"]) == ("PolicyBroken", 2, 6)
    assert "undeclared reference to 'holds'" in one["message"]
    assert set(told(tree, "--dry-run", code=3)["policies"][0]) == {"rule", "verdict", "ref", "message", "broken", "shipped", "location"}


def test_tests_of_a_plan_in_a_file_and_of_the_file_itself(tree: Path) -> None:
    (tree / "policies/plan.json").write_text(json.dumps(told(tree, "--dry-run", code=3)))
    tests = """tests:
  - name: the plan of that day
    plan: plan.json
    expect:
      dataset/vision/digits: warn any-team
      dataset/vision/faces: [deny no-faces, warn any-team]
      dataset/vision/names: [requireApproval ask, warn any-team]
"""
    (tree / "policies/data.yaml").write_text(RULES + tests)
    found = told(tree, "policy", "test", "policies/data.yaml")
    assert [(each["file"], len(each["tests"]), each["untested"]) for each in found["files"]] == [("policies/data.yaml", 1, [])]
    (tree / "policies/data.yaml").write_text(RULES + tests.replace("plan.json", "nowhere.json"))
    failed = told(tree, "policy", "test", "policies/data.yaml", code=1)
    assert "cannot be read" in failed["files"][0]["tests"][0]["failures"][0]
    assert "there is no file" in reconcile("policy", "test", "nothing.yaml", cwd=tree).stderr
    assert [each["file"] for each in told(tree, "policy", "test", code=1)["files"]] == ["shipped.yaml", "policies/data.yaml"]


def test_without_a_platform_there_are_no_rules(tree: Path) -> None:
    (tree / "manifests/platform.yaml").unlink()
    done = reconcile("policy", "list", cwd=tree)
    assert (done.returncode, "there is no Platform here" in done.stderr) == (1, True)
