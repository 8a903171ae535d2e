"""Who signed a commit. Whatever is not certain is refused.

git checks the signature; this gives it a list of who may sign, and nothing of what this machine, its user or the repository trusts. A key
has to be valid now: when a commit was made is what its author says."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from reconciler.errors import Terminal
from reconciler.source.git.command import Git, last_line
from reconciler.source.git.values import Followed, short

_NONE = "/dev/null"
"""A program that cannot be started: no kind of signature is checked but those that keys were given for."""
_GPG = "batch\nno-tty\nno-autostart\ndisable-dirmngr\nno-auto-key-retrieve\nno-auto-key-locate\ntrust-model always\n"


def verify(git: Git, commit: str, followed: Followed) -> None:
    """Raises Terminal unless `commit`, which is here, is signed by one who may."""
    told = f"source {git.source}: commit {short(commit)}"
    signature = _signature(git, commit)
    if not signature:
        raise Terminal(f"{told} is not signed", hint="sign it (`git commit --amend -S`) and push it again")
    if followed.signers is not None and signature.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        _by_ssh(git, commit, told, signature, _keys(git, followed.signers, "signers"))
    elif followed.keyring is not None and signature.startswith(b"-----BEGIN PGP "):
        _by_gpg(git, commit, told, _keys(git, followed.keyring, "keyring"))
    else:
        wanted = " or ".join(name for name, given in (("SSH", followed.signers), ("GPG", followed.keyring)) if given) or "no"
        said = f"{told} is signed with another kind of key than those that may sign it: {wanted} keys were given"
        raise Terminal(said, hint="give `signers` (SSH) or `keyring` (GPG)")


def _by_ssh(git: Git, commit: str, told: str, signature: bytes, signers: Path) -> None:
    _needs(git, "ssh-keygen")
    config = (f"gpg.ssh.allowedSignersFile={signers}", "gpg.ssh.program=ssh-keygen", "gpg.minTrustLevel=fully")
    _by_git(git, commit, told, signers, config, {})
    with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
        file = Path(folder) / "signature"
        file.write_bytes(signature)
        # git asks whether the key was valid when the commit says that it was made; this asks for now
        answer = git.run("-Y", "find-principals", "-s", str(file), "-f", str(signers), program="ssh-keygen")
    if not answer.ok or not answer.text:
        said = f"{told} is signed with a key that {signers} no longer allows: {last_line(answer.said)}"
        raise Terminal(said, hint="sign a new commit with a key that is valid now")


def _by_gpg(git: Git, commit: str, told: str, keyring: Path) -> None:
    _needs(git, "gpg")
    with tempfile.TemporaryDirectory(prefix="mlops-") as home:
        (Path(home) / "gpg.conf").write_text(_GPG, encoding="ascii")
        own = {"GNUPGHOME": home}
        answer = git.run("--import", "--", str(keyring), program="gpg", environment=own)
        if not answer.ok:
            said = f"source {git.source}: keyring {keyring} holds no keys that gpg can read: {last_line(answer.said)}"
            raise Terminal(said, hint="`gpg --export --armor KEY > FILE` writes one")
        _by_git(git, commit, told, keyring, ("gpg.program=gpg", "gpg.openpgp.program=gpg"), own)


def _by_git(git: Git, commit: str, told: str, keys: Path, config: tuple[str, ...], environment: dict[str, str]) -> None:
    # the last that is set counts
    closed = ("gpg.program=", "gpg.openpgp.program=", "gpg.x509.program=", "gpg.ssh.program=")
    settings = (*(f"{each}{_NONE}" for each in closed), "gpg.minTrustLevel=undefined", "gpg.ssh.allowedSignersFile=/dev/null", *config)
    answer = git.run("verify-commit", commit, config=settings, environment=environment)
    if not answer.ok:
        said = f"{told} is not signed by a key that {keys} allows: {last_line(answer.said)}"
        raise Terminal(said, hint="sign it with such a key, or add the key there after looking at whose it is")


def _signature(git: Git, commit: str) -> bytes:
    """The signature in a commit's own header; empty when there is none."""
    head = git.must("cat-file", "commit", commit).out.partition(b"\n\n")[0]
    name = b"gpgsig" if len(commit) == 40 else b"gpgsig-sha256"
    found = re.search(rb"^" + name + rb" (.*(?:\n .*)*)", head, re.M)
    return found[1].replace(b"\n ", b"\n") + b"\n" if found else b""


def _keys(git: Git, file: Path, field: str) -> Path:
    """Who may sign is said outside the clone: what comes with a commit cannot vouch for it. Raises Terminal."""
    path = Path(os.path.realpath(file))
    if not path.is_file() or not os.access(path, os.R_OK):
        raise Terminal(f"source {git.source}: {field} {file} cannot be read", hint="without it, no commit is accepted")
    if path.is_relative_to(os.path.realpath(git.folder)):
        said = f"source {git.source}: {field} {file} lies in the clone that it is to judge"
        raise Terminal(said, hint="keep it where those who push cannot change it")
    return path


def _needs(git: Git, program: str) -> None:
    if shutil.which(program) is None:
        said = f"source {git.source}: {program} is missing on this machine, so that no signature can be checked"
        raise Terminal(said, hint=f"install {program}")
