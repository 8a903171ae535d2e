"""Projects whose requirements exclude each other: found by the real resolver over the real package index, and told by name.

Needs a package index, as the machines that these tests run on have; without one the message says that nothing was checked."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.e2e.installation import Installation, project, start


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    """Three projects, of which two cannot share an environment. No experiment: no service is needed."""
    found = start(tmp_path / "root", None, f"requirements-{uuid.uuid4().hex[:8]}")
    for name, requirement in (("older", "numpy<2"), ("newer", "numpy>=2"), ("other", "packaging>=24")):
        found.write({f"code/{name}/main.py": "", f"manifests/{name}.yaml": project(name, f"  requirements: ['{requirement}']\n")})
    return found


def _told(here: Installation, name: str) -> str:
    """What the status says of a project, after making sure that it is Ready all the same."""
    status = here.status()[f"project/{name}"]
    assert status["ready"], status
    return next(str(each["message"]) for each in status["conditions"] if each["type"] == "Ready")


def test_a_conflict_names_both_projects_and_harms_neither(here: Installation) -> None:
    here.ok("--wait")
    older, newer = _told(here, "older"), _told(here, "newer")
    assert "conflict with project newer" in older
    assert "conflict with project older" in newer
    for message in (older, newer):
        assert "numpy<2" in message
        assert "numpy>=2" in message
    assert "conflict" not in _told(here, "other")
    assert "project newer" in here.ok("status").out, "a conflict is shown without asking for everything"
    assert "No changes" in here.ok().out
    assert here.run("--dry-run", "--detailed-exitcode").code == 0


def test_a_corrected_requirement_ends_the_conflict_of_both(here: Installation) -> None:
    here.ok("--wait")
    here.write({"manifests/older.yaml": project("older", "  requirements: ['numpy>=1.26']\n")})
    here.ok("--wait")
    assert "conflict" not in _told(here, "older")
    here.ok()  # the other project needed no write in that pass: what is said of it is renewed by the next one
    assert "conflict" not in _told(here, "newer")


def test_a_project_that_is_gone_conflicts_with_nobody(here: Installation) -> None:
    here.ok("--wait")
    (here.root / "manifests" / "newer.yaml").unlink()
    here.ok("--confirm", "project/newer")
    here.ok()
    assert "conflict" not in _told(here, "older")


def test_requirements_that_exclude_each_other_within_a_project(here: Installation) -> None:
    here.write({"manifests/other.yaml": project("other", "  requirements: ['numpy<2', 'numpy>=2']\n")})
    here.ok("--wait")
    assert "exclude each other" in _told(here, "other")
    assert "project other" not in _told(here, "newer")


def test_a_change_in_a_pass_over_a_part_is_judged_by_the_next_whole_one(here: Installation) -> None:
    here.write({"manifests/newer.yaml": project("newer", "  requirements: ['numpy']\n")})
    here.ok("--wait")
    assert "conflict" not in _told(here, "older")
    here.write({"manifests/newer.yaml": project("newer", "  requirements: ['numpy>=2']\n")})
    here.ok("-f", "manifests/newer.yaml")
    told = {each["ref"]: [change["path"] for change in each["changes"]] for each in here.plan()["actions"]}
    assert told == {"project/newer": ["requirements"]}
    here.ok()
    assert "conflict with project newer" in _told(here, "older")
    assert "conflict with project older" in _told(here, "newer")
    assert "No changes" in here.ok().out
