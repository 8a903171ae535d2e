"""The gallery of bad manifests: one clear message each, and nothing else suffers. `UPDATE_GOLDEN=1` writes the messages again."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from reconciler.model import Diagnostic
from reconciler.registry import discover
from reconciler.resolve import Graph, resolve
from reconciler.source.load import load
from reconciler.validate import Validated, validate

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(each.stem for each in (GOLDEN / "bad").glob("*.yaml"))
GOOD = {
    "platform/toolkit",
    "project/vision",
    "project/language",
    "resourcequota/vision/share",
    "dataset/vision/digits",
    "dataset/vision/faces",
    "experiment/vision/baseline",
    "experiment/language/reader",
}


def read(root: Path, *names: str) -> tuple[Validated, Graph]:
    """Reconcile the good tree together with the named bad files."""
    shutil.copytree(GOLDEN / "tree", root / "manifests" / "a-good")
    (root / "manifests" / "bad").mkdir()
    for name in names:
        shutil.copy(GOLDEN / "bad" / f"{name}.yaml", root / "manifests" / "bad")
    kinds = discover()
    validated = validate(load([Path("manifests")], root=root), kinds, root=root)
    return validated, resolve(validated, kinds, known={}, partial=False)


def told(validated: Validated, graph: Graph) -> list[Diagnostic]:
    return [*validated.diagnostics, *graph.diagnostics]


def sound(graph: Graph) -> set[str]:
    return {str(ref) for ref in graph.resources if ref not in graph.blocked}


@pytest.mark.parametrize("name", CASES)
def test_message(name: str, tmp_path: Path) -> None:
    validated, graph = read(tmp_path, name)
    text = "\n".join(str(each) for each in told(validated, graph)) + "\n"
    expected = GOLDEN / "bad" / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(text)
    assert text == expected.read_text()
    assert text.startswith(f"manifests/bad/{name}.yaml")
    assert text.replace("\n", "").isprintable()
    assert "hunter2" not in text
    assert sound(graph) >= GOOD


@pytest.mark.parametrize("name", CASES)
def test_stops_pruning_and_says_where(name: str, tmp_path: Path) -> None:
    _, graph = read(tmp_path, name)
    (source,) = graph.sources
    assert not source.complete
    assert name in source.why_incomplete


def test_all_together_leave_the_good_ones_alone(tmp_path: Path) -> None:
    validated, graph = read(tmp_path, *CASES)
    assert len(CASES) >= 24
    assert sound(graph) - {"dataset/vision/duplicate-ref"} == GOOD
    files = {Path(each.location.file).stem for each in told(validated, graph)}
    assert files == set(CASES)


def test_every_message_has_a_line_where_there_is_one(tmp_path: Path) -> None:
    validated, graph = read(tmp_path, *CASES)
    whole_file = {"utf-16"}
    for each in told(validated, graph):
        assert re.search(r"\.yaml:\d+:\d+$", str(each.location)) or Path(each.location.file).stem in whole_file, each
