"""What makes a run the run that it is, and what it is called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from controllers.runs import expanding
from controllers.runs.identity import LONGEST, datasets, key, labelled, versions
from controllers.tools.code import read
from reconciler.model import KNOWN_AFTER_APPLY, Absent, Outputs, Ref, Resource
from reconciler.testing import make_resource
from schemas.experiment import KIND, ExperimentSpec
from schemas.experiment import check as check_experiment
from schemas.grid import MOST, argument
from schemas.run import Runs, RunSpec

TABLE, OTHER = Ref("Dataset", "demo", "table"), Ref("Dataset", "vision", "digits")
FACTS: Mapping[str, Any] = {"code": "c0de", "lock": "", "trouble": ""}
NAMES = st.text("abxyz_", min_size=1, max_size=3).filter(lambda name: name[0] != "_")
SCALARS = st.integers(-5, 5) | st.booleans() | st.floats(-2, 2).map(lambda found: round(found, 3)) | st.text("ab/-. ", max_size=4)
SETS = st.dictionaries(NAMES, SCALARS, max_size=4)


def children(runs: Mapping[str, Any], facts: Mapping[str, Any] = FACTS, **spec: Any) -> Sequence[Resource[RunSpec]]:
    given = {"datasets": ["table", "vision/digits"], **spec, "runs": {"entrypoint": "train.py", **runs}}
    inputs: Mapping[Ref, Outputs] = {TABLE: {"digest": "d1", "path": "t"}, OTHER: {"digest": "d2", "path": "d"}}
    made: Resource[Any] = make_resource(KIND, "x", given, references=[TABLE, OTHER], inputs=inputs)
    return expanding.children(made, Absent(), facts)


def one(runs: Mapping[str, Any], facts: Mapping[str, Any] = FACTS, **spec: Any) -> Resource[RunSpec]:
    [child] = children(runs, facts, **spec)
    return child


BASE = {"params": {"rate": 0.1, "rank": 8}, "seeds": [1]}


# --- the key ---


@pytest.mark.parametrize(
    "other",
    [
        one({**BASE, "params": {"rate": 0.1, "rank": 4}}),
        one({**BASE, "params": {"rate": 0.1}}),
        one({**BASE, "params": {"rate": 0.1, "rank": 8, "more": 1}}),
        one({**BASE, "params": {"rank": 0.1, "rate": 8}}),
        one({**BASE, "seeds": [2]}),
        one({**BASE, "entrypoint": "other.py"}),
        one(BASE, {**FACTS, "code": "other"}),
        one(BASE, {**FACTS, "lock": "locked"}),
    ],
    ids=["value", "fewer", "more", "swapped", "seed", "entrypoint", "code", "lock"],
)
def test_each_part_makes_another_run(other: Resource[RunSpec]) -> None:
    assert key(other) != key(one(BASE))


@pytest.mark.parametrize("ref", [TABLE, OTHER])
def test_each_dataset_makes_another_run(ref: Ref) -> None:
    run = one(BASE)
    newer = replace(run, inputs={**run.inputs, ref: {"digest": "new", "path": "t"}})
    moved = replace(run, inputs={**run.inputs, ref: {**run.inputs[ref], "path": "elsewhere"}})
    assert key(newer) != key(run) == key(moved)


def _renamed(run: Resource[RunSpec], old: Ref, new: str, formerly: str) -> Resource[RunSpec]:
    """The run once a dataset of it has another name."""
    ref = replace(old, name=new)
    inputs = {ref if each == old else each: found for each, found in run.inputs.items()}
    inputs[ref] = {**run.inputs[old], "formerly": formerly}
    return replace(run, references=tuple(ref if each == old else each for each in run.references), inputs=inputs)


@pytest.mark.parametrize("ref", [TABLE, OTHER])
def test_a_dataset_that_was_renamed_makes_no_other_run(ref: Ref) -> None:
    run = one(BASE)
    assert key(_renamed(run, ref, "again", ref.name)) == key(run)
    assert key(replace(run, inputs={**run.inputs, ref: {**run.inputs[ref], "formerly": "else"}})) != key(run)


def test_the_program_gets_datasets_by_their_names_of_now() -> None:
    assert list(datasets(_renamed(one(BASE), TABLE, "again", "table"))) == ["again", "vision/digits"]


def test_two_datasets_that_had_one_name_at_different_times_are_told_apart() -> None:
    run = one(BASE)
    taken = Ref("Dataset", "demo", "table")
    both = _renamed(run, TABLE, "again", "table")
    both = replace(both, references=(*both.references, taken), inputs={**both.inputs, taken: {"digest": "d9", "path": "n"}})
    assert versions(both) == {"again": "d1", "vision/digits": "d2", "table": "d9"}


def test_which_dataset_comes_first_matters_because_the_program_gets_that_one() -> None:
    run = one(BASE)
    assert key(replace(run, references=(OTHER, TABLE))) != key(run)


@pytest.mark.parametrize(
    "more",
    [
        {"retries": 3},
        {"timeout": "1m"},
        {"priority": 9},
        {"resources": {"memory": "1Gi"}},
        {"env": {"A": "1"}},
        {"backend": "ray"},
        {"rerun": "2"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_how_a_run_is_run_does_not_enter(more: Mapping[str, Any]) -> None:
    assert key(one({**BASE, **more})) == key(one(BASE))


def test_size_metric_and_description_do_not_enter() -> None:
    assert key(one(BASE, description="d", metric={"name": "m"}, model={"parameters": 7})) == key(one(BASE))


@pytest.mark.parametrize("digest", [KNOWN_AFTER_APPLY, ""])
def test_no_key_before_every_input_is_known(digest: str) -> None:
    run = one(BASE)
    assert key(replace(run, inputs={**run.inputs, TABLE: {"digest": digest}})) == ""


def test_no_key_for_what_cannot_start() -> None:
    assert key(one(BASE, {**FACTS, "trouble": "there is no train.py"})) == ""


@given(SETS, st.randoms())
def test_the_order_of_parameters_does_not_matter(params: dict[str, Any], random: Any) -> None:
    items = list(params.items())
    random.shuffle(items)
    assert key(one({"params": dict(items)})) == key(one({"params": params}))
    assert one({"params": dict(items)}).ref == one({"params": params}).ref


@given(SETS, SETS)
def test_two_sets_have_one_key_just_when_the_program_gets_the_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    same = {name: argument(value) for name, value in first.items()} == {name: argument(value) for name, value in second.items()}
    assert (key(one({"params": [first]})) == key(one({"params": [second]}))) == same


# --- the name ---


@pytest.mark.parametrize(
    ("params", "seed", "label"),
    [
        ({}, 0, "s0"),
        ({"rank": 8, "rate": 0.004}, 1, "rank8-rate0.004-s1"),
        ({"rate": 1e-05, "deep": True}, 0, "deeptrue-rate1e-05-s0"),
        ({"base_steps": 20, "local-steps": 3}, 2, "base-steps20-local-steps3-s2"),
        ({"shift": -0.5}, 0, "shift-0.5-s0"),
        ({"captions": "data/short.csv"}, 0, "captionsdata-short.csv-s0"),
    ],
)
def test_labels_read_like_the_manifest(params: dict[str, Any], seed: int, label: str) -> None:
    assert [each.ref.key for each in children({"params": [params], "seeds": [seed]})] == [label]


def test_long_names_are_cut_and_stay_apart() -> None:
    text = "x" * 80
    first, second = (each.ref.key for each in children({"params": {"note": [f"{text}a", f"{text}b"]}}))
    assert len(first) == len(second) == LONGEST
    assert first != second


@given(st.lists(SETS, min_size=1, max_size=6), st.lists(st.integers(-2, 3), min_size=1, max_size=3, unique=True))
def test_names_are_unique_short_and_plain(sets: list[dict[str, Any]], seeds: list[int]) -> None:
    runs = Runs.model_validate({"entrypoint": "train.py", "params": sets, "seeds": seeds})
    different = {tuple(sorted((name, argument(value)) for name, value in each.items())) for each in sets}
    labels = {each.label for each in labelled(runs)}
    assert len(labels) == len(different) * len(seeds)
    assert all(0 < len(label) <= LONGEST and re.fullmatch(r"[A-Za-z0-9.-]+", label) for label in labels)


# --- what a manifest may not say ---


def mistakes(runs: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(check_experiment(ExperimentSpec.model_validate({"runs": {"entrypoint": "train.py", **runs}})))


@pytest.mark.parametrize(
    ("runs", "path", "says"),
    [
        ({"params": [{"a": 1}, {"a": 1}]}, "runs.params", "2 times: a 1, seed 0"),
        ({"params": [{"a": 1}, {"a": "1"}]}, "runs.params", "the same run is declared"),
        ({"params": {"a": [1, 2, 1]}}, "runs.params", "the same run is declared"),
        ({"seeds": [3, 3]}, "runs.params", "seed 3"),
        ({"seeds": []}, "runs.seeds", "no run at all"),
        ({"params": {"a": []}}, "runs.params.a", "no run at all"),
        ({"params": {"seed": 1}}, "runs.params.seed", "--seed"),
        ({"params": [{"out": "x"}]}, "runs.params.out", "--out"),
        ({"params": {"a": list(range(40)), "b": list(range(40))}}, "runs.params", f"1,600 runs in one experiment; at most {MOST:,}"),
        ({"entrypoint": "a/../../x.py"}, "runs.entrypoint", "without '..'"),
    ],
)
def test_mistakes_are_told_with_their_place(runs: Mapping[str, Any], path: str, says: str) -> None:
    assert [(at, says in message) for at, message in mistakes(runs)] == [(path, True)]


def test_a_huge_grid_is_refused_without_being_made() -> None:
    [(path, message)] = mistakes({"params": {name: list(range(100)) for name in "abcdefgh"}})
    assert (path, "10,000,000,000,000,000 runs" in message) == ("runs.params", True)


def test_a_proper_grid_has_no_mistakes() -> None:
    assert mistakes({"params": {"a": [1, 2], "b": [True, "x"]}, "seeds": [0, 1]}) == []


@pytest.mark.parametrize("glob", ["../*.py", "/etc/*", "~/x.py"])
def test_code_globs_stay_in_the_project(glob: str) -> None:
    with pytest.raises(ValidationError):
        Runs.model_validate({"entrypoint": "train.py", "code": [glob]})


# --- the code ---


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "p" / "lib").mkdir(parents=True)
    (tmp_path / "p" / "train.py").write_text("print(1)\n")
    (tmp_path / "p" / "lib" / "net.py").write_text("x = 1\n")
    return tmp_path / "p"


def test_contents_names_and_only_what_the_globs_name_count(project: Path) -> None:
    def digest(*globs: str) -> str:
        return read(project, "train.py", globs, pinned=False).digest

    first, deep = digest("*.py"), digest("**/*.py")
    assert first != deep
    (project / "lib" / "net.py").write_text("x = 2\n")
    assert digest("*.py") == first
    assert digest("**/*.py") != deep
    (project / "train.py").touch()
    assert digest("*.py") == first
    (project / "other.py").write_text("")
    assert digest("*.py") != first


def test_the_script_counts_whatever_the_globs_say(project: Path) -> None:
    before = read(project, "train.py", ["lib/*.py"], pinned=False)
    (project / "train.py").write_text("print(2)\n")
    assert read(project, "train.py", ["lib/*.py"], pinned=False).digest != before.digest != ""


@pytest.mark.parametrize(
    ("entrypoint", "there"), [("lib.net", True), ("lib/net.py", True), ("lib/none.py", False), ("sklearn.thing", True)]
)
def test_a_module_of_the_environment_is_not_looked_for(project: Path, entrypoint: str, there: bool) -> None:
    assert (read(project, entrypoint, ["*.py"], pinned=False).trouble == "") is there


def test_a_pinned_environment_needs_its_lock_and_counts_it(project: Path) -> None:
    assert "requirements.lock" in read(project, "train.py", ["*.py"], pinned=True).trouble
    (project / "requirements.lock").write_text("numpy==2.0\n")
    first = read(project, "train.py", ["*.py"], pinned=True)
    (project / "requirements.lock").write_text("numpy==2.1\n")
    second = read(project, "train.py", ["*.py"], pinned=True)
    assert first.digest == second.digest
    assert len({first.lock, second.lock, ""}) == 3


def test_a_link_out_of_the_project_is_refused(project: Path) -> None:
    (project.parent / "secret.py").write_text("key = 1\n")
    (project / "leak.py").symlink_to(project.parent / "secret.py")
    assert "leads out of the project" in read(project, "train.py", ["*.py"], pinned=False).trouble


def test_a_lock_that_lies_outside_of_the_project_is_refused(project: Path) -> None:
    (project.parent / "other.lock").write_text("numpy==2.0.0\n", encoding="utf-8")
    (project / "requirements.lock").symlink_to(project.parent / "other.lock")
    assert "leads out of the project" in read(project, "train.py", ["*.py"], pinned=True).trouble
    assert not read(project, "train.py", ["*.py"], pinned=False).trouble, "only a pinned environment reads it"
