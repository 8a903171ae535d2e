"""Environments as a person meets them: through the program, on a real folder under git, with real DVC and a real Store."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.installation import RECONCILE, Installation, dataset, project
from tests.e2e.training import until

HEAD = "apiVersion: reconciler.mlops/v1\n"
QUOTA = f"{HEAD}kind: ResourceQuota\nmetadata: {{name: share, project: vision}}\nspec: {{nominal: {{memory: 1Gi, cpu: 1}}}}\n"


def patch(kind: str, name: str, spec: str, of: str = "") -> str:
    owner = f', project: "{of}"' if of else ""
    return f'{HEAD}kind: {kind}\nmetadata: {{name: "{name}"{owner}}}\nspec: {spec}\n'


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    found = Installation(tmp_path)
    found.write(
        {
            ".gitignore": ".mlops/\n",
            "manifests/platform.yaml": f"{HEAD}kind: Platform\nmetadata: {{name: shop}}\nspec: {{installation: shop}}\n",
            "manifests/vision.yaml": "---\n".join([project("vision"), QUOTA, dataset("digits", "vision", "digits.csv")]),
            "manifests/overlays/dev/all.yaml": patch("ResourceQuota", "*", "{nominal: {memory: 2Gi}}", "*"),
            "overlays/prod/all.yaml": patch("ResourceQuota", "*", "{nominal: {memory: 8Gi}}", "*"),
            "code/vision/digits.csv": "a,b\n1,2\n",
        }
    )
    found.git("init", "-q", "-b", "main")
    found.commit("all")
    return found


def quota(here: Installation) -> object:
    """What the Store holds the project to."""
    return json.loads(here.ok("top", "-o", "json").out)["projects"][0]["resources"]["memory"]["nominal"] / 2**30


def told(here: Installation, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(here.run(*arguments, "-o", "json").out)
    return found


def test_one_environment_from_a_plan_to_the_next_one(here: Installation) -> None:
    plan = here.plan("--env", "dev")
    [row] = [each for each in plan["actions"] if each["kind"] == "ResourceQuota"]
    assert plan["environment"] == "dev"
    assert (row["location"]["file"], [each["file"] for each in row["patches"]]) == (
        "manifests/vision.yaml",
        ["manifests/overlays/dev/all.yaml"],
    )
    here.ok("--env", "dev")
    assert quota(here) == 2
    assert "No changes: 4 resources match manifests in environment dev @ " in here.ok("--env", "dev").out
    assert told(here, "status")["environment"] == "dev"

    for arguments in ([], ["--env", "prod"], ["--env", "prod", "--project", "vision"], ["--env", "prod", "--wait"]):
        ran, calls = here.wire(*arguments)
        assert (ran.code, "this installation is of environment dev" in ran.err, calls) == (1, True, []), ran.text
    assert quota(here) == 2
    assert "this installation is of environment dev" in here.run("watch", "--env", "prod").err
    dry = here.run("--env", "prod", "--dry-run", "--detailed-exitcode")
    assert (dry.code, "warning  --env" in dry.out) == (2, True)
    assert "`reconcile --env prod --switch-env` would apply this all the same" in dry.out

    here.ok("--env", "prod", "--switch-env")
    assert quota(here) == 8
    assert [each["detail"] for each in told(here, "history")["entries"] if each["action"] == "switch"] == [{"from": "dev", "to": "prod"}]
    assert here.run("--env", "dev").code == 1


def test_the_variable_means_the_same(here: Installation) -> None:
    here.env["MLOPS_ENV"] = "dev"
    here.ok()
    assert (quota(here), told(here, "status")["environment"]) == (2, "dev")
    assert here.plan("--env", "prod")["environment"] == "prod", "the option has the last word"
    unit = here.ok("service", "install", "--print", "--target", "systemd", "--env", "dev").out
    assert ' "--env" "dev"' in unit or " --env dev" in unit


def test_a_part_of_the_tree_keeps_its_environment(here: Installation) -> None:
    here.ok("--env", "dev")
    ran = here.ok("--env", "dev", "-f", "manifests/vision.yaml")
    assert "environment dev" in ran.out
    assert quota(here) == 2, "its patches lie beside what was named, and count all the same"


def test_what_differs_is_told_without_a_tool(here: Installation) -> None:
    found = told(here, "envs", "dev", "prod")
    assert (found["from"], found["to"], found["diagnostics"]) == ("dev", "prod", [])
    [row] = found["resources"]
    assert (row["ref"], row["change"]) == ("resourcequota/vision/share", "changed")
    [change] = row["changes"]
    assert (change["path"], change["have"], change["want"]) == ("spec.nominal.memory", "2Gi", "8Gi")
    assert change["note"] == "overlays/prod/all.yaml:4"
    assert not (here.root / ".mlops").exists(), "nothing was made"
    here.write({"overlays/prod/more.yaml": patch("Dataset", "digits", "{versions: many}", "vision")})
    ran = here.run("envs")
    assert ran.code == 1
    assert "'many' is not a whole number" in ran.out
    assert here.run("envs", "dev").code == 0
    assert here.run("envs", "dev", "staging").err.startswith("error: there is no environment 'staging'")


def test_uncommitted_patches_show_in_the_revision(here: Installation) -> None:
    assert not here.plan("--env", "prod")["sources"][0]["revision"].endswith("+dirty")
    here.write({"overlays/prod/all.yaml": patch("ResourceQuota", "*", "{nominal: {memory: 9Gi}}", "*")})
    assert here.plan("--env", "prod")["sources"][0]["revision"].endswith("+dirty")
    assert not here.plan("--env", "dev")["sources"][0]["revision"].endswith("+dirty"), "of an overlay that is not applied"


def test_a_rollback_takes_patches_back_too(here: Installation) -> None:
    here.ok("--env", "prod")
    good = here.git("rev-parse", "HEAD").strip()
    here.write({"overlays/prod/all.yaml": patch("ResourceQuota", "*", "{nominal: {memory: 9Gi}}", "*")})
    here.commit("more")
    here.ok("--env", "prod")
    assert quota(here) == 9
    here.ok("--env", "prod", "rollback", "--to", good, "--reason", "too much")
    here.ok("--env", "prod")
    assert quota(here) == 8


def test_the_loop_takes_a_patch_as_it_is_saved(here: Installation) -> None:
    command = [RECONCILE, "watch", "--env", "prod", "--every", "300s"]
    with (here.root / "loop.txt").open("w") as out:
        loop = subprocess.Popen(command, cwd=here.root, env=here.environment, stdout=out, stderr=out)
        try:
            until(lambda: "resourcequota/vision/share" in here.status() and quota(here) == 8)
            here.write({"overlays/prod/all.yaml": patch("ResourceQuota", "*", "{nominal: {memory: 9Gi}}", "*")})
            until(lambda: quota(here) == 9)
        finally:
            loop.terminate()
            loop.wait(60)
