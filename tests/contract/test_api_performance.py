"""`/performance` over a real loop: who sees what, in each form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from controllers.platform import PlatformController
from controllers.project import ProjectController
from reconciler.controller import Context
from reconciler.house import open_house
from reconciler.model import Ref, Resource
from reconciler.model.ranking import Ranking
from reconciler.registry import Kinds
from reconciler.settings import Settings
from reconciler.testing import FakeTool, WidgetController
from tests.contract.api_lab import Lab, problem, until
from tests.unit.test_performance import board, run


class RankedWidgets(WidgetController):
    """Widgets that can be compared: each with one run of a technique of its name."""

    def ranking(self, resources: Sequence[Resource[Any]], ctx: Context) -> Mapping[Ref, Ranking]:
        values = {"p": 0.9, "q": 0.8}
        made = [
            board(each.ref.name, run(each.ref.owner, values[each.ref.owner]), techniques=(f"of-{each.ref.owner}",)) for each in resources
        ]
        return {
            each.ref: Ranking(each.ref, "accuracy", runs=one.runs, techniques=one.techniques)
            for each, one in zip(resources, made, strict=True)
        }


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("performance")
    kinds: Any = {"Platform": PlatformController(), "Project": ProjectController(), "Widget": RankedWidgets(FakeTool())}
    house = open_house(Settings(root=root, state_dir=root / "state", parallelism=1), actor="test", kinds=Kinds(kinds))
    found = Lab(root, house=house)
    for project in ("p", "q"):
        found.project(project)
        found.widget(project, "w")
    with found.looping():
        with found.client() as client:
            until(lambda: client.get("/status").json()["ready"] == 5, "everything is Ready")
        yield found
    found.house.store.close()


def test_all_projects_are_compared_for_who_sees_them(lab: Lab) -> None:
    with lab.client(lab.token("viewer")) as client:
        told = client.get("/performance").json()
        assert [each["project"] for each in told["projects"]] == ["p", "q"]
        assert [each["technique"] for each in told["comparisons"][0]["techniques"]] == ["of-p", "of-q"]
        assert told["trouble"] == ""
        only = client.get("/performance?project=q").json()
        assert ([each["project"] for each in only["projects"]], only["comparisons"]) == (["q"], [])


@pytest.mark.parametrize("form", ["json", "html", "markdown"])
def test_a_viewer_of_one_project_sees_nothing_of_the_other(lab: Lab, form: str) -> None:
    with lab.client(lab.token("viewer", "p")) as client:
        answer = client.get(f"/performance?format={form}")
        assert answer.status_code == 200
        assert "of-p" in answer.text
        assert "of-q" not in answer.text
        assert "widget/q" not in answer.text
        assert client.get("/performance?project=q").json()["projects"] == []
        problem(client.get("/performance?format=pdf"), 422)


def test_the_page_may_load_nothing(lab: Lab) -> None:
    with lab.client(lab.token("viewer")) as client:
        answer = client.get("/performance?format=html")
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert client.get("/performance?format=markdown").headers["content-type"].startswith("text/markdown")
