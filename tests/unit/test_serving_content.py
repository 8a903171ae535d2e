"""The digest of a model's folder, and which names may be in one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import Terminal
from reconciler.model.content import digest_of_files, first_difference, is_inside
from reconciler.serving.content import digest, files


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"one")
    (folder / "deep" / "b.bin").write_bytes(b"two")
    return folder


def test_the_digest_is_of_names_and_contents_and_of_nothing_else(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "a.bin", (0, 0))
    (tmp_path / "copy" / "empty").mkdir()
    assert digest(tmp_path / "copy") == digest(model)
    assert set(files(model)) == {"a.bin", "deep/b.bin"}
    before = digest(model)
    (model / "a.bin").write_bytes(b"One")
    assert digest(model) != before
    (model / "a.bin").write_bytes(b"one")
    (model / "a.bin").rename(model / "c.bin")
    assert digest(model) != before


def test_bytes_cannot_move_from_one_file_to_its_neighbour(tmp_path: Path) -> None:
    for name, contents in (("x", ("ab", "c")), ("y", ("a", "bc"))):
        (tmp_path / name).mkdir()
        for number, text in enumerate(contents):
            (tmp_path / name / f"{number}").write_text(text)
    assert digest(tmp_path / "x") != digest(tmp_path / "y")


def test_links_and_special_files_are_refused(model: Path) -> None:
    (model / "link").symlink_to("a.bin")
    with pytest.raises(Terminal, match="link in the model's folder is a link"):
        digest(model)
    (model / "link").unlink()
    (model / "folder").symlink_to("deep")
    with pytest.raises(Terminal, match="is a link"):
        digest(model)
    (model / "folder").unlink()
    os.mkfifo(model / "pipe")
    with pytest.raises(Terminal, match="pipe"):
        digest(model)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="no file"):
        digest(tmp_path)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\\..\\b", "a\0b", "a\nb", "..", "."], ids=repr
)
def test_names_that_could_lead_elsewhere(name: str) -> None:
    assert not is_inside(name)


@pytest.mark.parametrize("name", ["a", "a/b.bin", ".hidden", "a..b", "...", "ä b"])
def test_names_that_stay_inside(name: str) -> None:
    assert is_inside(name)


@given(st.text())
def test_what_is_inside_stays_inside(name: str) -> None:
    if is_inside(name):
        assert Path(os.path.normpath(Path("/model") / name)).is_relative_to("/model")
        assert os.path.normpath(Path("/model") / name) != "/model"


def test_the_first_difference_is_named() -> None:
    wanted = {"a": "1", "b": "2"}
    assert first_difference(wanted, wanted) == ""
    assert first_difference(wanted, {"a": "1"}) == "b is missing"
    assert first_difference(wanted, {**wanted, "aa": "3"}) == "aa does not belong there"
    assert first_difference(wanted, {"a": "x", "b": "y"}) == "a was changed"


@given(st.dictionaries(st.text(min_size=1), st.text("0123456789abcdef", min_size=64, max_size=64), max_size=5))
def test_equal_digest_means_no_difference(found: dict[str, str]) -> None:
    backwards = dict(reversed(list(found.items())))
    assert digest_of_files(found) == digest_of_files(backwards)
    assert first_difference(found, backwards) == ""
