"""What sort of values a column holds. The reference decides. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Literal

from reconciler.model.values import JSON

Kind = Literal["number", "category", "text", "embedding", "time", "id", "empty"]
"""`time` and `id` are not compared: they change always. `empty`: the reference has no value."""
FEW = 10
"""Whole numbers with at most so many distinct values, on both sides, are categories."""
CATEGORIES = 100
"""Texts with at most so many distinct values are categories, however long they are."""
LONG = 40
"""Characters on average; texts that are longer, or of more than WORDS words, and rarely the same, are free text."""
WORDS = 3.0
OFTEN = 0.5
"""Share of distinct texts from which texts are rarely the same."""
NAMED = 50
"""Rows that must all be different before a column is taken for the name of its row."""
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?")
_ID = re.compile(r"((.*[._ -])?([iI][dD]|uuid|guid|key|index|rowid)|.*[a-z]I[dD]|Unnamed: 0)")


def kind_of(name: str, normal: Sequence[JSON], seen: Sequence[JSON] = ()) -> Kind:
    """Of a column that holds `normal` in the reference and `seen` in the window; None is a missing value."""
    held = [each for each in normal if each is not None and each == each]  # NaN is not
    if not held:
        return "empty"
    numbers = sum(isinstance(each, int | float) and not isinstance(each, bool) for each in held)
    texts = sum(isinstance(each, str) for each in held)
    if numbers * 2 > len(held):
        return _of_numbers(name, held, seen)
    return _of_texts(name, [each for each in held if isinstance(each, str)]) if texts * 2 > len(held) else "category"


def looks_like_id(name: str) -> bool:
    """Whether a column is called as the name of its row is."""
    return _ID.fullmatch(name) is not None


def _of_numbers(name: str, held: Sequence[JSON], seen: Sequence[JSON]) -> Kind:
    whole = all(isinstance(each, int) or (isinstance(each, float) and each.is_integer()) for each in held if not isinstance(each, str))
    if not whole:
        return "number"
    if looks_like_id(name) and len(held) >= NAMED and len(set(held)) == len(held):
        return "id"
    return "category" if _few(held) and _few(seen) else "number"


def _few(values: Sequence[JSON]) -> bool:
    found = set()
    for each in values:
        if isinstance(each, int | float):
            found.add(each)
            if len(found) > FEW:
                return False
    return True


def _of_texts(name: str, held: Sequence[str]) -> Kind:
    if all(_TIME.fullmatch(each) for each in islice(held, 200)):
        return "time"
    distinct = len(set(held))
    if distinct <= CATEGORIES and distinct < len(held):
        return "category"
    long = sum(map(len, held)) / len(held) > LONG or sum(each.count(" ") + 1 for each in held) / len(held) > WORDS
    if long and distinct > OFTEN * len(held):
        return "text"
    return "id" if distinct == len(held) and len(held) >= NAMED else "category"
