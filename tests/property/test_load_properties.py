"""What holds for every text and every tree of manifests."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.registry import discover
from reconciler.resolve import resolve
from reconciler.source.load import load
from reconciler.source.yamltext import Fault, decode, documents
from reconciler.validate import validate

KINDS = discover()
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff"), max_size=20)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUE = st.recursive(SCALAR, lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXT, below, max_size=4), max_leaves=20)
MANIFEST = st.dictionaries(TEXT, VALUE, min_size=1, max_size=5)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(*texts: bytes, reverse: bool = False, cache: bool = False) -> tuple[Any, ...]:
    """Load, validate and resolve files of these texts; what came out, without what depends on the files' names."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "m").mkdir()
        for number, text in enumerate(reversed(texts) if reverse else texts):
            (root / "m" / f"{number:04}.yaml").write_bytes(text)
        for _ in range(2 if cache else 1):
            loaded = load([Path("m")], root=root, cache=root / "cache" if cache else None)
        graph = resolve(validate(loaded, KINDS, root=root), KINDS, known={}, partial=False)
        return loaded, graph


@FEW
@given(MANIFEST)
def test_load_of_dump_is_identity(value: dict[str, Any]) -> None:
    for flow in (True, False, None):
        text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=flow)
        (found,) = documents(decode(text.encode()))
        assert found.faults == ()
        assert found.data == value


@FEW
@given(st.lists(MANIFEST, min_size=1, max_size=3))
def test_the_cache_changes_nothing(values: list[dict[str, Any]]) -> None:
    text = yaml.safe_dump_all(values, allow_unicode=True).encode()
    assert read(text)[0].manifests == read(text, cache=True)[0].manifests


@FEW
@given(st.binary(max_size=300))
def test_no_bytes_get_through_but_as_documents_or_a_fault(raw: bytes) -> None:
    with contextlib.suppress(Fault):
        list(documents(decode(raw)))


@FEW
@given(st.text("{}[]&*!|>-?:,#'\"% \n\tab1<~", max_size=80))
def test_no_text_gets_through_but_as_documents_or_a_fault(text: str) -> None:
    loaded, graph = read(text.encode())
    assert all(str(each).replace("\n", "").isprintable() for each in (*loaded.diagnostics, *graph.diagnostics))


@FEW
@given(MANIFEST, st.sampled_from(["Dataset", "Experiment", "Project", "Platform", "ResourceQuota"]))
def test_no_spec_raises(spec: dict[str, Any], kind: str) -> None:
    data = {"apiVersion": "reconciler.mlops/v1", "kind": kind, "metadata": {"name": "x", **spec}, "spec": spec, "lifecycle": spec}
    _, graph = read(yaml.safe_dump(data, allow_unicode=True).encode())
    assert not graph.resources


HEAD = "apiVersion: reconciler.mlops/v1\n"
PLATFORM = f"{HEAD}kind: Platform\nmetadata: {{name: x}}\nspec: {{installation: x}}\n"


@st.composite
def trees(draw: st.DrawFn) -> list[str]:
    """Projects with datasets and experiments; some of what is named is not there."""
    names = st.sampled_from("abcd")
    texts = [PLATFORM]
    for project in draw(st.sets(st.sampled_from("pqr"), min_size=1)):
        texts.append(f"{HEAD}kind: Project\nmetadata: {{name: {project}}}\nspec: {{path: {project}}}\n")
        for name in draw(st.sets(names)):
            texts.append(f"{HEAD}kind: Dataset\nmetadata: {{name: {name}, project: {project}}}\nspec: {{path: {name}}}\n")
        for name, uses in draw(st.dictionaries(names, st.sets(names))).items():
            texts.append(
                f"{HEAD}kind: Experiment\nmetadata: {{name: {name}, project: {project}}}\nspec: {{datasets: [{', '.join(sorted(uses))}]}}\n"
            )
    return texts


@FEW
@given(trees(), st.randoms())
def test_the_graph_does_not_depend_on_the_order_of_the_files(texts: list[str], random: Any) -> None:
    shuffled = list(texts)
    random.shuffle(shuffled)
    (_, first), (_, second) = read(*map(str.encode, texts)), read(*map(str.encode, shuffled))
    assert list(first.resources) == list(second.resources)
    assert {ref: each.digest for ref, each in first.resources.items()} == {ref: each.digest for ref, each in second.resources.items()}
    assert first.refused == second.refused
    assert first.blocked.keys() == second.blocked.keys()


@FEW
@given(trees())
def test_what_is_needed_comes_first(texts: list[str]) -> None:
    _, graph = read(*map(str.encode, texts))
    place = {ref: number for number, ref in enumerate(graph.resources)}
    for ref, each in graph.resources.items():
        for other in (*each.requires, *each.references):
            assert other in graph.refused or place[other] < place[ref]
    assert not graph.refused & graph.resources.keys()
