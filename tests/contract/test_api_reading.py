"""What the API shows of a real loop over widgets: the same as the command line, by page, and only to who may see it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.api_lab import Lab, problem, until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = Lab(tmp_path_factory.mktemp("api"))
    for project in ("p", "q"):
        found.project(project)
        for number in range(5):
            found.widget(project, f"w{number}", f"size: {number}", f", labels: {{parity: {'even' if number % 2 == 0 else 'odd'}}}")
    with found.looping():
        with found.client() as client:
            until(lambda: client.get("/status").json()["ready"] == 13, "everything is Ready")
        yield found
    found.house.store.close()


def test_a_list_is_filtered_and_comes_in_pages(lab: Lab) -> None:
    with lab.client() as client:
        whole = client.get("/resources").json()
        assert (whole["total"], whole["next"], len(whole["items"])) == (13, None, 13)
        refs = [each["ref"] for each in whole["items"]]
        assert refs == sorted(refs)
        seen, after = [], None
        while True:
            page = client.get("/resources", params={"limit": 4, **({"after": after} if after else {})}).json()
            seen += [each["ref"] for each in page["items"]]
            if (after := page["next"]) is None:
                break
        assert seen == refs
        asked = {
            "kind=widget&project=p": 5,
            "kind=widget&selector=parity=even": 6,
            "q=W3": 2,
            "ready=false": 0,
            "health=Healthy&kind=project": 2,
            "kind=nothing": 0,
        }
        assert {query: client.get(f"/resources?{query}").json()["total"] for query in asked} == asked


def test_whether_work_would_start_now(lab: Lab) -> None:
    with lab.client() as client:
        told = client.get("/fits", params={"project": "p", "memory": "1Mi", "duration": "1m"}).json()
        assert (told["project"], told["now"], told["reason"]) == ("p", True, "Admitted")
        never = client.get("/fits", params={"project": "p", "memory": "9000Gi"}).json()
        assert (never["now"], never["reason"]) == (False, "ExceedsMachine")
        problem(client.get("/fits", params={"project": "p", "memory": "much"}), 422)
        problem(client.get("/fits", params={"project": "nobody"}), 404)
    with lab.client(lab.token("viewer", "q")) as client:
        problem(client.get("/fits", params={"project": "p"}), 404)
