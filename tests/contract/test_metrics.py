"""`/metrics` of a loop at work: real Store, real files, a real listener; widgets in a fake tool that can be away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.admission.values import Item, Lease
from reconciler.api.app import application
from reconciler.api.serve import listening
from reconciler.errors import ReconcilerError, Rejected
from reconciler.model import Amounts, Learned, Ref
from reconciler.pulse import Pulse
from reconciler.state import Queued
from reconciler.telemetry import catalogue, exposition
from reconciler.telemetry.exposition import Metrics
from tests.contract.crash_child import house_in, tool_in
from tests.contract.metrics_lab import FRESH, Site, declare, declared, enlarge, looping, told
from tests.contract.store_values import admin


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return declared(tmp_path)


@pytest.fixture
def site(root: Path) -> Iterator[Site]:
    tool = tool_in(root)
    with looping(house_in(root, tool), tool) as found:
        yield found


def test_a_change_shows_in_the_next_scrape(site: Site, root: Path) -> None:
    done = {"kind": "Widget", "verb": "create", "result": "done"}
    site.until(lambda: site.value(catalogue.ACTIONS, **done) == 2)
    assert site.value(catalogue.RESOURCES, kind="Widget", health="Healthy") == 2
    before = site.scraped()
    declare(root, ("a", 1), ("b", 3), ("c", 4))
    site.until(lambda: site.value(catalogue.RESOURCES, kind="Widget", health="Healthy") == 3)
    after = site.scraped()

    def grown(metric: catalogue.Metric, series: int = 0, **labels: str) -> float:
        key = (metric.series[series], frozenset(labels.items()))
        return after[key] - before.get(key, 0)

    assert grown(catalogue.ACTIONS, **done) == 1
    assert grown(catalogue.ACTIONS, **done | {"verb": "update"}) == 1
    assert grown(catalogue.PASSES, scope="part", outcome="ok") >= 1, "a saved manifest is a pass over what it concerns"
    assert grown(catalogue.PASS_SECONDS, 1, scope="part") == grown(catalogue.PASSES, scope="part", outcome="ok")
    assert grown(catalogue.CALLS, tool="fake", result="answered") == grown(catalogue.CALL_SECONDS, 1, tool="fake") > 0


def test_what_is_told_is_what_is_documented_and_never_names_a_resource(site: Site) -> None:
    site.until(lambda: site.value(catalogue.TOOL_UP, tool="fake") == 1)
    found = site.scraped()
    for name, labels in found:
        if name.startswith("process_"):
            continue
        metric = catalogue.BY_NAME[name]
        assert {key for key, _ in labels} - {"le"} == set(metric.labels), name
        assert not any("/" in value or value in ("a", "b") for _, value in labels), (name, labels)
    assert {name for name, _ in site.scraped("text/plain")} >= {name for name, _ in found if name.startswith("mlops_")}


def test_a_tool_that_is_away_and_one_that_refuses(site: Site, root: Path) -> None:
    site.until(lambda: site.value(catalogue.TOOL_UP, tool="fake") == 1)
    whole = site.scraped()[catalogue.WHOLE_AGE.family, frozenset()]
    assert whole < 30
    site.tool.down = True
    site.until(lambda: site.value(catalogue.CIRCUIT, tool="fake") == 1)
    assert site.value(catalogue.TOOL_UP, tool="fake") == 0
    assert (site.value(catalogue.CALLS, tool="fake", result="silent") or 0) >= 5
    assert (site.value(catalogue.PASSES, scope="whole", outcome="unread") or 0) >= 1
    assert (site.value(catalogue.RESOURCES, kind="Widget", health="Unknown") or 0) == 2
    assert site.value(catalogue.UNWELL, project="p") == 2
    age = site.value(catalogue.TOOL_AGE, tool="fake") or 0
    assert (site.value(catalogue.TOOL_AGE, tool="fake") or 0) > age, "it gets older while nobody can read it"
    site.tool.down = False
    site.until(lambda: site.value(catalogue.TOOL_UP, tool="fake") == 1)
    site.until(lambda: site.value(catalogue.CIRCUIT, tool="fake") == 0)


def test_drift_is_counted_and_so_is_what_cannot_be_put_back(site: Site) -> None:
    site.until(lambda: site.value(catalogue.RESOURCES, kind="Widget", health="Healthy") == 2)
    enlarge(site.tool)
    site.until(lambda: site.value(catalogue.PUT_BACK, kind="Widget") == 1)
    site.house.store.suspend(Ref("Widget", "p", "a"), "hands off", "ann")
    enlarge(site.tool)
    site.until(lambda: site.value(catalogue.DRIFTED, kind="Widget") == 1)
    assert site.value(catalogue.SUSPENDED) == 1
    assert site.value(catalogue.PUT_BACK, kind="Widget") == 1


def test_queue_leases_waits_and_forecasts_come_from_the_store(root: Path) -> None:
    house = house_in(root, tool_in(root))
    metrics, work, now = Metrics(house, Pulse(1.0)), house.store.work, house.now()
    runs = [Ref("Widget", "p", "a", str(number)) for number in range(4)]
    waiting = [Item(each, "p", Amounts(2**30, 500), 5, now - timedelta(seconds=50)) for each in runs]
    work.put_queue([Queued(each, detail={"reason": "WaitingForMemory"}) for each in waiting])
    work.grant([Lease(each, "p", "local", Amounts(2**30, 500), 5, now, now - timedelta(seconds=50)) for each in runs[:2]])
    lengths = (10.0, 11.0, 10.5, 10.2, 40.0)
    work.release(runs[1:2], learned={"t": Learned(runs=5, peaks=(100, 110, 90, 105, 100), lengths=lengths)})
    found = told(metrics)

    def value(metric: catalogue.Metric, series: int = 0, **labels: str) -> float:
        return found[metric.series[series], frozenset(labels.items())]

    assert value(catalogue.QUEUE, project="p", reason="WaitingForMemory") == 2
    assert 50 <= value(catalogue.OLDEST, project="p") < 80
    assert value(catalogue.LEASES, project="p") == 1
    assert value(catalogue.QUOTA_USED, project="p", resource="memory") == 2**30
    assert value(catalogue.QUOTA_USED, project="p", resource="cpu") == 0.5
    assert (value(catalogue.WAIT, 1, kind="Widget"), value(catalogue.WAIT, 2, kind="Widget")) == (2, 100)
    assert value(catalogue.JUDGED, figure="length") == 3
    assert value(catalogue.HELD, figure="length") == pytest.approx(2 / 3)
    assert value(catalogue.OFF, figure="length") >= 1
    assert value(catalogue.JUDGED, figure="memory") == 4


def test_an_action_that_fails_is_counted_by_kind_and_class_once_for_each_try(site: Site, root: Path) -> None:
    site.until(lambda: site.value(catalogue.TOOL_UP, tool="fake") == 1)
    site.tool.fail("create", Rejected("not that one"))
    declare(root, ("a", 1), ("b", 2), ("c", 3))
    site.until(lambda: site.value(catalogue.ERRORS, kind="Widget", reason="Rejected") is not None)
    time.sleep(2)  # passes go on; what is tried later is no further failure
    assert site.value(catalogue.ERRORS, kind="Widget", reason="Rejected") == 1
    assert site.value(catalogue.ACTIONS, kind="Widget", verb="create", result="failed") == 1
    assert site.value(catalogue.RESOURCES, kind="Widget", health="Degraded") == 1
    assert (site.value(catalogue.PASSES, scope="part", outcome="failed") or 0) + (
        site.value(catalogue.PASSES, scope="whole", outcome="failed") or 0
    ) == 1


def test_a_pass_that_cannot_be_made_is_counted(site: Site) -> None:
    site.metrics.meters.trouble(ReconcilerError("no"))
    assert site.value(catalogue.ERRORS, kind="", reason="ReconcilerError") == 1
    assert site.value(catalogue.PASSES, scope="whole", outcome="not_made") == 1


def test_a_standby_tells_of_itself_only(site: Site) -> None:
    site.until(lambda: site.value(catalogue.LEADER) == 1)
    pulse = Pulse(1.0)
    pulse.leader = "`ann` leads"
    found = told(Metrics(site.house, pulse))
    assert found[catalogue.LEADER.family, frozenset()] == 0
    assert {name for name, _ in found} & {each.family for each in (catalogue.STORE_UP, catalogue.RESOURCES, catalogue.TOOL_UP)} == set()


def test_what_another_loop_admitted_is_not_counted_again_by_who_follows_it(root: Path) -> None:
    house, pulse = house_in(root, tool_in(root)), Pulse(1.0)
    metrics, refs = Metrics(house, pulse, fresh=0.0), [Ref("Widget", "p", "a", str(number)) for number in range(3)]

    def admit(ref: Ref) -> None:
        house.store.work.grant([Lease(ref, "p", "local", Amounts(1, 1), 5, house.now(), house.now())])

    admit(refs[0])
    assert told(metrics)[catalogue.WAIT.series[1], frozenset({("kind", "Widget")})] == 1
    pulse.leader = "`ann` leads"
    admit(refs[1])
    told(metrics)
    pulse.leader = ""
    admit(refs[2])
    assert told(metrics)[catalogue.WAIT.series[1], frozenset({("kind", "Widget")})] == 2


def test_a_store_that_cannot_be_read_costs_its_own_metrics_only(root: Path) -> None:
    house = house_in(root, tool_in(root))
    metrics = Metrics(house, Pulse(1.0), fresh=FRESH)
    assert told(metrics)[catalogue.STORE_UP.family, frozenset()] == 1
    with admin(house.settings.state / "store.db") as connection:
        connection.exec_driver_sql("DROP TABLE queue")
    time.sleep(FRESH)
    found = told(metrics)
    assert found[catalogue.STORE_UP.family, frozenset()] == 0
    assert found[catalogue.LEADER.family, frozenset()] == 1
    assert not any(name == catalogue.FIRING.family for name, _ in found)


def test_projects_without_end_are_told_together(root: Path) -> None:
    house, now = house_in(root, tool_in(root)), datetime.now(UTC)
    many = catalogue.MOST_PROJECTS + 50
    waiting = [Item(Ref("Widget", f"p{at:04d}", "a", "x"), f"p{at:04d}", Amounts(1, 1), 5, now) for at in range(many)]
    twice = [Item(Ref("Widget", "p0000", "a", "y"), "p0000", Amounts(1, 1), 5, now)]
    house.store.work.put_queue([Queued(each) for each in (*waiting, *twice)])
    found = {labels: value for (name, labels), value in told(Metrics(house, Pulse(1.0))).items() if name == catalogue.QUEUE.family}
    assert len(found) == catalogue.MOST_PROJECTS + 1
    assert sum(found.values()) == many + 1
    assert found[frozenset({("project", "p0000"), ("reason", "Undecided")})] == 2
    assert found[frozenset({("project", catalogue.OTHERS), ("reason", "Undecided")})] == 50


def test_many_who_ask_are_answered_by_one_collection(site: Site) -> None:
    site.until(lambda: site.value(catalogue.TOOL_UP, tool="fake") == 1)
    made, collect = list[float](), site.metrics._gauges.collect

    def slow() -> Any:
        made.append(time.monotonic())
        time.sleep(0.3)
        return collect()

    site.metrics._gauges.collect = slow  # type: ignore[method-assign]
    time.sleep(FRESH)

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            return list(await asyncio.gather(*(client.get(f"{site.url}/metrics") for _ in range(20))))

    answers = asyncio.run(ask())
    assert {each.status_code for each in answers} == {200}
    assert len({each.content for each in answers}) == 1
    assert len(made) == 1


def test_nobody_waits_for_a_collection_without_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    collect = site.metrics._gauges.collect

    def stuck() -> Any:
        release.wait(30)
        return collect()

    site.metrics._gauges.collect = stuck  # type: ignore[method-assign]
    monkeypatch.setattr(exposition, "BOUND", 0.5)
    time.sleep(FRESH)
    began = time.monotonic()
    late = httpx.get(f"{site.url}/metrics", trust_env=False, timeout=20)
    assert late.status_code == 503
    assert time.monotonic() - began < 10
    assert httpx.get(f"{site.url}/readyz", trust_env=False).status_code in (200, 503), "everything else goes on"
    release.set()
    time.sleep(0.3)
    assert httpx.get(f"{site.url}/metrics", trust_env=False, timeout=20).status_code == 200


def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    with listening(application(Pulse(1.0), dict, lambda _: None), 0) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    assert answer.status_code == 501
    assert "mlops-reconciler[metrics]" in answer.text
