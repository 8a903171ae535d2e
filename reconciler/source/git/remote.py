"""The far side of a repository that is followed: what it offers, with whose rights it is asked, and what went wrong there."""

from __future__ import annotations

import base64
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from reconciler.errors import ReconcilerError, Terminal, Transient
from reconciler.source.git.address import Address, address_of, without_user
from reconciler.source.git.command import Answer, Git, Settings, damaged, last_line
from reconciler.source.git.values import Followed, is_id, printable, short

FOLLOWED = "refs/mlops/followed"
"""What was fetched last."""
_EVERYTHING = "refs/mlops/everything"
"""Branches and tags while a commit is looked for in them."""
_REMOTE = re.compile(r"[A-Za-z0-9_][\w./-]*")
_FETCH = ("fetch", "--quiet", "--force", "--no-tags", "--no-prune", "--no-write-fetch-head", "--no-recurse-submodules")
_SSH = ("BatchMode=yes", "ConnectTimeout=30", "ServerAliveInterval=15", "ForwardAgent=no", "ClearAllForwardings=yes")
"""Which hosts are known stays as the user has it: one that is not is refused, for nobody can be asked."""

_NO_COMMIT = re.compile(r"couldn't find remote ref|not our ref|unadvertised object", re.I)
_NOT_THERE = re.compile(r"not found|returned error: 4(04|10)|does not appear to be a git repository|does not exist", re.I)
_REFUSED = re.compile(
    r"authentication failed|could not read (username|password)|terminal prompts disabled|permission denied|access denied"
    r"|invalid credentials|returned error: 40[13]|host key verification failed|dubious ownership",
    re.I,
)
_MOVED = re.compile(r"redirect|returned error: 30\d", re.I)
_UNWANTED = re.compile(r"fsck|index-pack failed|mismatched algorithms", re.I)
_NO_WAY = re.compile(r"transport '.*' not allowed|strange (host|path)|cannot run|is not a git command|unable to find remote helper", re.I)
_NOT_SHALLOW = re.compile(r"no commits selected|does not support.*(shallow|deepen)|shallow capabilities", re.I)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a remote has under the name that is followed: the reference, and the commit behind it."""

    ref: str
    commit: str


class NoCommit(Terminal):
    """The remote has nothing under the name, or the id, that it was asked for."""


def spoken_to(followed: Followed) -> Address | None:
    """Where it lies; None = a remote of a person's clone, which knows it. Raises Terminal when it can be neither."""
    if not followed.ours and _REMOTE.fullmatch(followed.url):
        return None
    return address_of(followed.name, followed.url)


class Remote:
    """The far side, for one operation. Raises Transient when it cannot be reached, Terminal when it refuses or has no such thing, and
    Damaged when what failed is the clone."""

    def __init__(self, followed: Followed, git: Git) -> None:
        self._followed, self._git = followed, git
        known = spoken_to(followed)
        self._named = known is None
        self._secrets: tuple[str, ...] = ()
        self.address = known or self._resolved()

    def find(self) -> Offer:
        """What lies under the name that is followed: a branch or a tag."""
        asked = self._followed.revision
        refs = [asked] if asked.startswith("refs/") else [f"refs/heads/{asked}", f"refs/tags/{asked}"]
        # what an annotated tag stands for is told under a name of its own
        answer = self._send("ls-remote", "--quiet", "--", self._spoken, *refs, *(f"{each}^{{}}" for each in refs))
        if not answer.ok:
            raise self._failure(answer, asked)
        lines = [each.partition("\t") for each in answer.text.splitlines()]
        commits = {name: commit for commit, _, name in lines if is_id(commit)}
        found = [Offer(each, commits.get(f"{each}^{{}}", commits[each])) for each in refs if each in commits]
        if len(found) > 1:
            said = f"source {self._followed.name}: {self.address.shown} has a branch and a tag {printable(asked)}"
            raise Terminal(said, hint=f"revision: refs/heads/{asked}, or refs/tags/{asked}")
        if not found:
            raise self._absent(asked)
        return found[0]

    def fetch(self, what: str, *how: str) -> None:
        """Bring a reference or a commit id to FOLLOWED; `how` are git's options for how much of its history, none = all of it."""
        # when nothing there is as new as what is here, or it cannot tell: the newest commit alone, then all there is
        tries = [how, ("--depth=1",), ()] if how else [()]
        for each in dict.fromkeys(tries):
            answer = self._send(*_FETCH, *each, "--", self._spoken, f"+{what}:{FOLLOWED}")
            if answer.ok:
                return
            if not _NOT_SHALLOW.search(answer.said):
                break
        raise self._failure(answer, what if is_id(what) else self._followed.revision)

    def fetch_commit(self, commit: str, *how: str) -> None:
        """Bring one commit to FOLLOWED: by its id, or with all branches and tags from a server that gives no commit by its id."""
        try:
            self.fetch(commit, *how)
        except NoCommit:
            self._search(commit)

    def _search(self, commit: str) -> None:
        every = (f"+refs/heads/*:{_EVERYTHING}/heads/*", f"+refs/tags/*:{_EVERYTHING}/tags/*")
        shallow = self._git.run("rev-parse", "--is-shallow-repository").text == "true"
        try:
            answer = self._send(*_FETCH, *(["--unshallow"] if shallow else []), "--", self._spoken, *every)
            if not answer.ok:
                raise self._failure(answer, commit)
            if not self._git.commit(commit):
                raise self._absent(commit)
            self._git.must("update-ref", FOLLOWED, commit)
        finally:
            for each in self._git.run("for-each-ref", "--format=%(refname)", _EVERYTHING).text.splitlines():
                self._git.run("update-ref", "-d", each)

    def bring(self, have: str, *how: str) -> str:
        """The newest commit of what is followed, fetched unless it is `have`, which is here. `how` as for `fetch`."""
        asked = self._followed.revision
        if is_id(asked):
            if not self._git.commit(asked):
                self.fetch_commit(asked, *how)
            found = self._git.commit(asked)
        else:
            offer = self.find()
            if offer.commit == have:
                return have
            self.fetch(offer.ref, *how)
            found = self._git.commit(FOLLOWED)
        if not found:
            said = f"source {self._followed.name}: {printable(asked)} of {self.address.shown} is no commit"
            raise Terminal(said, hint="revision: a branch, a tag of a commit, or a full commit id")
        return found

    # --- with whose rights ---

    def _resolved(self) -> Address:
        """Of a remote that the clone's owner named. A password in its URL is his; it is not put on a command line of ours."""
        name, source = self._followed.url, self._followed.name
        answer = self._git.run("remote", "get-url", "--", name)
        if not answer.ok:
            hint = f"`git -C {shlex.quote(str(self._git.folder))} remote` lists those that it has"
            raise Terminal(f"source {source}: {self._git.folder} has no remote {name}", hint=hint)
        return address_of(source, without_user(answer.text) if answer.text.startswith("http") else answer.text)

    @property
    def _spoken(self) -> str:
        return self._followed.url if self._named else self.address.url

    def _send(self, *words: str) -> Answer:
        """A git that speaks to the remote, over the one transport of its address."""
        protocol = self.address.protocol
        # a person's configuration may say ssh where the URL says https
        environment = {"GIT_ALLOW_PROTOCOL": protocol if self._followed.ours or protocol in ("file", "http") else "https:ssh"}
        config: tuple[str, ...] = ()
        settings: Settings = ()
        if protocol not in ("file", "http"):
            environment["GIT_SSH_COMMAND"] = self._ssh()
        if self.address.host and self._followed.token is not None:
            # led on to another place, git would send the header there too
            config = ("http.followRedirects=false", "credential.helper=")
            settings = (self._authorization(self._followed.token()),)
        return self._git.run(*words, config=config, settings=settings, environment=environment)

    def _authorization(self, token: str) -> tuple[str, str]:
        """The header, for this host alone."""
        if not token or not token.isascii() or not token.isprintable():
            said = f"source {self._followed.name}: its token is empty, or holds a line break or other odd characters"
            raise Terminal(said, hint="store it again")
        pair = token if ":" in token else f"x-access-token:{token}"
        encoded = base64.b64encode(pair.encode()).decode()
        self._secrets = (token, encoded, pair.partition(":")[2])
        return f"http.{self.address.host}.extraHeader", f"Authorization: Basic {encoded}"

    def _ssh(self) -> str:
        """Asks nobody, and knows a host only where its user does."""
        own = "" if self._followed.ours else self._git.run("config", "core.sshCommand").text
        words = [part for each in _SSH for part in ("-o", each)]
        key = self._followed.ssh_key
        if key is not None:
            if not key.is_file():
                raise Terminal(f"source {self._followed.name}: there is no SSH key {key}", hint="name a file with a private key")
            words += ["-o", "IdentitiesOnly=yes", "-i", str(key.absolute()).replace("%", "%%")]
        return f"{own or 'ssh'} {shlex.join(words)}"

    # --- what went wrong ---

    def _absent(self, asked: str) -> NoCommit:
        what = f"commit {short(asked)}" if is_id(asked) else f"branch or tag {printable(asked)}"
        said = f"source {self._followed.name}: {self.address.shown} has no {what}"
        return NoCommit(said, hint="it was deleted, or never pushed; name another revision, or push it")

    def _failure(self, answer: Answer, asked: str) -> ReconcilerError:
        """Why a remote did not give what it was asked for. What is not known may pass."""
        said = answer.said
        if self._git.ours and damaged("\n".join(each for each in said.splitlines() if not each.startswith("remote:"))):
            return self._git.trouble(answer, "fetch")
        if _NO_COMMIT.search(said):
            return self._absent(asked)
        what = short(asked) if is_id(asked) else printable(asked)
        told = f"source {self._followed.name}: {self.address.shown} was asked for {what}: {self._line(said)}"
        if _REFUSED.search(said):
            return Terminal(told, hint=self._rights(said))
        if _MOVED.search(said):
            return Terminal(told, hint="name the URL that the repository has now")
        if _UNWANTED.search(said):
            return Terminal(told, hint="nothing of it was taken over; `git fsck` there shows what is wrong with it")
        if _NO_WAY.search(said):
            return Terminal(told, hint="`reconcile doctor` shows which programs are missing on this machine")
        if _NOT_THERE.search(said) and not self._unmounted():
            return Terminal(told, hint="look at the URL, and whether these rights reach it")
        return Transient(told, hint="the next pass tries again")

    def _line(self, said: str) -> str:
        for each in self._secrets:
            said = said.replace(each, "(secret)")
        return last_line(re.sub(r"(\w+://)[^/\s@']*@", r"\1", said.replace(self.address.url, self.address.shown)))

    def _rights(self, said: str) -> str:
        if "dubious ownership" in said:
            return "the repository belongs to another user of this machine: own it, or ask for it over ssh or https"
        if self.address.protocol == "ssh":
            return "give a key that may read it as ssh_key; a new host becomes known when you ssh to it once by hand"
        return "renew the token" if self._followed.token is not None else "give a token that may read it"

    def _unmounted(self) -> bool:
        """A path that is not there at all: a disk that is away comes back."""
        path = unquote(self.address.url.removeprefix("file://")) if "://" in self.address.url else self.address.url
        return self.address.protocol == "file" and not Path(path).exists()
