"""The client and real DVC: versions of data, what a manifest makes of them, and remotes that are away."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from controllers.tools.dvc_files import read_entry
from reconciler.client import MLOpsClient, NotAsked, Refused, Unavailable
from tests.contract.client_lab import client, installed
from tests.e2e.installation import REPOSITORY, Installation, dataset, project


@pytest.fixture
def lab(tmp_path: Path) -> tuple[Installation, str]:
    """An installation that no service is needed for, with a folder as remote."""
    here, name = installed(tmp_path, "http://127.0.0.1:9", "speech")
    platform = here.root / "manifests" / "platform.yaml"
    platform.write_text(f"{platform.read_text()}  dvc: {{remotes: [{{name: shelf, url: shelf}}]}}\n")
    here.write({f"code/{name}/words.csv": "x,y\n1,2\n", f"code/{name}/pictures/a.txt": "a", f"code/{name}/pictures/deep/b.txt": "b"})
    here.ok()
    return here, name


def other_version(here: Installation, text: str) -> None:
    (here.root / "code" / "speech" / "words.csv").write_text(text)


def test_equal_bytes_are_one_version_and_older_ones_can_be_loaded(lab: tuple[Installation, str]) -> None:
    here, name = lab
    ours = client(here, name)
    first = ours.version_dataset("words", "words.csv")
    assert first.version == hashlib.md5(b"x,y\n1,2\n").hexdigest()
    assert ours.version_dataset("words") == first
    other_version(here, "x,y\n1,3\n")
    second = ours.version_dataset("words")
    assert second.version != first.version
    assert ours.load_data_version("words").path == here.root / "code" / name / "words.csv"
    assert ours.load_data_version("words", first.version).path.read_text() == "x,y\n1,2\n"
    assert (here.root / "code" / name / "words.csv").read_text() == "x,y\n1,3\n"
    other_version(here, "edited since\n")
    assert ours.load_data_version("words").path.read_text() == "x,y\n1,3\n"  # the version, not what lies there now


def test_the_version_is_the_one_that_dvc_itself_gives(lab: tuple[Installation, str], tmp_path: Path) -> None:
    here, name = lab
    made = client(here, name).dvc_add("pictures")
    room = tmp_path / "stock"
    room.mkdir()
    (here.root / "code" / name / "pictures").rename(room / "pictures")
    for words in (["init", "--no-scm", "-q"], ["add", "-q", "pictures"]):
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=room, check=True, capture_output=True)
    assert read_entry(room / "pictures.dvc").version.md5 == made.version
    loaded = client(here, name).load_data_version("pictures")
    assert (loaded.path / "deep" / "b.txt").read_text() == "b"


def test_a_manifest_adopts_it_with_its_history(lab: tuple[Installation, str]) -> None:
    here, name = lab
    ours = client(here, name)
    first = ours.version_dataset("words", "words.csv")
    other_version(here, "x,y\n1,3\n")
    second = ours.version_dataset("words")
    here.write({"manifests/words.yaml": dataset("words", name, "words.csv")})
    assert [each["action"] for each in here.plan()["actions"] if each["ref"] == f"dataset/{name}/words"] == ["adopt"]
    here.ok("--wait")
    assert here.status()[f"dataset/{name}/words"]["outputs"]["digest"] == second.version
    found = ours.load_data_version("words", first.version)
    assert found.managed
    assert found.path.read_text() == "x,y\n1,2\n"


def test_of_a_declared_dataset_the_next_pass_makes_the_present_version(lab: tuple[Installation, str]) -> None:
    here, name = lab
    here.write({"manifests/words.yaml": dataset("words", name, "words.csv")})
    here.ok("--wait")
    before = here.status()[f"dataset/{name}/words"]["outputs"]["digest"]
    other_version(here, "x,y\n1,3\n")
    ours = client(here, name)
    made = ours.version_dataset("words")
    assert made.managed
    assert here.status()[f"dataset/{name}/words"]["outputs"]["digest"] == before
    here.ok("--wait")
    assert here.status()[f"dataset/{name}/words"]["outputs"]["digest"] == made.version
    assert here.ok().out.startswith("No changes")


def test_it_goes_to_a_remote_and_comes_back(lab: tuple[Installation, str]) -> None:
    here, name = lab
    ours = client(here, name)
    made = ours.version_dataset("pictures", "pictures")
    assert ours.dvc_push("pictures") == 3
    assert ours.dvc_push("pictures") == 0
    for each in (here.root / ".mlops" / "dvc" / "cache", here.root / "code" / name / "pictures"):
        subprocess.run(["rm", "-rf", str(each)], check=True)
    assert ours.dvc_pull("pictures").version == made.version
    assert (here.root / "code" / name / "pictures" / "deep" / "b.txt").read_text() == "b"
    (here.root / "code" / name / "pictures" / "a.txt").write_text("mine")
    with pytest.raises(NotAsked, match="holds other bytes"):
        ours.dvc_pull("pictures")


def test_a_remote_that_lacks_it_or_is_away_is_told_so(lab: tuple[Installation, str], monkeypatch: pytest.MonkeyPatch) -> None:
    here, name = lab
    ours = client(here, name)
    made = ours.version_dataset("words", "words.csv")
    other_version(here, "gone\n")
    with pytest.raises(NotAsked, match="no DVC remote 'attic'"):
        ours.dvc_push("words", "attic")
    subprocess.run(["rm", "-rf", str(here.root / ".mlops" / "dvc" / "cache")], check=True)
    with pytest.raises((Refused, Unavailable), match=r"lacks 1 files|DVC: words"):
        ours.load_data_version("words", made.version)
    platform = here.root / "manifests" / "platform.yaml"
    remote = "{name: shelf, url: 's3://b/p', endpointUrl: 'http://127.0.0.1:9', accessKeyId: {fromEnv: AK}, secretAccessKey: {fromEnv: SK}}"
    platform.write_text(platform.read_text().replace("{name: shelf, url: shelf}", remote))
    monkeypatch.setenv("AK", "key")
    monkeypatch.setenv("SK", "hunter2hunter2")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (here.root / ".mlops" / "dvc" / "projects" / name / ".dvc" / "config").unlink()
    away = client(here, name)
    away.version_dataset("words")
    with pytest.raises((Refused, Unavailable)) as told:
        away.dvc_push("words")
    assert isinstance(told.value, Unavailable)
    assert "hunter2" not in str(told.value)
    written = [each.read_text(errors="replace") for each in (here.root / ".mlops").rglob("*") if each.is_file()]
    assert not any("hunter2" in each for each in written)


def test_another_projects_data_only_where_it_is_shared(lab: tuple[Installation, str]) -> None:
    here, name = lab
    client(here, name).version_dataset("words", "words.csv")
    here.write({"manifests/vision.yaml": project("vision"), "code/vision/.keep": ""})
    vision = client(here, "vision")
    with pytest.raises(NotAsked, match="shares no dataset 'words'"):
        vision.load_data_version(f"{name}/words")
    here.write({f"manifests/{name}.yaml": project(name, "  shares: [dataset/words]\n")})
    assert vision.load_data_version(f"{name}/words").name == f"{name}/words"


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        ("words", "../../etc/passwd", "leads out of the project"),
        ("words", "nothing.csv", "there is nothing at"),
        ("Words", "words.csv", "cannot be a name"),
        ("unknown", None, "where the data of 'unknown' is"),
    ],
)
def test_what_makes_no_version(lab: tuple[Installation, str], name: str, path: str | None, said: str) -> None:
    here, owner = lab
    with pytest.raises(NotAsked, match=said):
        client(here, owner).version_dataset(name, path)


def test_without_dvc_it_says_what_to_install(lab: tuple[Installation, str]) -> None:
    here, name = lab
    program = f"""
import sys
sys.modules["dvc.repo"] = None
from reconciler.client import MLOpsClient, NotAsked
try:
    MLOpsClient.from_project("{name}", root="{here.root}").version_dataset("words", "words.csv")
except NotAsked as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "mlops-reconciler[dvc]" in done.stdout


def test_a_folder_listing_that_leads_out_is_refused(lab: tuple[Installation, str]) -> None:
    here, name = lab
    ours: MLOpsClient = client(here, name)
    made = ours.version_dataset("pictures", "pictures")
    listing = here.root / ".mlops" / "dvc" / "cache" / "files" / "md5" / made.version[:2] / made.version[2:]
    listing.chmod(0o644)
    listing.write_text(listing.read_text().replace("a.txt", "../../a.txt"))
    (here.root / "code" / name / "pictures" / "a.txt").write_text("changed")
    with pytest.raises(Refused, match="names a file outside itself"):
        ours.load_data_version("pictures")
