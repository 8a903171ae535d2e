"""Links that somebody put where a project's folder or its code should be: what a manifest names is what it says, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from controllers.workflow import WorkflowController
from reconciler.errors import Terminal
from reconciler.model import Create
from reconciler.registry import discover
from reconciler.selection import Selection
from reconciler.settings import Settings
from reconciler.source.read import Desired, read
from reconciler.testing.context import make_context, make_resource
from schemas.project import KIND as PROJECT
from schemas.workflow import KIND as WORKFLOW

HEAD = "apiVersion: reconciler.mlops/v1\n"
PLATFORM = HEAD + "kind: Platform\nmetadata: {name: platform}\nspec: {installation: test, sources: [SOURCES]}\n"
TEAM = "{name: team, projects: [team], git: {url: /srv/team.git, checkout: clones/team}}"


def desired(root: Path, paths: dict[str, str], sources: str = "") -> Desired:
    """A root with a project for each of `paths`."""
    (root / "manifests").mkdir(parents=True)
    (root / "manifests/a-platform.yaml").write_text(PLATFORM.replace("SOURCES", sources))
    for name, path in paths.items():
        (root / f"manifests/{name}.yaml").write_text(f"{HEAD}kind: Project\nmetadata: {{name: {name}}}\nspec: {{path: {path}}}\n")
    return read(Selection((root / "manifests",)), discover(), Settings(root=root), {})


def refused(found: Desired) -> dict[str, str]:
    return {str(each.ref): each.message for each in found.diagnostics if each.severity == "error" and each.ref is not None}


@pytest.mark.parametrize("names", [("attacker", "victim"), ("zz", "victim")], ids=["read before", "read after"])
@pytest.mark.parametrize("target", ["code/victim", "code/victim/deep", "code"])
def test_a_link_to_another_projects_folder_is_refused_and_the_other_one_is_not(tmp_path: Path, names: tuple[str, str], target: str) -> None:
    attacker, victim = names
    (tmp_path / "code/victim/deep").mkdir(parents=True)
    (tmp_path / "code" / attacker).symlink_to(tmp_path / target)
    found = refused(desired(tmp_path, {attacker: f"code/{attacker}", victim: "code/victim"}))
    assert set(found) == {f"project/{attacker}"}
    assert "is a link, or lies behind one, that leads into, or around, the folder of project/victim" in found[f"project/{attacker}"]


@pytest.mark.parametrize("target", ["outside", "clones", ".mlops"])
def test_a_link_in_a_followed_repository_does_not_lead_out_of_its_clone(tmp_path: Path, target: str) -> None:
    for name in ("clones/team", "outside", ".mlops"):
        (tmp_path / "root" / name).mkdir(parents=True)
    (tmp_path / "root/clones/team/work").symlink_to(tmp_path / "root" / target)
    found = refused(desired(tmp_path / "root", {"team": "clones/team/work"}, TEAM))
    assert found == {"project/team": "'clones/team/work' is a link, or lies behind one, that leads out of the clone of source team"}


def test_a_link_inside_the_clone_is_fine(tmp_path: Path) -> None:
    (tmp_path / "clones/team/real").mkdir(parents=True)
    (tmp_path / "clones/team/work").symlink_to("real")
    assert refused(desired(tmp_path, {"team": "clones/team/work"}, TEAM)) == {}


def test_the_owner_of_the_root_may_keep_a_project_on_another_disk(tmp_path: Path) -> None:
    (tmp_path / "disk/vision").mkdir(parents=True)
    (tmp_path / "root/code").mkdir(parents=True)
    (tmp_path / "root/code/vision").symlink_to(tmp_path / "disk/vision")
    (tmp_path / "root/code/plain").mkdir()
    assert refused(desired(tmp_path / "root", {"vision": "code/vision", "plain": "code/plain"})) == {}


def test_a_link_into_the_state_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".mlops/dvc").mkdir(parents=True)
    (tmp_path / "work").symlink_to(".mlops/dvc")
    assert "leads into the installation's own state" in refused(desired(tmp_path, {"p": "work"}))["project/p"]


def test_folders_behind_one_link_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "disk" / name).mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/code").symlink_to(tmp_path / "disk")
    assert refused(desired(tmp_path / "root", {"a": "code/a", "b": "code/b"})) == {}


def test_a_workflows_command_runs_no_file_of_another_place(tmp_path: Path) -> None:
    project = make_resource(PROJECT, "demo", {"path": "demo"}, project=None)
    ctx = make_context(tmp_path, projects={"demo": project})
    (ctx.root / "demo").mkdir()
    (tmp_path / "outside.py").write_text("print('theirs')\n")
    (ctx.root / "demo/job.py").symlink_to(tmp_path / "outside.py")
    task = {"name": "one", "command": "python job.py", "resources": {"memory": "48Mi", "cpu": "100m", "duration": "1s"}}
    flow = make_resource(WORKFLOW, "flow", {"tasks": [task]})
    with pytest.raises(Terminal, match=r"runs job\.py, which leads out of demo"):
        WorkflowController().demand(Create(flow), ctx)
