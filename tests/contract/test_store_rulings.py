"""What people ruled, in both databases: approvals and revisions that are not taken."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.state import Approval, Quarantined, Store, open_store
from tests.contract.backup_lab import restored
from tests.contract.store_values import DATASET, EXPERIMENT, NOON

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("store")
YES = Approval(EXPERIMENT, "digest one", "ann", NOON, "abc Gräce <g@example.org>: a ✓")
BAD = Quarantined("root", "b" * 40, {"manifests": "t" * 40, "a b/ünï": ""}, "it broke\nthings", "ann", NOON)


def test_an_approval_stays_until_it_is_spent(store: Store) -> None:
    assert store.rulings.approvals() == {}
    store.rulings.approve([YES, replace(YES, ref=DATASET)])
    store.rulings.approve([])
    assert store.rulings.approvals() == {EXPERIMENT: YES, DATASET: replace(YES, ref=DATASET)}
    store.rulings.spent([YES])
    store.rulings.spent([YES])
    assert store.rulings.approvals().keys() == {DATASET}


def test_the_newest_approval_counts_and_an_older_one_cannot_take_it_away(store: Store) -> None:
    newer = replace(YES, digest="digest two", actor="bob")
    store.rulings.approve([YES])
    store.rulings.approve([newer])
    store.rulings.spent([YES])
    assert store.rulings.approvals() == {EXPERIMENT: newer}


def test_a_quarantine_stays_until_it_is_lifted(store: Store) -> None:
    newer, elsewhere = replace(BAD, revision="c" * 40, at=NOON + timedelta(hours=1)), replace(BAD, source="team", trees={})
    for each in (BAD, newer, elsewhere):
        store.rulings.quarantine(each)
    assert store.rulings.quarantined() == (newer, BAD, elsewhere)
    store.rulings.quarantine(replace(BAD, reason="worse"))
    assert store.rulings.quarantined()[1].reason == "worse"
    store.rulings.lift(BAD)
    store.rulings.lift(BAD)
    assert store.rulings.quarantined() == (newer, elsewhere)


def test_a_backup_holds_both(store: Store, tmp_path: Path) -> None:
    store.rulings.approve([YES])
    store.rulings.quarantine(BAD)
    store.back_up(tmp_path / "backup.zip")
    with open_store(tmp_path / "other.db") as other:
        restored(other, tmp_path / "backup.zip")
        assert other.rulings.approvals() == {EXPERIMENT: YES}
        assert other.rulings.quarantined() == (BAD,)


def test_nobody_has_ruled_anything_where_nobody_wrote_yet(place: str | Path) -> None:
    with open_store(place, read_only=True) as store:
        assert store.rulings.approvals() == {}
        assert store.rulings.quarantined() == ()
