"""A plan that is kept in a file, applied exactly, once, and refused in every other case; with real DVC and MLflow."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.installation import Installation, dataset, experiment, project, start

pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture
def here(tmp_path: Path, mlflow_url: str) -> Installation:
    name = f"saved-{uuid.uuid4().hex[:6]}"
    found = start(tmp_path / "root", mlflow_url, name)
    found.env = {"NAME": name}
    found.write(
        {
            "manifests/all.yaml": "---\n".join(
                [project(name), dataset("rows", name, "rows.csv"), experiment("probe", name, "  tags: {owner: one}\n  datasets: [rows]\n")]
            ),
            f"code/{name}/rows.csv": "id,value\n1,2\n",
        }
    )
    found.commit("first")
    return found


def _save(here: Installation, *more: str) -> dict[str, Any]:
    ran = here.run("--dry-run", "--out", "plan.json", *more)
    assert ran.code in (0, 3), ran.text
    found: dict[str, Any] = json.loads((here.root / "plan.json").read_text())
    return found


def _retag(here: Installation, owner: str) -> None:
    path = here.root / "manifests/all.yaml"
    path.write_text(path.read_text().replace("owner: one", f"owner: {owner}"))


def _writes(here: Installation) -> list[tuple[str, str]]:
    return [(each["ref"], each["action"]) for each in json.loads(here.ok("history", "-o", "json").out)["entries"] if each["ref"]]


def test_what_was_planned_is_what_happens_once(here: Installation) -> None:
    saved = _save(here)
    told = here.run("--dry-run", "--out", "plan.json")
    assert "Saved to plan.json: 4 actions, work" in told.err
    assert "`reconcile apply plan.json` does exactly this, once" in told.err
    planned = {(ref, each["action"]) for ref, each in saved["work"].items()}
    assert {action for _, action in planned} == {"create"}

    done = here.ok("apply", "plan.json")
    assert "4 created" in done.out
    assert set(_writes(here)) == planned, "the log tells of exactly what was planned"
    assert "No changes" in here.ok("--dry-run").out

    again = here.run("apply", "plan.json")
    assert again.code == 1
    assert "was carried out already, at" in again.err
    told_of = json.loads(here.ok("history", "-o", "json").out)["entries"]
    assert [each["action"] for each in told_of].count("apply-plan") == 1


def test_a_merge_changes_nothing_as_long_as_it_is_the_same_work(here: Installation) -> None:
    here.ok()
    _retag(here, "two")
    here.commit("a pull request")
    _save(here)
    here.git("commit", "-q", "--allow-empty", "-m", "the merge")
    (here.root / "manifests/all.yaml").write_text("# moved down\n" + (here.root / "manifests/all.yaml").read_text())
    assert "1 changed" in here.ok("apply", "plan.json").out


def test_what_is_not_the_same_any_more_is_refused_with_each_reason_and_nothing_is_done(here: Installation) -> None:
    here.ok()
    _retag(here, "two")
    _save(here)
    path = here.root / "manifests/all.yaml"
    path.write_text(path.read_text().replace("owner: two", "owner: three") + "---\n" + experiment("later", here.env["NAME"]))
    before = _writes(here)
    ran = here.run("apply", "plan.json")
    name = here.env["NAME"]
    assert ran.code == 1
    assert f"experiment/{name}/probe: spec.tags.owner: the plan has one -> two, and now it is one -> three" in ran.err
    assert f"experiment/{name}/later: would be created now, and is not in the plan" in ran.err
    assert "nothing was done" in ran.err
    assert _writes(here) == before

    here.ok()  # somebody else did it meanwhile
    path.write_text(path.read_text().replace("owner: three", "owner: four"))
    _save(here)
    here.ok()
    ran = here.run("apply", "plan.json")
    assert ran.code == 1
    assert f"experiment/{name}/probe: the plan would update it, and now that is not to be done any more" in ran.err


def test_a_file_that_is_not_as_it_was_written_or_of_another_place_is_refused(here: Installation, tmp_path: Path, mlflow_url: str) -> None:
    here.ok()
    _retag(here, "two")
    saved = _save(here)
    path, ref = here.root / "plan.json", f"experiment/{here.env['NAME']}/probe"

    saved["work"][ref]["changes"]["spec.tags.owner"][1] = '"mallory"'
    path.write_text(json.dumps(saved))
    assert "is not as it was written" in here.run("apply", "plan.json").err

    for text in (
        "",
        "{",
        "[]",
        '{"kind": "plan"}',
        '{"kind": "savedPlan", "formatVersion": 1}',
        '{"kind": "savedPlan", "formatVersion": 9}',
    ):
        path.write_text(text)
        ran = here.run("apply", "plan.json")
        assert ran.code == 1
        assert "plan.json" in ran.err
        assert "Traceback" not in ran.err

    _save(here)
    other = start(tmp_path / "other", mlflow_url, f"other-{uuid.uuid4().hex[:6]}")
    other.env = here.env
    shutil.copy(path, other.root / "plan.json")
    other.write({"manifests/p.yaml": project(here.env["NAME"])})
    assert "is a plan for the installation" in other.run("apply", "plan.json").err
    assert "a saved plan says itself what it is about" in here.run("apply", "plan.json", "--kind", "Dataset").err
    assert "write `reconcile --dry-run --out FILE`" in here.run("--out", "plan.json").err


def test_a_yes_to_a_deletion_is_kept_in_the_plan_and_covers_nothing_else(here: Installation) -> None:
    here.ok()
    name = here.env["NAME"]
    path = here.root / "manifests/all.yaml"
    path.write_text("---\n".join([project(name), dataset("rows", name, "rows.csv")]))
    planned = here.plan()
    assert planned["confirmation"]
    held = _save(here)
    assert held["work"] == {}, "what waits for a yes is no work"
    saved = _save(here, "--confirm", planned["confirmation"])
    assert {(ref, each["action"]) for ref, each in saved["work"].items()} == {(f"experiment/{name}/probe", "delete")}
    assert "1 deleted" in here.ok("apply", "plan.json").out
    assert (f"experiment/{name}/probe", "delete-confirmed") in _writes(here)


def test_a_rule_that_came_after_the_plan_holds_for_it_too(here: Installation) -> None:
    platform = here.root / "manifests/platform.yaml"
    platform.write_text(platform.read_text() + "  policy: {rules: [policies/*.yaml]}\n")
    here.write({"policies/none.yaml": "rules: []\n"})
    here.ok()
    _retag(here, "two")
    assert len(_save(here)["work"]) == 1
    rule = 'rules:\n  - {name: frozen, kinds: [Experiment], deny: "true", message: experiments are frozen}\n'
    here.write({"policies/none.yaml": rule})
    before = _writes(here)
    ran = here.run("apply", "plan.json")
    assert ran.code == 1
    assert f"experiment/{here.env['NAME']}/probe: the plan would update it, and now that is not to be done any more" in ran.err
    assert _writes(here) == before
    assert _save(here)["work"] == {}, "what is denied is no work"
