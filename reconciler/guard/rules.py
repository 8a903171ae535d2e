"""Which rules are in force: those that are shipped, as strong as the Platform wants them, and the files that it names.

Nothing here raises: what is wrong with a file or a rule makes that a broken rule, which holds back all that it would be about."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from reconciler.guard.values import GuardRule
from reconciler.mistakes import Reader
from reconciler.model import Location
from reconciler.schemaerrors import Steps
from reconciler.source.place import Places
from reconciler.source.yamltext import MAX_BYTES, Fault, decode, documents
from schemas.policy import MOST_RULES, Effect, Policy, Rule, RuleTest, check

SHIPPED = Path(__file__).with_name("shipped.yaml")
DEFAULTS: Mapping[str, str] = {
    "mass-deletion": "warn",
    "quota-increase": "warn",
    "gate-loosened-with-promotion": "warn",
    "secret-literal": "deny",
    "public-bind": "deny",
    "unpinned-production-dataset": "warn",
}
"""How strong the shipped rules are where the Platform does not say."""
_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True)
class RuleBook:
    """One file of rules as it was read."""

    file: str
    rules: tuple[GuardRule, ...] = ()
    tests: tuple[tuple[Location, RuleTest], ...] = ()
    troubles: tuple[tuple[Location, str], ...] = ()
    """What is wrong with its tests."""


def in_force(policy: Policy, root: Path) -> tuple[GuardRule, ...]:
    """The rules of this installation, the shipped ones first. Paths are relative to `root` and do not lead out of it."""
    books = [each for path in policy.rules for each in books_at(path, root)]
    return _once((*_shipped(policy), *(rule for each in books for rule in each.rules)))


def books_at(path: str, root: Path) -> Iterator[RuleBook]:
    """The files that an entry of `spec.policy.rules` names, in the order of their names."""
    folder, _, pattern = path.rpartition("/")
    names = [path]
    if any(sign in pattern for sign in "*?["):
        try:
            found = sorted(each.name for each in os.scandir(root / folder) if each.is_file())
        except OSError:
            found = []
        names = [f"{folder}/{each}" if folder else each for each in found if fnmatchcase(each, pattern) and not each.startswith(".")]
        if not names:
            yield _broken_book(path, f"spec.policy.rules of the Platform names {path}, and there is no such file")
    for name in names:
        yield read_book(name, root)


def shipped_book() -> RuleBook:
    """The rules that come with the reconciler, as they are written."""
    return read_book(SHIPPED.name, SHIPPED.parent, shipped=True)


def read_book(name: str, root: Path, *, confined: bool = True, shipped: bool = False) -> RuleBook:
    """The file that is called `name` from `root`; `confined`: it may not lie outside of that."""
    path = root / name
    try:
        if confined and not path.resolve().is_relative_to(root.resolve()):
            return _broken_book(name, "the file lies outside of the installation's root")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            return _broken_book(name, f"the file has more than {MAX_BYTES // 1024} KiB")
        found = list(documents(decode(raw)))
    except OSError as error:
        return _broken_book(name, f"the file cannot be read: {error.strerror}")
    except Fault as error:
        return _broken_book(name, error.message, error.line, error.column)
    if len(found) != 1 or not isinstance(found[0].data, dict):
        return _broken_book(name, "expected one document with `rules` and, if you like, `tests`")
    if found[0].faults:
        first = found[0].faults[0]
        return _broken_book(name, first.message, first.line, first.column)
    return _Book(name, Location(name, found[0].line), found[0].data, Places(root), shipped).read()


def _shipped(policy: Policy) -> Iterator[GuardRule]:
    for rule in shipped_book().rules:
        strength = policy.shipped.get(rule.name, DEFAULTS[rule.name])  # type: ignore[call-overload]
        if strength != "off":
            effect: Effect = strength
            yield replace(rule, effect=effect)


def _broken_book(name: str, why: str, line: int = 0, column: int = 0) -> RuleBook:
    at = Location(name, line, column)
    return RuleBook(name, (_broken(Path(name).stem, at, f"{at}: {why}"),))


def _broken(name: str, at: Location, why: str) -> GuardRule:
    """A rule of which nobody knows what it is about: it is about everything."""
    return GuardRule(name, at, "deny", "", "", verbs=("create", "update", "replace", "adopt", "move", "delete"), broken=why)


def _once(rules: Iterable[GuardRule]) -> tuple[GuardRule, ...]:
    """A name stands for one rule: the later one of two is broken, and so is what is too many."""
    known: dict[str, GuardRule] = {}
    found: list[GuardRule] = []
    for each in rules:
        if not each.broken and (other := known.setdefault(each.name, each)) is not each:
            each = replace(each, broken=f"the name is taken by the rule at {other.at}")
        found.append(each)
    if len(found) > MOST_RULES:
        why = f"there are {len(found)} rules; {MOST_RULES} at most are judged"
        found[MOST_RULES:] = [_broken("too-many-rules", found[MOST_RULES].at, why)]
    return tuple(found)


@dataclass(frozen=True)
class _Book:
    """One document while it is read."""

    name: str
    at: Location
    data: Mapping[str, Any]
    places: Places
    shipped: bool

    def read(self) -> RuleBook:
        rules, tests = self.data.get("rules"), self.data.get("tests", [])
        unknown = sorted(self.data.keys() - {"rules", "tests"})
        if unknown or not isinstance(rules, list) or not isinstance(tests, list):
            why = f"unknown field {unknown[0]}" if unknown else "`rules` and `tests` are lists"
            at = self.places.at(self.at, (unknown[0],) if unknown else (), key=True)
            return _broken_book(self.name, f"{why}; allowed are rules, tests", at.line, at.column)
        checked = [self._checked(RuleTest, each, ("tests", number)) for number, each in enumerate(tests)]
        return RuleBook(
            self.name,
            _once(self._rule(each, ("rules", number)) for number, each in enumerate(rules)),
            tuple((at, each) for at, each, _ in checked if each is not None),
            tuple((at, why) for at, _, why in checked if why),
        )

    def _rule(self, data: Any, steps: Steps) -> GuardRule:
        at, rule, why = self._checked(Rule, data, steps)
        if rule is not None:
            mistakes = list(check(rule))
            why = "; ".join(f"{path}: {said}" if path else said for path, said in mistakes)
        if rule is None or why:
            named = data.get("name") if isinstance(data, dict) else None
            return _broken(named if isinstance(named, str) and named else f"rule-{steps[-1]}", self._place(steps), why)
        return GuardRule(
            rule.name,
            at,
            rule.effect,
            rule.condition,
            rule.message,
            rule.when or "",
            rule.kinds,
            rule.verbs,
            rule.over == "plan",
            rule.owners,
            self.shipped,
        )

    def _checked(self, model: type[_M], data: Any, steps: Steps) -> tuple[Location, _M | None, str]:
        """Where it stands, what it is, or what is wrong with it, with the place of the first mistake."""
        if not isinstance(data, dict):
            return self._place(steps), None, "expected a mapping"
        try:
            return self._place(steps), model.model_validate(data), ""
        except ValidationError as error:
            found = _reader(model).mistakes(error, data, lambda more: self.places.written(self.at, (*steps, *more)))
            at = self.places.at(self.at, (*steps, *found[0].steps), key=found[0].key)
            told = (f"{'.'.join(map(str, each.steps))}: {each.message}{f'. {each.hint}' if each.hint else ''}" for each in found)
            return at, None, f"{at}: {'; '.join(told)}"

    def _place(self, steps: Steps) -> Location:
        return replace(self.places.at(self.at, steps), column=0)


@cache
def _reader(model: type[BaseModel]) -> Reader:
    return Reader(model, frozenset())
