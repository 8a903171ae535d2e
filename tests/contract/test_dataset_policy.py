"""The Dataset kind: pins, remotes, sources, expectations, limits, deletion, and the fence between projects."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import Terminal
from reconciler.model import (
    Absent,
    Create,
    Health,
    Unknown,
)
from schemas.dataset import DatasetSpec
from tests.contract.dataset_house import KIND, House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


# --- pin ---


def test_a_pin_holds_a_version_and_saves_what_was_there(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    first = house.reconcile(house.dataset("t", "t.csv"))
    path.write_text("x\n2\n")
    second = house.reconcile(house.dataset("t", "t.csv"))
    pinned = house.dataset("t", "t.csv", pin=first)
    assert house.paths(pinned) == ["spec.version"]
    assert house.see(pinned).outputs["digest"] == first
    assert house.reconcile(pinned) == first
    assert path.read_text() == "x\n1\n"
    assert [each.version.md5 for each in house.dvc.names.history("p", "t")] == [second]
    path.write_text("an edit")
    assert house.paths(pinned) == ["spec.data"]
    assert house.health(pinned).reason == "NotThePin"
    house.reconcile(pinned)
    (saved,) = house.dvc.names.saved("p", "t")
    assert house.kept(saved.version.md5) == "an edit"


def test_a_pin_that_is_nowhere_and_a_pin_of_another_project_are_refused(house: House) -> None:
    house.file("q/secret.csv", "theirs\n")
    theirs = house.reconcile(house.dataset("secret", "secret.csv", project="q"))
    for pin in ("0" * 32, theirs):
        with pytest.raises(Terminal, match="is not one of p/t"):
            house.reconcile(house.dataset("t", "t.csv", pin=pin))
    assert not (house.root / "p/t.csv").exists()


# --- remote, damage ---


def test_push_then_everything_local_is_lost_and_comes_back(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv", remote="store", push=True)
    digest = house.reconcile(data)
    assert house.dvc.in_remote(digest, "store")
    shutil.rmtree(house.dvc.cache.objects)
    path.unlink()
    assert house.paths(data) == ["spec.cache", "spec.data"]
    assert house.health(data).health is Health.MISSING
    assert house.reconcile(data) == digest
    assert path.read_text() == "x\n1\n"


def test_push_can_be_turned_on_later_and_a_new_version_is_pushed_too(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    house.reconcile(house.dataset("t", "t.csv"))
    data = house.dataset("t", "t.csv", remote="store", push=True)
    assert house.paths(data) == ["spec.push"]
    assert house.dvc.in_remote(house.reconcile(data), "store")
    path.write_text("x\n2\n")
    assert house.dvc.in_remote(house.reconcile(data), "store")


def test_a_damaged_cache_is_repaired_from_the_data(house: House) -> None:
    house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv")
    digest = house.reconcile(data)
    kept = house.dvc.cache.path(digest)
    kept.chmod(0o644)
    kept.write_text("x\n7\n")
    assert house.paths(data) == ["spec.cache"]
    assert house.health(data).reason == "CacheDamaged"
    assert house.reconcile(data) == digest
    assert house.kept(digest) == "x\n1\n"


def test_a_version_that_is_lost_everywhere_is_named(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv", remote="store")
    digest = house.reconcile(data)
    path.unlink()
    house.dvc.cache.drop([digest])
    with pytest.raises(Terminal, match="is lost"):
        house.reconcile(data)


def test_a_remote_that_the_project_may_not_use(house: House) -> None:
    house.file("p/t.csv", "x\n1\n")
    house.allow["p"] = {"remotes": ["other"]}
    with pytest.raises(Terminal, match="may not use remote 'store'"):
        house.reconcile(house.dataset("t", "t.csv", remote="store", push=True))


# --- sources ---


def test_a_source_file_fills_a_missing_path_once(house: House) -> None:
    origin = house.file("p/raw/t.csv", "x\n1\n")
    data = house.dataset("t", "data/t.csv", source={"file": "raw/t.csv"})
    house.reconcile(data)
    assert (house.root / "p/data/t.csv").read_text() == "x\n1\n"
    origin.write_text("x\n2\n")
    assert house.paths(data) == []
    house.file("p/raw/u.csv", "x\n3\n")
    other = house.dataset("t", "data/t.csv", source={"file": "raw/u.csv"})
    assert house.paths(other) == ["spec.version"]
    house.reconcile(other)
    assert (house.root / "p/data/t.csv").read_text() == "x\n3\n"


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Path]:
    repo = tmp_path / "theirs"
    repo.mkdir()
    dvc = str(Path(sys.executable).with_name("dvc"))
    subprocess.run([dvc, "init", "-q", "--no-scm"], cwd=repo, check=True, capture_output=True)
    (repo / "t.csv").write_text("x\n1\n")
    subprocess.run([dvc, "add", "-q", "t.csv"], cwd=repo, check=True, capture_output=True)
    return repo


def test_import_needs_permission(house: House, theirs: Path) -> None:
    data = house.dataset("t", "t.csv", source={"import": {"repo": str(theirs), "path": "t.csv"}})
    with pytest.raises(Terminal, match="may not import"):
        house.reconcile(data)
    house.allow["p"] = {"hosts": [f"file://{theirs}"]}
    house.reconcile(data)
    assert (house.root / "p/t.csv").read_text() == "x\n1\n"


@pytest.mark.parametrize(
    "source",
    [
        {"url": "http://127.0.0.1:9/t.csv"},
        {"s3": "s3://bucket/t.csv"},
        {"import": {"repo": "https://example.org/r.git", "path": "t.csv"}},
        {"import": {"repo": "git@example.org:r.git", "path": "t.csv"}},
        {"import": {"repo": "ext::sh -c true", "path": "t.csv"}},
        {"import": {"repo": "../q", "path": "secret.csv"}},
    ],
)
def test_a_source_outside_needs_permission(house: House, source: dict[str, Any]) -> None:
    house.file("q/secret.csv", "theirs")
    with pytest.raises(Terminal):
        house.reconcile(house.dataset("t", "t.csv", source=source))
    assert not (house.root / "p/t.csv").exists()


# --- expect, write back, versions ---


def test_what_is_not_expected_does_not_become_a_version(house: House) -> None:
    path = house.file("p/t.csv", "x,y\n1,2\n")
    data = house.dataset("t", "t.csv", expect={"columns": ["x", "y"], "minRows": 1})
    first = house.reconcile(data)
    path.write_text("x\n1\n")
    with pytest.raises(Terminal, match="column 'y' is missing"):
        house.reconcile(data)
    entry = house.dvc.names.entry("p", "t")
    assert entry is not None
    assert entry.version.md5 == first
    path.write_text("x,y\n")
    with pytest.raises(Terminal, match="0 rows, expected at least 1"):
        house.reconcile(data)


def test_expect_that_is_added_later_is_health(house: House) -> None:
    house.file("p/t.csv", "x\n1\n")
    house.reconcile(house.dataset("t", "t.csv"))
    asks = house.dataset("t", "t.csv", expect={"columns": ["z"]})
    assert house.health(asks).reason == "Unexpected"
    assert house.see(house.dataset("t", "t.csv")).unfit == ""
    assert "column 'z' is missing" in house.see(asks).unfit, "no run that reads it starts"
    (house.root / "p/t.csv").write_text("z\n1\n")
    assert house.see(asks).unfit == "", "it is judged before it becomes a version"


def test_parquet_is_read(house: House) -> None:
    import pandas

    pandas.DataFrame({"x": [1, 2]}).to_parquet(house.root / "p/t.parquet")
    data = house.dataset("t", "t.parquet", expect={"columns": ["x"], "minRows": 2})
    house.reconcile(data)
    pandas.DataFrame({"x": [1, 2, 3]}).to_parquet(house.root / "p/t.parquet")
    assert "+1 row, schema same (append)" in house.diff(data)[0].note


def test_a_dvc_file_beside_the_data(house: House) -> None:
    house.file("p/t.csv", "x\n1\n")
    house.reconcile(house.dataset("t", "t.csv"))
    beside = house.root / "p/t.csv.dvc"
    assert not beside.exists()
    data = house.dataset("t", "t.csv", writeBack="file")
    assert house.paths(data) == ["spec.writeBack"]
    digest = house.reconcile(data)
    assert digest in beside.read_text()
    assert "mlops" not in beside.read_text()
    beside.unlink()
    assert house.paths(data) == ["spec.writeBack"]
    house.reconcile(data)
    house.reconcile(house.dataset("t", "t.csv"))
    assert not beside.exists()


def test_old_versions_beyond_the_limit_go(house: House) -> None:
    path = house.file("p/t.csv", "")
    digests = []
    for number in range(5):
        path.write_text(f"x\n{number}\n")
        digests.append(house.reconcile(house.dataset("t", "t.csv")))
    data = house.dataset("t", "t.csv", versions=2)
    (change,) = house.diff(data)
    assert (change.path, change.have, change.want) == ("spec.versions", 4, 2)
    house.reconcile(data)
    assert [house.dvc.cache.has(each) for each in digests] == [False, False, True, True, True]


# --- deleting; other projects ---


def test_delete_forgets_the_versions_and_leaves_the_data(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv", writeBack="file")
    house.reconcile(data)
    house.delete(data)
    house.delete(data)
    assert path.read_text() == "x\n1\n"
    assert house.objects == 0
    assert not (house.root / "p/t.csv.dvc").exists()
    assert isinstance(house.see(data), Absent)


@pytest.mark.parametrize("links", [["symlink"], ["hardlink"], ["copy"]])
def test_delete_leaves_plain_data_where_links_were(tmp_path: Path, links: list[str]) -> None:
    house = House(tmp_path, cacheTypes=links)
    path = house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv")
    house.reconcile(data)
    assert house.paths(data) == []
    house.delete(data)
    assert path.read_text() == "x\n1\n"
    assert not path.is_symlink()


def test_deleting_never_takes_what_another_project_has(house: House) -> None:
    house.file("p/t.csv", "same bytes\n")
    house.file("q/t.csv", "same bytes\n")
    mine, theirs = house.dataset("t", "t.csv"), house.dataset("t", "t.csv", project="q")
    house.reconcile(mine)
    digest = house.reconcile(theirs)
    house.delete(mine)
    assert house.kept(digest) == "same bytes\n"
    assert house.paths(theirs) == []


@pytest.mark.parametrize("path", ["link/t.csv", "inner/t.csv", "inner"])
def test_a_path_in_another_projects_folder_is_refused(house: House, path: str) -> None:
    house.file("q/t.csv", "theirs\n")
    (house.root / "p/link").symlink_to(house.root / "q")
    house.file("p/inner/t.csv", "of a project inside\n")
    house.allow["p/inner"] = {}
    data = house.dataset("t", path, pin="0" * 32)
    assert isinstance(house.see(data), Unknown)
    with pytest.raises(Terminal):
        KIND.apply(Create(data), house.context())
    assert house.objects == 0


def test_export_gives_a_manifest_that_loads(house: House) -> None:
    house.file("p/t.csv", "x\n1\n")
    house.reconcile(house.dataset("t", "t.csv", type="model"))
    manifest = KIND.export("p/t", house.context())
    spec = DatasetSpec.model_validate(manifest["spec"])
    assert (spec.path, spec.type) == ("t.csv", "model")
    house.file("p/raw/My Data.csv", "x\n")
    manifest = KIND.export("p/raw/My Data.csv", house.context())
    assert (manifest["metadata"]["name"], manifest["spec"]) == ("my-data", {"path": "raw/My Data.csv"})
    for other in ("p/u", "nobody/t", "p/../q/t.csv"):
        with pytest.raises(Terminal):
            KIND.export(other, house.context())


def test_a_limit_on_versions_holds_in_the_pass_that_brings_a_new_one(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv", versions=1)
    house.reconcile(data)
    for number in (2, 3, 4):
        path.write_text(f"x\n{number}\n")
        house.reconcile(data)
    assert len(house.dvc.names.history("p", "t")) == 1
