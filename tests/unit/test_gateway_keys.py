"""API keys of the gateway: made, found, expired, revoked, replaced; the text of a key is on no disk."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from reconciler.errors import StoreError, UsageError
from reconciler.gateway.keys import ADMIN, SCOPES, Key, Keyring, create, keys_file, listing, revoke, rotate

NOW = 1_800_000_000.0


def ring(state: Path, at: float = NOW, token: str = "") -> Keyring:
    return Keyring(state, token, clock=lambda: at)


def test_a_key_is_found_by_its_text_and_by_nothing_else(tmp_path: Path) -> None:
    key, text = create(tmp_path, "vision", now=NOW)
    other, _ = create(tmp_path, "audio", now=NOW)
    keys = ring(tmp_path)
    assert text.startswith(f"mlr_{key.id}_")
    assert keys.find(text) == key
    secret = text.split("_", 2)[2]
    for wrong in (
        "",
        secret,
        text[:-1],
        f"{text}x",
        text.upper(),
        f"mlr_{other.id}_{secret}",
        f"x_{key.id}_{secret}",
        "mlr__",
        "é" * 400,
        "\udce9",
    ):
        assert keys.find(wrong) is None, wrong


def test_what_a_key_allows() -> None:
    one, everything = Key("a", "vision", frozenset({"predict"})), Key("b", "*", frozenset(SCOPES))
    assert one.allows("vision", "predict")
    assert not one.allows("vision", "metrics")
    assert not one.allows("audio", "predict")
    assert all(everything.allows("audio", scope) for scope in SCOPES)


def test_the_text_of_a_key_is_on_no_disk_and_in_no_representation(tmp_path: Path) -> None:
    key, text = create(tmp_path, "vision", note="for the shop", now=NOW)
    secret = text.split("_", 2)[2]
    path = keys_file(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not any(secret in each.read_text() for each in path.parent.iterdir())
    assert key.sha256 not in repr(key)


def test_the_admin_token_is_a_key_for_everything_and_an_empty_one_for_nothing(tmp_path: Path) -> None:
    assert ring(tmp_path, token="sesame").find("sesame") == ADMIN
    assert ADMIN.allows("any", "metrics")
    assert ring(tmp_path, token="sesame").find("sesam") is None
    assert ring(tmp_path, token="").find("") is None


def test_a_key_ends_when_its_time_is_over_and_when_it_is_revoked(tmp_path: Path) -> None:
    _, text = create(tmp_path, "vision", lifetime=60, now=NOW)
    assert ring(tmp_path, NOW + 59.9).find(text) is not None
    assert ring(tmp_path, NOW + 60).find(text) is None
    kept, other = create(tmp_path, "vision", now=NOW)
    keys = ring(tmp_path)
    assert keys.find(other) is not None
    assert revoke(tmp_path, kept.id, now=NOW).revoked == NOW
    assert keys.find(other) is None, "at once, without a restart"
    assert revoke(tmp_path, kept.id, now=NOW + 5).revoked == NOW
    with pytest.raises(UsageError, match="there is no key 'nope'"):
        revoke(tmp_path, "nope")


def test_rotation_leaves_the_old_key_good_for_a_while(tmp_path: Path) -> None:
    old, text = create(tmp_path, "vision", ["predict"], lifetime=1000, note="shop", now=NOW)
    new, renewed = rotate(tmp_path, old.id, grace=100, now=NOW + 500)
    assert (new.project, new.scopes, new.note, new.expires) == ("vision", {"predict"}, "shop", NOW + 1500)
    at = ring(tmp_path, NOW + 599)
    assert at.find(text) is not None
    assert at.find(renewed) == new
    after = ring(tmp_path, NOW + 600)
    assert after.find(text) is None
    assert after.find(renewed) == new
    assert {each.id: each.replaced_by for each in listing(tmp_path)} == {old.id: new.id, new.id: ""}
    with pytest.raises(UsageError, match=f"replaced by {new.id} already"):
        rotate(tmp_path, old.id, now=NOW + 550)
    with pytest.raises(UsageError, match="good no longer"):
        rotate(tmp_path, old.id, now=NOW + 700)


def test_grace_never_makes_a_key_live_longer(tmp_path: Path) -> None:
    old, text = create(tmp_path, "vision", lifetime=50, now=NOW)
    rotate(tmp_path, old.id, grace=3600, now=NOW)
    assert ring(tmp_path, NOW + 50).find(text) is None


def test_a_key_needs_scopes_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without a scope"):
        create(tmp_path, "vision", [])
    with pytest.raises(UsageError, match="there is no scope 'everything'"):
        create(tmp_path, "vision", ["predict", "everything"])
    assert listing(tmp_path) == ()


def test_keys_that_are_made_at_once_are_all_there(tmp_path: Path) -> None:
    texts: list[str] = []
    makers = [threading.Thread(target=lambda: texts.extend(create(tmp_path, "vision", now=NOW)[1] for _ in range(5))) for _ in range(6)]
    for each in makers:
        each.start()
    for each in makers:
        each.join()
    keys = ring(tmp_path)
    assert len(texts) == 30
    assert all(keys.find(text) for text in texts)


def test_a_broken_file_opens_nothing_but_to_the_admin_and_is_not_overwritten(tmp_path: Path) -> None:
    _, text = create(tmp_path, "vision", now=NOW)
    keys, path = ring(tmp_path, token="sesame"), keys_file(tmp_path)
    whole = path.read_text()
    assert keys.find(text) is not None
    for broken in (
        whole[:-5],
        "[]",
        '{"keys": [1]}',
        '{"keys": [{"id": "a", "project": "*", "scopes": [], "created": 0, "sha256": ""}]}',
        "null",
    ):
        path.write_text(broken)
        os.utime(path, ns=(0, len(broken)))
        assert keys.find(text) is None, broken
        assert keys.find("sesame") == ADMIN
        with pytest.raises(StoreError, match="does not hold keys"):
            create(tmp_path, "vision")
        assert path.read_text() == broken
    path.write_text(whole)
    assert keys.find(text) is not None
    path.unlink()
    assert keys.find(text) is None


def test_what_a_newer_version_adds_to_a_key_does_no_harm(tmp_path: Path) -> None:
    _, text = create(tmp_path, "vision", now=NOW)
    path = keys_file(tmp_path)
    found = json.loads(path.read_text())
    found["keys"][0]["colour"] = "blue"
    path.write_text(json.dumps(found))
    assert ring(tmp_path).find(text) is not None
