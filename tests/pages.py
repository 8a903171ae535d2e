"""Every page of a dashboard that runs, such as that of the demo, looked at as the tests look at it; with pictures.

`python -m tests.pages http://127.0.0.1:8480 FOLDER` ends with 1 where a page complains, asks another host, is wider than the screen, or has
something serious that axe finds. Where a page shows a number of its list, it has to be the API's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
from playwright.sync_api import Browser

from reconciler.dashboard.pages import PAGES
from tests.e2e.browser import Tab, chromium

SIZES: tuple[tuple[int, Literal["dark", "light"]], ...] = ((1280, "light"), (390, "dark"))


def main() -> None:
    """Look, and tell."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("base", help="address of the loop that listens")
    asked.add_argument("folder", type=Path, help="where the pictures go")
    given = asked.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with httpx.Client(base_url=f"{given.base}/api/v1", trust_env=False, timeout=60) as api, chromium() as browser:
        some = addresses(api)
        wrong = [
            f"{path} at {width}: {each}" for width, scheme in SIZES for path in some for each in look(browser, given, path, width, scheme)
        ]
        wrong += agreement(browser, given.base, api)
    print("\n".join(wrong) or f"{len(some)} pages, each at {len(SIZES)} widths: nothing to complain of; pictures in {given.folder}")
    sys.exit(bool(wrong))


def addresses(api: httpx.Client) -> list[str]:
    """Of every page; of the page of a resource one for each kind."""
    items = api.get("/resources", params={"limit": 500}).json()["items"]
    one = {each["kind"]: f"/resource/{each['kind'].lower()}/{each['project'] or '-'}/{each['name']}" for each in items if not each["key"]}
    return [path for path, _, _ in PAGES if "{" not in path] + sorted(one.values())


def look(browser: Browser, given: Any, path: str, width: int, scheme: Literal["dark", "light"]) -> Iterator[str]:
    """What is wrong with it."""
    tab = Tab(browser, given.base, width=width, scheme=scheme)
    page = tab.open(path)
    page.wait_for_timeout(1000)
    page.screenshot(path=given.folder / f"{path.strip('/').replace('/', '-') or 'overview'}-{width}.png")
    if page.evaluate("document.documentElement.scrollWidth") > width:
        yield "wider than the screen"
    if page.locator("[role=alert]").count():
        yield page.locator("[role=alert]").first.inner_text()
    yield from tab.violations()
    try:
        tab.calm()
    except AssertionError as error:
        yield str(error)
    tab.close()


def agreement(browser: Browser, base: str, api: httpx.Client) -> Iterator[str]:
    """Lists of the pages beside those of the API."""
    tab = Tab(browser, base)
    for path, of in {"/models": "models", "/deployments": "deployments", "/monitors": "monitors", "/workflows": "workflows"}.items():
        told = {each["ref"] for each in api.get(f"/{of}", params={"limit": 500}).json()["items"]}
        shown = set(tab.open(path).locator("tbody th[scope=row] a").evaluate_all("all => all.map(each => each.getAttribute('href'))"))
        missing = {each for each in told if not any(link.endswith(each) for link in shown)}
        if missing:
            yield f"{path} does not show {sorted(missing)}"
    tab.close()


if __name__ == "__main__":
    main()
