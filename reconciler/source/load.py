"""Files and folders to manifests. A bad file harms only itself, and a bad document only itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.model import Diagnostic, Location, Manifest, Source
from reconciler.source.parsed import Parsed, digest_of_file
from reconciler.source.revision import revision_of
from reconciler.source.yamltext import MAX_BYTES, Document, Fault, decode, documents

SUFFIXES = (".yaml", ".yml")
OVERLAYS = "overlays"
"""Folders of patches over the manifests, not of manifests."""
IGNORE = ".reconcileignore"
"""A folder that holds a file of this name is left out, unless it, or something in it, is named itself."""


@dataclass(frozen=True)
class Loaded:
    """What was read; syntax is right, meaning is not checked yet."""

    sources: tuple[Source, ...]
    manifests: tuple[Manifest, ...]
    diagnostics: tuple[Diagnostic, ...]
    faulty: tuple[Manifest, ...] = ()
    """Documents with a fault, with what could be read of them: good enough to know whose they are, never to act on."""

    def __add__(self, other: Loaded) -> Loaded:
        """Two sources read one after the other; the first comes first wherever order decides."""
        return Loaded(
            self.sources + other.sources, self.manifests + other.manifests, self.diagnostics + other.diagnostics, self.faulty + other.faulty
        )


def load(paths: Sequence[Path], *, root: Path, cache: Path | None = None, source: str = "root", within: Path | None = None) -> Loaded:
    """Read every manifest below `paths`: files, or folders with all that is in them, in the order of their names.

    Hidden files and folders, `overlays/`, folders with a `.reconcileignore` and links that lead out of their tree are left out. Places
    are told relative to `root` where they are below it. A source other than the root must lie `within` (unset: the root). `cache` is a
    private folder that parsed files are kept in, by digest; None = none.
    Raises nothing: what cannot be read is a diagnostic, and makes the source incomplete."""
    reading = _Reading(source, root.absolute(), Parsed(cache, source), (within or root).absolute())
    for path in paths:
        reading.read(root / path)
    reading.parsed.save()
    return reading.loaded(revision_of([root / each for each in paths]))


@dataclass(frozen=True)
class _Found:
    """A file that is a manifest by its name."""

    path: str
    shown: str
    trouble: Fault | None = None
    resolved: str = ""
    """Where it really is: a file that is reached twice is read once."""


class _Reading:
    """One source while it is read."""

    def __init__(self, source: str, root: Path, parsed: Parsed, within: Path) -> None:
        self.source, self.root, self.parsed, self.within = source, root, parsed, within
        self.manifests: list[Manifest] = []
        self.faulty: list[Manifest] = []
        self.diagnostics: list[Diagnostic] = []
        self.seen: set[str] = set()
        self.first = ""
        """The first path that was named, as it is shown."""

    def read(self, path: Path) -> None:
        self.first = self.first or self._shown(path)
        for found in self._found(path):
            if found.trouble is None:
                try:
                    self._file(found)
                except Fault as fault:
                    self._tell(found.shown, fault)
                except OSError as error:
                    self._tell(found.shown, Fault(f"the file cannot be read: {error.strerror or error}"))
            else:
                self._tell(found.shown, found.trouble)

    def loaded(self, revision: str) -> Loaded:
        if not self.manifests and not self.diagnostics:
            said, hint = f"source {self.source} holds no manifest", "put manifests there, or name where they are with -f PATH"
            self.diagnostics.append(Diagnostic(Location(self.first or "."), said, hint=hint, severity="warning", reason="EmptySource"))
        why = f"{self.diagnostics[0].location}: {self.diagnostics[0].message}" if self.diagnostics else ""
        documents = len(self.manifests) + len(self.faulty)
        source = Source(self.source, revision, not why, files=len(self.seen), documents=documents, why_incomplete=why)
        return Loaded((source,), tuple(self.manifests), tuple(self.diagnostics), tuple(self.faulty))

    def _file(self, found: _Found) -> None:
        if found.resolved in self.seen:
            return
        self.seen.add(found.resolved)
        raw = read_bytes(found.path)
        digest = digest_of_file(raw)
        read = self.parsed.get(found.resolved, digest)
        if read is None:
            read = tuple(documents(decode(raw)))
            self.parsed.put(found.resolved, digest, read)
        for document in read:
            self._document(document, found.shown, digest)

    def _document(self, document: Document, file: str, digest: str) -> None:
        at = Location(file, document.line)
        shape = isinstance(document.data, dict)
        for fault in document.faults:
            self._tell(file, fault)
        if not document.faults and not shape:
            found = "a list" if isinstance(document.data, list) else "a single value"
            self._tell(file, Fault(f"a document must be a mapping, found {found}", document.line, 1, hint=_BEGINS))
        manifest = Manifest(self.source, at, document.data if shape else {}, document.index, digest)
        (self.manifests if shape and not document.faults else self.faulty).append(manifest)

    def _tell(self, file: str, fault: Fault) -> None:
        at = Location(file, fault.line, fault.column)
        self.diagnostics.append(Diagnostic(at, fault.message, path=fault.path, hint=fault.hint, reason="Unreadable"))

    # --- finding files ---

    def _found(self, path: Path) -> Iterator[_Found]:
        name, shown = str(path), self._shown(path)
        try:
            resolved = path.resolve(strict=True)
            if self.source != "root" and not resolved.is_relative_to(self.within.resolve()):
                yield _Found(name, shown, Fault(f"the folder of source {self.source} is not inside {self._whose()}"))
            elif resolved.is_dir():
                yield from self._below(name, "" if shown == "." else shown, resolved)
            else:
                yield self._linked(name, shown, resolved.parent)
        except FileNotFoundError:
            yield _Found(name, shown, Fault("there is no such file or folder"))
        except (OSError, RuntimeError) as error:
            yield _Found(name, shown, Fault(f"it cannot be read: {getattr(error, 'strerror', None) or error}"))

    def _below(self, folder: str, shown: str, tree: Path) -> Iterator[_Found]:
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda each: each.name)
        except OSError as error:
            yield _Found(folder, shown, Fault(f"the folder cannot be read: {error.strerror}"))
            return
        real = os.path.realpath(folder)
        if Path(real) != tree and any(each.name == IGNORE for each in entries):
            return
        for each in entries:
            told = f"{shown}/{each.name}" if shown else each.name
            if each.name.startswith("."):
                continue
            if each.is_dir(follow_symlinks=False):
                if each.name != OVERLAYS:
                    yield from self._below(each.path, told, tree)
            elif each.is_symlink() and Path(each.path).is_dir():
                # A linked folder inside the tree is read where it really is.
                if not Path(each.path).resolve().is_relative_to(tree):
                    yield _Found(each.path, told, _leads_out())
            elif each.name.endswith(SUFFIXES):
                plain = each.is_file(follow_symlinks=False) and told.isprintable()
                yield _Found(each.path, told, None, f"{real}/{each.name}") if plain else self._linked(each.path, told, tree)

    def _linked(self, path: str, shown: str, tree: Path) -> _Found:
        """Anything but a plain file with a plain name."""
        if not shown.isprintable():
            return _Found(path, ascii(shown)[1:-1], Fault("the file's name holds control characters", hint="rename it"))
        try:
            resolved = Path(path).resolve(strict=True)
        except (OSError, RuntimeError):
            return _Found(path, shown, Fault("the link leads nowhere", hint="remove it, or restore what it points to"))
        if not resolved.is_relative_to(tree):
            return _Found(path, shown, _leads_out())
        if not resolved.is_file():
            return _Found(path, shown, Fault("this is not a regular file"))
        return _Found(path, shown, None, str(resolved))

    def _whose(self) -> str:
        return "the installation's root" if self.within == self.root else "its repository"

    def _shown(self, path: Path) -> str:
        """Relative to the root where that is possible; a file is opened again by joining this to the root."""
        absolute = path.absolute()
        for root in (self.root, self.root.resolve()):
            if absolute.is_relative_to(root):
                return str(absolute.relative_to(root))
        return str(absolute)


def read_bytes(path: str) -> bytes:
    """A file's bytes. Raises Fault when there are too many of them, and OSError."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path for each of ten thousand files costs as much as reading them
        raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            size = os.fstat(file.fileno()).st_size / MAX_BYTES
            raise Fault(f"the file has {size:.1f} MiB; at most 1 MiB is read", hint="split it into several files")
    return raw


_BEGINS = "it begins with `apiVersion:`, `kind:`, `metadata:` and `spec:`"


def _leads_out() -> Fault:
    return Fault("the link leads out of the folder of the manifests", hint="put a copy here, or name the other folder with -f")
