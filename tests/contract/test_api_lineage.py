"""`/lineage` over a real loop of widgets: what is made of what, and nothing of projects that may not be seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.api_lab import Lab, until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = Lab(tmp_path_factory.mktemp("lineage"))
    for project in ("p", "q"):
        found.project(project)
        found.widget(project, "w")
    with found.looping():
        with found.client() as client:
            until(lambda: client.get("/status").json()["ready"] == 5, "everything is Ready")
        yield found
    found.house.store.close()


def test_whoever_sees_all_is_told_of_all(lab: Lab) -> None:
    with lab.client() as client:
        value = client.get("/lineage").json()
        assert {each["ref"] for each in value["nodes"]} == {"platform/x", "project/p", "project/q", "widget/p/w", "widget/q/w"}
        assert {(each["from"], each["to"]) for each in value["edges"]} >= {("project/p", "widget/p/w"), ("project/q", "widget/q/w")}
        one = client.get("/lineage", params={"project": "p", "limit": 1}).json()
        assert (len(one["nodes"]), one["total"] > 1) == (1, True)


def test_whoever_sees_one_project_is_told_of_no_other(lab: Lab) -> None:
    with lab.client(lab.token("viewer", "p")) as client:
        value = client.get("/lineage").json()
        assert {each["ref"] for each in value["nodes"]} == {"project/p", "widget/p/w"}
        assert "q" not in {end.split("/")[1] for each in value["edges"] for end in (each["from"], each["to"])}
        assert client.get("/lineage", params={"project": "q"}).json()["nodes"] == []
