"""A repository that is followed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from reconciler.errors import Terminal, Transient
from reconciler.source.git import signatures
from reconciler.source.git.clone import held, history, is_ours, make, renew, settle
from reconciler.source.git.command import Damaged, Git, must_be_new
from reconciler.source.git.locks import unlock, unlock_our_refs
from reconciler.source.git.place import place
from reconciler.source.git.remote import FOLLOWED, Remote, spoken_to
from reconciler.source.git.revert import contents, refuse_edits, revert
from reconciler.source.git.values import Commit, Followed, Moved, must_be_id, must_be_revision, printable, short

T = TypeVar("T")


class Repository:
    """One revision of one repository, and the folder that its files are put into.

    Every method is safe to repeat and to call from several processes. All raise Transient for what may pass (a remote that cannot be
    reached, the deadline, a full disk, a folder in use) and Terminal for what stays until somebody changes it. A clone that is ours and
    damaged is made again on the way."""

    def __init__(self, where: Path, followed: Followed, *, deadline: float = 600.0) -> None:
        """`where` is the clone's work tree; `deadline`, in seconds, is for each call. Raises Terminal for a URL or a revision that
        cannot be followed; reads and writes nothing."""
        must_be_revision(followed.name, followed.revision)
        spoken_to(followed)
        self.where, self.followed, self._deadline = where.absolute(), followed, deadline

    def newest(self) -> str:
        """Ask the remote, and fetch what is new. The id of the newest commit of the revision; nothing is checked out.

        Raises Transient and Terminal; Terminal also when there is no such branch or tag, or no right to read it."""
        with self._git(make_it=True) as git:
            return self._whole(git, lambda: self._bring(git))

    def here(self) -> str:
        """The id of the commit that is checked out; empty when none is, or when there is no clone of ours yet."""
        if self.followed.ours and not is_ours(self.where):
            return ""
        git = Git(self.where.resolve(), self.followed.name, ours=self.followed.ours, until=time.monotonic() + self._deadline)
        answer = git.run("rev-parse", "--verify", "--quiet", "HEAD")
        if answer.said.strip() and not answer.ok and not git.ours:
            raise git.trouble(answer, "rev-parse")
        return answer.text

    def commit(self, id: str) -> Commit:
        """What a commit says of itself. Raises Terminal when it is not here and the remote does not give it."""
        must_be_id(self.followed.name, id)
        with self._git() as git:
            return self._whole(git, lambda: self._commit(git, id))

    def verify(self, id: str) -> None:
        """Raises Terminal unless the commit is signed by one of `signers`, or by a key of `keyring`, that is valid now. No signature, no
        list, no program to check with: all refused. A tag's signature does not count: it is the commit that is used."""
        must_be_id(self.followed.name, id)
        with self._git() as git:
            self._whole(git, lambda: signatures.verify(git, self._need(git, id), self.followed))

    def check_out(self, id: str) -> Moved:
        """Make the tracked files exactly those of a commit; what is not tracked stays. Submodules stay empty, and files of Git LFS
        pointers; no filter runs.

        Raises Terminal, with everything as it was, when files were changed by hand, when there are commits that would be lost, or when
        something that is not tracked is in the way."""
        must_be_id(self.followed.name, id)
        with self._git() as git:
            return self._whole(git, lambda: place(git, self._need(git, id)))

    def resolve(self, name: str) -> str:
        """The full id of a commit that is here, by a name, or a part of its id; empty when there is none, or more than one."""
        if not name or name.startswith("-"):
            return ""
        with self._git() as git:
            return git.commit(name)

    def contents(self, id: str, folders: Iterable[str]) -> Mapping[str, str]:
        """Folder or file, relative to the repository -> git's id of its content at a commit that is here; empty where it has none."""
        must_be_id(self.followed.name, id)
        with self._git() as git:
            return contents(git, id, folders)

    def revert(self, to: str, folders: Sequence[str], message: str, by: str) -> str:
        """Make `folders` what they were at the commit `to`, as one new commit on top, which is checked out; its id. Nothing is pushed.
        The author is whom the clone's configuration names, else `by`.

        Raises Terminal, with all as it was, when something below `folders` was changed by hand, or they are so already."""
        must_be_id(self.followed.name, to)
        with self._git() as git:
            name, mail = (git.run("config", f"user.{each}").text for each in ("name", "email"))
            return revert(git, to, folders, message, (name or by, mail or f"{by}@localhost"))

    def is_clean(self, folders: Sequence[str]) -> None:
        """Raises Terminal when something below `folders` is not as it was committed."""
        with self._git() as git:
            refuse_edits(git, git.ref("HEAD"), folders)

    # --- the parts ---

    def _bring(self, git: Git) -> str:
        how = history(git) if self.followed.ours else ()
        return Remote(self.followed, git).bring(git.commit(FOLLOWED), *how)

    def _commit(self, git: Git, id: str) -> Commit:
        form = "--format=%an <%ae>%x00%cI%x00%s"
        answer = git.must("rev-list", "--max-count=1", "--encoding=UTF-8", form, self._need(git, id), "--")
        author, at, subject = answer.text.partition("\n")[2].split("\0", 2)
        try:
            when = datetime.fromisoformat(at)
        except ValueError:
            when = datetime.fromtimestamp(0, UTC)
        return Commit(id, printable(author, 200), when, printable(subject, 200))

    def _need(self, git: Git, id: str) -> str:
        """The commit, fetched where it is not here."""
        if git.commit(id) != id:
            if not self.followed.ours:
                said = f"source {self.followed.name}: {self.where} has no commit {short(id)}"
                raise Terminal(said, hint="fetch it first")
            Remote(self.followed, git).fetch(id, *history(git))
        return id

    def _whole(self, git: Git, work: Callable[[], T]) -> T:
        """Do it; in a clone of ours that turns out to be damaged, make that again and do it once more."""
        try:
            return work()
        except Damaged:
            if not git.ours:
                raise
        renew(git, self.followed)
        return work()

    @contextlib.contextmanager
    def _git(self, *, make_it: bool = False) -> Iterator[Git]:
        """git in the clone, which no other process of ours works in meanwhile."""
        until, source = time.monotonic() + self._deadline, self.followed.name
        try:
            if make_it and self.followed.ours:
                self.where.mkdir(mode=0o700, parents=True, exist_ok=True)
            elif self.followed.ours and not self.where.exists():
                raise self._no_clone()
            with held(self.where, source, until) as hold:
                git = Git(self.where.resolve(), source, ours=self.followed.ours, until=until, hold=hold)
                must_be_new(git)
                self._settled(git, make_it)
                yield git
        except (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError) as error:
            raise Terminal(f"source {source}: {error.filename} cannot be used: {error.strerror}", hint="name another folder") from error
        except OSError as error:
            raise Transient(f"source {source}: {self.where} cannot be used: {error.strerror or error}") from error

    def _settled(self, git: Git, make_it: bool) -> None:
        if not git.ours:
            if not (git.folder / ".git").exists():
                raise Terminal(f"source {git.source}: {self.where} is no git repository", hint="name the folder that holds its .git")
            git.must("rev-parse", "--git-dir")
            unlock_our_refs(git.folder)
        elif settle(git.folder, git.source):
            unlock(git.folder)
        elif make_it:
            make(git, self.followed)
        else:
            raise self._no_clone()

    def _no_clone(self) -> Terminal:
        return Terminal(f"source {self.followed.name}: there is no clone in {self.where} yet", hint="newest() makes it")
