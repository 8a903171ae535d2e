"""What is recorded of datasets: a DVC repository for each project, and in it a `.dvc` file for each version. DVC is not imported.

::

    <area>/projects/<project>/.dvc/config                          no git, our cache, the platform's remotes (never their keys)
    <area>/projects/<project>/<dataset>/<file>.dvc                 the present version
    <area>/projects/<project>/_versions/<dataset>/<md5>/<file>.dvc     those before it
    <area>/projects/<project>/_saved/<dataset>/<md5>/<file>.dvc        bytes that a restore displaced; no version

Stock `dvc pull`, `fetch`, `push` and `status -c` work in such a repository. Never `dvc gc` there: it would remove the
other projects' data from the shared cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from controllers.tools.dvc_calls import Calls
from controllers.tools.dvc_files import Entry, read_entry, render_entry, write_text
from reconciler.errors import Conflict, ReconcilerError, Terminal

_VERSIONS, _SAVED = "_versions", "_saved"
"""Not DNS labels, so no dataset can have these names."""


@dataclass(frozen=True)
class Namespaces:
    """The repositories of all projects."""

    area: Path
    """Absolute; the installation's DVC folder."""
    settings: Mapping[str, Mapping[str, str]]
    """Sections of every repository's configuration beside `core`."""
    calls: Calls

    # --- the repository ---

    def path(self, project: str) -> Path:
        return self.area / "projects" / project

    def projects(self) -> list[str]:
        """Every project that has a namespace."""
        return sorted(each.parent.name for each in (self.area / "projects").glob("*/.dvc"))

    def ready(self, project: str) -> bool:
        """True when the project's repository is there, configured as the platform wants it now."""
        try:
            return (self.path(project) / ".dvc" / "config").read_text("utf-8") == self._config()
        except FileNotFoundError:
            return False

    def make(self, project: str) -> None:
        """Create the repository, or bring its configuration up to date. Nothing is written when it is as it should be."""
        if self.ready(project):
            return
        with self.calls("init", project, write=True):
            (self.path(project) / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
            write_text(self.path(project) / ".dvcignore", "")
            write_text(self.path(project) / ".dvc" / "config", self._config())

    def remove(self, project: str) -> None:
        """Remove an empty repository; gone already is success. Raises Conflict while it still holds a version."""
        if held := _names(self.path(project)):
            raise Conflict(
                f"the DVC namespace of '{project}' still holds {len(held)} datasets, first '{held[0]}'", hint="delete those first"
            )
        if self.path(project).exists():
            with self.calls("destroy", project, write=True):
                rmtree(self.path(project))

    def _config(self) -> str:
        core = {"no_scm": "true", "analytics": "false", "check_update": "false", "site_cache_dir": str(self.area / "site")}
        lines = []
        for section, pairs in {"core": core, **self.settings}.items():
            lines.append(f"[{section}]\n")
            for key, value in pairs.items():
                if '"' in value or "\n" in value:
                    raise Terminal(f"{section}.{key} holds a quote or a line break, which DVC's configuration cannot")
                lines.append(f'    {key} = "{value}"\n')
        return "".join(lines)

    # --- reading ---

    def listing(self, projects: Iterable[str]) -> dict[str, dict[str, Entry | ReconcilerError]]:
        """For each project the present version of each dataset; an error in the place of a `.dvc` file that cannot be read."""
        wanted = sorted(projects)
        with self.calls("list", f"{len(wanted)} projects" if len(wanted) > 1 else "".join(wanted)):
            return {project: self._entries(project) for project in wanted}

    def _entries(self, project: str) -> dict[str, Entry | ReconcilerError]:
        found: dict[str, Entry | ReconcilerError] = {}
        for name in _names(self.path(project)):
            try:
                if entry := self.entry(project, name):
                    found[name] = entry
            except ReconcilerError as error:
                found[name] = error
        return found

    def entry(self, project: str, name: str) -> Entry | None:
        """The present version of one dataset. Raises Terminal when its `.dvc` file cannot be read."""
        return next(iter(_newest_first(_read(self.path(project) / name))), None)

    def history(self, project: str, name: str) -> list[Entry]:
        """Earlier versions, newest first."""
        return _newest_first(_read(*self._kept(project, _VERSIONS, name)))

    def digests(self, project: str, name: str) -> set[str]:
        """The present version and the earlier ones."""
        present = self.entry(project, name)
        return {each.version.md5 for each in (*([present] if present else []), *self.history(project, name))}

    def saved(self, project: str, name: str) -> list[Entry]:
        """Bytes that a restore displaced, newest first."""
        return _newest_first(_read(*self._kept(project, _SAVED, name)))

    def split(self, project: str, name: str, md5s: Sequence[str] | None) -> tuple[set[str], set[str]]:
        """All digests in the records of all projects: those that `forget` with the same arguments would drop, and those that stay."""
        doomed: set[str] = set()
        stay: set[str] = set()
        for owner in self.projects():
            for kind in ("", _VERSIONS, _SAVED):
                for dataset in _names(self.path(owner) / kind):
                    folders = self._kept(owner, kind, dataset) if kind else [self.path(owner) / dataset]
                    for each in _read(*folders):
                        own = (owner, dataset) == (project, name) and (md5s is None or (kind != "" and each.version.md5 in md5s))
                        (doomed if own else stay).add(each.version.md5)
        return doomed, stay

    # --- writing ---

    def record(self, project: str, name: str, entry: Entry) -> None:
        """Make `entry` the present version; the one before becomes history. Nothing is written when nothing changes."""
        folder, file = self.path(project) / name, f"{entry.basename}.dvc"
        before = list(_read(folder))
        if before == [entry]:
            return
        self.make(project)
        with self.calls("record", f"{project}/{name}", write=True):
            for old in before:
                if old.version.md5 != entry.version.md5:
                    self._file(project, _VERSIONS, name, old)
            write_text(folder / file, render_entry(entry))
            for each in folder.glob("*.dvc"):
                if each.name != file:
                    each.unlink()
            for kind in (_VERSIONS, _SAVED):
                _remove(self.path(project) / kind / name / entry.version.md5)

    def save(self, project: str, name: str, entry: Entry) -> None:
        """Note where displaced bytes are."""
        self._file(project, _SAVED, name, entry)

    def rename(self, project: str, old: str, new: str) -> None:
        """Give a dataset another name, with its history; what is done already is left. The present version goes last, so that a repeat
        finds what is left to do. Raises Conflict where the new name has a version."""
        here = self.path(project)
        if not (here / old).is_dir():
            return
        if held := _names(here / new):
            raise Conflict(
                f"the DVC namespace of '{project}' has a dataset '{new}' ({held[0]})", hint="remove that one, or choose another name"
            )
        with self.calls("rename", f"{project}/{old} to {new}", write=True):
            for folder in (here / _VERSIONS, here / _SAVED):
                for each in _names(folder / old):
                    (folder / new).mkdir(parents=True, exist_ok=True)
                    _remove(folder / new / each)
                    (folder / old / each).rename(folder / new / each)
                _remove(folder / old)
            _remove(here / new)
            (here / old).rename(here / new)

    def forget(self, project: str, name: str, md5s: Sequence[str] | None = None) -> list[str]:
        """Remove these earlier versions from the records, or (None) the dataset with its history; the digests that went."""
        with self.calls("forget", f"{project}/{name}", write=True) as call:
            here = self.path(project)
            kept = [each for kind in (_VERSIONS, _SAVED) for each in self._kept(project, kind, name) if md5s is None or each.name in md5s]
            folders = [*kept, here / name] if md5s is None else kept
            gone = sorted({each.version.md5 for each in _read(*folders)})
            for folder in [*folders, *((here / _VERSIONS / name, here / _SAVED / name) if md5s is None else ())]:
                _remove(folder)
            call.write = bool(gone)
            return gone

    def _kept(self, project: str, kind: str, name: str) -> list[Path]:
        folder = self.path(project) / kind / name
        return [folder / each for each in _names(folder)]

    def _file(self, project: str, kind: str, name: str, entry: Entry) -> None:
        write_text(self.path(project) / kind / name / entry.version.md5 / f"{entry.basename}.dvc", render_entry(entry))


def _read(*folders: Path) -> Iterator[Entry]:
    """The `.dvc` files of these folders. One that goes away meanwhile is left out."""
    for folder in folders:
        for name in _names(folder):
            if name.endswith(".dvc"):
                with suppress(FileNotFoundError):
                    yield read_entry(folder / name)


def _names(folder: Path) -> list[str]:
    """What the folder holds, less what starts with `.` or `_` (DVC's, ours, half-made); empty when there is none."""
    try:
        return sorted(each for each in os.listdir(folder) if each[0] not in "._")  # noqa: PTH208 - twice as fast, for thousands of folders
    except (FileNotFoundError, NotADirectoryError):
        return []


def _newest_first(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda each: each.notes.get("at", ""), reverse=True)


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        rmtree(folder)
