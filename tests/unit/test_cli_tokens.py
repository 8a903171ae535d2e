"""`reconcile token`: made, listed, ended; the text is shown once, and what is wrong is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.api.v1.authenticate import hashed
from reconciler.model import Owned, Ref
from reconciler.state import open_store
from tests.forked import reconcile


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An installation with one project."""
    (tmp_path / ".mlops").mkdir(mode=0o700)
    with open_store(tmp_path / ".mlops/store.db") as store, store.writer("test"):
        store.record(Owned(Ref("Project", None, "vision"), "vision", "root", "d", {"path": "vision"}, "never"))
    return tmp_path


def run(here: Path, *words: str) -> tuple[int, str, str]:
    ran = reconcile("token", *words, cwd=here, env={"PATH": "", "LOGNAME": "ada"})
    return ran.returncode, ran.stdout, ran.stderr


def test_a_token_is_shown_once_and_only_its_hash_is_kept(here: Path) -> None:
    code, text, told = run(here, "create", "ci", "--role", "operator", "--of", "vision", "--expires", "90d")
    assert code == 0, told
    text = text.strip()
    assert text.startswith("mlt_")
    assert text not in told
    assert "operator of vision, until " in told
    with open_store(here / ".mlops/store.db", read_only=True) as store:
        [kept] = store.doors.tokens()
        assert (kept.name, kept.role, kept.projects, kept.hash) == ("ci", "operator", frozenset({"vision"}), hashed(text.split("_", 2)[2]))
        assert (kept.expires or kept.created) > kept.created
        [line] = [each for each in store.history() if each.action == "token"]
        assert (line.actor, line.detail["role"]) == ("ada", "operator")
    assert text.split("_", 2)[2] not in run(here, "list", "--all", "-o", "json")[1]


def test_a_token_is_listed_until_it_is_revoked(here: Path) -> None:
    made = json.loads(run(here, "create", "board", "-o", "json")[1])
    assert made["projects"] == ["*"]
    code, listed, _ = run(here, "list")
    assert code == 0
    assert "1 token good, 0 not any more." in listed
    assert "every project" in listed
    assert run(here, "revoke", made["id"])[0] == 0
    assert run(here, "revoke", made["id"])[0] == 0, "safe to repeat"
    assert "0 tokens good, 1 not any more." in run(here, "list")[1]
    assert "revoked" in run(here, "list", "--all")[1]
    assert not json.loads(run(here, "list", "-o", "json")[1])["tokens"][0]["good"]
    with open_store(here / ".mlops/store.db", read_only=True) as store:
        assert len([each for each in store.history() if each.action == "revoke"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "two words"), "is no name of a token"),
        (("create", "x", "--of", "visoin"), "did you mean vision?"),
        (("create", "x", "--expires", "soon"), "for --expires"),
        (("revoke", "000000000000"), "there is no token"),
    ],
)
def test_what_is_wrong_is_said(here: Path, words: tuple[str, ...], said: str) -> None:
    code, out, told = run(here, *words)
    assert code == 1
    assert said in told
    assert not out


def test_nothing_is_made_where_there_is_no_installation(tmp_path: Path) -> None:
    code, _, told = run(tmp_path, "create", "x")
    assert code == 1
    assert told
    assert not list(tmp_path.iterdir())
