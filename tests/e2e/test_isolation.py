"""What one project's manifests say can never touch another project's data, cache objects, experiments or the machine's files."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.e2e.installation import Installation, dataset, experiment, project, start

pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture
def here(tmp_path: Path, mlflow_url: str) -> Installation:
    """A victim with one dataset and one experiment, converged, and an attacker without manifests yet."""
    victim, attacker = (f"{name}-{uuid.uuid4().hex[:6]}" for name in ("victim", "attacker"))
    found = start(tmp_path / "root", mlflow_url, f"isolation-{uuid.uuid4().hex[:8]}")
    found.env = {"VICTIM": victim, "ATTACKER": attacker}
    found.write(
        {
            "manifests/victim.yaml": "---\n".join([project(victim), dataset("gold", victim, "gold.csv"), experiment("mine", victim)]),
            "manifests/attacker.yaml": project(attacker, "  allow: {hosts: []}\n"),
            f"code/{victim}/gold.csv": "precious\n",
            f"code/{attacker}/own.csv": "cheap\n",
            "secret.txt": "not for manifests\n",
        }
    )
    found.ok("--wait")
    return found


def _hostile(here: Installation) -> dict[str, str]:
    victim, attacker = here.env["VICTIM"], here.env["ATTACKER"]
    area = here.root / ".mlops" / "dvc" / "projects" / victim
    code = here.root / "code" / attacker
    (code / "link.csv").symlink_to(here.root / "code" / victim / "gold.csv")
    (code / "folder").symlink_to(here.root / "code" / victim)
    return {
        "climbs out": dataset("d1", attacker, f"../{victim}/gold.csv"),
        "absolute": dataset("d2", attacker, str(here.root / "secret.txt")),
        "through a link to a file": dataset("d3", attacker, "link.csv"),
        "through a link to a folder": dataset("d4", attacker, "folder/gold.csv"),
        "from the installation's own area": dataset(
            "d5", attacker, "x5", f"  source: {{import: {{repo: '{area}', path: gold/gold.csv}}}}\n"
        ),
        "from a host that is not allowed": dataset("d6", attacker, "x6", "  source: {url: 'http://127.0.0.1:9/x'}\n"),
        "another project's dataset, not shared": experiment("e1", attacker, f"  datasets: [{victim}/gold]\n"),
        "a folder on the server": experiment("e2", attacker, "  artifactLocation: /etc\n"),
        "the artifacts of another experiment": experiment("e3", attacker, "  artifactLocation: 'mlflow-artifacts:/1'\n"),
        "our own marks": experiment("e4", attacker, f"  tags: {{mlops.ref: experiment/{victim}/mine}}\n"),
        "a project over the victim's folder": project("over").replace("code/over", f"code/{victim}"),
        "a project over everybody's folder": project("all").replace("code/all", "code"),
    }


def test_nothing_that_a_manifest_says_reaches_the_neighbour(here: Installation) -> None:
    victim, attacker = here.env["VICTIM"], here.env["ATTACKER"]
    before = (here.cache, (here.root / "code" / victim / "gold.csv").read_bytes(), here.plan("--project", victim)["actions"])
    hostile = _hostile(here)
    harmless = dataset("own", attacker, "own.csv")
    here.write({f"manifests/hostile-{index}.yaml": text for index, text in enumerate(hostile.values())} | {"manifests/own.yaml": harmless})

    ran = here.run("--wait", "--timeout", "20s")
    assert ran.code == 1, ran.text
    told = here.status()
    for name, text in hostile.items():
        ref = _ref(text)
        assert ref not in told or not told[ref]["ready"], f"{name} was carried out"
    assert told[f"dataset/{attacker}/own"]["ready"], "the healthy rest goes on"

    after = (here.cache, (here.root / "code" / victim / "gold.csv").read_bytes(), here.plan("--project", victim)["actions"])
    assert after[1:] == before[1:]
    assert set(before[0]) < set(after[0]), "the victim's objects are still in the cache, with the attacker's own beside them"
    assert len(after[0]) == len(before[0]) + 1
    assert after[2] == [], "nothing to do for the victim"


def test_removing_a_twin_of_the_same_bytes_keeps_the_neighbours_object(here: Installation) -> None:
    victim, attacker = here.env["VICTIM"], here.env["ATTACKER"]
    here.write({"manifests/twin.yaml": dataset("twin", attacker, "twin.csv"), f"code/{attacker}/twin.csv": "precious\n"})
    here.ok("--wait")
    objects = here.cache
    (here.root / "manifests/twin.yaml").unlink()
    here.run()
    here.ok("--confirm", f"dataset/{attacker}/twin")
    assert here.cache == objects
    gold = here.root / "code" / victim / "gold.csv"
    gold.unlink()
    here.ok()
    assert gold.read_text() == "precious\n"


def _ref(text: str) -> str:
    import yaml

    found = yaml.safe_load(text)
    parts = [found["kind"].lower(), found["metadata"].get("project"), found["metadata"]["name"]]
    return "/".join(each for each in parts if each)
