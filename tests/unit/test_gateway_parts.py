"""The pure parts of the gateway: whom it sends to, how often a key may ask, what it counts, what it says of a schema."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.choose import choose
from reconciler.gateway.contract import MOST_TOLD, Contract, compiled
from reconciler.gateway.counts import WINDOW, Counts, Histogram, RouteCount
from reconciler.gateway.problems import Problem
from reconciler.gateway.rate import Bucket, Rates
from reconciler.gateway.table import Table
from reconciler.model.serving import BOUNDS, Bounds, PredictionLog, Registration, Route, Routes, Target, routes_file

STABLE = Target("a", 90, "stable", "1", "p/m", "r1", "d1", "sklearn")
CANARY = Target("b", 10, "canary", "2", "p/m", "r2", "d2", "sklearn")


# --- whom it sends to --------------------------------------------------------------------------------------------------


def test_weights_are_the_shares() -> None:
    found = [choose((STABLE, CANARY), {"a", "b"}, n / 1000) for n in range(1000)]
    assert (found.count(STABLE), found.count(CANARY)) == (900, 100)


@pytest.mark.parametrize(
    ("up", "wanted", "expected"),
    [
        ({"a"}, "", STABLE),
        ({"b"}, "", CANARY),
        (set(), "", None),
        ({"a", "b"}, "canary", CANARY),
        ({"a", "b"}, "stable", STABLE),
        ({"a"}, "canary", STABLE),
        ({"a", "b"}, "something", STABLE),
    ],
)
def test_what_is_down_gives_its_share_and_the_header_decides(up: set[str], wanted: str, expected: Target | None) -> None:
    assert choose((STABLE, CANARY), up, 0.3, wanted) == expected


def test_weight_of_nothing_gets_nothing_but_by_header() -> None:
    draining = replace(CANARY, weight=0)
    assert choose((draining,), {"b"}, 0.0) is None
    assert choose((STABLE, draining), {"b"}, 0.5) is None
    assert choose((STABLE, draining), {"a", "b"}, 0.5, "canary") == draining


@given(st.lists(st.integers(0, 100), max_size=4), st.floats(0, 1, exclude_max=True), st.data())
def test_whoever_is_chosen_is_up_and_has_weight(weights: list[int], draw: float, data: st.DataObject) -> None:
    targets = [replace(STABLE, app=str(n), weight=weight) for n, weight in enumerate(weights)]
    up = data.draw(st.sets(st.sampled_from([each.app for each in targets]))) if targets else set()
    found = choose(targets, up, draw)
    assert (found is None) == (not any(each.weight and each.app in up for each in targets))
    assert found is None or (found.weight > 0 and found.app in up)


# --- how often ---------------------------------------------------------------------------------------------------------


def test_bucket_fills_up_to_its_burst() -> None:
    bucket = Bucket(rate=2, burst=3, tokens=3, at=0)
    assert [bucket.take(0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(0) == 0.5
    assert bucket.take(0.5) == 0
    assert bucket.take(0.5) == 0.5
    assert [bucket.take(1000) for _ in range(4)] == [0, 0, 0, 0.5]


def test_keys_and_routes_do_not_share_and_a_new_limit_counts_at_once() -> None:
    rates = Rates()
    assert rates.take("p/n", "k1", 1, 1, 0) == 0
    assert rates.take("p/n", "k1", 1, 1, 0) == 1
    assert rates.take("p/n", "k2", 1, 1, 0) == 0
    assert rates.take("p/m", "k1", 1, 1, 0) == 0
    assert rates.take("p/n", "k1", 5, 2, 0) == 0


# --- what it counts ----------------------------------------------------------------------------------------------------


def test_histogram_puts_a_bound_into_its_own_bucket() -> None:
    found = Histogram()
    for each in (0.0, BOUNDS[0], BOUNDS[0] + 1e-9, BOUNDS[-1], BOUNDS[-1] + 1):
        found.add(each)
    assert found.buckets[:2] == [2, 1]
    assert found.buckets[-2:] == [1, 1]
    assert sum(found.buckets) == 5


def test_load_is_the_mean_over_the_window() -> None:
    now = 0.0
    count = RouteCount(now)

    def tick(seconds: float) -> None:
        nonlocal now
        for _ in range(round(seconds * 2)):
            now += 0.5
            count.mark(now)

    def clock() -> float:
        return now

    tick(100)
    assert count.load(now) == 0
    assert count.idle(now) == 100
    with count.doing("ongoing", clock), count.doing("ongoing", clock), count.doing("waiting", clock):
        assert (count.ongoing, count.waiting, count.idle(now)) == (2, 1, 0)
        tick(WINDOW / 3)
        assert count.load(now) == pytest.approx(1.0, rel=0.05)
        tick(WINDOW)
        assert count.load(now) == pytest.approx(3.0)
    assert (count.ongoing, count.waiting) == (0, 0)
    tick(WINDOW / 3)
    assert count.load(now) == pytest.approx(2.0, rel=0.05)
    assert count.idle(now) == WINDOW / 3
    tick(WINDOW * 2)
    assert count.load(now) == 0
    assert len(count._marks) < 40


def test_a_route_that_comes_late_is_not_idle_since_the_beginning() -> None:
    now = 0.0
    counts = Counts(lambda: now)
    now = 500.0
    assert counts.route("p/n").idle(now) == 0


# --- schemas -----------------------------------------------------------------------------------------------------------


def contract(schema: dict[str, Any]) -> Contract:
    return Contract.of(Registration("a", "0", "r", 1, "ready", input=schema))


def test_first_mistakes_are_named_with_their_paths() -> None:
    found = contract({"type": "object", "required": ["x"], "properties": {"x": {"type": "array", "items": {"type": "number"}}}})
    found.demand([{"x": [1, 2.5]}])
    with pytest.raises(Problem) as refused:
        found.demand([{"x": []}, {"x": [1, "2"]}, 5, *[{}] * 100])
    assert refused.value.status == 422
    assert len(refused.value.errors) == MOST_TOLD
    assert [each["path"] for each in refused.value.errors][:2] == ["instances[1].x[1]", "instances[2]"]
    assert refused.value.errors[0]["message"] == "must be number"


def test_no_schema_is_anything() -> None:
    contract({}).demand([None, {"a": []}])


def test_defaults_of_a_schema_change_nothing() -> None:
    instance: dict[str, Any] = {}
    contract({"type": "object", "properties": {"x": {"default": 1}}}).demand([instance])
    assert instance == {}


def test_an_instance_deeper_than_a_recursive_schema_can_follow_is_refused() -> None:
    found = contract({"definitions": {"n": {"type": "array", "items": {"$ref": "#/definitions/n"}}}, "$ref": "#/definitions/n"})
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(Problem) as refused:
        found.demand([deep])
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/x"},
        {"$ref": "file:///etc/passwd"},
        {"items": {"$ref": "ftp://x/y"}},
        {"type": "bogus"},
        {"pattern": "("},
    ],
)
def test_a_schema_that_cannot_be_used_checks_nothing_and_fetches_nothing(schema: dict[str, Any]) -> None:
    assert compiled(json.dumps(schema)) is None


# --- routes ------------------------------------------------------------------------------------------------------------


def test_routes_are_read_as_they_are_written(tmp_path: Path) -> None:
    file = routes_file(tmp_path)
    file.parent.mkdir()
    whole = Route(
        "p", "n", (STABLE, CANARY), "none", Bounds(rate=2.5), PredictionLog(True, 0.5, "id", ("a.b",)), "x-v", "off", True, 3.0, {"a": "b"}
    )
    wanted = Routes(7, {"p/n": whole, "p/m": Route("p", "m")})
    file.write_text(json.dumps(asdict(wanted)))
    table = Table(tmp_path)
    assert table.scan()
    assert (table.generation, table.routes, table.problem) == (7, wanted.routes, "")
    assert not table.scan()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"generation": "x"}',
        '{"generation": 8, "routes": {"p/n": {"project": "p"}}}',
        '{"generation": 8, "routes": {"p/n": {"project": "q", "name": "n"}}}',
        '{"generation": 8, "routes": {"p/n": {"project": "p", "name": "n", "auth": "nobody"}}}',
    ],
)
def test_a_broken_file_keeps_the_old_generation_whole(tmp_path: Path, text: str) -> None:
    file = routes_file(tmp_path)
    file.parent.mkdir()
    file.write_text(json.dumps(asdict(Routes(7, {"p/n": Route("p", "n", (STABLE,))}))))
    table = Table(tmp_path)
    table.scan()
    file.write_text(text)
    assert not table.scan()
    assert (table.generation, list(table.routes)) == (7, ["p/n"])
    assert "routes.json" in table.problem
    file.unlink()
    assert not table.scan()
    assert list(table.routes) == ["p/n"]
    file.write_text(json.dumps(asdict(Routes(9))))
    assert table.scan()
    assert (table.generation, table.problem) == (9, "")
