"""The Store is lost and restored, on real DVC and MLflow: nothing is made twice, nothing is taken for somebody else's."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from reconciler.platform import Endpoint
from reconciler.state import open_store
from tests.contract.store_values import admin
from tests.e2e.installation import Installation, dataset, experiment, project, start

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture
def here(tmp_path: Path, mlflow_url: str) -> Installation:
    """One dataset and one experiment with a description, after their first pass."""
    name = f"kept-{uuid.uuid4().hex[:6]}"
    found = start(tmp_path / "root", mlflow_url, f"backup-{uuid.uuid4().hex[:8]}")
    manifests = [project(name), dataset("pixels", name, "a.csv"), experiment("probe", name, "  description: before\n")]
    found.write({"manifests/all.yaml": "---\n".join(manifests), f"code/{name}/a.csv": "1,2\n"})
    found.ok("--wait")
    return found


def test_after_a_restore_the_next_pass_is_an_ordinary_one(here: Installation, server: Endpoint, tmp_path: Path) -> None:
    here.ok("platform", "backup", "store.zip")
    for path in (here.root / ".mlops").glob("store.db*"):
        path.rename(tmp_path / path.name)
    adopting = here.plan()
    assert {each["action"] for each in adopting["actions"]} != set(), "without its Store it finds everything again by its marks"

    here.ok("platform", "restore", "store.zip")
    assert here.run("--dry-run", "--detailed-exitcode").code == 0
    ran, calls = here.wire()
    assert "No changes" in ran.out
    assert [each for each in calls if each["write"]] == []

    manifests = here.root / "manifests/all.yaml"
    manifests.write_text(manifests.read_text().replace("before", "after"))
    assert "1 changed" in here.ok("--wait").text
    here.ok("platform", "restore", "store.zip", "--force")
    assert here.plan()["totals"]["keep"] == 4, "an older Store looks at the tools, which are as the manifests say"
    assert here.ok("--wait").out.startswith("No changes")

    name = f"moved_{uuid.uuid4().hex[:8]}"
    with admin(server.for_database("postgres", "psycopg").url) as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    here.env["MLOPS_STORE"] = server.for_database(name, "psycopg").url
    here.ok("platform", "restore", "store.zip")
    assert here.run("--dry-run", "--detailed-exitcode").code == 0
    with open_store(here.env["MLOPS_STORE"], read_only=True) as store:
        assert len(store.inventory()) == 4
