"""The tests that files of rules carry: actions that are made up, or a plan that was written, and what the rules are to say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from reconciler.errors import ReconcilerError
from reconciler.guard.facts import Declared, Deed, Scene, given_change, project_facts
from reconciler.guard.judge import Evaluate, judge
from reconciler.guard.rules import RuleBook
from reconciler.guard.values import COMMANDS, Finding
from reconciler.model import Location, Ref
from schemas.base import KindInfo
from schemas.policy import GivenAction, RuleTest


@dataclass(frozen=True)
class Outcome:
    """What came of one test; `failures` are sentences, none = as expected."""

    name: str
    at: Location
    failures: tuple[str, ...] = ()


def run_tests(
    book: RuleBook, kinds: Mapping[str, KindInfo], evaluate: Evaluate, read_plan: Callable[[str], Scene]
) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    """Every test of the file over the rules of the file, and the names of rules that no test expects anything of."""
    outcomes = [Outcome("as it is written", at, (why,)) for at, why in book.troubles]
    expected: set[str] = set()
    for at, test in book.tests:
        expected |= {words.split(" ", 1)[-1] for some in test.expect.values() for words in _list(some)}
        try:
            scene = read_plan(test.plan) if test.plan is not None else made_up(test, kinds)
        except ReconcilerError as error:
            outcomes.append(Outcome(test.name, at, (str(error),)))
            continue
        outcomes.append(Outcome(test.name, at, tuple(_failures(test, judge(book.rules, scene, evaluate)))))
    untested = tuple(each.name for each in book.rules if each.name not in expected and not each.broken)
    return tuple(outcomes), untested


def made_up(test: RuleTest, kinds: Mapping[str, KindInfo]) -> Scene:
    """The actions of a test, as a plan would show them. Raises ReconcilerError for a kind that there is not."""
    deeds: list[Deed] = []
    declared: dict[Ref, Declared] = {}
    before: dict[Ref, Mapping[str, Any]] = {}
    for each in test.actions:
        ref = Ref.parse(each.ref, kinds)
        if ref is None:
            known = ", ".join(sorted(name.lower() for name in kinds))
            raise ReconcilerError(f"{each.ref}: there is no such kind, or it is not written kind/project/name", hint=f"kinds are {known}")
        info, parent = kinds[ref.kind], Ref(ref.kind, ref.project, ref.name)
        deeds.append(_deed(each, ref, info))
        declared[parent] = Declared(each.labels, filled(info.spec, each.spec))
        if each.before is not None:
            before[parent] = filled(info.spec, each.before)
    projects = {name: project_facts(name, owners=each.owners, level=each.level, labels=each.labels) for name, each in test.projects.items()}
    return Scene(tuple(deeds), declared, projects, before, len(deeds) if test.resources is None else test.resources)


def filled(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` over the defaults of the schema, as deep as it goes; what is required and not given stays out."""
    blank = model.model_construct().model_dump(mode="json", warnings=False)
    for name, info in model.model_fields.items():
        alias = info.alias or name
        if alias in given:
            blank[alias] = _filled_field(info.annotation, given[alias])
    return {**blank, **{key: each for key, each in given.items() if key not in blank}}


def _filled_field(annotation: Any, found: Any) -> Any:
    below = next(_models(annotation), None)
    if below is None:
        return found
    if isinstance(found, Mapping):
        return (
            filled(below, found) if get_origin(annotation) is not dict else {key: _filled_field(below, each) for key, each in found.items()}
        )
    return [_filled_field(below, each) for each in found] if isinstance(found, list | tuple) else found


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated, tuple, list, dict):
        for each in get_args(annotation):
            yield from _models(each)


def _deed(each: GivenAction, ref: Ref, info: KindInfo) -> Deed:
    changes = tuple(given_change(str(one.get("path", "")), one.get("have"), one.get("want")) for one in each.changes)
    gone = each.verb in ("delete", "replace") and info.prune != "auto"
    changed = each.manifest_changed and each.verb not in COMMANDS
    return Deed(each.verb, ref, changes, each.why, gone, changed, each.by, each.conf)


def _failures(test: RuleTest, findings: Sequence[Finding]) -> Iterator[str]:
    got: dict[str, set[str]] = {}
    for each in findings:
        said = f"{each.rule.name} {each.message}" if each.broken else f"{each.verdict} {each.rule.name}"
        got.setdefault(str(each.ref), set()).add(said)
    for ref in sorted(test.expect.keys() | got.keys()):
        want, have = set(_list(test.expect.get(ref, ()))), got.get(ref, set())
        if want != have:
            yield f"{ref}: expected {_words(want)}, got {_words(have)}"


def _list(found: str | tuple[str, ...]) -> tuple[str, ...]:
    return (found,) if isinstance(found, str) else found


def _words(found: set[str]) -> str:
    return ", ".join(sorted(found)) or "nothing"
