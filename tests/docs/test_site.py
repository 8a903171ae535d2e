"""The documentation as a site: it builds without a warning, loads nothing from elsewhere, and leaves no page, kind or reason out."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from reconciler.registry import discover

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REASON = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)*")
CALLS = {"Blocked": None, "Breach": None, "HealthReport": None, "Diagnostic": "reason", "Wanted": "reason"}
"""What takes a reason, and by which name; None = by place too."""
FILES = (
    "reconciler/admission/values.py",
    "reconciler/admit.py",
    "reconciler/guard/values.py",
    "reconciler/approval.py",
    "reconciler/environment.py",
)
"""Modules whose constants are reasons."""
NO_REASON = frozenset({"Workflow"})
"""A kind, among those constants."""


class _Loads(HTMLParser):
    """What a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(told.get("src") or "")
        if tag == "link" and told.get("rel") in ("stylesheet", "preconnect", "preload", "icon", "modulepreload"):
            self.found.append(told.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    words = [str(Path(sys.executable).with_name("mkdocs")), "build", "--quiet", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    wanted = {path.relative_to(DOCS).with_suffix(".html").as_posix().replace("README.html", "index.html") for path in DOCS.rglob("*.md")}
    assert wanted <= {path.relative_to(site).as_posix() for path in pages}
    for path in pages:
        read = _Loads()
        read.feed(path.read_text(encoding="utf-8"))
        assert not [each for each in read.found if each.startswith(("http:", "https:", "//"))], path
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} <= named


def test_every_kind_has_a_page_whose_manifest_is_one() -> None:
    kinds = discover()
    for name in kinds.controllers:
        page = (DOCS / "kinds" / f"{name.lower()}.md").read_text(encoding="utf-8")
        [text] = re.findall(r"```yaml\n(.*?)```", page, re.S)
        manifest = yaml.safe_load(text)
        assert manifest["kind"] == name
        kinds.controllers[name].info.spec.model_validate(manifest["spec"])


def _reasons() -> Iterator[str]:
    """All that the code gives, as literals."""
    for path in [*(ROOT / "reconciler").rglob("*.py"), *(ROOT / "controllers").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
                only = CALLS[node.func.id]
                parts = [each.value for each in node.keywords if only is None or each.arg == only] + ([*node.args] if only is None else [])
                for part in parts:
                    yield from _words(part)
            if path.relative_to(ROOT).as_posix() in FILES and isinstance(node, ast.Assign):
                yield from _words(node.value)


def _words(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from _words(node.body)
        yield from _words(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and REASON.fullmatch(node.value):
        yield node.value


def test_every_reason_of_the_code_is_told() -> None:
    given = set(_reasons()) - NO_REASON
    assert len(given) > 80
    told = set(re.findall(r"`([A-Z][A-Za-z]+)`", (DOCS / "troubleshooting.md").read_text(encoding="utf-8")))
    assert given <= told, sorted(given - told)
    everything = "".join(path.read_text(encoding="utf-8") for top in ("reconciler", "controllers") for path in (ROOT / top).rglob("*.py"))
    assert not [each for each in told if f'"{each}"' not in everything and f" {each}(" not in everything], "reasons that nothing gives"
