"""What the suite's speed and its stories stand on: tests of one `xdist_group` run in one worker, one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import os, pytest

@pytest.mark.parametrize("number", range(8))
@pytest.mark.xdist_group("together")
def test_it(number):
    open("workers", "a").write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_a_group_stays_in_one_worker(tmp_path: Path) -> None:
    (tmp_path / "test_group.py").write_text(TESTS)
    ini = tmp_path / "pytest.ini"
    ini.write_text("[pytest]\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    argv = [sys.executable, "-m", "pytest", "-q", "-c", str(ini), "-p", "xdist", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup"]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert "8 passed" in done.stdout, done.stdout + done.stderr
    told = (tmp_path / "workers").read_text().split()
    assert len(set(told)) == 1, (
        "this pytest and this pytest-xdist do not keep groups together: services would be started twice, stories torn"
    )
