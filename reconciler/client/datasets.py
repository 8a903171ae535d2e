"""Versions of a project's data in the installation's DVC: one cache for all, a DVC repository for each project in the state folder.

::

    dvc/projects/<project>/.dvc/config                           no git, the shared cache, the platform's remotes
    dvc/projects/<project>/<dataset>/<file>.dvc                  the present version
    dvc/projects/<project>/_versions/<dataset>/<md5>/<file>.dvc  those before it

DVC itself adds, pushes and fetches there; it is imported when that happens. A dataset that a manifest declares is the reconciler's: of its
bytes a version is made here too, but only the next pass makes it the present one."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reconciler.client.datafiles import DIGEST, Cache, digest, notes_of, read, text
from reconciler.client.errors import ClientError, NotAsked, Refused, Unavailable
from reconciler.client.marks import LABEL, UNMANAGED
from reconciler.client.place import Place, secret

VERSIONS, ADDING = "_versions", "_adding"
"""Folders of a namespace that no dataset can be called like."""


@dataclass(frozen=True)
class DataVersion:
    """One version of a dataset."""

    name: str
    version: str
    """DVC's content address: an MD5, with `.dir` for a folder."""
    path: Path
    """Where its bytes are."""
    managed: bool = False
    """True: a manifest declares the dataset."""


@dataclass(frozen=True)
class Datasets:
    """The project's data."""

    place: Place

    # --- reading, without DVC ---

    @property
    def namespace(self) -> Path:
        return self.place.state / "dvc" / "projects" / self.place.project

    @property
    def _cache(self) -> Cache:
        told = self.place.service("dvc").get("cacheDir")
        return Cache((self.place.root / str(told)) if told else self.place.state / "dvc" / "cache")

    def present(self) -> dict[str, str]:
        """The present version of each dataset, by name."""
        if not self.namespace.is_dir():
            return {}
        names = [each.name for each in self.namespace.iterdir() if each.is_dir() and re.fullmatch(LABEL, each.name)]
        entries = {name: self._entry(name) for name in sorted(names)}
        return {name: str(found["outs"][0]["md5"]) for name, found in entries.items() if found is not None}

    def load(self, name: str, version: str | None = None) -> DataVersion:
        """A version's bytes: at the dataset's own path where they are there unchanged, else a copy of them from the cache, and from a
        remote where the cache lacks them. Raises NotAsked for what does not exist, Unavailable when the remote does not answer."""
        entry, project, name = self._known(name)
        md5, notes = str(entry["outs"][0]["md5"]), notes_of(entry)
        managed = not notes.get("ref", "").startswith(UNMANAGED)
        wanted = version or md5
        if not DIGEST.fullmatch(wanted):
            raise NotAsked(f"'{wanted}' is not a version", hint="32 hex digits, with .dir for a folder: client.version_dataset gives it")
        own = Path(notes.get("root") or self.place.folder) / notes.get("path", "")
        shown = name if project == self.place.project else f"{project}/{name}"
        if wanted == md5 and notes.get("path") and own.exists() and digest(own) == wanted:
            return DataVersion(shown, wanted, own, managed)
        if self._cache.lacking(wanted):
            self._obtain(name, wanted)
        room = self.place.state / "client" / self.place.project / "data" / wanted.replace(".", "-") / str(entry["outs"][0]["path"])
        self._cache.copy(wanted, room)
        return DataVersion(shown, wanted, room, managed)

    # --- with DVC ---

    def version(self, name: str, path: str | Path | None = None) -> DataVersion:
        """Make a version of the bytes at `path` (relative to the project; of a dataset that is known already its own path). They stay
        where they are. Equal bytes are the same version."""
        if not re.fullmatch(LABEL, name):
            raise NotAsked(f"'{name}' cannot be a name", hint="lower-case letters, digits and `-`")
        entry = self._entry(name)
        told = str(path) if path is not None else notes_of(entry).get("path", "") if entry else self._declared_path(name)
        if not told:
            raise NotAsked(f"where the data of '{name}' is is not known", hint=f"version_dataset({name!r}, PATH)")
        source = (self.place.folder / told).resolve()
        if not source.is_relative_to(self.place.folder.resolve()):
            raise NotAsked(f"{told} leads out of the project's folder {self.place.folder}")
        if not source.exists():
            raise NotAsked(f"there is nothing at {source}")
        managed = bool(self._declared_path(name)) or (entry is not None and not notes_of(entry).get("ref", "").startswith(UNMANAGED))
        made = self._added(source)
        md5 = str(made["outs"][0]["md5"])
        if not managed and (entry is None or str(entry["outs"][0]["md5"]) != md5):
            self._record(name, made, {"path": source.relative_to(self.place.folder.resolve()).as_posix()})
        return DataVersion(name, md5, source, managed)

    def push(self, name: str, remote: str | None = None) -> int:
        """Send the present version to a remote of the Platform (unset = its only one); how many files went."""
        self._known(name)
        chosen = self._remote(remote)
        with self._repo(name) as repo:
            return int(repo.push(targets=[str(self._file(name))], remote=chosen) or 0)

    def pull(self, name: str, remote: str | None = None) -> DataVersion:
        """Bring the present version: from the remote into the cache where it lacks it, and to the dataset's path where nothing is. Other
        bytes there are left alone. Raises NotAsked then."""
        entry, _, name = self._known(name)
        md5, notes = str(entry["outs"][0]["md5"]), notes_of(entry)
        if self._cache.lacking(md5):
            self._obtain(name, md5, remote)
        own = Path(notes.get("root") or self.place.folder) / notes.get("path", entry["outs"][0]["path"])
        if not own.exists():
            self._cache.copy(md5, own)
        elif digest(own) != md5:
            raise NotAsked(f"{own} holds other bytes than version {md5}", hint="move them away, or load_data_version() for a copy")
        return DataVersion(name, md5, own, not notes.get("ref", "").startswith(UNMANAGED))

    # --- what is recorded ---

    def _known(self, name: str) -> tuple[Mapping[str, Any], str, str]:
        """The entry of `name`, or of another project's `project/name`, with project and name."""
        project, _, own = name.rpartition("/")
        if project and project != self.place.project:
            from dataclasses import replace

            other = Datasets(replace(self.place, project=project))
            found, shared = other._entry(own), self._shared(project, own)
            if found is None or not shared:
                raise NotAsked(f"project '{project}' shares no dataset '{own}'", hint="its manifest lists what it `shares`")
            return found, project, own
        found = self._entry(own)
        if found is None:
            near = ", ".join(self.present()) or "none"
            raise NotAsked(f"'{own}' has no version yet", hint=f"version_dataset({own!r}, PATH); with a version: {near}")
        return found, self.place.project, own

    def _shared(self, project: str, name: str) -> bool:
        from reconciler.client.manifests import documents

        found = (each for each in documents(self.place.manifests, "Project") if each.named("name") == project)
        return any({f"dataset/{name}", "dataset/*"} & set(each.spec.get("shares") or ()) for each in found)

    def _declared_path(self, name: str) -> str:
        from reconciler.client.manifests import documents

        mine = (each for each in documents(self.place.manifests, "Dataset") if each.named("project") == self.place.project)
        return next((str(each.spec.get("path") or "") for each in mine if each.named("name") == name), "")

    def _file(self, name: str) -> Path | None:
        return next(iter(sorted((self.namespace / name).glob("*.dvc"))), None)

    def _entry(self, name: str) -> Mapping[str, Any] | None:
        file = self._file(name) if re.fullmatch(LABEL, name) else None
        return read(file) if file is not None else None

    def _record(self, name: str, made: Mapping[str, Any], notes: Mapping[str, str]) -> None:
        """Make it the present version; the one before becomes history."""
        before, told = self._file(name), made["outs"][0]
        if before is not None:
            old = read(before)
            kept = self.namespace / VERSIONS / name / str(old["outs"][0]["md5"]) / before.name
            kept.parent.mkdir(parents=True, exist_ok=True)
            before.replace(kept)
        marks = {"installation": self.place.installation, "ref": f"{UNMANAGED}{self.place.project}", "digest": ""}
        about = {"at": datetime.now(UTC).isoformat(), "type": "data", "writeBack": "none", "root": str(self.place.folder.absolute())}
        value = {"outs": [dict(told)], "meta": {"mlops": json.dumps({**about, **marks, **notes}, sort_keys=True, ensure_ascii=False)}}
        file = self.namespace / name / f"{told['path']}.dvc"
        file.parent.mkdir(parents=True, exist_ok=True)
        staged = file.with_name(f".{file.name}.new")
        staged.write_text(text(value), encoding="utf-8")
        staged.replace(file)

    # --- DVC ---

    def _added(self, source: Path) -> Mapping[str, Any]:
        """The bytes put into the shared cache, by `dvc add` with a place of its own; what it wrote down of them."""
        room = self.namespace / ADDING / os.urandom(6).hex()
        # what DVC checks out beside its note is not needed: links take no room
        with self._repo("", {"cache": {"type": ["symlink", "copy"]}}) as repo:
            room.mkdir(parents=True)
            try:
                repo.add([str(source)], out=str(room / source.name))
                return read(room / f"{source.name}.dvc")
            finally:
                shutil.rmtree(room)

    def _obtain(self, name: str, md5: str, remote: str | None = None) -> None:
        """Bring what the cache lacks of a version."""
        chosen = self._remote(remote)
        files = [self._file(name), *sorted((self.namespace / VERSIONS / name / md5).glob("*.dvc"))]
        targets = [str(each) for each in files if each is not None and str(read(each)["outs"][0]["md5"]) == md5]
        if not targets:
            raise NotAsked(f"'{name}' has no version {md5}", hint="client.load_data_version(NAME) gives the present one")
        with self._repo(name) as repo:
            repo.fetch(targets=targets, remote=chosen)
        if lacking := self._cache.lacking(md5):
            raise Refused(f"remote '{chosen}' lacks {len(lacking)} files of version {md5}", hint="push it from where it was made")

    def _remote(self, name: str | None) -> str:
        known = [str(each.get("name")) for each in self.place.service("dvc").get("remotes") or ()]
        if name in known or (name is None and len(known) == 1):
            return name or known[0]
        said = f"there is no DVC remote '{name}'" if name else "which remote is meant is not said" if known else "there is no DVC remote"
        raise NotAsked(said, hint=f"the Platform's `dvc.remotes` has: {', '.join(known) or 'none'}")

    @contextmanager
    def _repo(self, name: str, config: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """The namespace as DVC sees it. Raises NotAsked without DVC, Unavailable when it is busy or a remote does not answer, Refused."""
        self._prepare()
        try:
            _quieten(self.place.state / "dvc" / "site")
            from dvc.repo import Repo
        except ImportError:
            raise NotAsked("versions of data need DVC's package", hint="pip install 'mlops-reconciler[dvc]'") from None
        try:
            with Repo(str(self.namespace), config={**self._keys(), **(config or {})}) as repo:
                yield repo
        except ClientError:
            raise
        except Exception as error:  # DVC's own errors, and those of every storage that it can speak to
            raise _translated(error, name) from error

    def _prepare(self) -> None:
        """A namespace with the least that DVC needs, until the reconciler writes it as the platform wants it."""
        config = self.namespace / ".dvc" / "config"
        if config.exists():
            return
        (self.namespace / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
        core = {"no_scm": "true", "analytics": "false", "check_update": "false", "site_cache_dir": str(self.place.state / "dvc" / "site")}
        links = self.place.service("dvc").get("cacheTypes") or ["reflink", "copy"]
        sections = {"core": core, "cache": {"dir": str(self._cache.directory.absolute()), "type": ",".join(links)}}
        for each in self.place.service("dvc").get("remotes") or ():
            sections[f"'remote \"{each['name']}\"'"] = _remote_settings(each, self.place.root)
        lines = [
            line for name, pairs in sections.items() for line in (f"[{name}]", *(f'    {key} = "{value}"' for key, value in pairs.items()))
        ]
        with suppress(FileExistsError):
            (self.namespace / ".dvcignore").touch(exist_ok=False)
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _keys(self) -> dict[str, Any]:
        """The remotes' secrets, for DVC's memory only."""
        found: dict[str, Any] = {}
        for each in self.place.service("dvc").get("remotes") or ():
            names = {"access_key_id": each.get("accessKeyId"), "secret_access_key": each.get("secretAccessKey")}
            keys = {name: secret(reference) for name, reference in names.items() if reference}
            if keys:
                found[str(each["name"])] = keys
        return {"remote": found} if found else {}


def _remote_settings(spec: Mapping[str, Any], root: Path) -> dict[str, str]:
    url = str(spec["url"]) if "://" in str(spec["url"]) else str((root / str(spec["url"])).absolute())
    found = {"url": url, "endpointurl": spec.get("endpointUrl"), "region": spec.get("region")}
    return {key: str(value) for key, value in found.items() if value is not None}


def _quieten(site: Path) -> None:
    """Before DVC's first import: no usage reports, no progress bars, its own state in our folder."""
    import logging

    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    os.environ.setdefault("DVC_SITE_CACHE_DIR", str(site))
    for name in ("dvc_data.callbacks", "dvc.progress", "dvc.ui", "dvc_data", "dvc_objects", "dvc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


_AWAY = frozenset(
    {"EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "LockError", "ConnectionError"}
)


def _translated(error: Exception, name: str) -> ClientError:
    """By the names of the classes: the errors are those of packages that need not be installed."""
    chain, each = list[BaseException](), error
    while each is not None and len(chain) < 10:
        chain.append(each)
        each = each.__cause__ or each.__context__  # type: ignore[assignment]
    names = {cls.__name__ for found in chain for cls in type(found).__mro__}
    text = str(error).splitlines()[0] if str(error) else "no message"
    what = f"DVC: {f'{name}: ' if name else ''}{type(error).__name__}: {text}"
    return Unavailable(what) if names & _AWAY else Refused(what)
