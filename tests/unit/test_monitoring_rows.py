"""How a window and a table become columns: which rows, which labels, which sorts of values."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import Terminal, UsageError
from reconciler.gateway.joins import mark
from reconciler.model.monitoring import Source
from reconciler.monitoring import datafile, window
from reconciler.monitoring.instances import Columns, number
from reconciler.monitoring.kinds import kind_of, looks_like_id
from reconciler.monitoring.side import ABSENT, Side, spelled
from reconciler.monitoring.table import inputs
from tests.unit.monitoring_world import DAY, NOON, TARGET, Log, person, rows, table

SETTINGS = settings(max_examples=80, deadline=None)
SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=6)
INSTANCES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4))


def source(start: float = NOON, end: float = 0.0, count: int = 0, **more: Any) -> Source:
    return Source("log", "vision", "digits", start, end, count, **more)


def read(state: Path, wanted: Source, most: int = 100_000, key: str = "k", places: tuple[str, ...] = ()) -> Side:
    return window.read(state, wanted, most, key, places)


# --- columns -----------------------------------------------------------------------------------------------------------


def columns(*instances: Any, places: tuple[str, ...] = ()) -> Columns:
    found = Columns(len(instances), places)
    for each in instances:
        found.add(each)
    return found


def test_objects_within_objects_and_arrays() -> None:
    found = columns({"a": 1, "b": {"c": 2, "d": {"e": 3}}}, {"a": None, "p": [7, 8]}, {"b": {"c": 5}})
    assert found.values == {"a": [1, None], "b.c": [2, None, 5], "b.d.e": [3], "p.0": [None, 7], "p.1": [None, 8]}


def test_an_array_is_its_places_and_those_of_a_table_have_its_names() -> None:
    assert columns([1, 2], [3, 4]).values == {"f0": [1, 3], "f1": [2, 4]}
    assert columns([1, 2], [3, 4], places=("x", "y")).values == {"x": [1, 3], "y": [2, 4]}
    wide = tuple(f"c{place}" for place in range(30))
    assert set(columns(list(range(30)), places=wide).values) == set(wide)
    assert columns(5, 6, places=("x",)).values == {"x": [5, 6]}
    assert columns(5, "six").values == {"instance": [5, "six"]}


def test_many_numbers_are_an_embedding_of_which_some_rows_are_kept() -> None:
    found = Columns(5000)
    for place in range(5000):
        found.add({"vector": [float(place)] * 21})
    assert found.values == {}
    assert 450 <= len(found.vectors["vector"]) <= 500
    assert found.vectors["vector"][-1][0] > 4900  # spread over all


def test_what_cannot_be_a_column_is_told() -> None:
    found = columns({"tags": ["a", "b"]}, {"tags": []}, [1, {"a": 1}], {"v": [1.0] * 30}, {"v": [1.0] * 31})
    assert found.values == {}
    assert found.dropped == {
        "tags: an array of something else than numbers",
        "instance: an array of something else than numbers",
        "v: arrays of changing length",
    }


@given(st.lists(INSTANCES, max_size=12))
@SETTINGS
def test_any_instances_become_columns_no_longer_than_the_rows(instances: list[Any]) -> None:
    found = columns(*instances)
    assert found.rows == len(instances) == found.shapes.total()
    assert all(len(each) <= found.rows for each in found.values.values())


@pytest.mark.parametrize(
    ("value", "is_"), [(1, 1.0), ("2.5", 2.5), (True, 1.0), (10**400, None), (1e200, None), ("x", None), (None, None), ([], None)]
)
def test_as_a_number(value: Any, is_: float | None) -> None:
    found = number(value)
    assert found == is_ if is_ is not None else found != found


# --- kinds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "held", "seen", "kind"),
    [
        ("x", [1.5, 2.5, 3.5], [], "number"),
        ("x", [1, 2, 3] * 9, [2, 3], "category"),
        ("x", [1.0, 2.0, None], [2.0], "category"),  # whole numbers, with a missing one
        ("x", [1.0, 2.0, math.nan], [2.0], "category"),
        ("x", [1, 2, 3] * 9, list(range(30)), "number"),  # few here, many there
        ("x", list(range(60)), [1], "number"),
        ("user_id", list(range(60)), [], "id"),
        ("userId", list(range(60)), [], "id"),
        ("x", [True, False], [], "category"),
        ("x", ["red", "blue"] * 5, [], "category"),
        ("x", [f"row-{place}" for place in range(60)], [], "id"),
        ("x", [f"the quick brown fox number {place} jumps over it" for place in range(200)], [], "text"),
        ("x", ["2026-11-20T12:00:00Z", "2026-11-21"], [], "time"),
        ("x", [None, None], ["a"], "empty"),
        ("x", [1.5, 2.5, "n/a"], [], "number"),
        ("x", [{}, True], [], "category"),
    ],
)
def test_what_a_column_holds(name: str, held: list[Any], seen: list[Any], kind: str) -> None:
    assert kind_of(name, held, seen) == kind


@pytest.mark.parametrize(
    ("name", "yes"),
    [
        *((name, True) for name in ("id", "ID", "user_id", "userId", "row.uuid", "Unnamed: 0", "index")),
        *((name, False) for name in ("paid", "humidity", "grid", "monkey", "idle", "width")),
    ],
)
def test_what_names_a_row(name: str, yes: bool) -> None:
    assert looks_like_id(name) is yes


@given(SCALARS, SCALARS)
@SETTINGS
def test_labels_are_spelled_alike_when_they_are_the_same_to_the_gateway(one: Any, other: Any) -> None:
    if one != one or other != other:
        return
    same = mark(one) == mark(other)
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in (one, other)):
        assert not same or spelled(one) == spelled(other)
    else:
        assert (spelled(one) == spelled(other)) is same


def test_sorts_of_labels_stay_apart() -> None:
    assert [spelled(each) for each in (3, 3.0, "3", True, "true", 1, None, "null", "red", 'say "x"')] == [
        *("3", "3", '"3"', "true", '"true"', "1", "null", '"null"', "red", 'say "x"')
    ]


# --- the log -----------------------------------------------------------------------------------------------------------


def test_a_window_by_time_takes_its_start_and_leaves_its_end(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write([{"x": place} for place in range(20)])
    found = read(tmp_path, source(NOON + 5, NOON + 10))
    assert found.inputs.values == {"x": [5, 6, 7, 8, 9]}
    assert (found.whole, found.start, found.end) == (5, NOON + 5, NOON + 10)
    assert found.answers == [1.0] * 5
    assert found.revisions == Counter({"0a1b2c3d4e": 5})


def test_a_window_over_midnight_and_one_of_another_day(tmp_path: Path) -> None:
    log = Log(tmp_path, at=NOON + DAY / 2 - 5)
    log.write([{"x": place} for place in range(10)])
    log.at += DAY
    log.write([{"x": 100}])
    assert read(tmp_path, source(NOON, NOON + DAY)).inputs.values == {"x": list(range(10))}
    assert read(tmp_path, source(NOON + DAY, NOON + 3 * DAY)).inputs.values == {"x": [100]}
    assert len(list((tmp_path / "serving/predictions").rglob("date=*"))) == 3


def test_windows_by_count_follow_each_other_and_keep_a_moment_together(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write([{"x": place} for place in range(4)])
    log.write([{"x": 100 + place} for place in range(3)], step=0.0)  # three of one moment
    log.at += 1
    log.write([{"x": 200 + place} for place in range(4)])
    start, taken = NOON, []
    for _ in range(4):
        found = read(tmp_path, source(start, 0.0, 5))
        taken.append(found.inputs.values.get("x", []))
        start = found.end
    assert taken == [[0, 1, 2, 3, 100, 101, 102], [200, 201, 202, 203], [], []]
    assert start == pytest.approx(log.at - 1, abs=1e-5)


def test_by_count_ends_where_it_is_said_to_end(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write([{"x": place} for place in range(10)])
    found = read(tmp_path, source(NOON, 0.0, 4))
    assert found.end == pytest.approx(NOON + 3, abs=1e-5)
    assert found.end > NOON + 3
    again = read(tmp_path, source(NOON, found.end, 4))  # looked at once more, for labels
    assert again.inputs.values == found.inputs.values


def test_only_one_revision(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write([{"x": 1}] * 3)
    log.write([{"x": 2}] * 4, target=replace(TARGET, digest="ffff"))
    assert read(tmp_path, source(NOON, log.at)).revisions == {"0a1b2c3d4e": 3, "ffff": 4}
    found = read(tmp_path, source(NOON, log.at, revision="ffff"))
    assert (found.whole, found.inputs.values) == (4, {"x": [2] * 4})


def test_the_newest_label_counts_whenever_it_came(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write([{"x": place} for place in range(4)])
    log.label({log.ids[0]: "cat", log.ids[1]: "dog", "nobody-0": "cow"})
    log.label({log.ids[0]: "cow"}, at=NOON + 3 * DAY)
    log.label({log.ids[0]: "old"}, at=NOON + 2 * DAY)  # written later, of an earlier moment
    found = read(tmp_path, source(NOON, NOON + 4))
    assert found.truths == ["cow", "dog", ABSENT, ABSENT]
    assert found.labels == 2


def test_a_large_window_is_sampled_evenly_and_the_same_for_the_same_key(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write([{"x": place} for place in range(1000)], step=0.01)
    log.label({id_: place for place, id_ in enumerate(log.ids)})
    one, two, other = (read(tmp_path, source(NOON, log.at), 100, key) for key in ("a", "a", "b"))
    assert one.inputs.values == two.inputs.values != other.inputs.values
    assert (one.whole, one.rows) == (1000, 100)
    assert one.truths == one.inputs.values["x"]  # each with its own label
    assert [value // 10 for value in one.inputs.values["x"]] == list(range(100))  # one of each stretch


def test_rows_that_are_not_json_and_a_part_that_cannot_be_read(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write([{"x": 1}, {"x": 2}])
    (day,) = (tmp_path / "serving/predictions").rglob("date=*")
    (part,) = day.glob("part-*")
    found = pq.read_table(part)
    broken = found.set_column(found.column_names.index("instance"), "instance", pa.array(["{", "[" * 100_000]))
    pq.write_table(broken, day / "part-20261120T120500.000000-2.parquet")
    (day / "part-20261120T120501.000000-3.parquet").write_bytes(b"PAR1")
    read_ = read(tmp_path, source(NOON, log.at))
    assert read_.inputs.values == {"x": [1, 2]}
    assert read_.inputs.odd == {"instances that are not JSON": 2}
    assert len(read_.told) == 1
    assert "part-20261120T120501.000000-3.parquet cannot be read" in read_.told[0]


def test_what_is_not_a_deployment_is_refused_and_what_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path, source(NOON, NOON + 1)).whole == 0
    assert read(tmp_path, source(NOON, 0.0, 10)).end == NOON
    with pytest.raises(UsageError):
        read(tmp_path, Source("log", "..", "x", NOON, NOON + 1))


# --- tables ------------------------------------------------------------------------------------------------------------


def load(path: Path, target: str = "", most: int = 1000, expected: tuple[str, ...] = ()) -> Side:
    return datafile.read(Source("data", path=str(path)), target, expected, most, "k", has_truth=True)


def test_a_csv_and_a_parquet_file_are_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b,c,d,y\n1,1.5,NA,true,cat\n2,,"x, y",false,dog\n,3,z,true,\n')
    found = load(tmp_path / "t.csv", "y")
    assert found.inputs.values == {"a": [1, 2, None], "b": [1.5, None, 3.0], "c": ["NA", "x, y", "z"], "d": [True, False, True]}
    assert found.truths == ["cat", "dog", ABSENT]
    pq.write_table(pa.table({"a": [1, 2, None], "y": ["cat", "dog", None]}), tmp_path / "t.parquet")
    found = load(tmp_path / "t.parquet", "y")
    assert (found.inputs.values, found.truths) == ({"a": [1, 2, None]}, ["cat", "dog", ABSENT])


def test_the_types_of_a_parquet_file_are_those_of_json(tmp_path: Path) -> None:
    rows_ = [
        {
            "at": datetime(2026, 11, 20, tzinfo=UTC),
            "price": Decimal("1.50"),
            "raw": b"ab",
            "v": [1.5, 2.5],
            "in": {"x": 1, "d": date(2026, 1, 2)},
        }
    ]
    pq.write_table(pa.Table.from_pylist(rows_), tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").inputs.values == {
        "at": ["2026-11-20T00:00:00+00:00"],
        "price": [1.5],
        "raw": ["b'ab'"],
        "v.0": [1.5],
        "v.1": [2.5],
        "in.x": [1],
        "in.d": ["2026-01-02"],
    }


def test_a_large_table_is_sampled(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": list(range(50_000))}), tmp_path / "t.parquet", row_group_size=7000)
    (tmp_path / "t.csv").write_text("x\n" + "\n".join(map(str, range(50_000))) + "\n")
    for name in ("t.parquet", "t.csv"):
        found = load(tmp_path / name, most=500)
        assert (found.whole, found.rows) == (50_000, 500)
        assert [value // 100 for value in found.inputs.values["x"]] == list(range(500))


def test_a_column_that_is_called_as_an_answer_is_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,prediction,y\n1,a,b\n")
    assert load(tmp_path / "t.csv", "y").answers == ["a"]
    assert load(tmp_path / "t.csv", "y", expected=("x", "prediction")).inputs.values == {"x": [1], "prediction": ["a"]}


@pytest.mark.parametrize(
    ("name", "text", "target", "said"),
    [
        ("t.csv", "a,b\n1,2\n", "z", "has no column z"),
        ("t.csv", "", "", "cannot be read"),
        ("t.csv", "a,b\n1,2\n3\n", "", "cannot be read"),
        ("t.parquet", "PAR1", "", "cannot be read"),
        ("t.json", "{}", "", "cannot be read"),
        ("other", None, "", "is not a file"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path: Path, name: str, text: str | None, target: str, said: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(Terminal, match=said):
        load(tmp_path / name, target)


# --- both sides --------------------------------------------------------------------------------------------------------


def side(found: Columns, named: bool = False) -> Side:
    return Side(found, named=named)


def test_the_columns_of_a_table_are_narrowed_to_the_inputs() -> None:
    then = side(columns(*({"id": place, "x": place / 3, "z": place / 7, "note": "a", "target": 1} for place in range(60))), named=True)
    now = side(columns(*({"x": place / 3, "extra": 1} for place in range(60))))
    found = inputs(then, now, (), "")
    assert (found.missing, set(found.kinds)) == (("z", "note"), {"x"})
    assert "target taken for the truth" in found.notes
    assert "not in the reference: extra" in found.notes
    found = inputs(then, now, ("x", "z"), "")
    assert found.missing == ("z",)


def test_numbers_that_arrive_as_texts_are_counted_and_read(tmp_path: Path) -> None:
    drawn = random.Random(1)
    then = side(columns(*({"x": drawn.gauss(0, 1)} for _ in range(50))), named=True)
    found = inputs(then, side(columns({"x": "1.5"}, {"x": 2}, {"x": "many"}, {"x": None}, {})), (), "")
    assert found.wrong == {"x": 2}
    assert found.unread == {"x": 1}
    assert found.seen["x"].dropna().tolist() == [1.5, 2.0]


def test_categories_of_a_table_without_quotes() -> None:
    then = side(columns(*({"c": each} for each in [1, 2, 3] * 30)), named=True)
    found = inputs(then, side(columns({"c": "1"}, {"c": 2.0}, {"c": True})), (), "")
    assert found.kinds == {"c": "category"}
    assert found.seen["c"].tolist() == ["1", "2", "true"]


def test_real_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    log, people = Log(tmp_path), rows(person, 200)
    log.write(people)
    table(tmp_path / "normal.parquet", people)
    found = inputs(load(tmp_path / "normal.parquet"), read(tmp_path, source(NOON, log.at)), (), "")
    assert found.missing == ()
    assert dict(found.kinds) == {
        "height": "number",
        "colour": "category",
        "kids": "category",
        "member": "category",
        "home.rooms": "number",
    }
    assert found.normal.equals(found.seen)
    assert json.dumps(found.notes) == "[]"
