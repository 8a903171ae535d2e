"""`reconcile review` as a job of a forge runs it: DVC, git, and a forge on loopback."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.contract.forge_lab import TOKEN, forge
from tests.e2e.installation import RECONCILE, REPOSITORY, Installation, dataset, project, start

BAD = "apiVersion: reconciler.mlops/v1\nkind: Dataset\nmetadata: {name: bad, project: vision}\nspec: {pathh: x.csv}\n"


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    """Applied on `main`, with a branch that is checked out and changes one thing. Nothing in it needs a server."""
    found = start(tmp_path / "root", None, "shop")
    found.write(
        {
            "manifests/all.yaml": "---\n".join([project("vision"), dataset("digits", "vision", "digits.csv")]),
            "code/vision/digits.csv": "pixel,digit\n1,2\n",
            "code/vision/letters.csv": "pixel,letter\n1,a\n",
        }
    )
    found.commit("first")
    found.ok()
    found.git("checkout", "-q", "-b", "change")
    found.write({"manifests/letters.yaml": dataset("letters", "vision", "letters.csv")})
    found.commit("letters")
    return found


def _job(here: Installation, url: str) -> dict[str, str]:
    event = here.root.parent / "event.json"
    event.write_text(json.dumps({"number": 7, "pull_request": {"number": 7, "head": {"sha": "a" * 40}}}))
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_API_URL": url,
        "GITHUB_REPOSITORY": "team/toolkit",
        "GITHUB_SHA": "a" * 40,
        "GITHUB_BASE_REF": "",
        "GITHUB_TOKEN": TOKEN,
        "GITHUB_STEP_SUMMARY": str(here.root.parent / "summary.md"),
    }


def test_a_job_tells_its_pull_request_and_brings_it_up_to_date(here: Installation) -> None:
    with forge() as lab:
        here.env = _job(here, lab.url)
        ran = here.ok("review", "--base", "main", "--sarif", ".mlops/found.sarif", "--out", ".mlops/plan.json")
        assert "team/toolkit #7: a comment is written; status success." in ran.err
        assert "dataset/vision/letters" in lab.comments[101]
        assert "a" * 40 + "/manifests/letters.yaml#L1" in lab.comments[101], "links lead to the reviewed commit"
        assert lab.statuses[0]["description"] == "This change: 1 to create."
        assert "dataset/vision/letters" in Path(here.env["GITHUB_STEP_SUMMARY"]).read_text()
        assert "the comment says this already" in here.ok("review", "--base", "main").err

        here.write({"manifests/bad.yaml": BAD})
        here.commit("a mistake")
        ran = here.run("review", "--base", "main", "--sarif", ".mlops/found.sarif")
        assert ran.code == 1
        assert "brought up to date; status failure." in ran.err
        assert "::error file=manifests/bad.yaml,line=4,col=8,title=UnknownField::spec.pathh: unknown field. Did you mean `path`?" in ran.out
        found = json.loads((here.root / ".mlops/found.sarif").read_text())["runs"][0]["results"]
        assert [each["locations"][0]["physicalLocation"]["region"]["startLine"] for each in found] == [4]
        assert len(lab.comments) == 1
        assert TOKEN not in ran.text
        assert lab.statuses[-1]["state"] == "failure"
    here.git("checkout", "-q", "main")
    here.git("merge", "-q", "change~1")
    assert "1 created" in here.ok("apply", ".mlops/plan.json").out


def test_what_cannot_be_published_is_printed_and_an_error(here: Installation) -> None:
    with forge() as lab:
        here.env = {**_job(here, lab.url), "GITHUB_TOKEN": "another"}
        ran = here.run("review", "--base", "main")
        assert ran.code == 1
        assert "dataset/vision/letters" in ran.out
        assert "nothing was published" in ran.err
        assert "the token is not accepted" in ran.err
    here.env = {}
    ran = here.run("review")
    assert ran.code == 1
    assert "this is no job of a pull request" in ran.err


def test_the_script_for_every_other_ci_does_the_same(here: Installation) -> None:
    with forge() as lab:
        words = {"FORGE": "gitea", "API": lab.url, "REPOSITORY": "team/toolkit", "NUMBER": "7", "BASE": "main", "COMMIT": "a" * 40}
        path = f"{Path(RECONCILE).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**here.environment, **words, "MLOPS_FORGE_TOKEN": TOKEN, "PATH": path}
        done = subprocess.run(
            [str(REPOSITORY / "examples/review/review.sh")],
            cwd=here.root,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "a comment is written" in done.stderr
        assert (here.root / "plan.json").exists()


@pytest.mark.parametrize("name", ["github.yaml", "gitlab.yaml"])
def test_the_ready_files_run_the_command_with_options_that_there_are(name: str, here: Installation) -> None:
    text = (REPOSITORY / "examples/review" / name).read_text()
    import yaml

    assert yaml.safe_load(text)
    told = here.ok("review", "--help").out
    line = next(each for each in text.splitlines() if "reconcile review" in each)
    assert all(option in told for option in line.split() if option.startswith("--"))
