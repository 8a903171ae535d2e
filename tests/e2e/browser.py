"""A real Chromium, and what it may not do on any page of ours: complain, or ask another host."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-proxy-server"),
)
"""As root and without a network: nothing but what a page asks for."""
SERIOUS = frozenset({"serious", "critical"})
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def program() -> str:
    """Path of a Chromium. Skips the test where there is none; in CI there has to be one."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.environ.get("CI"):
        pytest.fail("CI needs a Chromium for the tests of the dashboard")
    if found is None:
        pytest.skip("no Chromium is installed")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Without a window."""
    path = program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page, and all that it complained of."""

    def __init__(self, browser: Browser, base: str, *, width: int = 1280, scheme: Literal["dark", "light"] = "light") -> None:
        context = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=scheme)
        self.base, self.page, self.complaints, self.hosts = base, context.new_page(), list[str](), set[str]()
        self.page.set_default_timeout(20_000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def open(self, path: str) -> Page:
        """A page of the dashboard, with its first data."""
        self.page.goto(f"{self.base}/dashboard{path}")
        self.page.wait_for_selector("body[data-ready] h1")
        return self.page

    def calm(self) -> None:
        """Fail for anything on the console, and for a request to another host."""
        assert not self.complaints, self.complaints
        assert self.hosts - {""} == {urlsplit(self.base).netloc}, self.hosts

    def violations(self) -> list[str]:
        """What axe finds that is serious."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']][:3]}"
            for each in found
            if each["impact"] in SERIOUS
        ]

    def close(self) -> None:
        """The context with it."""
        self.page.context.close()
