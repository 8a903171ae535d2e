"""Files and folders to manifests. A bad file harms only itself, and a bad document only itself."""

from __future__ import annotations

import stat
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


def load(paths: Sequence[Path], *, root: Path, cache: Path | None = None, source: str = "root") -> Loaded:
    """Read every manifest below `paths`: files, or folders with all that is in them, in the order of their names.

    Hidden files and folders and `overlays/` are left out, and so is every link that leads out of its tree. Places are told relative to
    `root` where they are below it. `cache` is a private folder that parsed files are kept in, by digest; None = none is kept.
    Raises nothing: what cannot be read is a diagnostic, and makes the source incomplete."""
    reading = _Reading(source, root.absolute(), Parsed(cache, source))
    for path in paths:
        reading.read(root / path)
    reading.parsed.save()
    return reading.loaded(revision_of([root / each for each in paths]))


@dataclass(frozen=True)
class _Found:
    """A file that is a manifest by its name."""

    path: Path
    shown: str
    trouble: Fault | None = None


class _Reading:
    """One source while it is read."""

    def __init__(self, source: str, root: Path, parsed: Parsed) -> None:
        self.source, self.root, self.parsed = source, root, parsed
        self.manifests: list[Manifest] = []
        self.faulty: list[Manifest] = []
        self.diagnostics: list[Diagnostic] = []
        self.seen: set[Path] = set()

    def read(self, path: Path) -> None:
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
            self.diagnostics.append(
                Diagnostic(Location("."), f"source {self.source} holds no manifest", severity="warning", reason="EmptySource")
            )
        why = f"{self.diagnostics[0].location}: {self.diagnostics[0].message}" if self.diagnostics else ""
        documents = len(self.manifests) + len(self.faulty)
        source = Source(self.source, revision, not why, files=len(self.seen), documents=documents, why_incomplete=why)
        return Loaded((source,), tuple(self.manifests), tuple(self.diagnostics), tuple(self.faulty))

    def _file(self, found: _Found) -> None:
        resolved = found.path.resolve()
        if resolved in self.seen:
            return
        self.seen.add(resolved)
        with found.path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise Fault(
                f"the file has {found.path.stat().st_size / MAX_BYTES:.1f} MiB; at most 1 MiB is read", hint="split it into several files"
            )
        digest = digest_of_file(raw)
        read = self.parsed.get(digest)
        if read is None:
            read = tuple(documents(decode(raw)))
            self.parsed.put(digest, read)
        for document in read:
            self._document(document, found.shown)

    def _document(self, document: Document, file: str) -> None:
        at = Location(file, document.line)
        shape = isinstance(document.data, dict)
        for fault in document.faults:
            self._tell(file, fault)
        if not document.faults and not shape:
            found = "a list" if isinstance(document.data, list) else "a single value"
            self._tell(file, Fault(f"a document must be a mapping, found {found}", document.line, 1, hint=_BEGINS))
        manifest = Manifest(self.source, at, document.data if shape else {}, document.index)
        (self.manifests if shape and not document.faults else self.faulty).append(manifest)

    def _tell(self, file: str, fault: Fault) -> None:
        at = Location(file, fault.line, fault.column)
        self.diagnostics.append(Diagnostic(at, fault.message, path=fault.path, hint=fault.hint, reason="Unreadable"))

    # --- finding files ---

    def _found(self, path: Path) -> Iterator[_Found]:
        shown = self._shown(path)
        try:
            resolved = path.resolve(strict=True)
            if self.source != "root" and not resolved.is_relative_to(self.root.resolve()):
                yield _Found(path, shown, Fault(f"the folder of source {self.source} is not inside the installation's root"))
            elif resolved.is_dir():
                yield from self._below(path, resolved)
            else:
                yield self._checked(path, resolved.parent)
        except FileNotFoundError:
            yield _Found(path, shown, Fault("there is no such file or folder"))
        except (OSError, RuntimeError) as error:
            yield _Found(path, shown, Fault(f"it cannot be read: {getattr(error, 'strerror', None) or error}"))

    def _below(self, folder: Path, tree: Path) -> Iterator[_Found]:
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            yield _Found(folder, self._shown(folder), Fault(f"the folder cannot be read: {error.strerror}"))
            return
        for each in entries:
            if each.name.startswith("."):
                continue
            if each.is_dir() and not each.is_symlink():
                if each.name != OVERLAYS:
                    yield from self._below(each, tree)
            elif each.is_dir():
                # A linked folder inside the tree is read where it really is.
                if not each.resolve().is_relative_to(tree):
                    yield _Found(each, self._shown(each), _leads_out())
            elif each.suffix in SUFFIXES:
                yield self._checked(each, tree)

    def _checked(self, path: Path, tree: Path) -> _Found:
        shown = self._shown(path)
        if not shown.isprintable():
            return _Found(path, ascii(shown)[1:-1], Fault("the file's name holds control characters", hint="rename it"))
        try:
            resolved = path.resolve(strict=True)
            mode = resolved.stat().st_mode
        except (OSError, RuntimeError):
            return _Found(path, shown, Fault("the link leads nowhere", hint="remove it, or restore what it points to"))
        if not resolved.is_relative_to(tree):
            return _Found(path, shown, _leads_out())
        if not stat.S_ISREG(mode):
            return _Found(path, shown, Fault("this is not a regular file"))
        return _Found(path, shown)

    def _shown(self, path: Path) -> str:
        """Relative to the root where that is possible; a file is opened again by joining this to the root."""
        absolute = path.absolute()
        for root in (self.root, self.root.resolve()):
            if absolute.is_relative_to(root):
                return str(absolute.relative_to(root))
        return str(absolute)


_BEGINS = "it begins with `apiVersion:`, `kind:`, `metadata:` and `spec:`"


def _leads_out() -> Fault:
    return Fault("the link leads out of the folder of the manifests", hint="put a copy here, or name the other folder with -f")
