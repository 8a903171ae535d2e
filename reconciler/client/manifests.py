"""The manifests of an installation, read and written as YAML. Read leniently: what this file cannot read, `reconcile validate` judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.client.errors import NotAsked, NotConfigured
from reconciler.client.marks import IGNORE, LARGEST_MANIFEST, OVERLAYS

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Document:
    """One manifest, and where it stands."""

    path: Path
    at: int
    """Its number among the documents of the file, from 0."""
    value: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.value.get("kind", ""))

    @property
    def spec(self) -> Mapping[str, Any]:
        found = self.value.get("spec")
        return found if isinstance(found, Mapping) else {}

    def named(self, field: str) -> str:
        """A field of its metadata, as text; empty when there is none."""
        found = self.value.get("metadata")
        return str(found.get(field) or "") if isinstance(found, Mapping) else ""


def documents(tree: Path, *kinds: str) -> Iterator[Document]:
    """Every manifest below `tree`, or those of these kinds, in the order of the file names, without overlays and hidden folders. Files
    that cannot be read are left out. Of thousands only those are parsed that hold the name of the kind."""
    words = [each.encode() for each in kinds]
    for path in sorted(_files(tree)):
        try:
            if words and path.stat().st_size <= LARGEST_MANIFEST and not any(each in path.read_bytes() for each in words):
                continue
            yield from (each for each in in_file(path) if not kinds or each.kind in kinds)
        except (NotConfigured, OSError):
            continue


def in_file(path: Path) -> list[Document]:
    """The manifests of one file. Raises NotConfigured when it is not YAML."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if path.stat().st_size > LARGEST_MANIFEST:
            raise NotConfigured(f"{path} is larger than a manifest may be ({LARGEST_MANIFEST} bytes)")
        found = list(yaml.load_all(path.read_bytes(), Loader=loader))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotConfigured(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}", hint="reconcile validate") from None
    return [Document(path, at, each) for at, each in enumerate(found) if isinstance(each, Mapping)]


def _files(tree: Path) -> Iterator[Path]:
    if not tree.is_dir() or (tree / IGNORE).exists():
        return
    for each in tree.iterdir():
        if each.name.startswith("."):
            continue
        if each.is_dir() and not each.is_symlink() and each.name != OVERLAYS:
            yield from _files(each)
        elif each.suffix in SUFFIXES and each.is_file():
            yield each


# --- writing -------------------------------------------------------------------------------------------------------


def append(path: Path, value: Mapping[str, Any]) -> None:
    """Add a manifest to the end of a file, or make the file. The rest of it stays as it is, comments included."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    joint = "" if not text.strip() else ("---\n" if text.endswith("\n") else "\n---\n")
    _replace(path, f"{text if text.strip() else ''}{joint}{render(value)}")


def rewrite(document: Document, value: Mapping[str, Any] | None) -> None:
    """Put `value` in the place of one manifest of a file, or (None) take it out; the file goes with its last one. Other manifests of the
    file keep their text; comments inside of this one are lost.

    Raises NotAsked when the file changed meanwhile, or its parts cannot be told apart."""
    text = document.path.read_text(encoding="utf-8")
    parts = _parts(text)
    if document.at >= len(parts) or in_file(document.path)[document.at : document.at + 1] != [document] or not _whole(parts, document.path):
        raise NotAsked(f"{document.path} changed meanwhile, or its documents cannot be told apart", hint="edit the file by hand")
    head = _comments(parts[document.at])
    parts[document.at : document.at + 1] = [] if value is None else [head + render(value)]
    if any(part.strip() for part in parts):
        _replace(document.path, "---\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts))
    else:
        document.path.unlink()


def render(value: Mapping[str, Any]) -> str:
    """As YAML, in the order given."""
    import yaml

    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=120)


def _parts(text: str) -> list[str]:
    """The text of each document. A `---` before the first one belongs to none."""
    parts, here = [], list[str]()
    for line in text.splitlines(keepends=True):
        if line.rstrip() == "---":
            parts.append("".join(here))
            here = []
        else:
            here.append(line)
    parts.append("".join(here))
    return parts[1:] if len(parts) > 1 and not _content(parts[0]) else parts


def _whole(parts: list[str], path: Path) -> bool:
    """Whether each part is one document, as the YAML parser counts them."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return len(parts) == len(list(yaml.load_all(path.read_bytes(), Loader=loader)))


def _content(part: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in part.splitlines())


def _comments(part: str) -> str:
    """The comment lines before the document begins: they are about it, or address an editor."""
    head = []
    for line in part.splitlines(keepends=True):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        head.append(line)
    return "".join(head)


def _replace(path: Path, text: str) -> None:
    """All or nothing, so that a loop that watches the file never reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    staged.write_text(text, encoding="utf-8")
    staged.replace(path)
