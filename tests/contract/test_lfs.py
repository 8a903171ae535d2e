"""A pointer of Git LFS is no data and no manifest: what is in its place is told, and nothing is hashed in its stead."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import Terminal
from reconciler.model import Health, Unknown
from reconciler.model.lfs import is_lfs_pointer
from reconciler.source.load import load
from tests.contract.dataset_house import House

POINTER = "\n".join(
    [
        "version https://git-lfs.github.com/spec/v1",
        "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393",
        "size 12345",
        "",
    ]
)
"""As git-lfs writes it (docs/spec.md)."""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def objects(house: House) -> list[Path]:
    return [each for each in house.dvc.cache.objects.rglob("*") if each.is_file()]


def test_a_pointer_does_not_become_the_first_version(house: House) -> None:
    house.file("p/t.csv", POINTER)
    data = house.dataset("t", "t.csv")
    seen = house.see(data)
    assert isinstance(seen, Unknown)
    assert "'t.csv' is a pointer of Git LFS, not the data: fetch the data with `git lfs pull`" in seen.reason
    with pytest.raises(Terminal, match=r"pointer of Git LFS.*take it out of LFS"):
        house.dvc.add("p", house.root / "p", "t.csv")
    assert objects(house) == []


def test_a_pointer_in_place_of_data_leaves_the_last_version_standing(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    data = house.dataset("t", "t.csv")
    first = house.reconcile(data)
    before = objects(house)
    path.unlink()
    path.write_text(POINTER)
    assert house.paths(data) == []
    told = house.health(data)
    assert (told.health, told.reason) == (Health.DEGRADED, "LfsPointer")
    assert "git lfs pull" in told.message
    assert house.see(data).outputs["digest"] == first
    assert objects(house) == before
    path.write_text("x\n2\n")
    assert house.reconcile(data) != first


def test_one_pointer_in_a_folder_is_named(house: House) -> None:
    for name in ("a.csv", "deep/b.csv", "c.csv"):
        house.file(f"p/set/{name}", "x\n" * 600)
    house.file("p/set/deep/z.bin", POINTER)
    with pytest.raises(Terminal, match=r"'set/deep/z\.bin' is a pointer of Git LFS"):
        house.dvc.add("p", house.root / "p", "set")


def test_a_pinned_version_takes_the_place_of_a_pointer(house: House) -> None:
    path = house.file("p/t.csv", "x\n1\n")
    first = house.reconcile(house.dataset("t", "t.csv"))
    path.unlink()
    path.write_text(POINTER)
    assert house.reconcile(house.dataset("t", "t.csv", pin=first)) == first
    assert path.read_text() == "x\n1\n"


def test_what_a_source_gives_may_be_a_pointer_too(house: House) -> None:
    house.file("p/raw.csv", POINTER)
    with pytest.raises(Terminal, match=r"'raw\.csv' is a pointer of Git LFS"):
        house.reconcile(house.dataset("t", "t.csv", source={"file": "raw.csv"}))
    assert not (house.root / "p/t.csv").exists()


def test_data_that_only_begins_alike_is_data(house: House) -> None:
    assert is_lfs_pointer(POINTER[:64].encode())
    house.file("p/t.csv", POINTER + "x" * 1024)
    assert house.reconcile(house.dataset("t", "t.csv"))


def test_a_manifest_that_is_a_pointer_says_so(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(POINTER)
    found = load([tmp_path], root=tmp_path)
    [problem] = found.diagnostics
    assert str(problem.location).startswith("m.yaml:1")
    assert problem.message == "the file is a pointer of Git LFS, not the manifest"
    assert "git lfs pull" in problem.hint
    assert not found.sources[0].complete, "nothing is pruned for it"
