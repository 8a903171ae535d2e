"""Approval, rollback and quarantine, with real git and the real loop.

The tests of one story share its loop and build on each other."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from tests.e2e.git_story import Story, looping, push, repository
from tests.e2e.installation import Installation, experiment, project
from tests.e2e.training import until

pytestmark = pytest.mark.xdist_group("mlflow")
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
      git: {{url: '{team}', revision: main, every: 5s}}
"""
ASKS = "  sync: {approval: required}\n"


def described(text: str) -> str:
    return f"  description: {text}\n"


def ground(text: str) -> dict[str, str]:
    return {"manifests/ground.yaml": experiment("ground", "p", described(text))}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> Iterator[Story]:
    folder, name = tmp_path_factory.mktemp("sync"), f"sync-{uuid.uuid4().hex[:6]}"
    team = repository(folder / "team", folder / "team.git", {"deploy/sample.yaml": experiment("sample", "team")})
    told = {
        "manifests/platform.yaml": PLATFORM.format(name=name, url=mlflow_url, team=folder / "team.git"),
        "manifests/p.yaml": project("p"),
        "manifests/team.yaml": project("team", ASKS),
        "code/p/README": "code",
        "code/team/README": "code",
        ".gitignore": ".mlops/\n*.log\n",
    }
    dev = repository(folder / "dev", folder / "origin.git", told | ground("first"))
    subprocess.run(["git", "clone", "-q", str(folder / "origin.git"), str(folder / "root")], check=True)
    here = Installation(folder / "root")
    here.git("config", "user.name", "Root")
    here.git("config", "user.email", "root@example.org")
    found = Story(here, dev, team, folder / "origin.git", folder / "watch.txt")
    with looping(here, found.log):
        found.ready("experiment/p/ground")
        yield found


def waits(story: Story, ref: str) -> bool:
    found = story.here.status().get(ref, {})
    return any(each["reason"] == "AwaitingApproval" for each in found.get("conditions", ()))


def description(story: Story, ref: str) -> str:
    """As MLflow has it, by the last pass."""
    told = story.here.run("import", "experiment", ref.removeprefix("experiment/")).out
    found = re.search(r"description: (.*)", told)
    return found[1] if found else ""


def digest(story: Story) -> str:
    """Of what waits in the team's project."""
    [found] = story.here.plan()["approvals"]
    assert found["project"] == "team"
    return str(found["digest"])


# --- approval ---


def test_what_is_new_waits_until_somebody_has_seen_it(story: Story) -> None:
    until(lambda: waits(story, "experiment/team/sample"), 60)
    told = story.here.run("--dry-run")
    assert told.code == 3
    assert "1 waiting for approval" in told.out
    assert f"reconcile approve project/team --plan-digest {digest(story)}" in told.out
    refused = story.here.run("approve", "project/team", "--plan-digest", "0123456789ab")
    assert (refused.code, "is not what 0123456789ab names" in refused.err) == (1, True)
    assert story.here.run("approve", "team").code == 1, "nobody said yes"
    assert not story.here.status()["experiment/team/sample"]["ready"]
    done = story.here.ok("approve", "project/team", "--plan-digest", digest(story))
    assert "+ experiment/team/sample" in done.out
    assert re.search(r"Asked for by source team @ [0-9a-f]{7} \(Ada <ada@example.org>: first\)", done.out)
    story.ready("experiment/team/sample", 30)  # the loop looks at everything every five minutes only
    assert "approve" in story.here.ok("history", "experiment/team/sample").out


def test_what_was_approved_is_put_back_without_another_yes(story: Story, mlflow_url: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(mlflow_url)
    [found] = [each for each in client.search_experiments() if each.name == "team/sample"]
    client.set_experiment_tag(found.experiment_id, "mlflow.note.content", "by hand")
    assert description(story, "experiment/team/sample") == "by hand"
    story.here.run()
    assert description(story, "experiment/team/sample") == "test"


def test_a_yes_to_one_change_is_none_to_the_next(story: Story) -> None:
    story.here.ok("suspend", "experiment/team/sample", "--reason", "so that nothing is carried out in between")
    push(story.team, "one", {"deploy/sample.yaml": experiment("sample", "team", described("one"))})
    until(lambda: "one" in story.here.run("--dry-run").out, 60)
    first = digest(story)
    story.here.ok("approve", "team", "--yes")
    push(story.team, "two", {"deploy/sample.yaml": experiment("sample", "team", described("two"))})
    until(lambda: "two" in story.here.run("--dry-run").out, 60)
    story.here.ok("resume", "experiment/team/sample")
    story.here.run()
    assert waits(story, "experiment/team/sample")
    assert description(story, "experiment/team/sample") == "test"
    assert digest(story) != first
    assert story.here.run("approve", "team", "--plan-digest", first).code == 1
    story.here.ok("approve", "team", "experiment/team/sample", "--yes")
    story.ready("experiment/team/sample", 30)
    assert description(story, "experiment/team/sample") == "two"


def test_runs_of_a_change_wait_with_it(story: Story) -> None:
    (story.here.root / "code/team/train.py").write_text("print('trained')\n")
    runs = "  runs: {entrypoint: train.py, params: {rank: [1, 2]}, resources: {memory: 64Mi, duration: 1s}}\n"
    push(story.team, "train", {"deploy/sample.yaml": experiment("sample", "team", described("two") + runs)})
    until(lambda: waits(story, "experiment/team/sample"), 60)
    plan = {each["ref"]: each for each in story.here.plan()["actions"]}
    held = [each for ref, each in plan.items() if ref.startswith("experiment/team/sample#")]
    assert [(each["reason"], each["wanted"]) for each in held] == [("AwaitingApproval", "create")] * 2
    assert story.here.plan()["approvals"][0]["refs"] == ["experiment/team/sample"]
    assert "experiment/team/sample" not in story.here.run("queue").out
    push(story.team, "not now", {"deploy/sample.yaml": experiment("sample", "team", described("two"))})
    story.ready("experiment/team/sample")


def test_a_deletion_waits_and_needs_one_yes(story: Story) -> None:
    push(story.team, "another", {"deploy/spare.yaml": experiment("spare", "team")})
    until(lambda: waits(story, "experiment/team/spare"), 60)
    story.here.ok("approve", "team", "--yes")
    story.ready("experiment/team/spare", 30)
    (story.team.root / "deploy/spare.yaml").unlink()
    push(story.team, "away with it", {})
    until(lambda: waits(story, "experiment/team/spare"), 60)
    done = story.here.ok("approve", "team", "--yes")
    assert "- experiment/team/spare" in done.out
    until(lambda: "experiment/team/spare" not in story.here.status(), 30)


def test_a_team_cannot_do_without_a_yes_by_its_own_manifest(story: Story) -> None:
    push(story.team, "we are free", {"deploy/free.yaml": project("team"), "deploy/extra.yaml": experiment("extra", "team")})
    until(lambda: "deploy/free.yaml" in story.here.run("--dry-run").text, 60)
    story.here.run()
    assert waits(story, "experiment/team/extra")
    story.here.run("--confirm", "experiment/team/extra")
    assert waits(story, "experiment/team/extra")
    (story.team.root / "deploy/free.yaml").unlink()
    (story.team.root / "deploy/extra.yaml").unlink()
    push(story.team, "sorry", {})
    until(lambda: "experiment/team/extra" not in story.here.status(), 60)


# --- rollback and quarantine ---


def test_a_rollback_is_a_commit_and_the_bad_revision_does_not_come_back(story: Story) -> None:
    story.ready("experiment/p/ground")
    good = story.here.git("rev-parse", "HEAD").strip()
    bad = story.push("worse", ground("worse") | {"docs/notes.md": "kept"})
    story.said(f"root is at {bad}")
    until(lambda: description(story, "experiment/p/ground") == "worse", 60)
    done = story.here.ok("rollback", "--to", good[:7], "--reason", "every run fails")
    assert "push origin HEAD:main" in done.out
    until(lambda: description(story, "experiment/p/ground") == "first", 60)  # the loop acts on the commit
    message = story.here.git("log", "-1", "--format=%an %B")
    assert all(each in message for each in ("Root", "every run fails", good, bad, "Rolled-back-by: "))
    assert story.here.git("rev-parse", "--short=7", "HEAD~1").strip() == bad, "no history was rewritten"
    assert (story.here.root / "docs/notes.md").read_text() == "kept", "nothing but the manifests goes back"
    assert re.search(rf"^revision {bad} of source root was quarantined .* every run fails", story.here.run("status").out, re.M)
    until(lambda: f"{bad} is quarantined since" in story.here.run("--dry-run").text, 60)
    assert description(story, "experiment/p/ground") == "first"
    story.here.git("push", "-q", "origin", "HEAD:main")
    until(lambda: "is quarantined since" not in story.here.run("--dry-run").text, 60)


def test_the_same_content_under_another_commit_is_not_taken_until_that_is_lifted(story: Story) -> None:
    [bad] = re.findall(r"^revision ([0-9a-f]{7}) of source root", story.here.run("status").out, re.M)
    story.dev.git("pull", "-q", "origin", "main")
    again = story.push("it was fine", ground("worse"))
    until(lambda: f"{again} (its manifests are those of {bad}) is quarantined since" in story.here.run("--dry-run").text, 60)
    assert description(story, "experiment/p/ground") == "first"
    assert story.here.run("resume", "revision/abc").code == 1
    story.here.ok("resume", f"revision/{bad}")
    story.said(f"root is at {again}", 30)
    until(lambda: description(story, "experiment/p/ground") == "worse", 60)


def test_the_default_is_the_last_revision_at_which_all_was_ready(story: Story) -> None:
    until(lambda: all(each["ready"] for each in story.here.status().values()), 60)
    broken = story.push("broken", ground("broken").copy() | {"manifests/bad.yaml": experiment("bad", "nowhere")})
    story.said(f"root is at {broken}")
    until(lambda: "nowhere" in story.log.read_text(), 60)
    (story.here.root / "manifests/mine.yaml").write_text("# not committed\n")
    refused = story.here.run("rollback", "--reason", "broken")
    assert (refused.code, "manifests/mine.yaml" in refused.err) == (1, True)
    (story.here.root / "manifests/mine.yaml").unlink()
    story.here.ok("rollback", "--reason", "broken")
    assert not (story.here.root / "manifests/bad.yaml").exists()
    until(lambda: description(story, "experiment/p/ground") == "worse", 60)
    story.here.git("push", "-q", "origin", "HEAD:main")


def test_a_further_source_stays_where_it_was_brought_back_to(story: Story) -> None:
    story.ready("experiment/team/sample")
    good = story.team.git("rev-parse", "HEAD~1").strip()
    until(lambda: story.team.git("rev-parse", "--short=7", "HEAD").strip() in story.here.run("status").out, 60)
    bad = story.team.git("rev-parse", "--short=7", "HEAD").strip()
    assert story.here.run("rollback", "--source", "nobody", "--to", good, "--reason", "x").code == 1
    done = story.here.ok("rollback", "--source", "team", "--to", good, "--reason", "not theirs")
    assert f"revert {bad} in" in done.out
    assert f"source team @ {good[:7]}" in story.here.run("status").out
    until(lambda: f"{bad} is quarantined since" in story.here.run("--dry-run").text, 60)
    newer = push(story.team, "finer", {"deploy/finer.yaml": experiment("finer", "team")})
    until(lambda: f"source team @ {newer}" in story.here.run("status").out, 60)
