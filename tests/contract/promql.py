"""What a query of Prometheus names, found without Prometheus: metrics, labels, functions. What it does not know is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

FUNCTIONS = frozenset({"absent", "delta", "histogram_quantile", "increase", "rate", "vector"})
AGGREGATIONS = frozenset({"sum", "min", "max", "avg", "count"})
"""Those that our files use; Prometheus has more."""
WORDS = frozenset(["and", "or", "unless", "bool", "offset"])
GROUPING = frozenset(["by", "without", "on", "ignoring", "group_left", "group_right"])
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<range>\[[^\]]*\])|(?P<number>\d+(?:\.\d+)?(?:[smhdwy](?![a-zA-Z_]))?)
    |(?P<name>[a-zA-Z_:][\w:]*)|(?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},]))""",
    re.VERBOSE,
)
_RANGE = re.compile(r"\[(?:\d+[smhdwy]|\$__rate_interval|\$__interval|\$__range)\]")


@dataclass(frozen=True)
class Query:
    """`selectors`: (metric, labels of its matchers). `labels`: what is grouped by."""

    selectors: tuple[tuple[str, frozenset[str]], ...]
    labels: frozenset[str]


def parsed(text: str) -> Query:
    """Raises ValueError for what is no query as far as this knows them."""
    tokens = list(_tokens(text))
    _balanced(tokens, text)
    selectors: list[tuple[str, frozenset[str]]] = []
    labels: set[str] = set()
    at = 0
    while at < len(tokens):
        kind, value = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        if kind != "name" or value in WORDS:
            at += 1
        elif value in GROUPING:
            at, found = _listed(tokens, at + 1, text)
            labels |= found
        elif value in AGGREGATIONS or value in FUNCTIONS:
            if following != "(" and not (value in AGGREGATIONS and following in GROUPING):
                raise ValueError(f"{value} is called without arguments in {text}")
            at += 1
        elif following == "(":
            raise ValueError(f"{value} is no function: {text}")
        else:
            at, found = _matchers(tokens, at + 1, text) if following == "{" else (at + 1, frozenset())
            selectors.append((value, found))
    if not selectors:
        raise ValueError(f"no metric is asked for: {text}")
    return Query(tuple(selectors), frozenset(labels))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at, text = 0, text.strip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"{text[at : at + 20]!r} cannot be read in {text}")
        kind = str(found.lastgroup)
        if kind == "range" and not _RANGE.fullmatch(found[kind]):
            raise ValueError(f"{found[kind]} is no range: {text}")
        yield kind, found[kind]
        at = found.end()


def _balanced(tokens: list[tuple[str, str]], text: str) -> None:
    open_: list[str] = []
    for kind, value in tokens:
        if kind == "sign" and value in "({":
            open_.append({"(": ")", "{": "}"}[value])
        elif kind == "sign" and value in ")}" and (not open_ or open_.pop() != value):
            raise ValueError(f"{value} closes nothing: {text}")
    if open_:
        raise ValueError(f"{open_[-1]} is missing: {text}")


def _listed(tokens: list[tuple[str, str]], at: int, text: str) -> tuple[int, frozenset[str]]:
    if at >= len(tokens) or tokens[at][1] != "(":
        raise ValueError(f"labels are missing: {text}")
    end = next(each for each in range(at, len(tokens)) if tokens[each][1] == ")")
    return end + 1, frozenset(value for kind, value in tokens[at:end] if kind == "name")


def _matchers(tokens: list[tuple[str, str]], at: int, text: str) -> tuple[int, frozenset[str]]:
    end = next(each for each in range(at, len(tokens)) if tokens[each][1] == "}")
    inside, found = tokens[at + 1 : end], set()
    for start in range(0, len(inside), 4):
        part = inside[start : start + 4]
        shape = [kind for kind, _ in part]
        if shape[:3] != ["name", "sign", "text"] or part[1][1] not in ("=", "!=", "=~", "!~") or (shape[3:] and part[3][1] != ","):
            raise ValueError(f"a matcher cannot be read in {text}")
        found.add(part[0][1])
    return end + 1, frozenset(found)
