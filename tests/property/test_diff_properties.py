"""The diff holds for any nested values: equal means empty, and what it says turns the one into the other."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.diff import compare
from reconciler.model import Diff

KEYS = st.text("abcd", min_size=1, max_size=2)
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text("xyz", max_size=2)
VALUES = st.recursive(SCALARS | st.lists(SCALARS, max_size=2), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8)
FIELDS = st.dictionaries(KEYS, VALUES, max_size=4)


def applied(changes: Diff, have: dict[str, Any]) -> dict[str, Any]:
    """`have` after a tool has carried out `changes`: None removes a field."""
    result = copy.deepcopy(have)
    for change in changes:
        *above, last = change.path.split(".")[1:]
        place = result
        for key in above:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        if change.want is None:
            place.pop(last, None)
        else:
            place[last] = copy.deepcopy(change.want)
    return result


def bare(value: Any) -> Any:
    """Without fields that hold nothing: a field that is None and one that is not there are the same to a tool."""
    if not isinstance(value, dict):
        return value
    kept = {key: bare(each) for key, each in value.items()}
    return {key: each for key, each in kept.items() if each is not None and each != {}}


@given(FIELDS)
def test_nothing_differs_from_itself(fields: dict[str, Any]) -> None:
    assert compare(fields, fields) == ()
    assert compare(fields, copy.deepcopy(fields), fields) == ()


@given(FIELDS, FIELDS)
def test_applying_the_changes_gives_what_was_wanted(want: dict[str, Any], have: dict[str, Any]) -> None:
    """With all of `have` ours, nothing else is left."""
    assert bare(applied(compare(want, have, have), have)) == bare(want)


@given(FIELDS, FIELDS, FIELDS)
def test_after_the_changes_nothing_differs(want: dict[str, Any], have: dict[str, Any], last: dict[str, Any]) -> None:
    assert compare(want, applied(compare(want, have, last), have), last) == ()


@given(FIELDS, FIELDS)
def test_what_we_never_set_is_never_touched(want: dict[str, Any], have: dict[str, Any]) -> None:
    for change in compare(want, have):
        assert change.path.split(".")[1] in want
    theirs = {key: value for key, value in have.items() if key not in want}
    after = applied(compare(want, have), have)
    assert {key: after[key] for key in theirs} == theirs


@given(FIELDS, FIELDS, FIELDS)
def test_every_change_is_one_and_they_come_sorted(want: dict[str, Any], have: dict[str, Any], last: dict[str, Any]) -> None:
    changes = compare(want, have, last)
    paths = [each.path for each in changes]
    assert paths == sorted(paths)
    assert len(set(paths)) == len(paths)
    assert all(each.have != each.want for each in changes)
