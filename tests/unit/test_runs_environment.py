"""Environments made by the real uv, from wheels that are made here: nothing is fetched."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.errors import Terminal, Transient
from reconciler.runs.environment import UNUSED_SECONDS, digest, hold, prepare, readable, remove_unused


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))


def wheel(folder: Path, name: str, version: str) -> Path:
    """A real wheel of one module that knows its version."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def tell(python: Path, code: str) -> str:
    return subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_no_requirements_is_an_environment_of_its_own(tmp_path: Path) -> None:
    python = prepare("p", (), "", tmp_path)
    assert tell(python, "import sys; print(sys.prefix)") == str(python.parent.parent)
    assert tell(python, "import importlib.util as u; print(u.find_spec('reconciler'), u.find_spec('pydantic'))") == "None None"


def test_requirements_are_installed_once_and_shared(tmp_path: Path) -> None:
    wanted = (f"tiny @ file://{wheel(tmp_path, 'tiny', '1.2')}",)
    python = prepare("p", wanted, "", tmp_path)
    assert tell(python, "import tiny; print(tiny.VERSION)") == "1.2"
    stamp = (python.parent.parent / ".complete").stat().st_mtime_ns
    assert prepare("p", wanted, "", tmp_path) == python
    assert (python.parent.parent / ".complete").stat().st_mtime_ns == stamp
    assert prepare("p", (), "", tmp_path) != python
    assert prepare("other", wanted, "", tmp_path) != python


def test_two_projects_may_want_what_excludes_each_other(tmp_path: Path) -> None:
    first, second = (
        prepare(name, (f"tiny @ file://{wheel(tmp_path, 'tiny', version)}",), "", tmp_path) for name, version in (("a", "1"), ("b", "2"))
    )
    assert [tell(each, "import tiny; print(tiny.VERSION)") for each in (first, second)] == ["1", "2"]


def test_a_lock_installs_what_it_says_and_checks_the_hash(tmp_path: Path) -> None:
    made = wheel(tmp_path, "tiny", "3")
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"tiny @ file://{made} --hash=sha256:{hashlib.sha256(made.read_bytes()).hexdigest()}\n")
    assert tell(prepare("p", ("ignored",), str(lock), tmp_path), "import tiny; print(tiny.VERSION)") == "3"
    lock.write_text(f"tiny @ file://{made} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(Terminal, match=r"(?i)hash mismatch"):
        prepare("p", (), str(lock), tmp_path)
    lock.write_text(f"tiny @ file://{made}\n")
    with pytest.raises(Terminal, match="hash"):
        prepare("p", (), str(lock), tmp_path)


def test_a_lock_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="the lock file cannot be read"):
        prepare("p", (), str(tmp_path / "requirements.lock"), tmp_path)


def test_what_cannot_be_installed_leaves_no_environment(tmp_path: Path) -> None:
    first = wheel(tmp_path, "tiny", "1")
    with pytest.raises(Terminal, match=r"requirements cannot be installed: Because .*tiny") as told:
        prepare("p", (f"tiny @ file://{first}", "tiny==2"), "", tmp_path)
    assert "×" not in str(told.value)
    assert "\n" not in str(told.value)
    assert prepare("p", (f"tiny @ file://{first}",), "", tmp_path).exists()


def test_a_cut_off_environment_is_made_again(tmp_path: Path) -> None:
    wanted = (f"tiny @ file://{wheel(tmp_path, 'tiny', '1')}",)
    python = prepare("p", wanted, "", tmp_path)
    (python.parent.parent / ".complete").unlink()
    next(python.parent.parent.glob("lib/*/site-packages/tiny.py")).unlink()
    assert tell(prepare("p", wanted, "", tmp_path), "import tiny; print(tiny.VERSION)") == "1"


def test_an_environment_whose_interpreter_is_gone_is_made_again(tmp_path: Path) -> None:
    python = prepare("p", (), "", tmp_path)
    python.unlink()
    python.symlink_to(tmp_path / "removed")
    assert tell(prepare("p", (), "", tmp_path), "print(1)") == "1"


def test_many_at_once_make_it_once(tmp_path: Path) -> None:
    wanted = (f"tiny @ file://{wheel(tmp_path, 'tiny', '1')}",)
    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(lambda _: prepare("p", wanted, "", tmp_path), range(6)))
    assert len(found) == 1
    assert tell(found.pop(), "import tiny; print(tiny.VERSION)") == "1"


def test_waiting_for_another_maker_can_be_stopped(tmp_path: Path) -> None:
    import fcntl

    python = prepare("p", (), "", tmp_path)
    with (python.parent.parent.parent / f".{python.parent.parent.name}.make").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Transient, match="not wanted"):
            prepare("p", (), "", tmp_path, stop=lambda: "not wanted")


def test_old_environments_go_but_not_those_in_use_or_of_others(tmp_path: Path) -> None:
    home = tmp_path / "environments"
    old, used, fresh = (prepare("p", (f"tiny @ file://{wheel(tmp_path, 'tiny', version)}",), "", tmp_path) for version in "123")
    other = prepare("p-other", (), "", tmp_path)
    long_ago = time.time() - UNUSED_SECONDS - 60
    for python in (old, used, other):
        for path in (python.parent.parent / ".used", python.parent.parent):
            os.utime(path, (long_ago, long_ago))
    handle = hold(used)
    assert remove_unused(home, "p", keep=fresh.parent.parent) == [old.parent.parent]
    os.close(handle)
    assert remove_unused(home, "p", keep=fresh.parent.parent) == [used.parent.parent]
    assert fresh.exists()
    assert other.exists()


def test_the_digest_knows_what_matters() -> None:
    assert digest(("a", "b  ==1"), "") == digest(("b ==1", "a"), "")
    assert digest(("a",), "") != digest(("b",), "")


def test_uvs_tree_becomes_a_sentence() -> None:
    told = "  × No solution found when resolving dependencies:\n  ╰─▶ Because there is no version of nosuch==1 and you require\n"
    told += "      nosuch==1, we can conclude\n"
    assert readable(told) == "Because there is no version of nosuch==1 and you require nosuch==1, we can conclude"
