"""What a change of manifests concerns, and when everything has to be looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reconciler.loop import Proposal, Report
from reconciler.model import Plan, Ref, Resource
from reconciler.resolve import Graph
from reconciler.selection import Selection
from reconciler.source.read import Desired
from reconciler.touched import MOST, touched, with_dependants
from tests.unit.widgets import ROOT, ref, widget


def desired(*resources: Resource[Any], **graph: Any) -> Desired:
    usual: dict[str, Any] = {"diagnostics": (), "blocked": {}, "sources": (ROOT,), "refused": frozenset()}
    return Desired(Graph({each.ref: each for each in resources}, **{**usual, **graph}), (), "here", Selection())


def report(*resources: Resource[Any], **more: Any) -> Report:
    """Of a whole pass over these."""
    found = {each.ref: each for each in resources}
    proposal = Proposal(Plan(()), found, {}, {}, (ROOT,), (), (), {}, 0.0, 0, "", None, **more)
    return Report(proposal, (), (), 0.0)


def other(found: Resource[Any], **more: Any) -> Resource[Any]:
    return replace(found, **{"digest": "another", **more})


A, B, C, ALONE = widget("a"), widget("b", "a"), widget("c", "b"), widget("alone")


def test_what_changed_and_all_that_comes_after_it() -> None:
    before = report(A, B, C, ALONE)
    assert touched(before, desired(A, B, C, ALONE)) == frozenset()
    assert touched(before, desired(A, other(B), C, ALONE)) == {B.ref, C.ref}
    assert touched(before, desired(other(A), B, C, ALONE)) == {A.ref, B.ref, C.ref}
    assert touched(before, desired(A, B, C, other(ALONE, digest=ALONE.digest, labels={"team": "x"}))) == {ALONE.ref}


def test_what_is_new_is_looked_at_alone() -> None:
    assert touched(report(A), desired(A, B)) == {B.ref}


def test_children_are_no_manifests() -> None:
    child = replace(A, ref=Ref("Widget", "p", "a", "k"))
    assert touched(report(A, child), desired(A)) == frozenset()


def test_what_is_gone_or_wrong_concerns_everything() -> None:
    assert touched(report(A, B), desired(A)) is None
    assert touched(report(A), desired(A, refused=frozenset({ref("b")}))) is None
    assert touched(report(A, refused=frozenset({ref("b")})), desired(A)) is None
    assert touched(report(A), desired(A, sources=(replace(ROOT, complete=False),))) is None


def test_what_concerns_others_that_do_not_name_it_concerns_everything() -> None:
    project = replace(A, ref=Ref("Project", None, "p"))
    assert touched(report(project, A), desired(other(project), A)) is None


def test_of_many_at_once_everything_is_looked_at() -> None:
    many = [widget(f"w{number}") for number in range(MOST + 1)]
    assert touched(report(*many), desired(*map(other, many))) is None
    assert touched(report(*many), desired(*map(other, many[:MOST]), many[-1])) == {each.ref for each in many[:MOST]}


def test_dependants_of_a_diamond_are_told_once() -> None:
    left, right = widget("left", "a"), widget("right", "a")
    last = widget("last", "left", "right")
    found = {each.ref: each for each in (A, left, right, last)}
    assert with_dependants([A.ref], found) == set(found)
