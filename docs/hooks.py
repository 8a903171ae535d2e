"""What the pages need to become a site; on a forge they stay as they are. MkDocs calls the functions whose names begin with `on_`.

Links lead from file to file of the repository, also out of docs/. A file that a page links to becomes part of the site: Markdown as a page,
anything else as it is. What a forge's Markdown takes and MkDocs' does not is rewritten on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<!!)(\[[^\]\n]*\])\(([^)\s#]+)((?:#[^)\s]*)?)\)")
FENCE = re.compile(r"^ *(```|~~~)")
ITEM = re.compile(r"(?:[*+-]|\d+\.) ")
NAMED = re.compile(r"^<!-- file: (\S+) -->\n```(\w+)$", re.M)
"""What a test writes to a file: the site shows its name."""


def on_files(files: Files, config: Any) -> Files:
    """All that pages link to, and that lies outside docs/, joins them."""
    waiting = [ROOT / "docs" / each.src_uri for each in files.documentation_pages()]
    waiting += [path for path in _named(config.nav) if not (DOCS / path.relative_to(ROOT)).exists()]
    known = {path.resolve() for path in waiting if path.is_relative_to(DOCS)}
    while waiting:
        page = waiting.pop()
        if page not in known and not page.is_relative_to(DOCS):
            known.add(page)
            files.append(File.generated(config, page.relative_to(ROOT).as_posix(), abs_src_path=str(page)))
        if page.suffix == ".md":
            waiting += [each for each in _outside(page) if each not in known]
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page as MkDocs wants it."""
    source = DOCS / page.file.src_uri
    if not source.exists():
        source = ROOT / page.file.src_uri
    titled = NAMED.sub(r'```\2 title="\1"', markdown)
    return "\n".join(_lines(titled, source, page.file.src_uri))


def _named(nav: Any) -> Iterator[Path]:
    """The pages of the navigation that lie outside docs/."""
    if isinstance(nav, str) and (ROOT / nav).is_file():
        yield ROOT / nav
    for each in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _named(each)


def _outside(page: Path) -> Iterator[Path]:
    """The files outside docs/ that it links to."""
    for line, fenced in _walk(page.read_text(encoding="utf-8")):
        for found in () if fenced else LINK.finditer(line):
            target = _target(page, found[2])
            if target is not None and not target.is_relative_to(DOCS):
                yield target


def _target(page: Path, link: str) -> Path | None:
    """The file of the repository that a link means; a folder means its README."""
    if "://" in link or link.startswith(("mailto:", "/")):
        return None
    path = (page.parent / link).resolve()
    if path.is_dir():
        path = path / "README.md"
    return path if path.is_file() and path.is_relative_to(ROOT) else None


def _lines(markdown: str, source: Path, uri: str) -> Iterator[str]:
    """Links as the site has them, and an empty line where a list follows a paragraph: a forge needs none."""
    before = ""
    for line, fenced in _walk(markdown):
        if fenced:
            yield line
            before = ""
            continue
        if ITEM.match(line) and before and not ITEM.match(before) and not before.startswith((" ", "#", "|")):
            yield ""
        yield LINK.sub(lambda found: f"{found[1]}({_site(found[2], source, uri)}{found[3]})", line)
        before = line


def _site(link: str, source: Path, uri: str) -> str:
    target = _target(source, link)
    if target is None:
        return link
    there = target.relative_to(DOCS if target.is_relative_to(DOCS) else ROOT).as_posix()
    return relpath(there, start=Path(uri).parent.as_posix())


def _walk(markdown: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it belongs to a fenced block."""
    inside = ""
    for line in markdown.split("\n"):
        mark = FENCE.match(line)
        yield line, bool(inside or mark)
        if mark and not inside:
            inside = mark[1]
        elif mark and inside and line.strip() == inside:
            inside = ""
