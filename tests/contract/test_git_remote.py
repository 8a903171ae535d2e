"""The far side: with whose rights it is asked, what is refused, what may pass; with real git and real servers on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.errors import Terminal, Transient
from reconciler.source.git import Followed, Repository
from reconciler.source.git.process import output_of
from tests.contract.git_lab import Server, commit, files, following, git, placed, repository_at, serving

TOKEN = "ghp_canary0123456789"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    repository_at(tmp_path / "root" / "team")
    return tmp_path / "root"


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that every git, and what it starts, writes its command line to."""
    real, log, folder = subprocess.check_output(["which", "git"], text=True).strip(), tmp_path / "argv", tmp_path / "bin"
    folder.mkdir()
    program = f"#!{sys.executable}\nimport os, sys\nopen({str(log)!r}, 'a').write(repr(sys.argv) + chr(10))\nos.execv({real!r}, sys.argv)\n"
    (folder / "git").write_text(program)
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return log


def everything_below(folder: Path) -> Iterator[bytes]:
    return (each.read_bytes() for each in folder.rglob("*") if each.is_file())


# --- tokens ---


def test_a_token_opens_the_door_and_is_written_nowhere(root: Path, tmp_path: Path, recorded: Path) -> None:
    with serving(Server(root, token=TOKEN)) as server:
        repository = following(tmp_path / "clone", f"{server.url}/team", token=lambda: TOKEN)
        placed(repository)
        commit(root / "team", {"a.yaml": "two\n"})
        placed(repository)
        header = server.asked[0][1]
    assert files(repository.where)["a.yaml"] == "two\n"
    assert {given for _, given in server.asked} == {header}
    assert header.startswith("Basic ")
    for secret in (TOKEN, header.removeprefix("Basic ")):
        assert secret not in recorded.read_text()
        assert not [each for each in everything_below(repository.where) if secret.encode() in each]
    assert TOKEN not in repr(repository.followed)


def test_a_command_line_that_is_running_shows_no_token(tmp_path: Path) -> None:
    seen: list[bytes] = []

    class Watching(Server):
        def answer(self, door: object) -> None:
            for each in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(each.read_bytes())
                except OSError:
                    continue
            super().answer(door)  # type: ignore[arg-type]

    if not Path("/proc/self/cmdline").exists():
        pytest.skip("there is no /proc on this system")
    with serving(Watching(tmp_path, status=500)) as server, pytest.raises(Transient):
        following(tmp_path / "clone", f"{server.url}/team", token=lambda: TOKEN).newest()
    own = [each for each in seen if server.url.encode() in each]  # other tests may run a git of their own beside this one
    assert any(b"remote-http" in each for each in own)
    assert not [each for each in own if TOKEN.encode() in each]


def test_a_token_is_asked_for_when_it_is_used(root: Path, tmp_path: Path) -> None:
    tokens = ["old", TOKEN]
    with serving(Server(root, token=TOKEN)) as server:
        repository = following(tmp_path / "clone", f"{server.url}/team", token=lambda: tokens.pop(0) if len(tokens) > 1 else tokens[0])
        assert len(tokens) == 2
        with pytest.raises(Terminal, match="was asked for main") as told:
            repository.newest()
        assert told.value.hint == "renew the token"
        placed(repository)


def test_no_token_is_told_at_once_and_nobody_is_asked(root: Path, tmp_path: Path) -> None:
    with serving(Server(root, token=TOKEN)) as server, pytest.raises(Terminal) as told:
        following(tmp_path / "clone", f"{server.url}/team").newest()
    assert told.value.hint == "give a token that may read it"


def test_a_token_does_not_follow_to_another_place(root: Path, tmp_path: Path) -> None:
    with serving(Server(root)) as other, serving(Server(root, leads_to=other.url)) as first:
        with pytest.raises(Terminal, match="302") as told:
            following(tmp_path / "clone", f"{first.url}/team", token=lambda: TOKEN).newest()
        assert told.value.hint == "name the URL that the repository has now"
        assert first.asked[0][1] != ""
        assert other.asked == []
        placed(following(tmp_path / "open", f"{first.url}/team"))
        assert {given for _, given in other.asked} == {""}


@pytest.mark.parametrize("token", ["", "a\nHost: evil", "a\x00b", "tök"])
def test_a_token_that_would_be_more_than_a_header(root: Path, tmp_path: Path, token: str) -> None:
    with serving(Server(root)) as server, pytest.raises(Terminal, match="its token is empty, or holds a line break"):
        following(tmp_path / "clone", f"{server.url}/team", token=lambda: token).newest()
    assert server.asked == []


def test_a_server_that_repeats_the_token_does_not_get_it_printed(tmp_path: Path) -> None:
    class Echo(Server):
        def answer(self, door: object) -> None:
            error = f"ERR \x1b[31mbad token {TOKEN}"
            self.said = f"001e# service=git-upload-pack\n0000{len(error) + 4:04x}{error}"
            self.kind = "application/x-git-upload-pack-advertisement" if self.status == 200 else "text/plain"
            super().answer(door)  # type: ignore[arg-type]

    for status in (200, 401, 403, 404, 500):
        with serving(Echo(tmp_path, status=status)) as server, pytest.raises((Terminal, Transient)) as told:
            following(tmp_path / "clone", f"{server.url}/team?key={TOKEN}", token=lambda: TOKEN).newest()
        assert TOKEN not in str(told.value)
        assert str(told.value).isprintable()
        assert f"{server.url}/team was asked for main" in told.value.message


# --- what may pass, and what stays ---


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Terminal), (403, Terminal), (404, Terminal), (429, Transient), (500, Transient), (503, Transient)]
)
def test_what_a_server_answers(tmp_path: Path, status: int, kind: type[Exception]) -> None:
    with serving(Server(tmp_path, status=status)) as server, pytest.raises(kind, match="source team"):
        following(tmp_path / "clone", f"{server.url}/team").newest()


def test_a_refused_connection(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/team", f"ssh://127.0.0.1:{port}/team"):
        with pytest.raises(Transient, match="was asked for main"):
            following(tmp_path / "clone", url).newest()


def test_a_remote_that_never_answers_is_given_up_with_all_that_was_started(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/team"
        began = time.monotonic()
        with pytest.raises(Transient, match="git ls-remote had not ended"):
            following(tmp_path / "clone", url, deadline=1.0).newest()
        assert time.monotonic() - began < 30
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert url not in left


def test_what_takes_no_notice_of_a_polite_end_is_ended_too(tmp_path: Path) -> None:
    sleep = f"sleep 61.{os.getpid()}"
    program = f"trap '' TERM; ({sleep}; {sleep}) & wait; {sleep}"
    with pytest.raises(TimeoutError):
        output_of(["sh", "-c", program], tmp_path, os.environ, until=time.monotonic() + 0.5, most=10)
    assert sleep not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_an_object_that_git_would_not_accept_is_not_taken_over(tmp_path: Path) -> None:
    origin = repository_at(tmp_path / "origin")
    evil = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
        cwd=origin,
        input=b"100644 .git\0" + bytes.fromhex(git(origin, "rev-parse", "HEAD:a.yaml")),
        capture_output=True,
        check=True,
    ).stdout.decode()
    git(origin, "update-ref", "refs/heads/main", git(origin, "commit-tree", evil.strip(), "-m", "x"))
    with pytest.raises(Terminal, match=r"fsck|hasDotgit") as told:
        following(tmp_path / "clone", origin).newest()
    assert "nothing of it was taken over" in told.value.hint


def test_a_server_that_gives_no_commit_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old servers; and only commits that a branch or a tag leads to."""
    origin = repository_at(tmp_path / "root" / "team")
    first = git(origin, "rev-parse", "HEAD")
    commit(origin, {"a.yaml": "two\n"})
    lost = commit(origin, {"a.yaml": "lost\n"})
    git(origin, "reset", "--quiet", "--hard", "HEAD~1")

    class Old(Server):
        def answer(self, door: object) -> None:
            door.headers.replace_header("Git-Protocol", "version=0") if "Git-Protocol" in door.headers else None  # type: ignore[attr-defined]
            super().answer(door)  # type: ignore[arg-type]

    with serving(Old(tmp_path / "root")) as server:
        repository = following(tmp_path / "clone", f"{server.url}/team", first)
        placed(repository)
        assert files(repository.where)["a.yaml"] == "one\n"
        assert git(repository.where, "for-each-ref", "refs/mlops/everything") == ""
        with pytest.raises(Terminal, match=f"has no commit {lost[:12]}"):
            following(tmp_path / "other", f"{server.url}/team", lost).newest()


# --- ssh ---


def test_ssh_is_asked_without_a_question_and_with_the_key_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = repository_at(tmp_path / "origin")
    key = tmp_path / "a key%"
    key.touch()
    (tmp_path / "bin").mkdir()
    program = f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/argv\nexec git-upload-pack {origin}\n'
    (tmp_path / "bin" / "ssh").write_text(program)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    placed(following(tmp_path / "clone", "git@example.com:team", ssh_key=key))
    said = (tmp_path / "argv").read_text().splitlines()
    assert {"BatchMode=yes", "IdentitiesOnly=yes", f"{tmp_path}/a key%%"} <= set(said)
    assert not [each for each in said if "StrictHostKeyChecking" in each]
    key.unlink()
    with pytest.raises(Terminal, match="there is no SSH key"):
        following(tmp_path / "clone", "git@example.com:team", ssh_key=key).newest()


def test_a_git_that_is_missing_or_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = repository_at(tmp_path / "origin")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(Terminal, match="git is missing on this machine"):
        Repository(tmp_path / "clone", Followed("team", str(origin), "main")).newest()
    (tmp_path / "bin" / "git").write_text("#!/bin/sh\necho git version 2.25.1\n")
    (tmp_path / "bin" / "git").chmod(0o755)
    with pytest.raises(Terminal, match=r"this machine has git version 2\.25\.1"):
        Repository(tmp_path / "clone", Followed("team", str(origin), "main")).newest()
