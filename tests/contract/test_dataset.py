"""The Dataset kind, through its five verbs, against real DVC: the life of a dataset, and what a pass costs."""

from __future__ import annotations

import dataclasses
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controllers.dataset import READ_AT_MOST
from controllers.tools.dvc_files import write_text
from reconciler.controller import Controller
from reconciler.errors import Conflict, Terminal
from reconciler.model import (
    KNOWN_AFTER_APPLY,
    Absent,
    Create,
    Done,
    Health,
    HealthReport,
    Owned,
    Present,
    Ref,
    Resource,
    Unknown,
    Update,
)
from schemas.dataset import DatasetSpec
from tests.contract.dataset_house import KIND, House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_it_is_a_controller() -> None:
    assert isinstance(KIND, Controller)


# --- the life of a dataset ---


def test_create_then_nothing_to_do_and_no_writes(house: House) -> None:
    house.file("p/data/t.csv", "x,y\n1,2\n")
    data = house.dataset("t", "data/t.csv")
    assert isinstance(house.see(data), Absent)
    digest = house.reconcile(data)
    assert house.kept(digest) == "x,y\n1,2\n"
    assert house.health(data) == HealthReport(Health.HEALTHY)
    house.calls.clear()
    seen = house.see(data)
    assert KIND.diff(data, seen) == ()
    assert (seen.mark.installation, seen.mark.ref) == ("test", "dataset/p/t")
    assert seen.outputs == {"digest": digest, "path": "data/t.csv"}
    assert [each.method for each in house.calls if each.write] == []
    assert [each.method for each in house.calls] == ["list"]


def test_creating_twice_after_a_crash_gives_one_dataset(house: House) -> None:
    house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv")
    for _ in range(2):
        KIND.apply(Create(data), house.context())
    assert house.paths(data) == []
    assert house.dvc.names.history("p", "t") == []
    assert house.objects == 1


def test_changed_bytes_are_a_new_version_and_a_revert_gives_the_old_one_back(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv")
    first = house.reconcile(data)
    path.write_text("x\n1\n2\n3\n")
    (change,) = house.diff(data)
    assert (change.path, change.have, change.want) == ("spec.version", first, KNOWN_AFTER_APPLY)
    assert change.note == "t.csv changed on disk: +2 rows, schema same (append)"
    second = house.reconcile(data)
    assert [each.version.md5 for each in house.dvc.names.history("p", "t")] == [first]
    path.write_text("x\n1\n")
    assert house.reconcile(data) == first
    assert [each.version.md5 for each in house.dvc.names.history("p", "t")] == [second]
    assert house.objects == 2


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x,y\n1,2\n3,4\n", "append"),
        ("x,y\n9,9\n3,4\n", "rows"),
        ("x,y,z\n1,2,3\n", "schema-additive"),
        ("x\n1\n", "schema-breaking"),
    ],
)
def test_a_change_of_a_table_has_a_type(house: House, text: str, kind: str) -> None:
    path = house.file("p/t.csv", "x,y\n1,2\n")
    data = house.dataset("t", "t.csv")
    house.reconcile(data)
    path.write_text(text)
    house.reconcile(data)
    entry = house.dvc.names.entry("p", "t")
    assert entry is not None
    assert entry.notes["change"] == kind


def test_a_change_in_a_folder_is_seen_by_its_files(house: House) -> None:
    for number in range(3):
        house.file(f"p/pictures/sub/{number}.txt", f"{number}")
    data = house.dataset("pictures", "pictures")
    first = house.reconcile(data)
    house.file("p/pictures/sub/3.txt", "3")
    second = house.reconcile(data)
    entry = house.dvc.names.entry("p", "pictures")
    assert entry is not None
    assert entry.notes["change"] == "append"
    house.file("p/pictures/sub/1.txt", "X")
    assert len({first, second, house.reconcile(data)}) == 3
    shutil.rmtree(house.root / "p/pictures/sub")
    assert house.paths(data) == ["spec.version"]


def test_an_edit_that_puts_the_time_back_is_seen(house: House) -> None:
    import os

    path = house.file("p/t.csv", "x\n1\n")
    data, stat = house.dataset("t", "t.csv"), path.stat()
    house.reconcile(data)
    path.write_text("x\n2\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert house.paths(data) == ["spec.version"]


def test_the_same_bytes_with_another_time_are_no_change(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv")
    house.reconcile(data)
    path.touch()
    assert house.paths(data) == []
    house.calls.clear()
    assert house.paths(data) == []
    assert [each.method for each in house.calls] == ["list"], "touched bytes are read once, not in every pass"


def test_a_file_that_is_still_being_written_waits(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv", settle="1h")
    house.reconcile(data)
    path.write_text("x\n1\n2\n")
    seen = house.see(data)
    assert KIND.diff(data, seen) == ()
    assert seen.recheck_at > datetime.now(UTC) + timedelta(minutes=59)
    assert house.health(data).reason == "Settling"
    house.ahead = timedelta(hours=2)
    assert house.paths(data) == ["spec.version"]


def test_missing_bytes_come_back_from_the_cache(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv")
    digest = house.reconcile(data)
    path.unlink()
    assert house.health(data).health is Health.MISSING
    assert house.paths(data) == ["spec.data"]
    assert house.reconcile(data) == digest
    assert path.read_text() == "x\n1\n"


def test_large_data_is_not_read_while_observing(house: House) -> None:
    path = house.root / "p/t.bin"
    with path.open("wb") as file:
        file.truncate(READ_AT_MOST + 1)
    data = house.dataset("t", "t.bin")
    digest = house.reconcile(data)
    path.touch()
    house.calls.clear()
    assert house.paths(data) == ["spec.version"]
    assert "hash" not in [each.method for each in house.calls]
    assert house.reconcile(data) == digest


def test_looking_leaves_no_trace(house: House) -> None:
    house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv")
    assert isinstance(house.see(data), Absent)
    assert not house.state.exists()
    house.reconcile(data)
    house.file("p/t.csv", "x\n2\n")
    before = {each: each.stat().st_mtime_ns for each in house.state.rglob("*")}
    assert house.paths(data) == ["spec.version"]
    assert {each: each.stat().st_mtime_ns for each in house.state.rglob("*")} == before


def test_nothing_to_track_is_an_error_that_says_so(house: House) -> None:
    with pytest.raises(Terminal, match="names no source"):
        house.reconcile(house.dataset("t", "t.csv"))


def test_another_path_keeps_the_history(house: House) -> None:
    house.file("p/a.csv", "x\n1\n")
    first = house.reconcile(house.dataset("t", "a.csv"))
    house.file("p/b.csv", "x\n2\n")
    moved = house.dataset("t", "b.csv")
    assert "spec.path" in house.paths(moved)
    house.reconcile(moved)
    assert [each.version.md5 for each in house.dvc.names.history("p", "t")] == [first]


def test_a_dataset_without_our_mark_and_a_broken_record(house: House) -> None:
    house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv")
    digest = house.reconcile(data)
    record = house.dvc.names.path("p") / "t" / "t.csv.dvc"
    write_text(record, f"outs:\n- md5: {digest}\n  size: 4\n  hash: md5\n  path: t.csv\n")
    assert house.see(data).mark is None
    seen = house.see(data)
    KIND.apply(Update(data, seen, KIND.diff(data, seen), adopt=True), house.context())
    assert house.see(data).mark is not None
    write_text(record, "outs: [")
    assert isinstance(house.see(data), Unknown)


def test_objects_with_our_mark_that_nobody_asked_for_are_listed(house: House) -> None:
    house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv")
    house.reconcile(data)
    assert data.ref in KIND.observe([], house.context())


# --- cost ---


def test_a_thousand_unchanged_datasets(house: House) -> None:
    """Prints the measurement (budget: 0.3 s); asserts that one listing and no reading of bytes is all it takes."""
    for number in range(1000):
        house.file(f"p/data/{number}.csv", f"x\n{number}\n")
    resources = [house.dataset(f"d{number}", f"data/{number}.csv") for number in range(1000)]
    context = house.context()
    began = time.process_time()
    for each in resources:
        KIND.apply(Create(each), context)
    created = time.process_time() - began
    house.calls.clear()
    context = dataclasses.replace(house.context(), clients={})
    began, clock = time.process_time(), time.perf_counter()
    seen = KIND.observe(resources, context)
    diffs = [KIND.diff(each, found) for each in resources if isinstance(found := seen[each.ref], Present)]
    print(f"1,000 unchanged: {time.process_time() - began:.3f} s CPU, {time.perf_counter() - clock:.3f} s; created in {created:.1f} s CPU")
    assert diffs == [()] * 1000
    assert {each.method for each in house.calls} == {"list"}
    assert len(house.calls) == 1


# --- another name ---


def _moved(house: House, name: str, path: str) -> tuple[Owned, Resource[DatasetSpec]]:
    """A dataset with one earlier version, as the inventory has it, and its manifest under another name."""
    file = house.file(f"p/{path}", "x\n1\n")
    data = house.dataset(name, path)
    house.reconcile(data)
    file.write_text("x\n2\n")
    house.reconcile(data)
    renamed = dataclasses.replace(data, ref=Ref("Dataset", "p", f"{name}-now"))
    return Owned(data.ref, f"p/{name}", "root", data.digest, {}, "confirm"), renamed


def test_a_dataset_that_is_renamed_keeps_its_versions_and_its_bytes(house: House) -> None:
    owned, renamed = _moved(house, "t", "t.csv")
    before, objects = house.see(dataclasses.replace(renamed, ref=owned.ref)), house.objects
    history = [each.version for each in house.dvc.names.history("p", "t")]
    for _ in range(2):
        assert KIND.move(owned, renamed, house.context()) == Done("p/t-now")
        seen = house.see(renamed)
        assert KIND.diff(renamed, seen) == ()
        assert seen.fields == before.fields
        assert seen.outputs == {**before.outputs, "formerly": "t"}
        assert (seen.mark.installation, seen.mark.ref) == ("test", "dataset/p/t-now")
    assert house.dvc.names.entry("p", "t") is None
    assert [each.version for each in house.dvc.names.history("p", "t-now")] == history
    assert house.objects == objects


def test_the_first_name_stays_known_through_further_ones_and_new_versions(house: House) -> None:
    owned, renamed = _moved(house, "t", "t.csv")
    KIND.move(owned, renamed, house.context())
    again = dataclasses.replace(renamed, ref=Ref("Dataset", "p", "third"))
    KIND.move(dataclasses.replace(owned, ref=renamed.ref), again, house.context())
    house.file("p/t.csv", "x\n3\n")
    house.reconcile(again)
    assert house.see(again).outputs["formerly"] == "t"
    first = dataclasses.replace(renamed, ref=owned.ref)
    KIND.move(dataclasses.replace(owned, ref=again.ref), first, house.context())
    assert "formerly" not in house.see(first).outputs, "it has its first name again"


def test_a_dataset_takes_nobody_elses_name(house: House) -> None:
    owned, renamed = _moved(house, "t", "t.csv")
    house.file("p/other.csv", "y\n1\n")
    house.reconcile(house.dataset("t-now", "other.csv"))
    with pytest.raises(Conflict):
        KIND.move(owned, renamed, house.context())
    assert house.dvc.names.entry("p", "t") is not None
