"""Repositories that manifests come from, as a pass reads them: what was not fetched is not empty, and nobody speaks for the root."""

from __future__ import annotations

import json
from pathlib import Path

from reconciler.registry import discover
from reconciler.selection import Selection
from reconciler.settings import Settings
from reconciler.source.follow import Standing
from reconciler.source.read import Desired, read

PLATFORM = """apiVersion: reconciler.mlops/v1
kind: Platform
metadata: {name: platform}
spec:
  installation: test
  sources: [{name: team, projects: [team], path: deploy, git: {url: /srv/team.git, CHECKOUT}}]
---
apiVersion: reconciler.mlops/v1
kind: Project
metadata: {name: team}
spec: {path: team, allow: {hosts: [hooks.example.org]}}
---
apiVersion: reconciler.mlops/v1
kind: Project
metadata: {name: other}
spec: {path: other}
"""
PROBE = "apiVersion: reconciler.mlops/v1\nkind: Experiment\nmetadata: {name: probe, project: PROJECT}\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def fetched(state: Path, **more: str) -> None:
    told = {"source": "team", "commit": "1" * 40, **more}
    write(state / "sources" / "team.json", json.dumps(told))


def desired(root: Path, checkout: str = "") -> Desired:
    write(root / "manifests/platform.yaml", PLATFORM.replace("CHECKOUT", f"checkout: {checkout}" if checkout else "revision: main"))
    for name in ("team", "other"):
        (root / name).mkdir(exist_ok=True)
    return read(Selection((root / "manifests",)), discover(), Settings(root=root), {})


def test_what_was_not_fetched_yet_is_not_known_to_be_empty(tmp_path: Path) -> None:
    found = desired(tmp_path)
    [source] = [each for each in found.graph.sources if each.name == "team"]
    assert not source.complete, "nothing of it may be deleted"
    assert "source team was not fetched yet" in [each.message for each in found.diagnostics]


def test_what_was_fetched_is_read_from_its_clone(tmp_path: Path) -> None:
    fetched(tmp_path / ".mlops")
    write(tmp_path / ".mlops/sources/team/deploy/probe.yaml", PROBE.replace("PROJECT", "team"))
    found = desired(tmp_path)
    assert "experiment/team/probe" in {str(ref) for ref in found.graph.resources}
    assert all(each.complete for each in found.graph.sources), found.diagnostics
    assert found.diagnostics == ()


def test_a_remote_that_is_away_is_told_and_what_is_there_stands(tmp_path: Path) -> None:
    fetched(tmp_path / ".mlops", trouble="source team: no answer")
    write(tmp_path / ".mlops/sources/team/deploy/probe.yaml", PROBE.replace("PROJECT", "team"))
    found = desired(tmp_path)
    assert "experiment/team/probe" in {str(ref) for ref in found.graph.resources}
    assert [each.message for each in found.diagnostics] == ["source team: no answer; 1111111 stands"]
    assert all(each.complete for each in found.graph.sources)


def test_a_clone_among_the_roots_manifests_speaks_for_itself_only(tmp_path: Path) -> None:
    fetched(tmp_path / ".mlops")
    write(tmp_path / "manifests/team/deploy/theirs.yaml", PROBE.replace("PROJECT", "other"))
    found = desired(tmp_path, "manifests/team")
    assert "experiment/other/probe" not in {str(ref) for ref in found.graph.resources}
    assert any("lies among the root's own manifests" in each.message for each in found.diagnostics)


def test_a_link_out_of_a_clone_is_not_followed(tmp_path: Path) -> None:
    fetched(tmp_path / ".mlops")
    write(tmp_path / "secret/probe.yaml", PROBE.replace("PROJECT", "team"))
    (tmp_path / ".mlops/sources/team").mkdir(parents=True)
    (tmp_path / ".mlops/sources/team/deploy").symlink_to(tmp_path / "secret")
    found = desired(tmp_path)
    assert "experiment/team/probe" not in {str(ref) for ref in found.graph.resources}
    assert any("is not inside its repository" in each.message for each in found.diagnostics)


CALL = """apiVersion: reconciler.mlops/v1
kind: Workflow
metadata: {name: tell, project: team}
spec:
  tasks:
    - name: tell
      step:
        call: {url: "https://hooks.example.org/x", headers: {X-Token: {fromEnv: NAME}}}
"""


def test_a_further_source_takes_no_secret_that_it_was_not_granted(tmp_path: Path) -> None:
    fetched(tmp_path / ".mlops")
    write(tmp_path / ".mlops/sources/team/deploy/tell.yaml", CALL.replace("NAME", "DATABASE_URL"))
    [told] = [each for each in desired(tmp_path).diagnostics if "secret" in each.message]
    assert told.message == "source team may not take a secret from DATABASE_URL"
    assert told.path == "spec.tasks.0.step.call.headers.X-Token"
    assert "allowed: nothing" in told.hint
    granted = PLATFORM.replace("path: deploy,", "path: deploy, secrets: [DATABASE_URL],")
    write(tmp_path / "manifests/platform.yaml", granted.replace("CHECKOUT", "revision: main"))
    found = read(Selection((tmp_path / "manifests",)), discover(), Settings(root=tmp_path), {})
    assert not [each for each in found.diagnostics if "secret" in each.message]
    assert not [ref for ref in found.graph.refused if ref.name == "tell"], found.diagnostics


def test_the_root_takes_its_own_secrets(tmp_path: Path) -> None:
    write(tmp_path / "manifests/tell.yaml", CALL.replace("NAME", "DATABASE_URL"))
    assert not [each for each in desired(tmp_path).diagnostics if "secret" in each.message]


def test_a_standing_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    from reconciler.source.follow import standing, standings

    assert standings(tmp_path) == {}
    write(tmp_path / "sources/team.json", "{half")
    assert standing(tmp_path, "team") == Standing("team")
