"""From git to the tools: what is pushed is made so, what is wrong changes nothing, and a remote that is away costs the news only.

The tests share one loop and build on each other."""

from __future__ import annotations

import hashlib
import hmac
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.git_story import Story, looping, push, repository
from tests.e2e.installation import Installation, experiment, project
from tests.e2e.training import until

pytestmark = pytest.mark.xdist_group("mlflow")
SECRET = "what-the-forge-knows"
PLATFORM = """apiVersion: reconciler.mlops/v1
kind: Platform
metadata: {{name: test}}
spec:
  installation: {name}
  mlflow: {{managed: false, endpoint: '{url}'}}
  follow: {{every: 5s}}
  sources:
    - name: team
      projects: [team]
      path: deploy
      git: {{url: '{team}', revision: main, every: 1h, webhook: {{fromEnv: FORGE_SECRET}}}}
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> Iterator[Story]:
    folder, name = tmp_path_factory.mktemp("git"), f"git-{uuid.uuid4().hex[:6]}"
    team = repository(folder / "team", folder / "team.git", {"deploy/probe.yaml": experiment("probe", "team")})
    told = {
        "manifests/platform.yaml": PLATFORM.format(name=name, url=mlflow_url, team=folder / "team.git"),
        "manifests/p.yaml": project("p"),
        "manifests/team.yaml": project("team"),
        "manifests/base.yaml": experiment("base", "p"),
        "code/p/README": "code",
        "code/team/README": "code",
        ".gitignore": ".mlops/\n*.log\n",
    }
    dev = repository(folder / "dev", folder / "origin.git", told)
    subprocess.run(["git", "clone", "-q", str(folder / "origin.git"), str(folder / "root")], check=True)
    here = Installation(folder / "root", {"FORGE_SECRET": SECRET})
    found = Story(here, dev, team, folder / "origin.git", folder / "watch.txt")
    with looping(here, found.log, "--listen", "0"):
        found.ready("experiment/p/base")
        yield found


def test_what_is_pushed_is_made_and_says_who_asked_for_it(story: Story) -> None:
    commit = story.push("try a new rate", {"manifests/rate.yaml": experiment("rate", "p")}, author="Grace <grace@example.org>")
    story.ready("experiment/p/rate")
    assert f"root is at {commit}" in story.log.read_text()
    told = story.here.ok("history", "experiment/p/rate").out
    assert f"@ {commit}" in told
    assert "author: Grace <grace@example.org>: try a new rate" in told
    assert story.here.status()["experiment/p/rate"]["location"]["file"] == "manifests/rate.yaml"


def test_a_team_brings_manifests_from_its_own_repository(story: Story) -> None:
    story.ready("experiment/team/probe")
    assert "author: Ada <ada@example.org>: first" in story.here.ok("history", "experiment/team/probe").out
    assert re.search(r"^source team @ [0-9a-f]{7} \(Ada <ada@example.org>: first\)$", story.here.run("status").out, re.M)


def test_a_push_wakes_the_loop_when_the_forge_has_signed_it(story: Story) -> None:
    found = re.search(r"http://127\.0\.0\.1:\d+", story.log.read_text())
    assert found is not None
    push(story.team, "another probe", {"deploy/second.yaml": experiment("second", "team")})
    body, door = b'{"ref": "refs/heads/main"}', f"{found[0]}/hooks/git/team"
    refused = httpx.post(door, content=body, headers={"X-Hub-Signature-256": "sha256=00"}, trust_env=False)
    assert refused.status_code == 401
    assert httpx.post(f"{found[0]}/hooks/git/root", content=body, trust_env=False).status_code == 401, "it has no secret"
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    sent = httpx.post(door, content=body, headers={"X-Hub-Signature-256": f"sha256={signature}"}, trust_env=False)
    assert sent.status_code == 202
    story.ready("experiment/team/second", 180)  # although its remote is asked once in an hour
    for page in ("healthz", "readyz"):
        assert httpx.get(f"{found[0]}/{page}", trust_env=False).json()["status"] == "ok"


def test_a_team_cannot_speak_for_another_project(story: Story) -> None:
    push(story.team, "mine now", {"deploy/theirs.yaml": experiment("stolen", "p")})
    story.here.ok("--dry-run")  # asks no remote
    story.here.run()  # does
    assert not story.here.status()["experiment/p/stolen"]["ready"]
    assert "create" not in story.here.run("history", "experiment/p/stolen").out
    told = story.here.run("--dry-run").text
    assert "theirs.yaml:3" in told, told
    assert "source team" in told
    push(story.team, "sorry", {"deploy/theirs.yaml": experiment("third", "team")})
    story.here.run()
    story.ready("experiment/team/third")


def test_a_bad_commit_keeps_what_was_and_is_named(story: Story) -> None:
    good = experiment("rate", "p", "  description: kept\n")
    story.said(f"root is at {story.push('say what it is', {'manifests/rate.yaml': good})}")
    commit = story.push(
        "a typo", {"manifests/rate.yaml": good.replace("description", "descripton"), "manifests/more.yaml": experiment("more", "p")}
    )
    story.ready("experiment/p/more")  # the healthy rest goes on
    story.said(f"root is at {commit}")
    story.said("manifests/rate.yaml:5")
    assert "experiment/p/rate" in story.here.status(), "its last good state stays"
    assert "Did you mean" in story.log.read_text()
    story.dev.git("revert", "--no-edit", "HEAD")
    story.dev.git("push", "-q", "origin", "HEAD:main")
    story.ready("experiment/p/rate")


def test_history_that_was_rewritten_is_followed_and_told(story: Story) -> None:
    story.dev.git("reset", "-q", "--hard", "HEAD~1")
    commit = story.push(
        "another way", {"manifests/rate.yaml": experiment("rate", "p"), "manifests/forced.yaml": experiment("forced", "p")}, force=True
    )
    story.ready("experiment/p/forced")
    assert re.search(rf"root is at {commit} \(history was rewritten, it was [0-9a-f]{{7}}; Ada", story.log.read_text())


def test_a_remote_that_is_away_costs_the_news_only(story: Story) -> None:
    away = story.origin.with_name("away.git")
    story.origin.rename(away)
    until(lambda: "; " in (told := story.here.run("--dry-run").text) and "stands" in told, 180)
    assert story.here.status()["experiment/p/base"]["ready"]
    away.rename(story.origin)
    story.push("back again", {"manifests/back.yaml": experiment("back", "p")})
    story.ready("experiment/p/back", 240)
    assert "stands" not in story.here.run("--dry-run").text


def _text(path: Path) -> str:
    """Of a file that git may be about to replace: for a moment it is not there."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def test_what_somebody_edits_on_the_machine_is_not_overwritten(story: Story) -> None:
    edited = story.here.root / "manifests" / "base.yaml"
    before = edited.read_text()
    edited.write_text(before + "  # by hand\n")
    story.push("not over it", {"manifests/base.yaml": experiment("base", "p", "  description: pushed\n")})
    until(lambda: "manifests/base.yaml" in (told := story.here.run("--dry-run").text) and "stands" in told, 180)
    assert edited.read_text() == before + "  # by hand\n"
    edited.write_text(before)
    until(lambda: "pushed" in _text(edited), 180)


def test_a_loop_that_starts_after_a_commit_took_everything_away_follows_the_one_that_brings_it_back(tmp_path: Path) -> None:
    """It would wait for a person otherwise, who is asleep: nothing else fetches the next commit."""
    told = {
        "manifests/platform.yaml": f"{PLATFORM.partition('  mlflow:')[0].format(name='bare')}  follow: {{every: 5s}}\n",
        "manifests/p.yaml": project("p"),
        "code/p/README": "code",
        ".gitignore": ".mlops/\n",
    }
    dev = repository(tmp_path / "dev", tmp_path / "origin.git", told)
    subprocess.run(["git", "clone", "-q", str(tmp_path / "origin.git"), str(tmp_path / "root")], check=True)
    here, log = Installation(tmp_path / "root"), tmp_path / "watch.txt"
    here.ok()
    dev.git("rm", "-q", "-r", "manifests")
    push(dev, "tidy up", {})
    here.git("pull", "-q")
    assert not (here.root / "manifests").exists()
    with looping(here, log):
        until(lambda: " Ready (" in log.read_text() or "error" in log.read_text(), 180)
        assert "no manifests" not in log.read_text()
        dev.git("revert", "--no-edit", "HEAD")
        dev.git("push", "-q", "origin", "HEAD:main")
        until(lambda: "root is at" in log.read_text() and (here.root / "manifests" / "p.yaml").exists(), 180)
    assert "No changes" in here.ok().out
    assert "delete" not in here.ok("history", "-o", "json").out
