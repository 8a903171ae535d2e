"""Rules over real trainings: what is denied does not start, in a pass, in a loop, as a child or as what a child comes of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.git_story import looping
from tests.e2e.installation import Installation
from tests.e2e.training import lab, runs, small, starts, sweep, until

pytestmark = pytest.mark.xdist_group("runs")
POLICY = "  policy: {rules: [policies/*.yaml]}\n"
CHILD = """rules:
  - name: no-two
    kinds: [Experiment]
    when: action.key != ""
    {effect}: action.key.contains("rank2")
    message: rank two is not wanted
"""
PARENT = """rules:
  - name: small-grids
    kinds: [Experiment]
    deny: type(resource.spec.runs.params.rank) == list && resource.spec.runs.params.rank.size() > 2
    message: more than two ranks
"""


@pytest.fixture
def here(tmp_path: Path, mlflow_url: str) -> Installation:
    return lab(tmp_path / "root", mlflow_url, POLICY)


def rules(here: Installation, text: str, effect: str = "deny") -> None:
    here.write({"policies/runs.yaml": text.replace("{effect}", effect)})


def ranks(here: Installation) -> list[str]:
    """Of every program that was started."""
    return sorted(each.split("rank=")[1].split(" ")[0] for each in starts(here))


def test_a_run_that_is_denied_does_not_start_and_its_sisters_do(here: Installation, mlflow_url: str) -> None:
    rules(here, CHILD)
    sweep(here, "grid", f"params: {{rank: [1, 2, 3]}}, {small()}")
    told = here.run("--dry-run", "-o", "json")
    [held] = [each for each in json.loads(told.out)["actions"] if each["reason"]]
    assert (held["reason"], held["wanted"], held["key"]) == ("PolicyDenied", "create", "rank2-s0")
    assert held["why"] == "rule no-two (policies/runs.yaml:2): rank two is not wanted"
    done = here.run("--wait", "--timeout", "120s")
    assert done.code != 0
    until(lambda: len(starts(here)) == 2)
    assert ranks(here) == ["1.0", "3.0"]
    rules(here, "rules: []\n")
    here.ok("--wait", "--timeout", "120s")
    assert ranks(here) == ["1.0", "2.0", "3.0"]
    assert [each["info"]["status"] for each in runs(here, mlflow_url)] == ["FINISHED"] * 3


def test_a_run_waits_for_a_yes_to_itself(here: Installation) -> None:
    rules(here, CHILD, "requireApproval")
    sweep(here, "grid", f"params: {{rank: [1, 2]}}, {small()}")
    here.run("--wait", "--timeout", "60s")
    assert ranks(here) == ["1.0"]
    [waits] = here.plan()["approvals"]
    name = here.env["NAME"]
    assert waits["refs"] == [f"experiment/{name}/grid#rank2-s0"]
    said = here.ok("approve", name, "--plan-digest", waits["digest"])
    assert f"+ experiment/{name}/grid#rank2-s0" in said.out
    here.ok("--wait", "--timeout", "120s")
    assert ranks(here) == ["1.0", "2.0"]


def test_a_loop_starts_nothing_of_an_experiment_that_is_denied(here: Installation, tmp_path: Path) -> None:
    rules(here, PARENT)
    sweep(here, "grid", f"params: {{rank: [1, 2]}}, {small()}")
    name = here.env["NAME"]
    log = tmp_path / "watch.txt"
    with looping(here, log):
        until(lambda: "8 of 8 Ready" in log.read_text(), 240, log)
        sweep(here, "grid", f"params: {{rank: [1, 2, 3]}}, {small()}")
        sweep(here, "other", f"params: {{rank: [5]}}, {small()}")
        until(lambda: f"experiment/{name}/other#rank5-s0  started" in log.read_text(), 240, log)
        until(lambda: len(starts(here)) == 3, 240, log)
        conditions = here.status()[f"experiment/{name}/grid"]["conditions"]
        assert "PolicyDenied" in {each["reason"] for each in conditions}
    assert ranks(here) == ["1.0", "2.0", "5.0"]
