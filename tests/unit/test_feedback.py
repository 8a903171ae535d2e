"""Labels that come for predictions: written once each, counted once each, whichever comes first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway import parts
from reconciler.gateway.feedback import Feedback, read
from reconciler.gateway.joins import Join, Score, answer_of, mark
from reconciler.model.serving import Route, Target

STABLE = Target("vision.digits.aaaaaaaa", 90, "stable", "2", "vision/digits", "run-1", "aaaaaaaa", "sklearn")
CANARY = Target("vision.digits.bbbbbbbb", 10, "canary", "3", "vision/digits", "run-2", "bbbbbbbb", "mlx")
ROUTE = Route("vision", "digits", (STABLE, CANARY))
OTHER = Route("audio", "genres", (STABLE,))


def label(id_: Any, found: Any) -> dict[str, Any]:
    return {"id": id_, "label": found}


def test_labels_count_for_the_version_that_made_the_prediction(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path)
    feedback.seen(ROUTE, STABLE, ["a", "b"], ["cat", "dog"])
    feedback.seen(ROUTE, CANARY, ["c"], ["cat"])
    assert feedback.add(ROUTE, [label("a", "cat"), label("b", "cat"), label("c", "cat")]) == 3
    assert feedback.stats(STABLE.app) == (2, 1, 0.0)
    assert feedback.stats(CANARY.app) == (1, 1, 0.0)
    assert feedback.stats("nobody") == (0, 0, 0.0)
    feedback.close()


def test_a_label_may_come_first(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path)
    feedback.add(ROUTE, [label("a", 4), label("a", 5)])
    assert feedback.stats(STABLE.app) == (0, 0, 0.0)
    feedback.seen(ROUTE, STABLE, ["a"], [7.5])
    assert feedback.stats(STABLE.app) == (1, 0, 2.5)
    feedback.close()


def test_the_same_id_counts_once_and_the_later_label_holds(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path)
    feedback.seen(ROUTE, STABLE, ["a"], [10])
    feedback.add(ROUTE, [label("a", 10), label("a", 10)])
    assert feedback.stats(STABLE.app) == (1, 1, 0.0)
    feedback.add(ROUTE, [label("a", 12)])
    assert feedback.stats(STABLE.app) == (1, 0, 2.0)
    feedback.close()
    assert [json.loads(each) for each in read(tmp_path, "vision", "digits")["label"].to_pylist()] == [10, 10, 12]


def test_a_prediction_that_is_made_again_is_held_against_the_label_again(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path)
    feedback.seen(ROUTE, STABLE, ["a"], ["cat"])
    feedback.add(ROUTE, [label("a", "dog")])
    feedback.seen(ROUTE, STABLE, ["a"], ["dog"])
    assert feedback.stats(STABLE.app) == (1, 1, 0.0), "a repeated request counts once"
    feedback.seen(ROUTE, CANARY, ["a"], ["cat"])
    assert feedback.stats(CANARY.app) == (1, 0, 0.0)
    assert feedback.stats(STABLE.app) == (1, 1, 0.0), "what another version was right in stays"
    feedback.close()


def test_unknown_ids_are_written_and_not_counted_and_routes_are_apart(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path)
    feedback.seen(ROUTE, STABLE, ["a"], [1])
    assert feedback.add(OTHER, [label("a", 1)]) == 1
    assert feedback.stats(STABLE.app) == (0, 0, 0.0)
    feedback.close()
    assert read(tmp_path, "audio", "genres").to_pylist()[0]["id"] == "a"
    assert (feedback.written, feedback.dropped) == (1, 0)


def test_what_is_no_label_is_not_taken(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path)
    feedback.seen(ROUTE, STABLE, ["7", "8"], [1, 1])
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    wrong = [
        {},
        {"id": "7"},
        label("", 1),
        label(None, 1),
        label(True, 1),
        label(1.5, 1),
        label("x" * 500, 1),
        label(10**400, 1),
        label("7", deep),
    ]
    assert feedback.add(ROUTE, wrong) == 0
    assert feedback.add(ROUTE, [label("7", 1), label("8", None)]) == 2
    assert feedback.stats(STABLE.app) == (2, 1, 0.0)
    feedback.close()


def test_only_so_many_are_remembered(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path, remember=10)
    feedback.add(ROUTE, [label(f"early{number}", 1) for number in range(20)])
    feedback.seen(ROUTE, STABLE, [f"early{number}" for number in range(20)], [1] * 20)
    assert feedback.stats(STABLE.app)[0] == 10
    feedback.seen(ROUTE, STABLE, [f"p{number}" for number in range(30)], [1] * 30)
    feedback.add(ROUTE, [label(f"p{number}", 1) for number in range(30)])
    assert feedback.stats(STABLE.app)[0] == 20
    feedback.close()


def test_labels_are_refused_when_too_many_wait(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path, flush=60)
    large = "x" * parts.QUEUE_BYTES
    assert feedback.add(ROUTE, [label("a", large)]) == 0
    assert feedback.dropped == 1
    feedback.seen(ROUTE, STABLE, ["a"], [large])
    assert feedback.stats(STABLE.app) == (0, 0, 0.0), "what was not taken may come again, and counts then"
    feedback.close()


@pytest.mark.parametrize(
    ("prediction", "came", "right", "error"),
    [
        (3, 3.0, 1, 0.0),
        (3, 3.5, 0, 0.5),
        (True, 1, 0, 0.0),
        ("1", 1, 0, 0.0),
        (None, None, 1, 0.0),
        (None, False, 0, 0.0),
        ({"label": "cat", "probability": 0.9}, "cat", 1, 0.0),
        ({"prediction": 2}, 5, 0, 3.0),
        ({"label": "cat", "prediction": "dog"}, "dog", 1, 0.0),
        ([4], 4, 1, 0.0),
        ({"value": [4]}, 5, 0, 1.0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 1, 0.0),
        ([1, 2], [1, 3], 0, 0.0),
        ("x" * 5000, "x" * 5000, 1, 0.0),
        ("x" * 5000, "x" * 5001, 0, 0.0),
        (10**400, 10**400, 1, 0.0),
        (10**400, 1, 0, 0.0),
        ("\ud800" * 200, "\ud800" * 200, 1, 0.0),
    ],
)
def test_what_is_right(prediction: Any, came: Any, right: int, error: float) -> None:
    score = Score()
    score.count(mark(answer_of(prediction)), mark(came), 1)
    assert (score.labels, score.correct, score.absolute_error) == (1, right, error)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["seen", "label"]), st.sampled_from("abc"), st.sampled_from(["one", "two"]), st.integers(0, 2)), max_size=30
)


def told(events: Sequence[tuple[str, str, str, int]]) -> dict[str, Score]:
    scores: dict[str, Score] = {}
    join = Join(lambda app: scores.setdefault(app, Score()))
    for what, id_, app, found in events:
        if what == "seen":
            join.predicted(app, [id_], [found])
        else:
            join.labelled(id_, found)
    return scores


@given(EVENTS)
def test_whatever_the_order_every_prediction_counts_at_most_once(events: list[tuple[str, str, str, int]]) -> None:
    scores = told(events)
    for app, score in scores.items():
        asked = {id_ for what, id_, by, _ in events if what == "seen" and by == app}
        labelled = {id_ for what, id_, _, _ in events if what == "label"}
        assert 0 <= score.correct <= score.labels <= len(events)
        if len({by for what, _, by, _ in events if what == "seen"}) == 1:
            assert score.labels == len(asked & labelled)
            last = {id_: found for what, id_, _, found in events if what == "seen"}
            truth = {id_: found for what, id_, _, found in events if what == "label"}
            assert score.correct == sum(last[each] == truth[each] for each in asked & labelled)
            assert score.absolute_error == pytest.approx(sum(abs(last[each] - truth[each]) for each in asked & labelled))
