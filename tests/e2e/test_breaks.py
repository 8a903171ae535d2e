"""What broke once: each test tells of one way in which the world, or a hand, was meaner than expected."""

from __future__ import annotations

import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.proxy import answering
from tests.e2e.installation import RECONCILE, Installation, dataset, experiment, project, start

pytestmark = pytest.mark.xdist_group("mlflow")


class Here(Installation):
    """An installation with one project, two experiments, and the server as somebody else sees it."""

    url = ""
    name = ""

    def call(self, path: str, **body: Any) -> Any:
        answer = httpx.post(f"{self.url}/api/2.0/mlflow/experiments/{path}", json=body, trust_env=False, timeout=60)
        return answer.raise_for_status().json()

    def experiments(self) -> dict[str, dict[str, str]]:
        """Name -> id and stage of everything in this project, deleted or not."""
        found = self.call("search", filter=f"name LIKE '{self.name}/%'", max_results=1000, view_type="ALL").get("experiments", [])
        assert len(found) == len({each["name"] for each in found})
        return {each["name"].rpartition("/")[2]: {"id": each["experiment_id"], "stage": each["lifecycle_stage"]} for each in found}

    def declare(self, *names: str, extra: str = "") -> None:
        """These experiments and no others."""
        text = [project(self.name), *(experiment(each, self.name).replace("spec:", f"{extra}spec:") for each in names)]
        self.write({"manifests/all.yaml": "---\n".join(text), f"code/{self.name}/note.txt": "\n"})

    def platform(self, lines: str) -> None:
        head = (self.root / "manifests/platform.yaml").read_text().partition("  mlflow:")[0]
        self.write({"manifests/platform.yaml": f"{head}  mlflow: {{managed: false, endpoint: '{self.url}'}}\n{lines}"})


def _start(root: Path, url: str, installation: str, name: str) -> Here:
    here = Here(start(root, url, installation).root)
    here.url, here.name = url, name
    here.declare("one", "two")
    return here


@pytest.fixture
def here(tmp_path: Path, mlflow_url: str) -> Here:
    name = f"breaks-{uuid.uuid4().hex[:8]}"
    found = _start(tmp_path / "root", mlflow_url, name, name)
    found.ok()
    return found


def test_a_renamed_experiment_gets_its_name_back_under_a_filter_too(here: Here) -> None:
    one = here.experiments()["one"]["id"]
    here.call("update", experiment_id=one, new_name=f"{here.name}/elsewhere")
    here.ok("--project", here.name)
    assert {name: each["id"] for name, each in here.experiments().items()}["one"] == one
    assert len(here.experiments()) == 2, "no twin"


def test_who_adopts_from_another_installation_is_the_owner_from_then_on(here: Here, tmp_path: Path) -> None:
    other = _start(tmp_path / "other", here.url, f"{here.name}-other", here.name)
    assert other.run().code == 3
    other.declare("one", "two", extra="lifecycle: {adopt: true}\n")
    other.ok()
    here.declare("two")
    ran = here.run("--confirm", f"experiment/{here.name}/one")
    assert ran.code == 1
    assert "it was left alone" in ran.text
    assert here.experiments()["one"]["stage"] == "active"
    assert "No changes" in other.ok().out


def test_a_recorded_id_that_names_another_experiment_now_deletes_nothing(here: Here) -> None:
    """As after a server that was set up again: the ids are handed out anew."""
    import sqlite3

    ids = {name: each["id"] for name, each in here.experiments().items()}
    with sqlite3.connect(here.root / ".mlops/store.db") as store:
        store.execute("UPDATE inventory SET external_id = ? WHERE name = 'one'", (ids["two"],))
    store.close()
    here.declare("two")
    assert here.run("--confirm", f"experiment/{here.name}/one").code == 1
    assert {each["stage"] for each in here.experiments().values()} == {"active"}


def test_what_a_removed_source_left_can_be_deleted_after_a_yes(here: Here) -> None:
    here.write({"team/a.yaml": experiment("theirs", here.name).replace("spec:", "lifecycle: {prune: auto}\nspec:")})
    here.platform(f"  sources: [{{name: team, path: team, projects: [{here.name}]}}]\n")
    here.ok()
    here.platform("")
    ran = here.run()
    assert ran.code == 3
    assert "source team is not in the Platform any more" in ran.text
    assert here.experiments()["theirs"]["stage"] == "active"
    here.ok("--confirm", f"experiment/{here.name}/theirs")
    assert here.experiments()["theirs"]["stage"] == "deleted"


def test_what_is_never_pruned_is_at_rest(here: Here) -> None:
    here.declare("one", "two", extra="lifecycle: {prune: never}\n")
    here.ok()
    here.declare("two", extra="lifecycle: {prune: never}\n")
    began = time.monotonic()
    here.ok("--wait", "--timeout", "60s")
    assert time.monotonic() - began < 30
    assert here.status()[f"experiment/{here.name}/one"]["ready"]
    assert here.experiments()["one"]["stage"] == "active"


def test_a_misspelt_project_is_not_the_same_as_no_changes(here: Here) -> None:
    for words in (("--dry-run",), ()):
        ran = here.run("--project", here.name[:-1], *words)
        assert ran.code == 1
        assert here.name in ran.err.partition("id you mean")[2]


def test_the_wrong_folder_stays_as_it_was(here: Here) -> None:
    folder = here.root / "code"
    before = sorted(folder.rglob("*"))
    for words in ((), ("--dry-run",), ("suspend", "x", "--reason", "y"), ("platform", "up")):
        assert here.run(*words, cwd=folder).code == 1
    assert sorted(folder.rglob("*")) == before


def test_the_way_to_the_root_makes_no_difference(here: Here, tmp_path: Path) -> None:
    here.write({"manifests/data.yaml": dataset("d", here.name, "note.txt")})
    here.ok()
    link = tmp_path / "link"
    link.symlink_to(here.root)
    assert "No changes" in here.run(cwd=link).out
    assert "No changes" in here.run("--root", "..", cwd=here.root / "code").out
    assert "No changes" in here.run("--root", str(link), cwd=tmp_path).out


def test_a_tree_that_became_narrower_says_that_nothing_is_deleted(here: Here) -> None:
    here.ok("-f", "manifests", "-f", "manifests/all.yaml")
    here.declare("two")
    ran = here.run("--dry-run")
    assert "nothing is deleted" in ran.out
    assert "--whole-tree" in ran.out
    assert here.plan("--whole-tree")["actions"]


def test_settings_that_make_no_sense_are_told_in_one_line(here: Here) -> None:
    for value in ("0", "-1", "x"):
        here.env = {"MLOPS_PARALLELISM": value}
        ran = here.run("--dry-run")
        assert ran.code == 1
        assert "MLOPS_PARALLELISM cannot be used" in ran.err
        assert "defect" not in ran.err


def test_an_output_that_knows_only_ascii_does_not_fail_the_pass(here: Here) -> None:
    here.write({"manifests/more.yaml": experiment("three", here.name, "  description: Größe ✓\n")})
    here.env = {"PYTHONIOENCODING": "ascii"}
    assert "Gr\\xf6\\xdfe" in here.run("--dry-run", "-o", "markdown").out
    assert here.ok().err == ""


@pytest.mark.parametrize(
    ("said", "told"), [('{"experiments": [], "next_page_token": "x"}', "no end"), ("{}", "without a list"), ("[]", "not an object")]
)
def test_a_listing_that_cannot_be_whole_is_unknown(here: Here, said: str, told: str) -> None:
    with answering(said) as here.url:
        here.platform("")
        ran = here.run("--dry-run")
    assert ran.code == 3
    assert told in ran.out
    assert "create" not in ran.out


def test_somebody_elses_server_that_is_down_is_not_waited_for(here: Here) -> None:
    here.url = "http://127.0.0.1:9"
    here.platform("")
    began = time.monotonic()
    ran = here.run()
    assert ran.code == 3, ran.text
    assert "? experiment" in ran.out
    assert time.monotonic() - began < 60


def test_of_two_passes_at_once_one_waits_its_turn_and_nothing_is_made_twice(here: Here) -> None:
    names = [f"e{number}" for number in range(20)]
    here.declare("one", "two", *names)
    running = [
        subprocess.Popen([RECONCILE], cwd=here.root, env=here.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ended = [(*each.communicate(timeout=120), each.returncode) for each in running]
    assert any(code == 0 for _, _, code in ended)
    assert all("is reconciling this installation" in err for _, err, code in ended if code != 0)
    assert set(here.experiments()) == {"one", "two", *names}
    assert "No changes" in here.ok().out


def test_killed_at_any_moment_the_next_pass_ends_where_it_should(here: Here) -> None:
    names: list[str] = []
    for number in range(6):
        names += [f"k{number}-{each}" for each in range(6)]
        here.declare("one", "two", *names)
        running = subprocess.Popen([RECONCILE], cwd=here.root, env=here.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.6 + number * 0.12)
        running.kill()
        running.wait()
    here.ok()
    assert "No changes" in here.ok().out
    assert {name: each["stage"] for name, each in here.experiments().items()} == dict.fromkeys(["one", "two", *names], "active")


def test_an_unset_secret_of_a_service_narrows_the_pass_to_what_needs_it(tmp_path: Path) -> None:
    here = start(tmp_path / "root", None, "unset")
    path = here.root / "manifests/platform.yaml"
    path.write_text(path.read_text() + "  database: {managed: false, url: {fromEnv: NOT_SET_ANYWHERE}}\n")
    here.write(
        {"manifests/all.yaml": "---\n".join([project("p"), dataset("d", "p", "d.csv"), experiment("e", "p")]), "code/p/d.csv": "a\n"}
    )
    ran = here.run()
    assert "NOT_SET_ANYWHERE is not set" in ran.text
    told = here.status()
    assert told["dataset/p/d"]["ready"], ran.text
    assert not told["experiment/p/e"]["ready"]
