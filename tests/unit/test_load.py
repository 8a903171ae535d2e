"""From files to manifests: what is read, what is refused, and that nothing else suffers."""

from __future__ import annotations

import os
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.model import Location
from reconciler.source.load import Loaded, load
from reconciler.source.place import Places
from reconciler.source.yamltext import MAX_BYTES

HEAD = "apiVersion: reconciler.mlops/v1\nkind: Dataset\n"


def write(root: Path, name: str, text: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(root: Path, *names: str, cache: Path | None = None, source: str = "root") -> Loaded:
    return load([Path(each) for each in names or ("m",)], root=root, cache=cache, source=source)


def one(root: Path, text: str | bytes) -> Loaded:
    write(root, "m/one.yaml", text)
    return read(root)


def messages(loaded: Loaded) -> list[str]:
    return [f"{each.location} {each.message}" for each in loaded.diagnostics]


# --- what is read --------------------------------------------------------------------------------------------------


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c/d.yaml", "c/a.yaml"):
        write(tmp_path, f"m/{name}", f"name: {name}\n---\nname: second of {name}\n")
    found = [(each.location.file, each.location.line, each.index) for each in read(tmp_path).manifests]
    assert found == [
        ("m/a.yml", 1, 0), ("m/a.yml", 3, 1), ("m/b.yaml", 1, 0), ("m/b.yaml", 3, 1),
        ("m/c/a.yaml", 1, 0), ("m/c/a.yaml", 3, 1), ("m/c/d.yaml", 1, 0), ("m/c/d.yaml", 3, 1),
    ]  # fmt: skip


def test_what_is_not_a_manifest_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "m/a.yaml", HEAD)
    for name in (".hidden.yaml", ".git/x.yaml", "overlays/prod/x.yaml", "sub/overlays/x.yaml", "notes.md", "x.yaml~", "x.json"):
        write(tmp_path, f"m/{name}", "- not: a manifest\n")
    write(tmp_path, "m/left/.reconcileignore", "")
    write(tmp_path, "m/left/deep/x.yaml", "- not: a manifest\n")
    loaded = read(tmp_path)
    assert [each.location.file for each in loaded.manifests] == ["m/a.yaml"]
    assert loaded.sources[0].complete


def test_an_ignored_folder_is_read_when_it_is_named(tmp_path: Path) -> None:
    write(tmp_path, "m/left/.reconcileignore", "")
    write(tmp_path, "m/left/x.yaml", HEAD)
    assert len(read(tmp_path, "m/left").manifests) == 1


def test_empty_documents_and_comments_are_no_documents(tmp_path: Path) -> None:
    loaded = one(tmp_path, f"---\n---\n# nothing\n---\n{HEAD}---\n")
    assert [(each.location.line, each.index) for each in loaded.manifests] == [(5, 2)]
    assert not loaded.diagnostics


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    loaded = one(tmp_path, b"\xef\xbb\xbf" + HEAD.replace("\n", "\r\n").encode() + b"text: |\r\n  a\r\n  b\r\n")
    assert loaded.manifests[0].data["text"] == "a\nb\n"


def test_values_are_plain(tmp_path: Path) -> None:
    text = 'a: 1\nb: 1.5\nc: yes\nd: ~\ne: [x, "y"]\nf: 2027-01-01T00:00:00Z\ng: !!str 12\nh: 1e3\n"j": 0x10\n'
    assert one(tmp_path, text).manifests[0].data == {
        "a": 1, "b": 1.5, "c": True, "d": None, "e": ["x", "y"], "f": datetime(2027, 1, 1, tzinfo=UTC), "g": "12", "h": "1e3", "j": 16,
    }  # fmt: skip


def test_merge_keys(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: 1}\nmore: &more {b: 2, c: 2}\none: {<<: *base, b: 3}\nboth: {<<: [*base, *more], d: 4}\n"
    data = one(tmp_path, text).manifests[0].data
    assert data["one"] == {"a": 1, "b": 3}
    assert data["both"] == {"a": 1, "b": 1, "c": 2, "d": 4}


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "m/a.yaml", HEAD)
    assert len(read(tmp_path, "m", "m/a.yaml", "m").manifests) == 1


def test_two_sources_are_added(tmp_path: Path) -> None:
    write(tmp_path, "m/a.yaml", HEAD)
    write(tmp_path, "n/a.yaml", HEAD)
    both = read(tmp_path, "m") + read(tmp_path, "n", source="team")
    assert [each.source for each in both.manifests] == ["root", "team"]
    assert [each.name for each in both.sources] == ["root", "team"]


# --- what is refused -----------------------------------------------------------------------------------------------


def test_a_bad_file_harms_only_itself(tmp_path: Path) -> None:
    write(tmp_path, "m/a.yaml", HEAD)
    write(tmp_path, "m/b.yaml", "a: [\n")
    write(tmp_path, "m/c.yaml", HEAD)
    loaded = read(tmp_path)
    assert [each.location.file for each in loaded.manifests] == ["m/a.yaml", "m/c.yaml"]
    (source,) = loaded.sources
    assert (source.complete, source.files, source.documents) == (False, 3, 2)
    assert source.why_incomplete.startswith("m/b.yaml:")


def test_a_bad_document_harms_only_itself(tmp_path: Path) -> None:
    loaded = one(tmp_path, f"{HEAD}---\n{HEAD}kind: Dataset\nspec: !x 1\n---\n{HEAD}")
    assert [each.index for each in loaded.manifests] == [0, 2]
    assert [each.index for each in loaded.faulty] == [1]
    assert messages(loaded) == [
        "m/one.yaml:6:1 the key is written twice; first in line 5",
        "m/one.yaml:7:7 the tag !x is not allowed",
    ]


def test_a_file_over_the_limit(tmp_path: Path) -> None:
    assert messages(one(tmp_path, HEAD + "#" * MAX_BYTES)) == ["m/one.yaml the file has 1.0 MiB; at most 1 MiB is read"]


def test_exactly_the_limit_is_read(tmp_path: Path) -> None:
    assert len(one(tmp_path, HEAD.ljust(MAX_BYTES - 1, "#") + "\n").manifests) == 1


@pytest.mark.parametrize("text", ["[" * 200_000, "{a: " * 100_000, "- " * 400_000, "? " * 400_000, "a: " + "[" * 70 + "]" * 70])
def test_nesting_does_not_take_the_process_down(tmp_path: Path, text: str) -> None:
    """Composing is recursive in C; a thread has a smaller stack than the program."""
    found: list[Loaded] = []
    thread = threading.Thread(target=lambda: found.append(one(tmp_path, text)))
    thread.start()
    thread.join()
    assert len(found[0].diagnostics) == 1
    assert not found[0].manifests


def test_aliases_are_fine_until_they_explode(tmp_path: Path) -> None:
    mild = "a: &a [1, 2]\nb: [*a, *a]\n"
    assert one(tmp_path, mild).manifests[0].data["b"] == [[1, 2], [1, 2]]
    bomb = "a: &a [" + "x, " * 1000 + "]\nb: [" + "*a, " * 1000 + "]\n"
    assert "more than 100,000 values" in messages(one(tmp_path, bomb))[0]


def test_an_alias_of_itself(tmp_path: Path) -> None:
    assert "itself a part of" in messages(one(tmp_path, "a: &a {b: [*a]}\n"))[0]


@pytest.mark.parametrize("value", ["9" * 5000, "2024-13-45", "!!int many", "!!float none", "!!bool perhaps"])
def test_a_value_that_yaml_takes_for_something_else(tmp_path: Path, value: str) -> None:
    assert "but it is none" in messages(one(tmp_path, f"a: {value}\n"))[0]


@pytest.mark.parametrize(
    "value",
    ["1" + ":59" * 300_000, "0x" + "f" * 900_000, "1" * 900_000 + ".0", "1_" * 400_000, "2024-01-01T00:00:00." + "0" * 900_000 + "Z"],
    ids=["base 60", "hex", "float", "underscores", "date"],
)
def test_a_number_without_end_costs_nothing(tmp_path: Path, value: str) -> None:
    """In base 60 a megabyte took half a minute, and an integer of a million digits cannot even be printed."""
    found = one(tmp_path, f"a: {value}\n")
    assert not found.manifests or isinstance(found.manifests[0].data["a"], str)


def test_documents_and_mistakes_without_end_are_told_as_such(tmp_path: Path) -> None:
    assert messages(one(tmp_path, "---\na: 1\n" * 100_000)) == ["m/one.yaml:20002:1 the file has more than 10,000 documents"]
    many = messages(one(tmp_path, "a: 1\n" * 100_000))
    assert len(many) == 101
    assert many[-1].endswith("more than 100 mistakes; the others are not told")


@pytest.mark.parametrize("tag", ["!!python/object:os.system", "!!python/name:os.system", "!!binary", "!!set", "!!omap", "!mine"])
def test_tags(tmp_path: Path, tag: str) -> None:
    assert "is not allowed" in messages(one(tmp_path, f"a: {tag} {{x: 1}}\n"))[0]


def test_keys_that_are_no_text(tmp_path: Path) -> None:
    found = messages(one(tmp_path, "no: 1\n2: 1\n~: 1\n? [a]\n: 1\n"))
    assert [each.split(" ", 1)[1] for each in found] == [
        "YAML reads the key `no` as true or false",
        "YAML reads the key `2` as a number",
        "YAML reads the key `~` as nothing",
        "a key must be a text, not a list or a mapping",
    ]


# --- links and files -----------------------------------------------------------------------------------------------


def test_links(tmp_path: Path) -> None:
    write(tmp_path, "outside/secret.yaml", HEAD)
    inside = write(tmp_path, "m/a.yaml", HEAD)
    (tmp_path / "m/b-same.yaml").symlink_to(inside)
    (tmp_path / "m/c-out.yaml").symlink_to(tmp_path / "outside/secret.yaml")
    (tmp_path / "m/d-nowhere.yaml").symlink_to(tmp_path / "gone.yaml")
    (tmp_path / "m/e-folder").symlink_to(tmp_path / "outside")
    (tmp_path / "m/f-loop.yaml").symlink_to(tmp_path / "m/f-loop.yaml")
    (tmp_path / "m/g-up").symlink_to(tmp_path / "m")
    loaded = read(tmp_path)
    assert len(loaded.manifests) == 1
    assert messages(loaded) == [
        "m/c-out.yaml the link leads out of the folder of the manifests",
        "m/d-nowhere.yaml the link leads nowhere",
        "m/e-folder the link leads out of the folder of the manifests",
        "m/f-loop.yaml the link leads nowhere",
    ]


def test_a_mounted_config_map_is_read(tmp_path: Path) -> None:
    write(tmp_path, "m/..2026/a.yaml", HEAD)
    (tmp_path / "m/..data").symlink_to("..2026")
    (tmp_path / "m/a.yaml").symlink_to("..data/a.yaml")
    assert [each.location.file for each in read(tmp_path).manifests] == ["m/a.yaml"]


def test_things_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    os.mkfifo(tmp_path / "m/pipe.yaml")
    write(tmp_path, "m/bad\x1b[2Jname.yaml", HEAD)
    assert messages(read(tmp_path, "m", "gone")) == [
        "m/bad\\x1b[2Jname.yaml the file's name holds control characters",
        "m/pipe.yaml this is not a regular file",
        "gone there is no such file or folder",
    ]


def test_a_further_source_lies_inside_the_root(tmp_path: Path) -> None:
    write(tmp_path, "outside/a.yaml", HEAD)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/team").symlink_to(tmp_path / "outside")
    loaded = load([Path("team")], root=tmp_path / "root", source="team")
    assert not loaded.manifests
    assert not loaded.sources[0].complete


def test_an_empty_source_deletes_nothing(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    loaded = read(tmp_path)
    assert not loaded.sources[0].complete
    assert [each.severity for each in loaded.diagnostics] == ["warning"]


# --- the cache -----------------------------------------------------------------------------------------------------


def test_cache_gives_what_the_file_gives(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    write(tmp_path, "m/a.yaml", f"{HEAD}spec: {{n: 1, f: 1.5, t: [a, null, true]}}\n---\n{HEAD}")
    write(tmp_path, "m/b.yaml", "at: 2027-01-01\n")
    fresh, filled, warm = read(tmp_path), read(tmp_path, cache=cache), read(tmp_path, cache=cache)
    assert fresh == filled == warm
    assert (cache / "manifests-root.json").stat().st_mode & 0o077 == 0
    write(tmp_path, "m/a.yaml", HEAD.replace("Dataset", "Changed!"))
    assert read(tmp_path, cache=cache) == read(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\x00" * 99, b"[]\n", b"no digest\n{}"])
def test_a_damaged_cache_is_no_cache(tmp_path: Path, damage: bytes) -> None:
    cache = tmp_path / "cache"
    write(tmp_path, "m/a.yaml", HEAD)
    read(tmp_path, cache=cache)
    (cache / "manifests-root.json").write_bytes(damage)
    assert read(tmp_path, cache=cache) == read(tmp_path)


def test_a_flipped_byte_in_the_cache_is_noticed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    write(tmp_path, "m/a.yaml", HEAD)
    read(tmp_path, cache=cache)
    file = cache / "manifests-root.json"
    file.write_bytes(file.read_bytes().replace(b"Dataset", b"Datasex"))
    assert read(tmp_path, cache=cache).manifests[0].data["kind"] == "Dataset"


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, "m/a.yaml", HEAD)
    assert len(read(tmp_path, cache=write(tmp_path, "file", "") / "below").manifests) == 1


def test_a_bad_file_is_not_cached(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    write(tmp_path, "m/a.yaml", "a: !x 1\n")
    assert messages(read(tmp_path, cache=cache)) == messages(read(tmp_path, cache=cache)) != []


# --- places --------------------------------------------------------------------------------------------------------

PLACED = "kind: X\nspec:\n  a:\n    - b: 1\n    - {c: 2}\n  base: &base {x: 1}\n  d:\n    <<: *base\n---\nkind: Y\n"


@pytest.mark.parametrize(
    ("steps", "place"),
    [
        ((), "1:1"),
        (("kind",), "1:7"),
        (("spec",), "2:1"),
        (("spec", "a", 0, "b"), "4:10"),
        (("spec", "a", 1, "c"), "5:11"),
        (("spec", "a", "1", "c"), "5:11"),
        (("spec", "a", 7), "3:3"),
        (("spec", "d", "x"), "6:19"),
        (("spec", "missing", "below"), "2:1"),
    ],
)
def test_position(tmp_path: Path, steps: tuple[str | int, ...], place: str) -> None:
    manifest = one(tmp_path, PLACED).manifests[0]
    assert str(Places(tmp_path).at(manifest.location, steps)) == f"m/one.yaml:{place}"


def test_position_in_a_later_document_and_of_a_key(tmp_path: Path) -> None:
    manifest = one(tmp_path, PLACED).manifests[1]
    assert str(Places(tmp_path).at(manifest.location, ("kind",))) == "m/one.yaml:10:7"
    assert str(Places(tmp_path).at(manifest.location, ("kind",), key=True)) == "m/one.yaml:10:1"


def test_position_in_a_file_that_is_gone(tmp_path: Path) -> None:
    at = Location("gone.yaml", 3)
    assert Places(tmp_path).at(at, ("kind",)) == at


# --- revision ------------------------------------------------------------------------------------------------------


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def test_revision(tmp_path: Path) -> None:
    write(tmp_path, "m/a.yaml", HEAD)
    assert read(tmp_path).sources[0].revision == ""
    git(tmp_path, "init")
    assert read(tmp_path).sources[0].revision == ""
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = read(tmp_path).sources[0].revision
    assert len(clean) == 7
    write(tmp_path, "elsewhere.txt", "not below the manifests")
    assert read(tmp_path).sources[0].revision == clean
    write(tmp_path, "m/new.yaml", HEAD)
    assert read(tmp_path).sources[0].revision == f"{clean}+dirty"
    assert read(tmp_path, "m/a.yaml").sources[0].revision == clean


def test_revision_runs_nothing_of_the_repository(tmp_path: Path) -> None:
    write(tmp_path, "m/a.yaml", HEAD)
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    script = write(tmp_path, "hook.sh", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(script))
    assert read(tmp_path).sources[0].revision
    assert not (tmp_path / "ran").exists()
