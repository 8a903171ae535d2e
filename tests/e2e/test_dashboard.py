"""The dashboard of a real loop over a real MLflow and DVC, in a real Chromium. The tests build on each other."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, expect

from reconciler.dashboard.pages import PAGES
from tests.e2e.browser import Tab, chromium
from tests.e2e.installation import dataset, experiment, project, start
from tests.e2e.test_api import Api, end
from tests.e2e.training import until

pytestmark = pytest.mark.xdist_group("mlflow")
SOON = 2_000.0
"""Milliseconds within which a change is to be seen."""


@pytest.fixture(scope="module")
def name() -> str:
    return f"seen-{uuid.uuid4().hex[:6]}"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str, name: str) -> Iterator[Api]:
    here = start(tmp_path_factory.mktemp("dashboard") / "root", mlflow_url, name)
    told = [project(name), experiment("e", name), dataset("d", name, "d.csv"), project(f"{name}-b", "  sync: {approval: required}\n")]
    waits = experiment("held", f"{name}-b")
    files = {"manifests/all.yaml": "---\n".join(told), "manifests/held.yaml": waits, f"code/{name}/d.csv": "a\n1\n", f"code/{name}-b/x": ""}
    here.write(files)
    here.commit("first")
    found = Api(here)
    try:
        until(lambda: found.client.get("/status").json()["ready"] == 5)
        yield found
    finally:
        end(found)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def tab(browser: Browser, api: Api) -> Iterator[Tab]:
    found = Tab(browser, api.base)
    yield found
    found.close()


def login(tab: Tab, api: Api, *words: str) -> None:
    """With a new token."""
    token = api.token(*words)["authorization"].removeprefix("Bearer ")
    tab.page.goto(f"{tab.base}/dashboard/login")
    tab.page.fill("#token", token)
    tab.page.click("button[type=submit]")
    tab.page.wait_for_selector("h1")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("path", [path for path, _, _ in PAGES])
def test_every_page_is_whole_and_open_to_all(
    browser: Browser, api: Api, name: str, path: str, width: int, scheme: Literal["dark", "light"]
) -> None:
    tab = Tab(browser, api.base, width=width, scheme=scheme)
    page = tab.open(path.format(kind="dataset", project=name, name="d"))
    expect(page.locator(".nicegui-content")).to_be_visible()
    page.wait_for_timeout(800)  # what is drawn by scripts is drawn, and a tick has gone by
    assert page.locator("[role=alert]").count() == 0, page.inner_text("#main")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
    assert not tab.violations()
    tab.calm()
    tab.close()


def test_what_is_shown_is_what_the_api_tells(tab: Tab, api: Api, name: str) -> None:
    status = api.client.get("/status").json()
    page = tab.open("/")
    expect(page.locator(".figure").first).to_have_text(f"{status['ready']} of {status['total']}")
    for each in api.client.get("/projects").json()["items"]:
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=each["name"], exact=True))
        expect(row.first).to_contain_text(f"{each['ready']} of {each['total']}")
    page = tab.open(f"/resources?project={name}")
    shown = page.locator("tbody th a").all_inner_texts()
    told = api.client.get("/resources", params={"project": name}).json()["items"]
    assert shown == [each["ref"] for each in told]
    for each in told:
        expect(page.get_by_role("row").filter(has=page.get_by_role("link", name=each["ref"], exact=True))).to_contain_text(each["health"])


def test_a_change_is_seen_without_being_asked_for(tab: Tab, api: Api, name: str) -> None:
    page = tab.open("/")
    expect(page.locator(".figure").first).to_contain_text("5 of")
    api.here.write({"manifests/more.yaml": experiment("more", name)})
    until(lambda: api.client.get("/status").json()["ready"] == 6)
    began = time.monotonic()
    expect(page.locator(".figure").first).to_contain_text("6 of", timeout=SOON)
    print(f"seen {time.monotonic() - began:.2f} s after the API told it")
    tab.calm()


def test_whoever_is_not_logged_in_orders_nothing(tab: Tab, name: str) -> None:
    page = tab.open(f"/resource/experiment/{name}/e")
    expect(page.get_by_role("button", name="Suspend")).to_be_disabled()
    page.goto(f"{tab.base}/dashboard/login")
    page.fill("#token", "mlt_no_such_token")
    page.click("button[type=submit]")
    expect(page.locator("[role=alert]")).to_contain_text("not known")
    assert not tab.page.context.cookies()


def test_an_operator_suspends_and_resumes(tab: Tab, api: Api, name: str) -> None:
    login(tab, api, "olga", "--role", "operator", "--of", name)
    page = tab.open(f"/resource/experiment/{name}/e")
    page.fill("input[name=reason]", "labels <b>are</b> being corrected")
    page.get_by_role("button", name="Suspend").click()
    expect(page.get_by_role("button", name="Resume")).to_be_enabled(timeout=SOON)
    told = api.client.get(f"/resources/experiment/{name}/e").json()["suspended"]
    assert (told["actor"], told["reason"]) == ("olga", "labels <b>are</b> being corrected")
    expect(page.locator("#main")).to_contain_text("labels <b>are</b> being corrected")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Suspend")).to_be_enabled(timeout=SOON)
    assert api.client.get(f"/resources/experiment/{name}/e").json()["suspended"] is None
    [cookie] = tab.page.context.cookies()
    assert cookie.get("httpOnly")
    assert cookie.get("sameSite") == "Strict"
    assert "mlt_" not in cookie.get("value", "")
    other = page.context.new_page()  # a page that stays open does not outlive its session
    other.goto(f"{tab.base}/dashboard/")
    other.get_by_role("button", name="Log out").click()
    other.wait_for_url("**/dashboard/login")
    page.get_by_role("button", name="Suspend").click()
    expect(page.get_by_text("send a token")).to_be_visible()
    assert api.client.get(f"/resources/experiment/{name}/e").json()["suspended"] is None
    tab.calm()


def test_an_approver_says_yes_to_what_was_seen(tab: Tab, api: Api, name: str) -> None:
    login(tab, api, "ada", "--role", "approver", "--of", f"{name}-b")
    page = tab.open("/plan")
    expect(page.locator("#main")).to_contain_text(f"experiment/{name}-b/held")
    page.get_by_role("button", name="Approve…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"experiment/{name}-b/held")
    dialog.get_by_role("button", name="Yes, do this").click()
    until(lambda: api.client.get(f"/resources/experiment/{name}-b/held").json().get("ready") is True, 30)
    approved = [each for each in api.client.get("/history").json()["items"] if each["action"] == "approve"]
    assert approved[0]["actor"] == "ada"
    tab.calm()


def test_keys_and_the_chosen_light_are_kept(tab: Tab, name: str) -> None:
    page = tab.open(f"/?project={name}")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url(f"**/dashboard/resources?project={name}")
    page.wait_for_selector("body[data-ready]")
    page.keyboard.press("/")
    expect(page.locator("input[type=search]")).to_be_focused()
    page.locator("h1").click()
    page.click("#dark")
    expect(page.locator("body")).to_have_class(re.compile("body--dark"))
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("body")).to_have_class(re.compile("body--dark"))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    tab.calm()


def test_pages_of_elsewhere_get_nothing(api: Api) -> None:
    evil = {"origin": "http://evil.example"}
    with httpx.Client(base_url=api.base, trust_env=False, timeout=30) as client:
        assert client.get("/dashboard/", headers={"host": "evil.example"}).status_code == 421
        assert client.post("/dashboard/login", data={"token": "x"}, headers=evil).status_code == 403
        socket = "/dashboard/_nicegui_ws/socket.io/?EIO=4&transport=polling"
        assert client.get(socket, headers=evil).status_code == 403
        head = client.get("/dashboard/").headers
        assert "frame-ancestors 'none'" in head["content-security-policy"]
        assert client.get("/").headers["location"].endswith("/dashboard/")
        away = client.get("/dashboard/", headers={"x-forwarded-for": "10.0.0.1"})
        assert away.status_code in (302, 307)
        assert away.headers["location"].endswith("/dashboard/login"), "a proxy brings somebody from elsewhere, who has to log in"
