"""DVC for the controllers: one cache for all projects, and for each project a DVC repository of its own (its namespace).

The only door to DVC. The data stays in the projects' trees, whose own git is not touched: the bytes go into the cache
through DVC's data layer, and what is known of them into the namespace (see dvc_namespace). DVC is imported when bytes are
hashed or moved, not before; a pass in which no stat changed does not import it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from threading import Lock

from controllers.tools.dvc_cache import Cache, beside
from controllers.tools.dvc_calls import Called, Calls, load
from controllers.tools.dvc_files import Entry, Snapshot, Version, checked, confine, look, refuse_pointer, render_entry, write_text
from controllers.tools.dvc_namespace import Namespaces
from controllers.tools.dvc_remote import Remote, absent_from, download_repo, download_url, fetch, push, quieten
from reconciler.controller import Call
from reconciler.errors import Terminal

__all__ = ["Dvc", "Entry", "Remote", "Snapshot", "Version"]


class Dvc:
    """Client of one installation's DVC area. Cheap to make; safe to use from several threads."""

    def __init__(
        self,
        area: Path,
        *,
        wire: Callable[[Call], None],
        remotes: Sequence[Remote] = (),
        cache_dir: Path | None = None,
        links: Sequence[str] = ("reflink", "copy"),
    ) -> None:
        """`area` lies in the installation's private folder; `links` are tried in order when data is checked out."""
        self._area = area.absolute()
        self._remotes = {each.name: each for each in remotes}
        self.cache = Cache((cache_dir or self._area / "cache").absolute(), links)
        self._calls = Calls(wire)
        self._writing = Lock()
        self._fresh: set[tuple[str, str]] = set()
        """(project, digest) of what was put somewhere in this pass and may not be recorded yet: nobody else may release it."""
        self._private = (os.path.realpath(self._area.parent), os.path.realpath(self.cache.directory))
        cache = {"dir": str(self.cache.directory), "type": ",".join(self.cache.links)}
        self.names = Namespaces(
            self._area, {"cache": cache, **{f"'remote \"{each.name}\"'": each.settings for each in remotes}}, self._calls
        )
        """What is recorded, for each project; readable without DVC."""

    # --- data in a project's tree ---

    def place(self, root: Path, relative: str) -> Path:
        """The absolute path of a dataset, confined to its project's folder `root`. Raises Terminal."""
        return confine(root, relative, private=self._private, cache=self.cache.objects)

    def look(self, root: Path, relative: str) -> Snapshot | None:
        """Stat of a dataset's bytes; None when they are not there. DVC is not imported."""
        return look(self.place(root, relative), root=root, cache=self.cache.objects)

    def stat(self, place: Path, root: Path) -> Snapshot | None:
        """`look` for a path that `place` has given."""
        return look(place, root=root, cache=self.cache.objects)

    def hash(self, root: Path, relative: str) -> Version:
        """The version that the bytes are now; nothing is kept."""
        with self._using("hash", relative):
            return self.cache.hash(self.place(root, relative))

    def add(self, project: str, root: Path, relative: str, *, link: bool = True) -> tuple[Version, Snapshot]:
        """Put the bytes into the cache; with them the stat that they have afterwards. Only `names.record` makes them a version. Raises
        Terminal where a pointer of Git LFS is in place of the data.

        `link`: where the platform wants links into the cache, the data becomes one. Raises Transient when the bytes change meanwhile."""
        path = self.place(root, relative)
        refuse_pointer(path, relative)
        with self._using("add", f"{project}:{relative}", write=True), self._locked(project):
            version, seen = self.cache.add(path, root)
            self._fresh.add((project, version.md5))
            if link and self.cache.shares and not _tracked(path):
                seen = self.cache.check_out(version.md5, path, plain=False, unchanged=seen, root=root)
            return version, seen

    def restore(self, project: str, name: str, root: Path, relative: str, md5: str, notes: Mapping[str, str]) -> Snapshot:
        """Put a version from the cache at the path; the stat that it has there.

        Other bytes there are saved first, under `notes`: nothing of a user's is lost. Raises Transient when the cache does not hold
        the version whole and undamaged (then `repair` it), or when somebody writes at the same time."""
        path = self.place(root, relative)
        with self._using("checkout", f"{project}:{relative}", write=True), self._locked(project):
            self._fresh.add((project, md5))
            seen = look(path, root=root, cache=self.cache.objects)
            if seen is not None:
                other, seen = self.cache.add(path, root)
                if other.md5 == md5:
                    return seen
                if other.md5 not in self.names.digests(project, name):
                    self.names.save(project, name, Entry(path.name, other, notes))
            return self.cache.check_out(md5, path, plain=_tracked(path), unchanged=seen, root=root)

    def unlink(self, project: str, root: Path, relative: str) -> None:
        """Turn links into the cache back into plain data, before the cache lets go of it. Plain data is left alone."""
        path = self.place(root, relative)
        seen = look(path, root=root, cache=self.cache.objects)
        if seen is None or not (self.cache.shares or path.is_symlink()):
            return
        with self._using("unlink", f"{project}:{relative}", write=True), self._locked(project):
            held = self.cache.hash(path)
            if not self.cache.missing(held.md5):
                self.cache.check_out(held.md5, path, plain=True, unchanged=seen, root=root)

    # --- a `.dvc` file beside the data, in the project's own tree ---

    def written_back(self, root: Path, relative: str, entry: Entry) -> bool:
        """True when the file is there and says what `entry` says."""
        try:
            return self.place(root, f"{relative}.dvc").read_text("utf-8") == render_entry(replace(entry, notes={}))
        except FileNotFoundError:
            return False

    def write_back(self, root: Path, relative: str, entry: Entry) -> None:
        """Write it, for people who use `dvc` in the project. Nothing of ours is in it. Nothing is written when it is right already."""
        if not self.written_back(root, relative, entry):
            with self._calls("write-back", relative, write=True):
                write_text(self.place(root, f"{relative}.dvc"), render_entry(replace(entry, notes={})))

    def take_back(self, root: Path, relative: str, entry: Entry) -> None:
        """Remove it, unless somebody changed it."""
        if self.written_back(root, relative, entry):
            with self._calls("write-back", relative, write=True):
                self.place(root, f"{relative}.dvc").unlink()

    # --- versions in the cache and in remotes ---

    def damaged(self, md5: str) -> list[str]:
        """Objects of a version that are missing from the cache or hold other bytes than they should. Reads them all."""
        with self._using("verify", md5):
            return self.cache.damaged(checked(md5))

    def repair(self, md5: str, *, remote: str | None, root: Path, relative: str) -> list[str]:
        """Make a version whole again from the remote, or from the bytes at the path if they are that version; what is still missing."""
        with self._using("repair", md5, write=True) as call:
            bad = self.cache.damaged(checked(md5))
            call.write = bool(bad)
            # Twice: once a folder's listing is back, its files can be looked at.
            for _ in range(2 if remote else 0):
                for each in bad:
                    self.cache.rehome(each)
                if bad and remote:
                    with suppress(Terminal):
                        fetch(self.cache, self._remote(remote), md5)
                    bad = self.cache.damaged(md5)
            path = self.place(root, relative)
            if bad and look(path, root=root, cache=self.cache.objects) and self.cache.hash(path).md5 == md5:
                for each in bad:
                    self.cache.rehome(each)
                self.cache.add(path, root)
                bad = self.cache.damaged(md5)
            return bad

    def push(self, md5: str, remote: str) -> int:
        """Send what the remote lacks of a version; how many objects were sent."""
        with self._using("push", f"{remote}:{md5}", write=True) as call:
            sent = push(self.cache, self._remote(remote), checked(md5))
            call.write = sent > 0
            return sent

    def fetch(self, md5: str, remote: str) -> int:
        """Bring what the cache lacks of a version; how many objects were brought. Raises Terminal when the remote lacks it too."""
        with self._using("fetch", f"{remote}:{md5}", write=True) as call:
            brought = fetch(self.cache, self._remote(remote), checked(md5))
            call.write = brought > 0
            return brought

    def in_remote(self, md5: str, remote: str) -> bool:
        """True when the remote holds every object of a version (of a folder whose listing the cache lacks: its listing)."""
        with self._using("exists", f"{remote}:{md5}"):
            return not absent_from(self._remote(remote), self.cache.parts(md5) if self.cache.has(md5) else [checked(md5)])

    def take_repo(self, repo: str, path: str, rev: str | None) -> tuple[Version, str]:
        """Bring data from another DVC repository into the cache; with it the revision it came from, empty when it has none."""
        local = Path(repo).resolve()
        if local.exists() and local.is_relative_to(self._area.parent.resolve()):
            raise Terminal(f"'{repo}' belongs to this installation", hint="reference the dataset by name; its project must share it")
        return self._take(f"{repo}:{path}", lambda to: download_repo(repo, path, rev, to))

    def take_url(self, url: str, allowed: Callable[[str], bool]) -> tuple[Version, str]:
        """Bring a file from HTTP(S) or S3 into the cache; with it its ETag. S3 is read with the access of a remote in the same bucket.

        `allowed` is asked for each host, after redirects too."""
        bucket = "/".join(url.split("/", 3)[:3])
        access = next((each for each in self._remotes.values() if f"{each.url}/".startswith(f"{bucket}/")), Remote("", url))
        return self._take(url, lambda to: download_url(url, access, to, allowed))

    def _take(self, what: str, download: Callable[[Path], str]) -> tuple[Version, str]:
        with self._using("import", what, write=True):
            room = beside(self._area / "incoming" / "data")
            room.mkdir(parents=True)
            try:
                origin = download(room / "data")
                refuse_pointer(room / "data", what)
                return self.cache.add(room / "data", room)[0], origin
            finally:
                rmtree(room)

    # --- letting go ---

    def let_go(self, project: str, name: str, md5s: Sequence[str] | None = None, keep: Sequence[str] = ()) -> int:
        """Forget earlier versions of a dataset, or (None) the dataset; and remove, object by object, what they alone hold: nothing that
        any other `.dvc` file of any project, or `keep`, refers to. How many objects went.

        Objects go before the records, which after a crash still say what is left to remove. Raises Terminal, and removes nothing, when
        the listing of a version that stays cannot be read: its files could not be told apart."""
        with self._using("release", f"{project}/{name}", write=True) as call, self._locked(project):
            doomed, stay = self.names.split(project, name, md5s)
            self._fresh -= {(project, each) for each in doomed}
            stay |= {md5 for _, md5 in self._fresh} & doomed
            safe: set[str] = set()
            for each in sorted({*keep, *stay}):
                safe.add(each)
                if each.endswith(".dir"):
                    if not self.cache.has(each):
                        raise Terminal(f"nothing is released: the cache lacks the listing of {each}, which is kept", hint="repair it first")
                    safe.update(self.cache.parts(each))
            gone = {part for each in doomed if self.cache.has(each) for part in self.cache.parts(each)} - safe
            dropped = self.cache.drop(sorted(gone, key=lambda oid: oid.endswith(".dir")))
            call.write = dropped > 0
            self.names.forget(project, name, md5s)
            return dropped

    # --- around every call ---

    def _remote(self, name: str) -> Remote:
        if name not in self._remotes:
            raise Terminal(
                f"there is no DVC remote '{name}'", hint=f"the Platform's `dvc.remotes` has: {', '.join(sorted(self._remotes)) or 'none'}"
            )
        return self._remotes[name]

    def _using(self, method: str, target: str, write: bool = False) -> AbstractContextManager[Called]:
        quieten(self._area / "site")
        return self._calls(method, target, write)

    @contextmanager
    def _locked(self, project: str) -> Iterator[None]:
        """DVC's own lock of the namespace, so that a `dvc` command typed there and we do not write at once; ours among threads."""
        load("dvc.lock")
        from dvc.lock import make_lock

        with self._writing:
            self.names.make(project)
            folder = self.names.path(project) / ".dvc" / "tmp"
            folder.mkdir(parents=True, exist_ok=True)
            with make_lock(str(folder / "lock"), tmp_dir=str(folder)):
                yield


def _tracked(path: Path) -> bool:
    """True when git tracks the file, or a file below the folder: then it must stay a plain file, not a link into the cache.

    Also when git cannot say (a repository of another user, a time-out): a copy is never wrong."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {"LC_ALL": "C"}
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(path.parent), "ls-files", "-z", "--", path.name]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)
    except FileNotFoundError:
        return False
    except subprocess.TimeoutExpired:
        return True
    return bool(done.stdout) or (done.returncode != 0 and b"not a git repository" not in done.stderr)
