"""A disk that is full: nothing is left of what could not be written, and a supervisor lives on.

Shown with the kernel's limit on the size of a file (RLIMIT_FSIZE, setrlimit(2)) in a process of its own: a write beyond it fails as one on
a full disk does."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path


def _limited(program: str, folder: Path) -> str:
    """What `program` prints when no file may grow beyond 16 bytes; what it says to stderr goes to a file, as a supervisor's does."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))\n"
    command = [sys.executable, "-B", "-u", "-c", limit + textwrap.dedent(program), str(folder)]
    with (folder.parent / "supervisor.log").open("ab") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, check=False, timeout=60)
    assert done.returncode == 0, (folder.parent / "supervisor.log").read_text()
    return done.stdout


def test_what_cannot_be_written_leaves_no_half_behind(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    told = _limited(
        """
        import sys
        from pathlib import Path
        from reconciler.model import Progress
        from reconciler.files import write_private
        from reconciler.runs.folder import Folder, write_progress
        here = Path(sys.argv[1])
        write_private(here / "small", "fits")
        for write in (
            lambda: write_private(here / "small", "much more than can be written here"),
            lambda: write_progress(Folder(here), Progress("j", "r", "running", since=1.0)),
        ):
            try:
                write()
            except OSError as error:
                print(type(error).__name__)
        """,
        folder,
    )
    assert told.split() == ["OSError", "OSError"]
    assert {each.name: each.read_text() for each in folder.iterdir()} == {"small": "fits"}


def test_a_note_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    told = _limited(
        """
        from reconciler.runs.report import note
        for _ in range(3):
            note("a line that is longer than the file may be")
        print("lives")
        """,
        folder,
    )
    assert told.split() == ["lives"]
    assert (tmp_path / "supervisor.log").stat().st_size == 16
