"""Who signed a commit, with real git, ssh-keygen and gpg."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.errors import Terminal
from tests.contract.git_lab import commit, following, git, placed, repository_at

YEAR_AGO = "2025-01-01T12:00:00Z"


def ssh_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path


def signing(key: Path) -> tuple[str, ...]:
    return ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}")


def signed(origin: Path, options: tuple[str, ...], content: str, **environment: str) -> str:
    (origin / "a.yaml").write_text(content)
    git(origin, *options, "commit", "--quiet", "--all", "--gpg-sign", "--message", content, **environment)
    return git(origin, "rev-parse", "HEAD")


def allowed(path: Path, *keys: Path, options: str = "") -> Path:
    path.write_text("".join(f"ada@example.com {options} {key.with_suffix('.pub').read_text()}" for key in keys))
    return path


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return repository_at(tmp_path / "origin")


@pytest.fixture
def ada(tmp_path: Path) -> Path:
    return ssh_key(tmp_path / "ada")


@pytest.fixture
def signers(tmp_path: Path, ada: Path) -> Path:
    return allowed(tmp_path / "allowed_signers", ada)


def test_a_signer_who_is_allowed(tmp_path: Path, origin: Path, ada: Path, signers: Path) -> None:
    id = signed(origin, signing(ada), "two\n")
    repository = following(tmp_path / "clone", origin, signers=signers)
    assert repository.newest() == id
    repository.verify(id)
    placed(repository)


def test_every_other_commit_is_refused(tmp_path: Path, origin: Path, ada: Path, signers: Path) -> None:
    eve = ssh_key(tmp_path / "eve")
    unsigned = git(origin, "rev-parse", "HEAD")
    good = signed(origin, signing(ada), "two\n")
    raw = subprocess.check_output(["git", "cat-file", "commit", good], cwd=origin)
    made = ["git", "hash-object", "-t", "commit", "-w", "--stdin"]
    tampered = subprocess.run(made, cwd=origin, input=raw.replace(b"two", b"too"), capture_output=True, check=True).stdout.decode().strip()
    git(origin, "update-ref", "refs/heads/tampered", tampered)
    foreign = signed(origin, signing(eve), "three\n")
    for id, branch, said in (
        (unsigned, unsigned, "is not signed"),
        (foreign, "main", "by a key that"),
        (tampered, "tampered", "by a key that"),
    ):
        repository = following(tmp_path / branch, origin, branch, signers=signers)
        assert repository.newest() == id
        with pytest.raises(Terminal, match=f"source team: commit {id[:12]} {said}|is not signed {said}"):
            repository.verify(id)


def test_another_principal_of_the_same_list(tmp_path: Path, origin: Path, ada: Path) -> None:
    bob = ssh_key(tmp_path / "bob")
    id = signed(origin, signing(bob), "two\n")
    repository = following(tmp_path / "clone", origin, signers=allowed(tmp_path / "both", ada, bob))
    repository.newest()
    repository.verify(id)


@pytest.mark.parametrize("options", ['valid-before="20240101"', 'valid-after="20400101"', 'namespaces="file"'])
@pytest.mark.parametrize("dated", ["", YEAR_AGO, "2023-06-01T12:00:00Z", "2041-06-01T12:00:00Z"])
def test_a_key_that_is_not_valid_now_whatever_date_the_commit_claims(
    tmp_path: Path, origin: Path, ada: Path, options: str, dated: str
) -> None:
    id = signed(origin, signing(ada), "two\n", **({"GIT_COMMITTER_DATE": dated} if dated else {}))
    repository = following(tmp_path / "clone", origin, signers=allowed(tmp_path / "old", ada, options=options))
    assert repository.newest() == id
    with pytest.raises(Terminal, match=r"is not signed by a key that|no longer allows"):
        repository.verify(id)


def test_a_list_that_is_missing_empty_or_comes_with_the_commit(tmp_path: Path, origin: Path, ada: Path, signers: Path) -> None:
    commit(origin, {"allowed_signers": signers.read_text()})
    id = signed(origin, signing(ada), "two\n")
    where = tmp_path / "clone"
    following(where, origin).newest()
    following(where, origin).check_out(id)
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(where / "allowed_signers")
    for list_, said in (
        (tmp_path / "none", "cannot be read"),
        (tmp_path, "cannot be read"),
        (tmp_path / "empty", "is not signed by a key that"),
        (where / "allowed_signers", "lies in the clone that it is to judge"),
        (tmp_path / "link", "lies in the clone that it is to judge"),
        (None, "no keys were given"),
    ):
        with pytest.raises(Terminal, match=said):
            following(where, origin, signers=list_).verify(id)
    following(where, origin, signers=signers).verify(id)


def test_a_persons_own_trust_does_not_count(tmp_path: Path, origin: Path, ada: Path, signers: Path) -> None:
    eve = ssh_key(tmp_path / "eve")
    id = signed(origin, signing(eve), "two\n")
    git(tmp_path, "clone", "--quiet", str(origin), "desk")
    git(tmp_path / "desk", "config", "gpg.ssh.allowedSignersFile", str(allowed(tmp_path / "hers", eve)))
    git(tmp_path / "desk", "config", "gpg.ssh.program", "true")
    git(tmp_path / "desk", "config", "gpg.minTrustLevel", "never")
    with pytest.raises(Terminal, match="is not signed by a key that"):
        following(tmp_path / "desk", "origin", ours=False, signers=signers).verify(id)


def test_a_replaced_commit_is_judged_by_what_it_is(tmp_path: Path, origin: Path, ada: Path, signers: Path) -> None:
    good = signed(origin, signing(ada), "two\n")
    bad = commit(origin, {"a.yaml": "evil\n"})
    git(tmp_path, "clone", "--quiet", str(origin), "desk")
    git(tmp_path / "desk", "replace", bad, good)
    with pytest.raises(Terminal, match="is not signed"):
        following(tmp_path / "desk", "origin", ours=False, signers=signers).verify(bad)


def test_no_program_to_check_with(tmp_path: Path, origin: Path, ada: Path, signers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id = signed(origin, signing(ada), "two\n")
    repository = following(tmp_path / "clone", origin, signers=signers)
    repository.newest()
    (tmp_path / "bin").mkdir()
    for name in ("git", "sh"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(Terminal, match="ssh-keygen is missing"):
        repository.verify(id)


# --- GPG ---


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A GPG home of its own; short, for its agent's socket. The agent is asked to end."""
    folder = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
    monkeypatch.setenv("GNUPGHOME", str(folder))
    yield folder
    subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=True, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def gpg(*words: str) -> str:
    options = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    done = subprocess.run([*options, *words], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_gpg_key_of_the_keyring_and_no_other(tmp_path: Path, origin: Path, home: Path, ada: Path, signers: Path) -> None:
    for name in ("gina", "eve", "rita"):
        gpg("--quick-gen-key", f"{name}@example.com", "ed25519", "sign", "never")
    ids = {name: signed(origin, ("-c", f"user.signingKey={name}@example.com"), name) for name in ("gina", "eve", "rita")}
    revocation = next(home.glob(f"openpgp-revocs.d/{fingerprint('rita')}.rev"))
    revocation.write_text(revocation.read_text().replace(":-----BEGIN", "-----BEGIN"))
    gpg("--import", str(revocation))
    (tmp_path / "keys.asc").write_text(gpg("--armor", "--export", "gina@example.com", "rita@example.com"))
    by_gpg = following(tmp_path / "clone", origin, keyring=tmp_path / "keys.asc")
    by_gpg.newest()
    both = following(tmp_path / "clone", origin, keyring=tmp_path / "keys.asc", signers=signers)
    by_gpg.verify(ids["gina"])
    both.verify(ids["gina"])
    for name in ("eve", "rita"):
        with pytest.raises(Terminal, match="is not signed by a key that"):
            by_gpg.verify(ids[name])
    with pytest.raises(Terminal, match="another kind of key"):
        following(tmp_path / "clone", origin, signers=signers).verify(ids["gina"])
    by_ssh = signed(origin, signing(ada), "ssh\n")
    both.newest()
    both.verify(by_ssh)
    with pytest.raises(Terminal, match="another kind of key"):
        by_gpg.verify(by_ssh)
    (tmp_path / "keys.asc").write_text("nonsense")
    with pytest.raises(Terminal, match="holds no keys that gpg can read"):
        by_gpg.verify(ids["gina"])


def test_a_gpg_key_that_expired(tmp_path: Path, origin: Path, home: Path) -> None:
    past = ("--faked-system-time", "20240101T000000", "--quick-gen-key")
    gpg(*past, "olga@example.com", "ed25519", "sign", "30d")
    program = tmp_path / "gpg-then"
    program.write_text('#!/bin/sh\nexec gpg --batch --faked-system-time 20240110T000000 "$@"\n')
    program.chmod(0o755)
    options = ("-c", "user.signingKey=olga@example.com", "-c", f"gpg.program={program}")
    id = signed(origin, options, "two\n", GIT_COMMITTER_DATE="2024-01-10T00:00:00Z")
    (tmp_path / "keys.asc").write_text(gpg("--armor", "--export"))
    repository = following(tmp_path / "clone", origin, keyring=tmp_path / "keys.asc")
    assert repository.newest() == id
    with pytest.raises(Terminal, match="is not signed by a key that"):
        repository.verify(id)


def fingerprint(name: str) -> str:
    lines = gpg("--with-colons", "--list-keys", f"{name}@example.com").splitlines()
    return next(each.split(":")[9] for each in lines if each.startswith("fpr"))
