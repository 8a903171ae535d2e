"""A repository, a machine and a clone that try to run something while they are followed: nothing of it runs, with real git.

Every trap, sprung, leaves a file in `sprung`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.errors import Terminal
from tests.contract.git_lab import commit, files, following, git, placed, repository_at


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return repository_at(tmp_path / "origin")


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    folder = tmp_path / "sprung"
    folder.mkdir()
    return folder


def trap(sprung: Path, name: str) -> str:
    """A program that gives back what it reads, and tells that it ran."""
    program = sprung.parent / f"trap-{name}"
    program.write_text(f"#!/bin/sh\ntouch {sprung / name}\nexec cat\n")
    program.chmod(0o755)
    return str(program)


def hooks(store: Path, sprung: Path) -> None:
    (store / "hooks").mkdir(exist_ok=True)
    for name in ("post-checkout", "post-merge", "reference-transaction", "post-index-change", "pre-auto-gc", "post-rewrite"):
        (store / "hooks" / name).symlink_to(trap(sprung, name))


def settings(sprung: Path) -> str:
    """A configuration that runs something on every occasion that git knows."""
    filters = "".join(
        f'[filter "{name}"]\n clean = {trap(sprung, "clean")}\n smudge = {trap(sprung, "smudge")}\n required = true\n'
        for name in ("evil", "lfs", "a=b")
    )
    return filters + (
        f'[filter "process"]\n process = {trap(sprung, "process")}\n required = true\n'
        f"[core]\n fsmonitor = {trap(sprung, 'fsmonitor')}\n hooksPath = {sprung.parent / 'hooks'}\n pager = {trap(sprung, 'pager')}\n"
        f" sshCommand = {trap(sprung, 'ssh')}\n editor = {trap(sprung, 'editor')}\n askPass = {trap(sprung, 'askpass')}\n"
        f'[diff "evil"]\n command = {trap(sprung, "diff")}\n textconv = {trap(sprung, "textconv")}\n'
        f"[diff]\n external = {trap(sprung, 'external')}\n"
        f'[merge "evil"]\n driver = {trap(sprung, "merge")}\n'
        f"[gpg]\n program = {trap(sprung, 'gpg')}\n"
        f"[log]\n showSignature = true\n"
        f"[credential]\n helper = {trap(sprung, 'credential')}\n"
    )


ATTRIBUTES = "* filter=evil diff=evil merge=evil\n*.lfs filter=lfs\n*.p filter=process\n*.e filter=a=b\n"
EVIL = {".gitattributes": ATTRIBUTES, "a.yaml": "two\n", "x.lfs": "two\n", "y.p": "two\n", "z.e": "two\n"}


@pytest.mark.parametrize("ours", [True, False])
def test_no_hook_no_filter_and_no_driver_runs_even_where_the_clone_knows_them(
    tmp_path: Path, origin: Path, sprung: Path, ours: bool
) -> None:
    where = tmp_path / "clone"
    if not ours:
        git(tmp_path, "clone", "--quiet", str(origin), str(where))
    repository = following(where, origin, ours=ours)
    placed(repository)
    hooks(where / ".git", sprung)
    hooks(origin / ".git", sprung)
    (sprung.parent / "hooks").symlink_to(where / ".git" / "hooks")
    with (where / ".git" / "config").open("a") as file:
        file.write(settings(sprung))
    commit(origin, EVIL)
    for each in sprung.iterdir():  # what the origin's own hooks did at its owner's desk
        each.unlink()
    newest = placed(repository)
    repository.commit(newest)
    with pytest.raises(Terminal):
        repository.verify(newest)
    commit(origin, EVIL | {"a.yaml": "three\n", "x.lfs": "three\n"})
    for each in sprung.iterdir():
        each.unlink()
    os.utime(where / "y.p")
    placed(repository)
    assert list(sprung.iterdir()) == []
    assert (files(where)["a.yaml"], files(where)["x.lfs"]) == ("three\n", "three\n")


def test_the_persons_and_the_machines_configuration_say_nothing_to_a_clone_that_is_ours(
    tmp_path: Path, origin: Path, sprung: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".config" / "git").mkdir(parents=True)
    (home / ".gitconfig").write_text(settings(sprung) + f'[url "ext::{trap(sprung, "ext")} "]\n insteadOf = {tmp_path}\n')
    (home / ".config" / "git" / "attributes").write_text("* text eol=crlf\n")
    (tmp_path / "template" / "hooks").mkdir(parents=True)
    (tmp_path / "template" / "hooks" / "post-checkout").symlink_to(trap(sprung, "template"))
    for name, value in {
        "HOME": home,
        "XDG_CONFIG_HOME": home / ".config",
        "GIT_CONFIG_GLOBAL": home / ".gitconfig",
        "GIT_CONFIG_SYSTEM": home / ".gitconfig",
        "GIT_TEMPLATE_DIR": tmp_path / "template",
        "GIT_DIR": tmp_path / "elsewhere",
        "GIT_WORK_TREE": tmp_path / "elsewhere",
        "GIT_INDEX_FILE": tmp_path / "elsewhere" / "index",
        "GIT_SSH_COMMAND": trap(sprung, "ssh"),
        "GIT_ASKPASS": trap(sprung, "askpass"),
        "SSH_ASKPASS": trap(sprung, "askpass"),
        "GIT_EXTERNAL_DIFF": trap(sprung, "external"),
        "GIT_TRACE": tmp_path / "elsewhere",
        "GIT_ALLOW_PROTOCOL": "ext:file",
        "GIT_CONFIG_PARAMETERS": "'core.fsmonitor=touch x'",
    }.items():
        monkeypatch.setenv(name, str(value))
    repository = following(tmp_path / "clone", origin)
    placed(repository)
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    commit(origin, EVIL)
    placed(repository)
    assert list(sprung.iterdir()) == []
    assert (repository.where / "a.yaml").read_bytes() == b"two\n"
    assert not (tmp_path / "elsewhere").exists()


def test_no_transport_but_that_of_the_url(tmp_path: Path, origin: Path, sprung: Path) -> None:
    mine = tmp_path / "mine"
    git(tmp_path, "clone", "--quiet", str(origin), str(mine))
    git(mine, "remote", "add", "evil", f"ext::{trap(sprung, 'ext')} %S")
    git(mine, "config", "protocol.ext.allow", "always")
    git(mine, "config", f"url.ext::{trap(sprung, 'rewritten')} .insteadOf", "https://")
    with pytest.raises(Terminal, match="is not the URL of a repository that can be followed"):
        following(mine, "evil", ours=False).newest()
    with pytest.raises(Terminal, match="transport 'ext' not allowed"):
        following(mine, "https://example.com/x", ours=False).newest()
    assert list(sprung.iterdir()) == []


def test_submodules_are_not_followed(tmp_path: Path, origin: Path, sprung: Path) -> None:
    inner = repository_at(tmp_path / "inner")
    git(origin, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "inner")
    git(origin, "config", "--file", ".gitmodules", "submodule.inner.update", f"!{trap(sprung, 'update')}")
    commit(origin, {})
    repository = following(tmp_path / "clone", origin)
    with pytest.raises(Terminal, match="gitmodulesUpdate"):
        repository.newest()
    git(origin, "config", "--file", ".gitmodules", "--unset", "submodule.inner.update")
    git(origin, "add", ".gitmodules")
    git(origin, "commit", "--quiet", "--amend", "--no-edit")
    placed(repository)
    assert list((repository.where / "inner").iterdir()) == []
    commit(origin, {"a.yaml": "two\n"})
    placed(repository)
    assert list(sprung.iterdir()) == []
    assert not (repository.where / ".git" / "modules").exists()


def test_a_link_that_leads_out_is_a_link_and_nothing_is_written_through_it(tmp_path: Path, origin: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (origin / "out").symlink_to(outside)
    (origin / "passwords").symlink_to("/etc/passwd")
    commit(origin, {})
    repository = following(tmp_path / "clone", origin)
    placed(repository)
    assert (repository.where / "out").readlink() == outside
    git(origin, "rm", "--quiet", "--cached", "out")
    (origin / "out").unlink()
    commit(origin, {"out/x.yaml": "inside\n"})
    placed(repository)
    assert not (repository.where / "out").is_symlink()
    assert (list(outside.iterdir()), (repository.where / "out" / "x.yaml").read_text()) == ([], "inside\n")


def test_a_link_that_somebody_put_in_the_way_is_not_followed(tmp_path: Path, origin: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    repository = following(tmp_path / "clone", origin)
    placed(repository)
    (repository.where / "new").symlink_to(outside)
    commit(origin, {"new/x.yaml": "inside\n"})
    with pytest.raises(Terminal, match="is not tracked: new"):
        repository.check_out(repository.newest())
    assert list(outside.iterdir()) == []


def test_what_a_remote_says_is_safe_to_print(tmp_path: Path) -> None:
    (tmp_path / "re\x1b[31mpo").mkdir()
    with pytest.raises(Terminal):
        following(tmp_path / "clone", tmp_path / "re\x1b[31mpo")
    origin = repository_at(tmp_path / "origin")
    (origin / ".git" / "HEAD").write_text("\x1b[31mnonsense\u202e")
    with pytest.raises(Terminal) as told:
        following(tmp_path / "clone", origin).newest()
    assert str(told.value).isprintable()
