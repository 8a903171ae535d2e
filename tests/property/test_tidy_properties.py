"""A spec said as shortly as it can be is the same spec."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from reconciler.model import Ref, manifest
from reconciler.registry import discover
from reconciler.source.load import load
from reconciler.tidy import as_yaml, minimal, tidied, tree
from reconciler.validate import validate
from schemas.base import KindInfo, Spec

KINDS = discover()
EXAMPLES = Path(__file__).parents[2] / "manifests" / "kinds"
FULL: dict[str, Any] = {
    name: next(each["spec"] for each in yaml.safe_load_all((EXAMPLES / name.lower() / "full.yaml").read_text()) if each["kind"] == name)
    for name in sorted(KINDS.kinds)
}
"""Of each kind a spec that sets as much as an example can."""


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every field below `value`, by its keys."""
    found: list[tuple[Any, ...]] = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        found += [*([(*path, key)] if isinstance(value, dict) else []), *_places(each, (*path, key))]
    return found


def _without(value: Any, gone: set[tuple[Any, ...]], path: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, dict):
        return {key: _without(each, gone, (*path, key)) for key, each in value.items() if (*path, key) not in gone}
    if isinstance(value, list):
        return [_without(each, gone, (*path, number)) for number, each in enumerate(value)]
    return value


@st.composite
def specs(draw: st.DrawFn) -> tuple[KindInfo, Spec]:
    """A part of a full example."""
    name = draw(st.sampled_from(sorted(FULL)))
    gone = draw(st.sets(st.sampled_from(_places(FULL[name])), max_size=12))
    try:
        return KINDS.kinds[name], KINDS.kinds[name].spec.model_validate(_without(FULL[name], gone))
    except ValidationError:
        assume(False)
        raise


@given(specs())
def test_a_minimal_spec_is_the_same_spec(drawn: tuple[KindInfo, Spec]) -> None:
    info, spec = drawn
    again = yaml.safe_load(yaml.safe_dump(minimal(spec)))
    assert info.spec.model_validate(again) == spec
    assert minimal(info.spec.model_validate(again)) == minimal(spec), "nothing more can be left out"


@given(specs())
def test_defaults_that_are_written_out_are_left_out_again(drawn: tuple[KindInfo, Spec]) -> None:
    info, spec = drawn
    assert minimal(info.spec.model_validate(spec.model_dump(mode="json"))) == minimal(spec)


@given(st.lists(specs(), min_size=1, max_size=4))
def test_a_tree_that_is_written_says_what_was_meant(drawn: list[tuple[KindInfo, Spec]]) -> None:
    wanted: dict[Ref, Spec] = {}
    for number, (info, spec) in enumerate(drawn):
        if not list(info.check(spec) if info.check else ()):
            wanted[Ref(info.name, "yes" if info.scope == "project" else None, f"on-{number}")] = spec  # `yes`, as YAML would have it
    assume(wanted)
    manifests = [tidied(manifest(ref, spec.model_dump(mode="json")), KINDS.kinds[ref.kind]) for ref, spec in wanted.items()]
    with tempfile.TemporaryDirectory() as folder:
        for name, text in tree(manifests).items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_text(text, encoding="utf-8")
        found = validate(load([Path(folder)], root=Path(folder)), KINDS, root=Path(folder))
    assert found.diagnostics == ()
    assert {each.ref: each.spec for each in found.resources} == wanted


@pytest.mark.parametrize(
    ("kind", "project", "name", "file"),
    [
        ("Platform", None, "main", "platform.yaml"),
        ("AlertPolicy", None, "ops", "alertpolicies.yaml"),
        ("Project", None, "vision", "projects/vision/project.yaml"),
        ("Dataset", "vision", "digits", "projects/vision/datasets.yaml"),
    ],
)
def test_where_a_manifest_lies(kind: str, project: str | None, name: str, file: str) -> None:
    assert list(tree([manifest(Ref(kind, project, name), {})])) == [file]


def test_lifecycle_and_labels_are_there_when_they_say_something() -> None:
    info, ref = KINDS.kinds["Dataset"], Ref("Dataset", "p", "d")
    plain = as_yaml(tidied(manifest(ref, {"path": "d.csv", "settle": "10s"}, labels={}), info))
    assert plain == "apiVersion: reconciler.mlops/v1\nkind: Dataset\nmetadata:\n  name: d\n  project: p\nspec:\n  path: d.csv\n"
    said = tidied(manifest(ref, {"path": "d.csv"}, labels={"team": "nlp"}, adopt=True), info)
    assert (said["lifecycle"], said["metadata"]["labels"]) == ({"adopt": True}, {"team": "nlp"})
