"""A pass is killed at each boundary of the journal, for real; the next one finds no twin, leaves no orphan and gets where it should."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.house import House
from reconciler.loop import Report, propose
from reconciler.model import Ref
from reconciler.selection import Selection
from reconciler.testing import Thing
from tests.contract import crash_child as child
from tests.forked import called

PLATFORM = """\
apiVersion: reconciler.mlops/v1
kind: Platform
metadata: {name: main}
spec: {installation: crash}
"""
PROJECT = """\
apiVersion: reconciler.mlops/v1
kind: Project
metadata: {name: demo}
spec: {path: demo}
"""
ENDS = [
    ("store", "before", "intend"),
    ("store", "after", "intend"),
    ("tool", "before", "create"),
    ("tool", "after", "create"),
    ("store", "before", "created"),
    ("store", "after", "created"),
    ("store", "before", "record"),
    ("store", "after", "record"),
]
CHANGES = [
    ("replace", "tool", "after", "rename"),
    ("replace", "tool", "after", "delete"),
    ("replace", "tool", "after", "create"),
    ("replace", "store", "before", "record"),
    ("update", "tool", "after", "update"),
    ("update", "store", "before", "record"),
    ("delete", "store", "after", "intend"),
    ("delete", "tool", "after", "delete"),
    ("delete", "store", "after", "forget"),
]
MOVES = [
    ("store", "after", "intend"),
    ("tool", "before", "rename"),
    ("tool", "after", "rename"),
    ("tool", "after", "update"),
    ("store", "before", "move"),
    ("store", "after", "move"),
]


def widget(name: str, **spec: Any) -> str:
    fields = "".join(f", {key}: {value}" for key, value in spec.items())
    return f"apiVersion: reconciler.mlops/v1\nkind: Widget\nmetadata: {{name: {name}, project: demo}}\nspec: {{tags: {{a: b}}{fields}}}\n"


class Site:
    """An installation of widgets in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "demo").mkdir()
        (root / "manifests").mkdir()
        self.write(platform=PLATFORM, project=PROJECT, base=widget("base"), top=widget("top", parts="[base]"))

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.root / "manifests" / f"{name}.yaml").write_text(text)

    def remove(self, name: str) -> None:
        (self.root / "manifests" / f"{name}.yaml").unlink()

    def killed(self, *end: str, kinds: str = "fake") -> None:
        """A pass in another process that ends by SIGKILL at this point."""
        done = called(child.main, self.root, kinds, *end, env=os.environ)
        assert done.returncode == -signal.SIGKILL, f"it never came to {end}:\n{done.stdout}{done.stderr}"

    def passes(self, *confirmed: str) -> Report:
        house = self.house()
        try:
            return child.one_pass(house, *confirmed)
        finally:
            house.store.close()

    def house(self) -> House:
        return child.house_in(self.root, child.tool_in(self.root))

    def things(self) -> dict[str, Thing]:
        """The active ones by name; a name that is there twice is a twin."""
        active = [each for each in child.tool_in(self.root).things() if each.stage == "active"]
        assert len({each.name for each in active}) == len(active), f"twins: {sorted(each.name for each in active)}"
        return {each.name: each for each in active}

    def settle(self) -> None:
        """The next pass does what is left; the one after it finds nothing to do, and Store and tool say the same."""
        report = self.passes()
        assert not [each for each in report.results if each.outcome is None and each.action in report.proposal.plan.writes]
        house = self.house()
        proposal = propose(Selection(paths=(self.root / "manifests",)), house)
        assert [str(each.ref) for each in proposal.plan.writes] == []
        owned = {ref.path: each.external_id for ref, each in house.store.inventory().items() if ref.kind == "Widget"}
        assert owned == {name: each.id for name, each in self.things().items()}
        assert house.store.open_intents() == {}
        assert proposal.orphans == ()
        house.store.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("end", ENDS, ids=" ".join)
def test_killed_in_a_create(site: Site, end: tuple[str, ...]) -> None:
    site.killed(*end)
    site.settle()
    things = site.things()
    assert sorted(things) == ["demo/base", "demo/top"]
    assert things["demo/top"].fields["parts"] == {"base": f"{things['demo/base'].id}-grey"}


@pytest.mark.parametrize("end", CHANGES, ids=" ".join)
def test_killed_in_a_change(site: Site, end: tuple[str, ...]) -> None:
    site.passes()
    verb, *where = end
    match verb:
        case "replace":
            site.write(base=widget("base", color="red"))
        case "update":
            site.write(base=widget("base", size=7))
        case "delete":
            site.remove("top")
    site.killed(*where)
    site.settle()
    things = site.things()
    assert sorted(things) == (["demo/base"] if verb == "delete" else ["demo/base", "demo/top"])
    assert things["demo/base"].fields["color"] == ("red" if verb == "replace" else "grey")
    assert things["demo/base"].fields["size"] == (7 if verb == "update" else 1)


@pytest.mark.parametrize("end", MOVES, ids=" ".join)
def test_killed_in_a_move(site: Site, end: tuple[str, ...]) -> None:
    site.passes()
    before = site.things()
    site.remove("base")
    moved = "lifecycle: {movedFrom: base}\nspec:"
    site.write(ground=widget("ground", size=7).replace("spec:", moved), top=widget("top", parts="[ground]"))
    site.killed(*end)
    site.settle()
    things = site.things()
    assert sorted(things) == ["demo/ground", "demo/top"]
    assert {each.id for each in things.values()} == {each.id for each in before.values()}
    assert things["demo/ground"].fields["size"] == 7
    assert things["demo/ground"].labels["ref"] == "widget/demo/ground"


@pytest.mark.parametrize("end", ENDS[3:7], ids=" ".join)
def test_what_a_killed_pass_made_is_no_silent_orphan(site: Site, end: tuple[str, ...]) -> None:
    """Its manifest is taken back before the next pass: the thing is told, taken into the inventory, and then deleted like any other."""
    site.killed(*end)
    site.remove("top")
    site.write(base=widget("other"))
    report = site.passes()
    assert report.proposal.orphans or Ref("Widget", "demo", "base") in report.proposal.inventory
    site.passes()
    site.settle()
    assert sorted(site.things()) == ["demo/other"]


def test_the_last_manifest_of_a_kind_taken_back_leaves_no_silent_orphan(site: Site) -> None:
    site.killed("tool", "after", "create")
    site.remove("top")
    site.remove("base")
    report = site.passes()
    assert report.proposal.orphans == (Ref("Widget", "demo", "base"),)


def test_killed_twice(site: Site) -> None:
    site.killed("tool", "after", "create")
    site.killed("store", "before", "record")
    site.settle()


def test_the_audit_log_tells_each_thing_that_was_done_once(site: Site) -> None:
    site.killed("store", "after", "record")
    site.settle()
    house = site.house()
    done = [(str(each.ref), each.action) for each in house.store.history() if each.ref and each.ref.kind == "Widget"]
    house.store.close()
    assert sorted(done) == [("widget/demo/base", "create"), ("widget/demo/top", "create")]


@pytest.mark.xdist_group("mlflow")
@pytest.mark.parametrize("end", [("store", "after", "intend"), ("store", "before", "created")], ids=" ".join)
def test_killed_while_creating_in_a_real_mlflow(tmp_path: Path, mlflow_url: str, end: tuple[str, ...]) -> None:
    site = Site(tmp_path)
    for name in ("base", "top"):
        site.remove(name)
    installation = f"-{os.getpid()}-{end[2]}"
    project = f"crash{installation}"
    platform = f"apiVersion: reconciler.mlops/v1\nkind: Platform\nmetadata: {{name: main}}\nspec:\n  installation: crash{installation}\n"
    platform += f"  mlflow: {{managed: false, endpoint: '{mlflow_url}'}}\n"
    experiment = f"apiVersion: reconciler.mlops/v1\nkind: Experiment\nmetadata: {{name: sweep, project: {project}}}\nspec: {{}}\n"
    site.write(platform=platform, project=PROJECT.replace("name: demo", f"name: {project}"), experiment=experiment)
    site.killed(*end, kinds="real")
    house = child.house_in(tmp_path, None)
    child.one_pass(house)
    proposal = propose(Selection(paths=(tmp_path / "manifests",)), house)
    assert proposal.plan.writes == ()
    search = {"filter": f"name = '{project}/sweep'", "max_results": 10}
    answer = httpx.post(f"{mlflow_url}/api/2.0/mlflow/experiments/search", json=search, trust_env=False, timeout=60).json()
    owned = house.store.inventory()[Ref("Experiment", project, "sweep")]
    assert [each["experiment_id"] for each in answer["experiments"]] == [owned.external_id]
    assert house.store.open_intents() == {}
    house.store.close()
