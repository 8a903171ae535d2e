"""What is told of patches that are wrong, and what is held back for them."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.model import Ref
from reconciler.overlay import MOST_WIDE, overlay
from reconciler.report.text import diagnostics_text
from reconciler.resolve import resolve
from reconciler.source.load import load
from reconciler.validate import validate
from tests.unit.test_overlay import BOTH, KINDS, dataset, desired, patch, tree, versions

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(each.stem for each in (GOLDEN / "overlays").glob("*.yaml"))


def told(root: Path, name: str) -> tuple[str, set[Ref]]:
    """What is said of the case `name` over the good tree, and what is held back for it."""
    shutil.copytree(GOLDEN / "tree", root / "manifests")
    (root / "manifests/overlays/test").mkdir(parents=True)
    shutil.copy(GOLDEN / "overlays" / f"{name}.yaml", root / "manifests/overlays/test")
    loaded = overlay(load([Path("manifests")], root=root, env="test"), KINDS, root=root)
    validated = validate(loaded, KINDS, root=root)
    graph = resolve(validated, KINDS, known={}, partial=False)
    held = "".join(f"{each} is left as it is\n" for each in sorted(map(str, graph.refused)))
    return "\n".join(str(each) for each in (*validated.diagnostics, *graph.diagnostics)) + f"\n\n{held}", set(graph.refused)


@pytest.mark.parametrize("name", CASES)
def test_message(name: str, tmp_path: Path) -> None:
    text, _ = told(tmp_path, name)
    expected = GOLDEN / "overlays" / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(text)
    assert text == expected.read_text()
    assert f"manifests/overlays/test/{name}.yaml" in text


def test_a_mistake_of_the_manifest_is_told_there(tmp_path: Path) -> None:
    files = {
        "manifests/vision/data.yaml": dataset("a", spec="versions: many"),
        "manifests/overlays/dev/x.yaml": patch("a", spec="push: false"),
    }
    (said,) = desired(tree(tmp_path, files)).diagnostics
    assert (said.location.file, said.over.file) == ("manifests/vision/data.yaml", "")
    (tmp_path / "manifests/overlays/dev/x.yaml").write_text(patch("a", spec="versions: 3"))
    assert desired(tmp_path).diagnostics == (), "what the patch puts right is right"


def test_a_mistake_tells_both_places(tmp_path: Path) -> None:
    tree(tmp_path, {**BOTH, "manifests/overlays/dev/x.yaml": patch("a", spec="versions: many")})
    (said,) = desired(tmp_path).diagnostics
    assert (str(said.location), str(said.over)) == ("manifests/overlays/dev/x.yaml:4:18", "manifests/vision/data.yaml:4:27")
    assert str(said).endswith("it patches manifests/vision/data.yaml:4:27")


def test_one_broken_patch_harms_only_what_it_may_be_for(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {**BOTH, "manifests/speech/overlays/dev/x.yaml": "a: [\n", "manifests/overlays/dev/x.yaml": patch("a", spec="versions: 1")},
    )
    found = desired(tmp_path)
    assert versions(found) == {"vision/a": 1, "vision/b": 10}
    assert found.graph.refused == {Ref("Dataset", "speech", "a")}, "declared, and left as it is"
    assert not found.graph.sources[0].complete, "so nothing is deleted"


def test_the_order_of_files_does_not_matter(tmp_path: Path) -> None:
    texts = [patch("*", "*", "versions: 1"), patch("a", "*", "settle: 3s"), patch("a", "vision", "versions: 5")]
    loaded = []
    for number, some in enumerate((texts, texts[::-1])):
        root = tree(tmp_path / str(number), {**BOTH, **{f"manifests/overlays/dev/{at}.yaml": text for at, text in enumerate(some)}})
        loaded.append(overlay(load([Path("manifests")], root=root, env="dev"), KINDS, root=root))
    first, second = ([replace(each, patches=()).data for each in some.manifests] for some in loaded)
    assert first == second


def test_what_is_wrong_for_many_is_told_once(tmp_path: Path) -> None:
    many = {"manifests/vision/data.yaml": "---\n".join(dataset(f"d{number}") for number in range(8))}
    tree(tmp_path, {**many, "manifests/overlays/dev/x.yaml": patch("*", "*", "versions: many")})
    found = desired(tmp_path)
    assert len(found.diagnostics) == 8, "programs are told each"
    text = diagnostics_text(found.diagnostics)
    assert text.count("'many' is not a whole number") == 1
    assert (
        "the same is wrong for dataset/vision/d1, dataset/vision/d2, dataset/vision/d3, dataset/vision/d4, dataset/vision/d5 and 2 more"
        in text
    )
    assert text.endswith("1 error in 1 file.")


def test_what_cannot_be_read_of_an_overlay_is_not_taken_for_nothing(tmp_path: Path) -> None:
    tree(tmp_path, {**BOTH, "manifests/overlays/dev/x.yaml": patch("a", spec="versions: 1")})
    (tmp_path / "manifests/overlays/dev/more.yaml").write_bytes(b"\xff\xfe")
    found = desired(tmp_path)
    assert versions(found) == {}
    assert {ref.name for ref in found.graph.refused} == {"a", "b", "platform", "vision", "speech"}


def test_patches_without_end_come_to_an_end(tmp_path: Path) -> None:
    """A further source is taken for hostile; so are its overlays."""
    many = "---\n".join(dataset(f"d{number}") for number in range(1000))
    wide = "---\n".join(patch("*", "*", f"versions: {number + 1}") for number in range(600))
    precise = "---\n".join(patch("d0", spec="push: true") for _ in range(600))
    nothing = "---\n".join(patch(f"d{number}x", spec="push: true") for number in range(1000))
    overlays = {f"manifests/overlays/dev/{name}.yaml": text for name, text in (("w", wide), ("p", precise), ("n", nothing))}
    tree(tmp_path, {"manifests/vision/data.yaml": many, **overlays})
    loaded = load([tmp_path / "manifests"], root=tmp_path, env="dev")
    found = overlay(loaded, KINDS, root=tmp_path)
    assert [each for each in found.manifests if each.data["kind"] == "Dataset"] == [], "each of them is held back"
    assert any(f"more than {MOST_WIDE} patches" in each.message for each in found.diagnostics)


def test_a_name_without_end_is_not_repeated(tmp_path: Path) -> None:
    tree(tmp_path, {**BOTH, "manifests/overlays/dev/x.yaml": patch("a" * 100_000, spec="versions: 1")})
    (said,) = desired(tmp_path).diagnostics
    assert len(str(said)) < 500
