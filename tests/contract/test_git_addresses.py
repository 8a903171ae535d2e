"""What can be followed, and what is refused before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import Terminal
from tests.contract.git_lab import following


@pytest.mark.parametrize(
    "url",
    [
        "",
        "-oProxyCommand=touch marker",
        "--upload-pack=touch marker",
        "ext::sh -c touch% marker",
        "fd::17",
        "git://example.com/x",
        "http://example.com/x",
        "ftp://example.com/x",
        "file://host/x",
        "ssh://-oProxyCommand=x/y",
        "-oProxyCommand=x:y",
        "git@-oProxyCommand=x:y",
        "relative/path",
        "origin",
        "https://",
        "https://example.com:x/y",
        "https://example.com/a b\n",
    ],
)
def test_what_is_no_url_of_a_repository(tmp_path: Path, url: str) -> None:
    with pytest.raises(Terminal, match="source team: "):
        following(tmp_path / "clone", url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["https://user:secret@example.com/x", "https://ghp_secret@example.com/x", "ssh://git:secret@example.com/x"])
def test_a_secret_in_a_url_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(Terminal, match="must not hold a user or a password") as told:
        following(tmp_path / "clone", url)
    assert "secret" not in str(told.value).replace("as a secret", "")


@pytest.mark.parametrize(
    "url", ["https://example.com/a/b.git", "ssh://git@example.com:22/a", "git@example.com:a/b", "host:~/a", "[::1]:a", "file:///a"]
)
def test_what_is_one(tmp_path: Path, url: str) -> None:
    assert following(tmp_path / "clone", url).followed.url == url


@pytest.mark.parametrize(
    "revision", ["", "-x", "--upload-pack=x", "a b", "a..b", "a\nb", "main:refs/heads/x", "a*", "x.lock", "refs/heads/", "@{u}"]
)
def test_what_is_no_revision(tmp_path: Path, revision: str) -> None:
    with pytest.raises(Terminal, match="cannot be the name of a branch or a tag"):
        following(tmp_path / "clone", tmp_path, revision)


@pytest.mark.parametrize("id", ["", "HEAD", "-x", "abc123", "deadbeef" * 5 + "\n"])
def test_what_is_no_commit_id(tmp_path: Path, id: str) -> None:
    repository = following(tmp_path / "clone", tmp_path)
    for ask in (repository.commit, repository.verify, repository.check_out):
        with pytest.raises(Terminal, match="is no full commit id"):
            ask(id)
