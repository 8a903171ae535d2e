"""A log that cannot be written any more costs lines, not the loop.

Shown as in `test_runs_full_disk.py`: with the kernel's limit on the size of a file, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, resource, sys
from pathlib import Path
from reconciler.cli.options import Format
from reconciler.cli.watch import _Told
from reconciler.errors import Transient
from reconciler.house import open_house
from reconciler.report.log import Account
from reconciler.settings import Settings
from reconciler.source.follow import Standing

house = open_house(Settings(root=Path(sys.argv[1])))
resource.setrlimit(resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
house.log.keep(Path(sys.argv[1]) / "loop.log", 1 << 20, 1)
told = _Told(Format.TEXT, house, Account(str))
for number in range(3):
    told.trouble(Transient("the disk is full"), 1.0)
    told.news(Standing("root", "a" * 40, "Ada", f"commit {number}"))
    told.standby("somebody")
    house.log.warning("watch_failed", error="no space left on device")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
told.news(Standing("root", "b" * 40, "Ada", "there is room again"))
os._exit(0)
"""


def test_the_loop_lives_on_when_its_log_is_full(tmp_path: Path) -> None:
    with (tmp_path / "log").open("ab") as log:
        done = subprocess.run([sys.executable, "-B", "-c", PROGRAM, str(tmp_path)], stdout=log, stderr=log, check=False, timeout=60)
    said = (tmp_path / "log").read_text()
    assert done.returncode == 0, said
    assert "there is room again" in said
