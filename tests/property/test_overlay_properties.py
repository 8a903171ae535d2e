"""Merge patches, whatever is merged."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.overlay import merge

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
KEYS = st.sampled_from("abcd")
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12)
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=4)


def without_nulls(value: Any) -> Any:
    """As a manifest of which nothing is null."""
    return {key: without_nulls(each) for key, each in value.items() if each is not None} if isinstance(value, dict) else value


def difference(have: Any, want: Any) -> Any:
    """A patch that turns one mapping without nulls into another."""
    found = dict.fromkeys(have.keys() - want.keys())
    for key, value in want.items():
        if key not in have or have[key] != value or type(have[key]) is not type(value):
            both = isinstance(have.get(key), dict) and isinstance(value, dict)
            found[key] = difference(have[key], value) if both else value
    return found


@given(MAPPINGS)
def test_an_empty_patch_changes_nothing(target: Any) -> None:
    assert merge(target, {}) == target


@given(VALUES, VALUES)
def test_a_patch_applied_twice_is_a_patch_applied_once(target: Any, patch: Any) -> None:
    once = merge(target, patch)
    assert merge(once, patch) == once


@given(VALUES, MAPPINGS)
def test_a_patch_over_nothing_is_itself_without_nulls(target: Any, patch: Any) -> None:
    assert merge({}, patch) == without_nulls(patch)
    assert None not in merge(target if isinstance(target, dict) else {}, dict.fromkeys("abcd")).values()


@given(MAPPINGS, MAPPINGS)
def test_there_is_a_patch_from_everywhere_to_everywhere(have: Any, want: Any) -> None:
    have, want = without_nulls(have), without_nulls(want)
    assert merge(have, difference(have, want)) == want


@given(MAPPINGS, MAPPINGS)
def test_what_a_patch_does_not_name_stays(target: Any, patch: Any) -> None:
    merged = merge(target, patch)
    assert {key: value for key, value in merged.items() if key not in patch} == {
        key: value for key, value in target.items() if key not in patch
    }
