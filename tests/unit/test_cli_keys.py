"""`reconcile keys` on a tree of its own; no service is needed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from reconciler.gateway.keys import Keyring, create, keys_file, listing, revoke
from tests.unit.test_cli import reconcile


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifests of the project `hello`."""
    folder = tmp_path_factory.mktemp("tree")
    assert reconcile("init", ".", cwd=folder).returncode == 0
    return folder


@pytest.fixture
def tree(written: Path, tmp_path: Path) -> Path:
    """The same with a state folder as a pass makes it."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    (tmp_path / ".mlops").mkdir(mode=0o700)
    return tmp_path


def test_the_text_of_a_key_is_all_that_stdout_gets_and_opens_what_it_is_for(tree: Path) -> None:
    said = reconcile(
        "keys", "create", "--project", "hello", "--scope", "predict", "--expires", "90d", "--note", "for\x1b[2J tests", cwd=tree
    )
    assert said.returncode == 0, said.stderr
    assert re.fullmatch(r"mlr_[0-9a-f]{12}_[\w-]{43}\n", said.stdout)
    text = said.stdout.strip()
    key = Keyring(tree / ".mlops", "").find(text)
    assert key is not None
    assert said.stderr.startswith(f"Key {key.id} is for project hello: predict; it ends in 90 d. It is not shown again.\nNext: ")
    assert text.split("_", 2)[2] not in said.stderr + keys_file(tree / ".mlops").read_text()
    listed = reconcile("keys", "list", cwd=tree).stdout
    assert listed.startswith("1 key is good\n")
    assert f"{key.id}  hello    predict  ends in 90 d  0 s ago" in re.sub(r"\d+ s ago", "0 s ago", listed)
    assert "for\\x1b[2J tests" in listed
    assert text.split("_", 2)[2] not in listed


def test_a_key_for_programs(tree: Path) -> None:
    made = json.loads(reconcile("keys", "create", "--project", "*", "-o", "json", cwd=tree).stdout)
    assert (made["formatVersion"], made["kind"], made["project"], made["expires"], made["good"]) == (1, "key", "*", None, True)
    assert made["scopes"] == ["feedback", "models", "predict"]
    assert made["key"].startswith(f"mlr_{made['id']}_")
    (told,) = json.loads(reconcile("keys", "list", "-o", "json", cwd=tree).stdout)["keys"]
    assert told == {name: found for name, found in made.items() if name not in ("key", "formatVersion", "kind")}


def test_a_key_is_replaced_and_ended(tree: Path) -> None:
    state = tree / ".mlops"
    old, before = create(state, "hello")
    said = reconcile("keys", "rotate", old.id, "--grace", "2h", cwd=tree)
    assert said.returncode == 0, said.stderr
    new = next(each for each in listing(state) if each.id != old.id)
    assert f"Key {old.id} is good for 2h more at most." in said.stderr
    ring = Keyring(state, "")
    assert ring.find(said.stdout.strip()) == new
    assert ring.find(before) is not None
    assert f", replaced by {new.id}" in reconcile("keys", "list", cwd=tree).stdout
    assert reconcile("keys", "revoke", old.id, cwd=tree).stdout == f"Key {old.id} is revoked: the gateway refuses it from now on.\n"
    assert ring.find(before) is None
    shown, everything = reconcile("keys", "list", cwd=tree).stdout, reconcile("keys", "list", "--all", cwd=tree).stdout
    assert old.id not in shown
    assert "1 key of before is good no longer (`--all`)" in shown
    assert f"revoked, replaced by {new.id}" in everything


def test_keys_of_other_projects_can_be_left_out(tree: Path) -> None:
    create(tree / ".mlops", "audio")
    revoke(tree / ".mlops", create(tree / ".mlops", "hello")[0].id)
    said = reconcile("keys", "list", "--project", "hello", cwd=tree).stdout
    assert said.startswith("No key is good.\n")
    assert "audio" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["create"], "missing option '--project'"),
        (["create", "--project", "helo"], "there is no project 'helo'\n  did you mean hello?"),
        (["create", "--project", "hello", "--expires", "soon"], "'soon' is not a duration"),
        (["create", "--project", "hello", "--scope", "all"], "'all' is not one of"),
        (["revoke", "nope"], "there is no key 'nope'"),
        (["rotate", "nope"], "there is no key 'nope'"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_made(words: list[str], message: str, tree: Path) -> None:
    said = reconcile("keys", *words, cwd=tree)
    assert said.returncode == 1
    assert message in said.stderr
    assert said.stdout == ""
    assert not keys_file(tree / ".mlops").exists()


def test_without_an_installation_there_are_no_keys(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert "there are no manifests" in reconcile("keys", "list", cwd=tmp_path_factory.mktemp("nothing")).stderr
    (tree / ".mlops").rmdir()
    assert "nothing was reconciled here yet" in reconcile("keys", "create", "--project", "hello", cwd=tree).stderr
    assert not (tree / ".mlops").exists()
