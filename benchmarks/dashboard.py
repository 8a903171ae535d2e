"""The dashboard over 10,000 resources in nine projects, in a real Chromium: how soon there is something to see, and what it costs.

`python -m benchmarks.dashboard` prints it; the Store is made in a temporary folder. The browser runs on the same machine."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page

from benchmarks.api import FREELY, RESOURCES, fill
from reconciler.api.app import application
from reconciler.api.serve import listening
from reconciler.api.v1.door import open_door
from reconciler.board import Board
from reconciler.house import House, open_house
from reconciler.pulse import Pulse
from reconciler.settings import Settings
from tests.e2e.browser import chromium

TABS = 10


def main() -> None:
    """Print what was measured."""
    with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
        root = Path(folder)
        house = open_house(Settings(root=root, state_dir=root / "state"))
        fill(house)
        door = open_door(house, Board(), FREELY)
        with listening(application(Pulse(30.0), dict, lambda _: None, door=door, pages=True), 0) as port:
            with chromium() as browser:
                measure(browser, f"http://127.0.0.1:{port}/dashboard", house)
            door.close()
        house.store.close()


def measure(browser: Browser, base: str, house: House) -> None:
    """Times are milliseconds from the navigation to the first data on the screen."""
    process = psutil.Process(os.getpid())

    def told(what: str, value: float, unit: str) -> None:
        print(f"{what:<58} {value:8.1f} {unit}", flush=True)

    told(f"memory of the server, {RESOURCES:,} resources, nobody looked", process.memory_info().rss / 2**20, "MiB")
    page = browser.new_page()
    told("overview, nothing read yet, nothing in the browser's cache", shown(page, f"{base}/", ".figure"), "ms")
    again = [shown(page, f"{base}/", ".figure") for _ in range(5)]
    told("overview again, median of 5", statistics.median(again), "ms")
    listed = [shown(page, f"{base}/resources", "tbody tr") for _ in range(5)]
    told("first page of the list, median of 5", statistics.median(listed), "ms")
    page.goto(f"{base}/")
    page.wait_for_selector(".figure")
    seen = [after_a_change(page, house, number) for number in range(5)]
    told("from a write to the Store to the screen, median of 5", statistics.median(seen), "ms")
    told("  the longest of them", max(seen), "ms")
    for _ in range(TABS - 1):
        other = browser.new_page()
        other.goto(f"{base}/")
        other.wait_for_selector(".figure")
    told(f"memory of the server, {TABS} tabs", process.memory_info().rss / 2**20, "MiB")


def shown(page: Page, url: str, selector: str) -> float:
    """Milliseconds until that is on the screen."""
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector(selector)
    return (time.perf_counter() - began) * 1000


def after_a_change(page: Page, house: House, number: int) -> float:
    """Milliseconds until one more that is not ready is counted."""
    some = sorted(house.store.statuses().values(), key=lambda each: str(each.ref))[number]
    before = page.inner_text(".figure")
    down = [replace(each, status=False) for each in some.conditions]
    began = time.perf_counter()
    house.store.put_statuses([replace(some, conditions=tuple(down))])
    page.wait_for_function("before => document.querySelector('.figure').innerText !== before", arg=before)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
