"""Repositories that manifests come from, brought to what is newest: fetched, checked, checked out. A remote that is away, a commit that
nobody trusts and a file that somebody edited cost the news, never what is there already."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.errors import ReconcilerError, Terminal
from reconciler.files import write_private
from reconciler.secret import masked
from reconciler.source.git import Commit, Followed, Repository
from reconciler.source.quarantine import out_of, told
from schemas.base import duration_value
from schemas.gitsource import Follow, Git
from schemas.platform import ManifestSource, PlatformSpec

if TYPE_CHECKING:
    from reconciler.state.records import Quarantined

ROOT = "root"
JITTER = 0.1
"""Of the pause, up or down: many installations must not ask a forge in step."""
LONGEST = 900.0
"""Seconds between two tries while a remote is away, at most; the pause doubles up to it."""
DEADLINE = 600.0
"""Seconds for one fetch."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one source stands; kept in a file, so that every command can tell."""

    source: str
    commit: str = ""
    """That is checked out; empty = none yet."""
    author: str = ""
    subject: str = ""
    checked: str = ""
    """When the remote answered last (RFC 3339)."""
    trouble: str = ""
    """Why the newest commit is not the one that is checked out; empty = it is."""
    newest: str = ""
    """That commit, where it is known."""
    rewritten: str = ""
    """The commit that was checked out before, when the one of now does not come after it."""


def standing(state_dir: Path, source: str) -> Standing:
    """What was written last; an empty one where nothing was."""
    with suppress(OSError, ValueError, TypeError):
        raw = json.loads(_file(state_dir, source).read_bytes())
        return Standing(**{name: str(raw.get(name, "")) for name in Standing.__dataclass_fields__})
    return Standing(source)


def standings(state_dir: Path) -> Mapping[str, Standing]:
    """Of all that are followed, or were."""
    return {path.stem: standing(state_dir, path.stem) for path in sorted((state_dir / "sources").glob("*.json"))}


def place_of(source: ManifestSource, root: Path, state_dir: Path) -> Path:
    """Where the files of a source are: its clone, or the root that its folder is relative to."""
    if source.git is None:
        return root
    return root / source.git.checkout if source.git.checkout is not None else state_dir / "sources" / source.name


@dataclass
class Following:
    """One repository, from one look to the next. Times are monotonic seconds."""

    name: str
    where: Path
    asked: Git | Follow
    state_dir: Path
    root: Path
    secret: Callable[[Any], str]
    quarantined: Callable[[], Sequence[Quarantined]] = tuple
    kept_out: Sequence[Quarantined] | None = None
    """What was quarantined when the newest commit was not taken for that; None = it was not for that."""
    due: float = 0.0
    failures: int = 0
    woken: threading.Event = field(default_factory=threading.Event)

    def look(self) -> bool:
        """Ask the remote and check out what is newest; True when files have changed. Raises nothing that a repository could bring about."""
        before, moved = standing(self.state_dir, self.name), False
        try:
            after = self._brought(before)
            moved, self.failures = after.commit != before.commit, 0
        except ReconcilerError as error:
            self.failures += 1
            after = replace(before, trouble=error.message + (f": {error.hint}" if error.hint else ""))
        after = replace(after, trouble=masked(after.trouble))
        if after != before:
            _keep(self.state_dir, after)
        pause = duration_value(self.asked.every).total_seconds()
        pause = min(max(LONGEST, pause), pause * 2 ** min(self.failures, 10))
        self.due = time.monotonic() + pause * random.uniform(1 - JITTER, 1 + JITTER)
        return moved

    def _brought(self, before: Standing) -> Standing:
        repository = self.repository()
        newest = repository.newest()
        now = replace(before, checked=datetime.now(UTC).isoformat(timespec="seconds"), newest=newest)
        here, quarantined = repository.here(), self.quarantined()
        bad = out_of(quarantined, self.name, newest, repository.contents) if quarantined else None
        self.kept_out = quarantined if bad is not None else None
        if bad is not None:
            now = replace(now, trouble=f"source {self.name}: {told(bad, newest)}")
            return _about(now, repository.commit(here)) if here else now
        if here == newest and before.commit == newest:
            return replace(now, trouble="")
        try:
            if self.asked.signers is not None or self.asked.keyring is not None:
                repository.verify(newest)
            moved = repository.check_out(newest)
        except Terminal as error:  # the remote is there, and what it offers is not taken
            self.failures = 0
            now = replace(now, trouble=error.message + (f": {error.hint}" if error.hint else ""))
            return _about(now, repository.commit(here)) if here else now
        return _about(replace(now, trouble="", rewritten=moved.before if moved.rewritten else ""), repository.commit(newest))

    def repository(self) -> Repository:
        """Its clone. Raises Terminal for what cannot be followed."""
        asked, own = self.asked, isinstance(self.asked, Git)
        token, key = asked.token, asked.ssh_key
        followed = Followed(
            name=self.name,
            url=asked.url if isinstance(asked, Git) else asked.remote,
            revision=asked.revision,
            token=None if token is None else lambda: self.secret(token),
            ssh_key=None if key is None else self._on_machine(key.from_file),
            signers=None if asked.signers is None else self._on_machine(asked.signers),
            keyring=None if asked.keyring is None else self._on_machine(asked.keyring),
            ours=own,
        )
        return Repository(self.where, followed, deadline=DEADLINE)

    def _on_machine(self, path: str) -> Path:
        return self.root / Path(path).expanduser()


class Followings:
    """All repositories that a Platform names."""

    def __init__(
        self, root: Path, state_dir: Path, secret: Callable[[Any], str], quarantined: Callable[[], Sequence[Quarantined]] = tuple
    ) -> None:
        self._root, self._state_dir, self._secret, self._quarantined = root.absolute(), state_dir, secret, quarantined
        self._now: dict[str, Following] = {}
        self._news = threading.Event()

    def take(self, spec: PlatformSpec, *, own: bool) -> None:
        """Follow what `spec` says from now on; with `own` the installation's own repository too. What it said before goes on as it was."""
        wanted: dict[str, tuple[Path, Git | Follow]] = {
            each.name: (place_of(each, self._root, self._state_dir), each.git) for each in spec.sources if each.git is not None
        }
        if own and spec.follow is not None:
            wanted[ROOT] = (self._root, spec.follow)
        before = self._now
        self._now = {
            name: before[name]
            if name in before and (before[name].where, before[name].asked) == (where, asked)
            else Following(name, where, asked, self._state_dir, self._root, self._secret, self._quarantined)
            for name, (where, asked) in wanted.items()
        }
        for name in before.keys() - self._now.keys():
            _file(self._state_dir, name).unlink(missing_ok=True)

    def look(self, *, at_once: bool = False, on_trouble: Callable[[Standing], None] = lambda _: None) -> list[Standing]:
        """Look at each that is due, or `at_once` at all; where those stand whose files have changed. `on_trouble` is told where those stand
        whose newest commit is refused or cannot be fetched, or is no longer, when that is news."""
        for each in self._now.values():
            if each.kept_out is not None and each.kept_out != self._quarantined():  # it may have been lifted
                each.woken.set()
        due = [each for each in list(self._now.values()) if at_once or each.woken.is_set() or time.monotonic() >= each.due]
        moved = []
        for each in due:
            each.woken.clear()
            before = standing(self._state_dir, each.name)
            has_moved, after = each.look(), standing(self._state_dir, each.name)
            if after.trouble != before.trouble:
                on_trouble(after)
            if has_moved:
                moved.append(after)
        return moved

    def wake(self, name: str) -> None:
        """Somebody pushed to it."""
        if (found := self._now.get(name)) is not None:
            found.woken.set()
            self._news.set()

    def wait(self, seconds: float) -> None:
        """Until somebody pushed, `seconds` at most."""
        if self._news.wait(seconds):
            self._news.clear()

    def hooks(self) -> Mapping[str, Callable[[], str]]:
        """The secrets that pushes are signed with, by source; of those that may be pushed to."""
        found = {name: each.asked.webhook for name, each in self._now.items()}
        return {name: self._getter(each) for name, each in found.items() if each is not None}

    def _getter(self, reference: Any) -> Callable[[], str]:
        return lambda: self._secret(reference)


def back_at(state_dir: Path, source: str, commit: Commit, newest: str) -> None:
    """Note that somebody brought a source back to an earlier commit."""
    _keep(state_dir, _about(replace(standing(state_dir, source), newest=newest), commit))


def _keep(state_dir: Path, now: Standing) -> None:
    _file(state_dir, now.source).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(_file(state_dir, now.source), json.dumps(asdict(now)))


def _about(now: Standing, commit: Commit) -> Standing:
    return replace(now, commit=commit.id, author=commit.author, subject=commit.subject)


def _file(state_dir: Path, source: str) -> Path:
    return state_dir / "sources" / f"{source}.json"
