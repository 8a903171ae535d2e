"""Every kind has a minimal and a full example; the full one shows every field, and each folder stands on its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from reconciler.registry import discover
from reconciler.resolve import resolve
from reconciler.schema import fields, walk
from reconciler.source.load import load
from reconciler.validate import validate

ROOT = Path(__file__).parents[2]
EXAMPLES = Path("manifests/kinds")
KINDS = discover()
UNUSED = {kind: {"metadata.project"} for kind in ("AlertPolicy", "Platform", "Project")}
"""The envelope's fields that a kind does not take."""


def data_paths(value: object, path: str = "") -> set[str]:
    """Every dotted path in a manifest, with `*` for an index."""
    items = value.items() if isinstance(value, dict) else [("*", each) for each in value] if isinstance(value, list) else []
    found: set[str] = set()
    for key, each in items:
        below = f"{path}.{key}" if path else str(key)
        found |= {below} | data_paths(each, below)
    return found


@pytest.mark.parametrize("kind", sorted(KINDS.kinds))
def test_full_shows_every_field(kind: str) -> None:
    text = (ROOT / EXAMPLES / kind.lower() / "full.yaml").read_text()
    used = set().union(*(data_paths(each) for each in yaml.safe_load_all(text)))
    # Alternatives that exclude each other, and what must be empty here, are shown as comments.
    shown = set(re.findall(r"(\w+):", "\n".join(line.partition("#")[2] for line in text.splitlines())))
    known = {each.path for each in walk(fields(KINDS.kinds[kind]))} - UNUSED.get(kind, set())
    assert known
    entries = {path for path in known if path.endswith(".*")}
    rules = {path for path in known if path.startswith("lifecycle.ignore.")}
    secrets = {path for path in known if path.endswith((".fromEnv", ".fromFile"))}
    missing = {path for path in known - used - entries - rules if path.rsplit(".", 1)[-1] not in shown}
    assert missing == set()
    assert not secrets or {"fromEnv", "fromFile"} <= shown


@pytest.mark.parametrize("kind", sorted(KINDS.kinds))
def test_minimal_is_short(kind: str) -> None:
    text = (ROOT / EXAMPLES / kind.lower() / "minimal.yaml").read_text()
    assert len(text.partition("\nspec:\n")[2].splitlines()) <= 4


def folders() -> list[tuple[str, str]]:
    """(kind, file below its folder); the folder itself where its examples can stand side by side: an installation has one Platform."""
    each = [(kind, file) for kind in sorted(KINDS.kinds) for file in ("minimal.yaml", "full.yaml")]
    return each + [(kind, "") for kind in sorted(KINDS.kinds) if kind != "Platform"]


@pytest.mark.parametrize(("kind", "file"), folders())
def test_stands_on_its_own(kind: str, file: str) -> None:
    named = [EXAMPLES / kind.lower() / file]
    if kind != "Platform":
        named.insert(0, EXAMPLES / "playground.yaml")
    validated = validate(load(named, root=ROOT), KINDS, root=ROOT)
    graph = resolve(validated, KINDS, known={}, partial=False)
    assert [str(each) for each in (*validated.diagnostics, *graph.diagnostics)] == []
    assert not graph.blocked
    assert any(ref.kind == kind for ref in graph.resources)


@pytest.mark.parametrize("file", sorted((ROOT / EXAMPLES).rglob("*.yaml")), ids=lambda each: str(each.relative_to(ROOT)))
def test_header_names_the_schema(file: Path) -> None:
    first = file.read_text().partition("\n")[0]
    schema = first.partition("$schema=")[2]
    assert first.startswith("# yaml-language-server: $schema=")
    expected = "manifest" if file.parent.name == "kinds" else file.parent.name
    assert (file.parent / schema).resolve() == ROOT / "docs" / "reference" / "schema" / f"{expected}.schema.json"


def test_examples_are_not_part_of_the_whole_tree() -> None:
    loaded = load([Path("manifests")], root=ROOT)
    assert not [each for each in loaded.manifests if each.location.file.startswith(str(EXAMPLES))]
