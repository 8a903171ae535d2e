"""What Evidently is asked of the inputs, and what is made of its answers. One process: it takes seconds to import."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.monitoring import Source
from reconciler.monitoring.look import look
from tests.unit.monitoring_world import NOON, Log, changed, check, looked, person, rows

pytestmark = pytest.mark.xdist_group("evidently")
NORMAL = rows(person, 600, seed=1)
SEEN = rows(person, 400, seed=2)


def test_a_clean_window_passes_and_says_so(tmp_path: Path) -> None:
    found = looked(tmp_path, NORMAL, SEEN)
    assert (found.verdict, found.rows, found.why, found.trouble) == ("pass", 400, "", "")
    assert [each.verdict for each in found.checks] == ["pass", "pass"]
    assert check(found, "drift").said == "none of 5 columns drifted"
    assert set(found.series) == {"height", "colour", "kids", "member", "home.rooms"}


@pytest.mark.parametrize(
    ("change", "checks", "column", "words"),
    [
        (lambda row: {**row, "height": row["height"] + 0.2}, {"drift", "quality"}, "height", ("mean 1.7", "mean 1.9")),
        (lambda row: {**row, "height": row["height"] * 100}, {"drift", "quality"}, "height", ("mean 1.7", "mean 170")),
        (lambda row: {**row, "colour": "green"}, {"drift"}, "colour", ("red 49 %", "green 100 %")),
        (lambda row: {**row, "member": True}, {"drift"}, "member", ("false", "true 100 %")),
        (
            lambda row: {name: value for name, value in row.items() if name != "home"},
            {"drift", "quality"},
            "home.rooms",
            ("there", "not there"),
        ),
        (lambda row: {**row, "home": {"rooms": None}}, {"drift", "quality"}, "home.rooms", ("there", "not there")),
        (
            lambda row: {**row, "home": {"rooms": (row["home"]["rooms"] - 4) * 3 + 4}},
            {"drift", "quality"},
            "home.rooms",
            ("spread", "spread"),
        ),
    ],
)
def test_each_shift_is_found_in_the_first_window_with_its_column_first(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], checks: set[str], column: str, words: tuple[str, str]
) -> None:
    found = looked(tmp_path, NORMAL, changed(SEEN, change))
    assert found.verdict == "fail"
    assert {each.check for each in found.checks if each.verdict == "fail"} >= checks
    first = check(found, "drift").columns[0]
    assert first["column"] == column
    assert words[0] in first["from"]
    assert words[1] in first["to"]
    assert f"first: {column}" in check(found, "drift").said
    assert [each["column"] for each in check(found, "drift").columns] == [column]  # and no other


def test_another_unit_is_suggested(tmp_path: Path) -> None:
    found = looked(tmp_path, NORMAL, changed(SEEN, lambda row: {**row, "height": row["height"] * 100}))
    words = "height looks as if it came in other units: 100 times what it was"
    assert [each.suggestion for each in found.checks] == [words, words]


def test_quality_tells_what_is_wrong_with_each_column(tmp_path: Path) -> None:
    def spoil(row: dict[str, Any]) -> dict[str, Any]:
        return {
            **row,
            "height": str(row["height"]),
            "kids": None if row["kids"] == 0 else row["kids"],
            "colour": row["colour"].replace("blue", "violet"),
        }

    found = check(looked(tmp_path, NORMAL, changed(SEEN, spoil)), "quality")
    assert {(each["column"], each["what"]) for each in found.columns} == {
        ("height", "no numbers"),
        ("kids", "missing values"),
        ("colour", "unseen values"),
    }
    told = {each["column"]: each for each in found.columns}
    assert told["height"]["to"] == "100 %"
    assert told["colour"]["to"].startswith("violet ")
    assert told["kids"]["from"] == "0 %"
    assert found.columns[0]["column"] == "height"


def test_single_bad_values_are_no_finding(tmp_path: Path) -> None:
    seen = [dict(each) for each in SEEN]
    seen[0] |= {"height": 99.0, "colour": "violet", "kids": None}
    seen[1] |= {"height": "tall"}
    found = looked(tmp_path, NORMAL, seen)
    assert found.verdict == "pass"


def test_what_is_switched_off_is_not_asked(tmp_path: Path) -> None:
    off = {"missing": None, "unseen": None, "outOfRange": None, "columns": False}
    seen = changed(SEEN, lambda row: {"height": 5.0, "colour": "violet"})
    found = looked(tmp_path, NORMAL, seen, checks={"quality": off})
    assert found.verdict == "pass"
    again = look(replace(Log(tmp_path, at=NOON + 400).spec(), checks={"quality": {**off, "duplicates": 0.5}}))
    assert again.verdict == "fail"
    assert check(again, "quality").columns[0]["what"] == "rows that are there twice"


def test_columns_share_and_ignore(tmp_path: Path) -> None:
    seen = changed(SEEN, lambda row: {**row, "height": row["height"] * 2})
    ask = {"ignore": ["height"]}
    assert looked(tmp_path, NORMAL, seen, checks={"drift": ask}).verdict == "pass"
    spec = Log(tmp_path, at=NOON + 400).spec()
    assert look(replace(spec, checks={"drift": {"columns": ["colour"]}})).verdict == "pass"
    assert look(replace(spec, checks={"drift": {"columns": ["colour", "height"]}})).verdict == "fail"
    assert look(replace(spec, checks={"drift": {"share": 0.2}})).verdict == "pass"  # 1 of 5
    assert look(replace(spec, checks={"drift": {"share": 0.19}})).verdict == "fail"
    held = look(replace(spec, checks={"drift": {"columns": ["nothing"]}}))
    assert (held.verdict, "nothing" in held.why) == ("hold", True)


@pytest.mark.parametrize(
    "test",
    ["ks", "psi", "wasserstein", "jensenshannon", "hellinger", "kl_div", "t_test", "mannw", "ed", "es", "anderson", "cramer_von_mises"],
)
def test_evidentlys_own_tests_of_numbers(tmp_path: Path, test: str) -> None:
    seen = changed(SEEN, lambda row: {**row, "height": row["height"] + 1})
    ask = {"drift": {"columns": ["height"], "test": test}}
    found = looked(tmp_path, NORMAL, seen, checks=ask)
    assert found.verdict == "fail"
    assert check(found, "drift").columns[0]["test"] == test


@pytest.mark.parametrize("test", ["chisquare", "z", "TVD", "psi"])
def test_evidentlys_own_tests_of_categories(tmp_path: Path, test: str) -> None:
    seen = changed(SEEN, lambda row: {**row, "member": True if row["kids"] else row["member"]})
    ask = {"drift": {"tests": {"member": test}, "columns": ["member", "height"]}}
    found = looked(tmp_path, NORMAL, seen, checks=ask)
    assert found.verdict == "fail"
    assert check(found, "drift").columns[0]["test"] == test
    assert "of 2 columns" in check(found, "drift").said  # the other by `auto`


def test_texts_are_told_apart_by_their_words(tmp_path: Path) -> None:
    def note(words: str) -> Callable[[random.Random, int], Mapping[str, Any]]:
        return lambda drawn, place: {"note": " ".join(drawn.choices(words.split(), k=9))}

    animals = note("cat dog bird fish horse cow sheep goat lion tiger bear wolf deer mouse rabbit")
    things = note("table chair lamp door window wall floor roof stairs shelf carpet mirror clock sofa desk")
    ask = {"drift": {}}
    assert looked(tmp_path / "1", rows(animals, 300), rows(animals, 200, 2), checks=ask).verdict == "pass"
    found = looked(tmp_path / "2", rows(animals, 300), rows(things, 200, 2), checks=ask)
    assert found.verdict == "fail"
    assert check(found, "drift").columns[0]["test"] == "domain classifier"


def test_texts_of_the_same_few_words_are_told_apart_by_their_length(tmp_path: Path) -> None:
    def note(least: int) -> Callable[[random.Random, int], Mapping[str, Any]]:
        return lambda drawn, place: {
            "note": " ".join(drawn.sample(["alpha", "beta", "gamma", "delta"], 4) + ["alpha"] * drawn.randint(least, least + 9))
        }

    ask = {"drift": {}}
    assert looked(tmp_path / "1", rows(note(5), 300), rows(note(5), 200, 2), checks=ask).verdict == "pass"
    assert looked(tmp_path / "2", rows(note(5), 300), rows(note(30), 200, 2), checks=ask).verdict == "fail"


def test_embeddings_are_compared_as_a_whole(tmp_path: Path) -> None:
    def vector(middle: float) -> Callable[[random.Random, int], Mapping[str, Any]]:
        return lambda drawn, place: {"vector": [drawn.gauss(middle if each < 5 else 0.0, 1.0) for each in range(24)], "x": drawn.random()}

    ask, log = {"drift": {}}, Log(tmp_path)
    log.write(rows(vector(0.0), 300))
    middle = log.at
    log.write(rows(vector(0.0), 200, 2))
    clean = log.at
    log.write(rows(vector(0.8), 200, 3))
    then = Source("log", "vision", "digits", NOON, middle)
    good = look(log.spec(middle, clean, reference=then, checks=ask))
    assert (good.verdict, good.why) == ("pass", "")
    assert set(good.series) == {"vector", "x"}
    bad = check(look(log.spec(clean, reference=then, checks=ask)), "drift")
    assert (bad.verdict, [each["column"] for each in bad.columns]) == ("fail", ["vector"])
