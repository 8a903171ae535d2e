"""Each role against each route: what it may, and nothing else; of other projects not even that they are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.api.v1.app import framework
from tests.contract.api_lab import Lab, problem, until

GONE = "404"
"""Stands for an answer that does not tell whether it is there."""
OF_ONE = [f"/resources/widget/p/w{rest}" for rest in ("", "/history", "/why")]
LISTS = [
    "/resources",
    "/projects",
    "/models",
    "/datasets",
    "/experiments",
    "/deployments",
    "/monitors",
    "/workflows",
    "/leaderboards",
    "/performance",
    "/lineage",
]
STANDING = ["/status", "/queue", "/quotas", "/hardware", "/hardware/history", "/history", "/alerts", "/plan", "/approvals", "/report"]
TOOLS = ["/links", "/serving", "/windows", "/schedules"]
READS = [*OF_ONE, *LISTS, *STANDING, *TOOLS, "/fits?project=p", "/projects/p/client", "/me"]
OPERATE, APPROVE, ADMINISTER = ("operator", "admin"), ("approver", "admin"), ("admin",)
WHY = {"reason": "a test"}
ORDERS: dict[tuple[str, str], tuple[tuple[str, ...], Any, set[int]]] = {
    ("POST", "/reconcile"): (OPERATE, None, {202}),
    ("POST", "/resources/widget/p/w/suspend"): (OPERATE, WHY, {200}),
    ("POST", "/resources/widget/p/w/resume"): (OPERATE, None, {200, 409}),
    ("POST", "/resources/widget/p/w/run"): (OPERATE, {}, {409}),
    ("POST", "/resources/widget/p/w/rollback"): (OPERATE, WHY, {409}),
    ("POST", "/approvals/p"): (APPROVE, {"digest": "0" * 12}, {409}),
    ("GET", "/tokens"): (ADMINISTER, None, {200}),
    ("POST", "/tokens"): (ADMINISTER, {"name": "more", "projects": ["p"]}, {201}),
    ("DELETE", "/tokens/000000000000"): (ADMINISTER, None, {404}),
}
"""What a role may: who, with which body, and what the answer is then."""
ROLES = ("viewer", "operator", "approver", "admin")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = Lab(tmp_path_factory.mktemp("roles"))
    for project in ("p", "q"):
        found.project(project)
        found.widget(project, "w")
    with found.looping():
        with found.client() as client:
            until(lambda: client.get("/status").json()["ready"] == 5, "everything is Ready")
        yield found
    found.house.store.close()


def test_the_table_has_every_route() -> None:
    described = {(method.upper(), path) for path, methods in framework().openapi()["paths"].items() for method in methods}
    names = {"p": "{project}", "w": "{name}", "widget": "{kind}", "000000000000": "{id}"}
    told = {(method, "/".join(names.get(part, part) for part in path.split("/"))) for method, path in ORDERS}
    read = {("GET", "/".join(names.get(part, part) for part in path.partition("?")[0].split("/"))) for path in READS}
    assert described == told | read | {("GET", "/events"), ("GET", "/orders/{number}")}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("projects", [("*",), ("p",)], ids=["everywhere", "in-p"])
def test_a_role_may_what_it_may(lab: Lab, role: Any, projects: tuple[str, ...]) -> None:
    with lab.client(lab.token(role, *projects)) as client:
        for path in READS:
            assert client.get(path).status_code == 200, path
        for (method, path), (roles, body, good) in ORDERS.items():
            answer = client.request(method, path, json=body)
            if role in roles:
                assert answer.status_code in good, (role, method, path, answer.text)
            else:
                problem(answer, 403)


@pytest.mark.parametrize("role", ROLES)
def test_another_project_is_not_there(lab: Lab, role: Any) -> None:
    """The same answer as for one that there is none of, whatever is asked; and it shows in no list."""
    with lab.client(lab.token(role, "p")) as client:
        for method, path, body in [
            ("GET", "/resources/widget/{}/w", None),
            ("GET", "/resources/widget/{}/w/history", None),
            ("GET", "/resources/widget/{}/w/why", None),
            ("GET", "/resources/project/-/{}", None),
            ("POST", "/resources/widget/{}/w/suspend", WHY),
            ("POST", "/resources/widget/{}/w/resume", None),
            ("POST", "/resources/widget/{}/w/run", {}),
            ("POST", "/resources/widget/{}/w/rollback", WHY),
            ("POST", "/approvals/{}", {"digest": "0" * 12}),
        ]:
            there, not_there = (client.request(method, path.format(name), json=body) for name in ("q", "nothing"))
            problem(there, 404)
            assert there.json() == not_there.json()
        for path in READS:
            text = client.get(path).text
            assert "widget/q/" not in text, path
            assert '"q"' not in text, path
            assert "platform/x" not in text.lower(), path
        assert client.get("/resources").json()["total"] == 2
        assert client.get("/history?project=q").json()["items"] == []


def test_who_tries_what_he_may_not_is_noted(lab: Lab) -> None:
    before = lab.house.store.lines.last()
    with lab.client(lab.token("viewer", "p", name="vera")) as client:
        problem(client.post("/resources/widget/p/w/suspend", json=WHY), 403)
        problem(client.post("/approvals/p", json={"digest": "0" * 12}), 403)
        problem(client.post("/resources/widget/q/w/suspend", json=WHY), 404)  # of what may not be seen not even that
    lines = [entry for _, entry in lab.house.store.lines.after(before, 100) if entry.actor == "vera"]
    assert [(each.action, str(each.ref), each.result) for each in lines] == [
        ("suspend", "widget/p/w", "failed"),
        ("approve", "project/p", "failed"),
    ]


def test_an_admin_of_one_project_gives_no_more_than_he_has(lab: Lab) -> None:
    with lab.client(lab.token("admin", "p")) as client:
        made = client.post("/tokens", json={"name": "mine", "role": "viewer", "projects": ["p"]})
        assert made.status_code == 201
        problem(client.post("/tokens", json={"name": "more", "projects": ["*"]}), 403)
        problem(client.post("/tokens", json={"name": "more", "projects": ["p", "q"]}), 403)
        whole = lab.token("viewer")
        problem(client.delete(f"/tokens/{whole.split('_')[1]}"), 404)
        assert {tuple(each["projects"]) for each in client.get("/tokens").json()["items"]} == {("p",)}


def test_whoever_sends_nothing_reads_and_writes_nothing(lab: Lab) -> None:
    with lab.client() as client:
        for path in READS:
            assert client.get(path).status_code == 200, path
        for (method, path), (_, body, _) in ORDERS.items():
            assert client.request(method, path, json=body).status_code == (403 if method == "GET" else 401), path
