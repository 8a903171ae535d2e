"""git's own command line, run so that nothing but git itself runs: no hook, no filter, no question, no other repository.

Whatever steers git from outside is dropped: variables, the machine's configuration and, for a clone that is ours, the person's too. Each
call has a deadline and a process group of its own, which ends with it; its output is bounded."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import ReconcilerError, Terminal, Transient
from reconciler.source.git.locks import unlock_since
from reconciler.source.git.process import output_of
from reconciler.source.git.values import printable

Settings = tuple[tuple[str, str], ...]
"""Names and values of git's configuration."""
OLDEST = (2, 34)
"""Older gits would take no notice of what keeps them apart from the machine's configuration, and check no SSH signature."""
MOST = 1 << 20
"""Bytes that are kept of an answer, unless more are asked for."""

_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "transfer.fsckObjects=true",
    "fetch.fsckObjects=true",
    "fetch.prune=false",
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
)
_OURS = ("core.attributesFile=/dev/null", "credential.helper=")
_THEIRS = ("gc.auto=0", "maintenance.auto=false")
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_DEFAULT_REF_FORMAT": "files",
    "GIT_PAGER": "cat",
    "GCM_INTERACTIVE": "never",
    "GIT_AUTHOR_NAME": "mlops-reconciler",
    "GIT_AUTHOR_EMAIL": "mlops-reconciler@localhost",
    "GIT_COMMITTER_NAME": "mlops-reconciler",
    "GIT_COMMITTER_EMAIL": "mlops-reconciler@localhost",
}
"""No transport is allowed here: who speaks to a remote allows the one that it needs."""
_KEPT = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
"""Which certificates this machine trusts; every other variable of git is dropped."""
_ASKS = ("SSH_ASKPASS", "SSH_ASKPASS_REQUIRE")

_DAMAGED = re.compile(
    r"bad object|loose object|object .*is (corrupt|empty)|unable to (read|find) (tree|sha1|index|[0-9a-f]{40})|missing (blob|tree|commit)"
    r"|not a git repository|index file|bad signature|bad index|invalid object|could not parse|could not read [0-9a-f]{40}"
    r"|failed to traverse|bad tree|packfile|broken (ref|link)|reference broken|does not point to a valid object|invalid sha1 pointer"
    r"|did not send all necessary objects|hash mismatch|inflate|bad (numeric )?config|unable to resolve ref|shallow file|bad shallow",
    re.I,
)
_LOCKED = re.compile(r"\.lock'?: File exists")
_FULL = re.compile(r"no space left|disk quota|read-only file system|permission denied|too many open files|cannot allocate", re.I)


class Damaged(Terminal):
    """Objects, references or the index of the clone cannot be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a git said. `out` is the first bytes of stdout, `said` the end of stderr as it came: foreign text, not to be printed."""

    code: int
    out: bytes
    said: str

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked."""
        return self.code == 0

    @property
    def text(self) -> str:
        """stdout as text, without the line's end."""
        return self.out.decode("utf-8", "replace").strip()

    @property
    def names(self) -> list[str]:
        """stdout as what NULs separate; names of files as the file system has them."""
        return [os.fsdecode(each) for each in self.out.split(b"\0") if each]


class Git:
    """git in one folder, for one operation. `until` is its end, on the monotonic clock; `hold` is a file that each git keeps open while it
    lives, in a clone that is ours."""

    def __init__(self, folder: Path, source: str, *, ours: bool, until: float, hold: int | None = None) -> None:
        self.folder, self.source, self.ours, self.until, self.hold = folder, source, ours, until, hold
        self.settings: Settings = ()
        """For every git from now on, as `settings` of `run`."""

    def run(
        self,
        *words: str,
        config: Sequence[str] = (),
        settings: Settings = (),
        environment: Mapping[str, str] | None = None,
        most: int = MOST,
        program: str = "git",
    ) -> Answer:
        """One git. A failure is an answer too. `config` goes onto the command line, `settings`, the same in pairs, into the environment,
        which nobody else can read. Raises Transient at the deadline and Terminal when there is no such program on this machine."""
        options = [part for each in (*_CONFIG, *(_OURS if self.ours else _THEIRS), *config) for part in ("-c", each)]
        command = ["git", "--no-pager", "--literal-pathspecs", *options, *words] if program == "git" else [program, *words]
        began = time.time()
        try:
            code, out, said = output_of(
                command,
                self.folder,
                self._environment((*self.settings, *settings)) | dict(environment or {}),
                until=self.until,
                most=most,
                hold=(self.hold,) if self.ours and self.hold is not None else (),
            )
        except FileNotFoundError:
            raise self._missing(program) from None
        except TimeoutError:
            self._died(began)
            told = f"source {self.source}: {program} {words[0]} had not ended when its time was up"
            raise Transient(told, hint="the next pass tries again; look whether the remote answers") from None
        if code < 0:
            self._died(began)
        return Answer(code, out, said.decode("utf-8", "replace"))

    def must(
        self,
        *words: str,
        config: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        most: int = MOST,
        codes: tuple[int, ...] = (0,),
    ) -> Answer:
        """As `run`, for what concerns this clone alone. Raises Damaged, Transient or Terminal when it ends with a code not in `codes`."""
        answer = self.run(*words, config=config, environment=environment, most=most)
        if answer.code not in codes:
            raise self.trouble(answer, words[0])
        return answer

    def commit(self, name: str) -> str:
        """The id of the commit behind a name or an id; empty when it is not here or cannot be read."""
        answer = self.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return answer.text if answer.ok else ""

    def ref(self, name: str) -> str:
        """The id of the commit that a reference leads to; empty when there is no such reference. Raises Damaged when it leads nowhere."""
        answer = self.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if answer.ok:
            return answer.text
        bare = self.run("rev-parse", "--verify", "--quiet", name)
        if bare.ok or damaged(bare.said):
            raise Damaged(f"source {self.source}: {name} in {self.folder} leads to no commit", hint=self._fsck)
        return ""

    def within(self, folder: Path) -> Git:
        """The same, in another folder."""
        return Git(folder, self.source, ours=self.ours, until=self.until, hold=self.hold)

    def without_filters(self) -> None:
        """From now on no filter runs, whatever this clone or its owner configured: files come as they lie in the repository."""
        found = self.run("config", "-z", "--name-only", "--get-regexp", r"^filter\..*\.(clean|smudge|process|required)$").names
        off = (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))
        drivers = sorted({each.rpartition(".")[0] for each in found})
        self.settings = tuple((f"{driver}.{key}", value) for driver in drivers for key, value in off)

    def trouble(self, answer: Answer, verb: str) -> ReconcilerError:
        """Why a command that concerns this clone alone failed."""
        said = f"source {self.source}: git {verb} failed in {self.folder}: {last_line(answer.said)}"
        if _LOCKED.search(answer.said):
            return Transient(said, hint="another git works there; where none does, it died, and its lock file can be removed")
        if _FULL.search(answer.said):
            return Transient(said, hint="look at the space and the rights of that folder")
        if damaged(answer.said):
            return Damaged(said, hint=self._fsck)
        foreign = "dubious ownership" in answer.said
        return Terminal(said, hint="the folder belongs to another user of this machine: work as that user, or own it" if foreign else "")

    @property
    def _fsck(self) -> str:
        return f"`git -C {shlex.quote(str(self.folder))} fsck` shows the damage"

    def _environment(self, settings: Settings) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(("GIT_", *_ASKS))}
        # the clone is this folder or none: not one that it happens to lie in
        own = {"GIT_CEILING_DIRECTORIES": str(self.folder.parent), "GIT_CONFIG_COUNT": str(len(settings))}
        for at, (key, value) in enumerate(settings):
            own |= {f"GIT_CONFIG_KEY_{at}": key, f"GIT_CONFIG_VALUE_{at}": value}
        if self.ours:
            own |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_NO_LAZY_FETCH": "1"}
        return kept | _ENVIRONMENT | own

    def _died(self, began: float) -> None:
        """A git of ours was killed (no memory, its deadline): its locks would keep everybody out. In our own clones the next one clears."""
        if not self.ours:
            unlock_since(self.folder, began)

    def _missing(self, program: str) -> Terminal:
        if not self.folder.is_dir():
            return Terminal(f"source {self.source}: there is no folder {self.folder}")
        return Terminal(f"source {self.source}: {program} is missing on this machine", hint=f"install {program}, or put it on PATH")


def must_be_new(git: Git) -> None:
    """Raises Terminal when the machine's git is older than OLDEST, or there is none."""
    said = _version(shutil.which("git") or "", git)
    if tuple(int(each) for each in re.findall(r"\d+", said)[:2]) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise Terminal(f"source {git.source}: this machine has {printable(said, 60)}", hint=f"install git {needed} or newer")


_versions: dict[str, str] = {}
"""By program: each is asked once."""


def _version(program: str, git: Git) -> str:
    if program not in _versions:
        # outside of every repository: one whose configuration is broken must not look like an old git
        _versions[program] = git.within(Path("/")).run("version").text
    return _versions[program]


def damaged(said: str) -> bool:
    """Whether git complains of what it keeps in a clone."""
    return _DAMAGED.search(said) is not None


def last_line(said: str) -> str:
    """The line that says what went wrong, of what git and its remote wrote; safe to print."""
    lines = [each.strip() for each in said.splitlines()]
    told = [each for each in lines if each]
    telling = [each for each in told if _TELLING.search(each)] or [each for each in told if not each.startswith(_EMPTY)] or told
    return printable(re.sub(r"^(fatal|error): ", "", (telling or ["it did not say why"])[-1]))


_TELLING = re.compile(r"dubious ownership|\.lock'?: File exists")
"""What is followed by lines of advice."""
_EMPTY = (
    "Please make sure you have",
    "and the repository exists",
    "fatal: Could not read from remote repository",
    "fatal: the remote end hung up",
    "fatal: early EOF",
    "fatal: fsck error in packed object",
    "fatal: index-pack failed",
    "fatal: unpack-objects failed",
    "fatal: fetch-pack: invalid index-pack output",
    "hint:",
    "Aborting",
)
