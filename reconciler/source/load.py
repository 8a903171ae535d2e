"""Files and folders to manifests. A bad file harms only itself, and a bad document only itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.model import Diagnostic, Location, Manifest, Source
from reconciler.source.parsed import Parsed, digest_of_file
from reconciler.source.revision import revision_of
from reconciler.source.yamltext import MAX_BYTES, Document, Fault, decode, documents

SUFFIXES = (".yaml", ".yml")
OVERLAYS = "overlays"
"""A folder of this name holds one folder for each environment: patches over the manifests of the folder that it lies in, and below."""
RESOURCES = "resources"
"""Below an environment's folder: manifests that only this environment has."""
IGNORE = ".reconcileignore"
"""A folder that holds a file of this name is left out, unless it, or something in it, is named itself."""


@dataclass(frozen=True)
class Layer:
    """One document of an environment's overlay; what it is good for, `overlay` finds out."""

    manifest: Manifest
    below: str
    """The folder whose manifests it may change, absolute."""
    sure: bool = True
    """All of that folder's manifests were read: what it names and is not there is a mistake."""
    faulty: bool = False
    """It cannot be read, or only in part: good enough to know whom it may be for."""


@dataclass(frozen=True)
class Loaded:
    """What was read; syntax is right, meaning is not checked yet."""

    sources: tuple[Source, ...]
    manifests: tuple[Manifest, ...]
    diagnostics: tuple[Diagnostic, ...]
    faulty: tuple[Manifest, ...] = ()
    """Documents with a fault, with what could be read of them: good enough to know whose they are, never to act on."""
    layers: tuple[Layer, ...] = ()
    """Of the environment that was asked for; not applied yet."""
    environments: frozenset[str] = frozenset()
    """Those that have an overlay here."""

    def __add__(self, other: Loaded) -> Loaded:
        """Two sources read one after the other; the first comes first wherever order decides."""
        return Loaded(
            self.sources + other.sources,
            self.manifests + other.manifests,
            self.diagnostics + other.diagnostics,
            self.faulty + other.faulty,
            self.layers + other.layers,
            self.environments | other.environments,
        )


def load(
    paths: Sequence[Path],
    *,
    root: Path,
    cache: Path | None = None,
    source: str = "root",
    within: Path | None = None,
    env: str = "",
    whole: bool = True,
) -> Loaded:
    """Read every manifest below `paths`: files, or folders with all that is in them, in the order of their names.

    Hidden files and folders, `overlays/`, folders with a `.reconcileignore` and links that lead out of their tree are left out. Places
    are told relative to `root` where they are below it. A source other than the root must lie `within` (unset: the root). `cache` is a
    private folder that parsed files are kept in, by digest; None = none.

    With `env` the overlays of that environment are read too: those below `paths` and, up to the root (of a further source: up to
    `within`), beside the folders that the paths lie in. `whole`: the paths are all that there is, not a part of it.
    Raises nothing: what cannot be read is a diagnostic, and makes the source incomplete."""
    reading = _Reading(source, root.absolute(), Parsed(cache, source), (within or root).absolute(), env, whole)
    top = within if source != "root" else root
    for path in paths:
        reading.read(root / path, top)
    reading.parsed.save()
    return reading.loaded(revision_of([*(root / each for each in paths), *reading.beside]))


def overlay_folders(path: Path, top: Path) -> Iterator[Path]:
    """The `overlays` folders beside a path and beside the folders that it lies in, up to the one in `top`; outside of `top` beside it
    only. The nearest first; whether they are there is not asked."""
    here, top = (
        Path(os.path.normpath(each.absolute())) for each in (path, top)
    )  # links are not followed: an overlay lies where a path says
    folder = here.parent
    last = folder if here != top and not here.is_relative_to(top) else top
    while folder.is_relative_to(last):
        yield folder / OVERLAYS
        folder = folder.parent


@dataclass(frozen=True)
class _Found:
    """A file that is a manifest by its name."""

    path: str
    shown: str
    trouble: Fault | None = None
    resolved: str = ""
    """Where it really is: a file that is reached twice is read once."""
    below: str = ""
    """It is of an overlay over this folder, absolute."""
    sure: bool = True


class _Reading:
    """One source while it is read."""

    def __init__(self, source: str, root: Path, parsed: Parsed, within: Path, env: str, whole: bool) -> None:
        self.source, self.root, self.parsed, self.within, self.env, self.whole = source, root, parsed, within, env, whole
        self.layers: list[Layer] = []
        self.environments: set[str] = set()
        self.beside: list[Path] = []
        """Folders of the environment that do not lie below what was named."""
        self.manifests: list[Manifest] = []
        self.faulty: list[Manifest] = []
        self.diagnostics: list[Diagnostic] = []
        self.seen: set[str] = set()
        self.first = ""
        """The first path that was named, as it is shown."""

    def read(self, path: Path, top: Path | None) -> None:
        """`top`: overlays beside the path are looked for up to there; None = only below it."""
        self.first = self.first or self._shown(path)
        for found in (*self._found(path), *(self._above(path, top) if top is not None else ())):
            if found.trouble is None:
                try:
                    self._file(found)
                except Fault as fault:
                    self._unread(found, fault)
                except OSError as error:
                    self._unread(found, Fault(f"the file cannot be read: {error.strerror or error}"))
            else:
                self._unread(found, found.trouble)

    def _unread(self, found: _Found, fault: Fault) -> None:
        self._tell(found.shown, fault)
        if found.below:  # what it would have changed must not be taken for what is wanted
            unknown = Manifest(self.source, Location(found.shown, fault.line, fault.column), {})
            self.layers.append(Layer(unknown, found.below, found.sure, faulty=True))

    def loaded(self, revision: str) -> Loaded:
        if not self.manifests and not self.diagnostics:
            said, hint = f"source {self.source} holds no manifest", "put manifests there, or name where they are with -f PATH"
            self.diagnostics.append(Diagnostic(Location(self.first or "."), said, hint=hint, severity="warning", reason="EmptySource"))
        why = f"{self.diagnostics[0].location}: {self.diagnostics[0].message}" if self.diagnostics else ""
        documents = len(self.manifests) + len(self.faulty) + len(self.layers)
        source = Source(self.source, revision, not why, files=len(self.seen), documents=documents, why_incomplete=why)
        return Loaded(
            (source,),
            tuple(self.manifests),
            tuple(self.diagnostics),
            tuple(self.faulty),
            tuple(self.layers),
            frozenset(self.environments),
        )

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
            self._document(document, found, digest)

    def _document(self, document: Document, found_in: _Found, digest: str) -> None:
        file, at = found_in.shown, Location(found_in.shown, document.line)
        shape = isinstance(document.data, dict)
        for fault in document.faults:
            self._tell(file, fault)
        if not document.faults and not shape:
            found = "a list" if isinstance(document.data, list) else "a single value"
            self._tell(file, Fault(f"a document must be a mapping, found {found}", document.line, 1, hint=_BEGINS))
        manifest = Manifest(self.source, at, document.data if shape else {}, document.index, digest)
        if found_in.below:
            self.layers.append(Layer(manifest, found_in.below, found_in.sure, faulty=not shape or bool(document.faults)))
            return
        (self.manifests if shape and not document.faults else self.faulty).append(manifest)

    def _tell(self, file: str, fault: Fault) -> None:
        at = Location(file, fault.line, fault.column)
        self.diagnostics.append(Diagnostic(at, fault.message, path=fault.path, hint=fault.hint, reason="Unreadable"))

    # --- finding files ---

    def _found(self, path: Path) -> Iterator[_Found]:
        name, shown = str(path), self._shown(path)
        try:
            resolved = path.resolve(strict=True)
            if self.source == "root" and OVERLAYS in Path(os.path.normpath(shown)).parts and not Path(shown).is_absolute():
                hint = "`--env NAME` applies them; -f names the manifests that they change"
                yield _Found(name, shown, Fault("an overlay holds patches over manifests, and cannot be read without those", hint=hint))
            elif self.source != "root" and not resolved.is_relative_to(self.within.resolve()):
                yield _Found(name, shown, Fault(f"the folder of source {self.source} is not inside {self._whose()}"))
            elif resolved.is_dir():
                yield from self._below(name, "" if shown == "." else shown, resolved)
            else:
                yield self._linked(name, shown, resolved.parent)
        except FileNotFoundError:
            yield _Found(name, shown, Fault("there is no such file or folder"))
        except (OSError, RuntimeError) as error:
            yield _Found(name, shown, Fault(f"it cannot be read: {getattr(error, 'strerror', None) or error}"))

    def _above(self, path: Path, top: Path) -> Iterator[_Found]:
        """What the environment has beside the path, and beside the folders that it lies in."""
        for number, each in enumerate(overlay_folders(path, top)):
            for found in self._overlays(each, self._shown(each), self.beside):
                yield replace(found, sure=number == 0 and self.whole)

    def _overlays(self, folder: Path, shown: str, read: list[Path] | None = None) -> Iterator[_Found]:
        """What an `overlays` folder holds for the environment; `read` is told of the folder that was read."""
        over = os.path.normpath(self.root / shown / "..")
        try:
            with os.scandir(folder) as listing:
                names = {each.name for each in listing if each.is_dir(follow_symlinks=False) and not each.name.startswith(".")}
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            yield _Found(str(folder), shown, Fault(f"the folder cannot be read: {error.strerror}"), below=over)
            return
        self.environments |= names
        if self.env not in names:
            return
        if read is not None:
            read.append(folder / self.env)
        own = f"{shown}/{self.env}"
        for found in self._below(str(folder / self.env), own, (folder / self.env).resolve(), manifests=False):
            yield found if found.shown.startswith(f"{own}/{RESOURCES}/") else replace(found, below=over)

    def _below(self, folder: str, shown: str, tree: Path, *, manifests: bool = True) -> Iterator[_Found]:
        """Files of a folder and of those in it; where there are `manifests` there may be overlays over them."""
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
                    yield from self._below(each.path, told, tree, manifests=manifests)
                elif manifests:
                    yield from self._overlays(Path(each.path), told)
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
