"""Programs under the bootstrap behave as if they had been started directly: each is run both ways and compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.runs.program import BOOTSTRAP

PROGRAMS = {
    "namespace": "import sys\nprint(__name__, __file__, __package__, __spec__, __doc__, sorted(globals()))\nprint(sys.argv, sys.path[0])\n",
    "docstring": '"""What it does."""\nprint(__doc__)\n',
    "is main": "import __main__\nx = 3\nprint(__main__.x, __main__.__dict__ is globals())\n",
    "pickles itself": "import pickle\nclass Point:\n    pass\nprint(type(pickle.loads(pickle.dumps(Point()))).__module__)\n",
    "exit code": "import sys\nsys.exit(7)\n",
    "exit text": "import sys\nsys.exit('no data')\n",
    "exit nothing": "raise SystemExit\n",
    "exception": "def f():\n    1 / 0\nf()\n",
    "chained": "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('bad') from e\n",
    "group": "raise ExceptionGroup('many', [ValueError('a'), TypeError('b')])\n",
    "own hook": "import sys\nsys.excepthook = lambda kind, value, trace: print('mine', kind, trace.tb_frame.f_code.co_filename)\n1 / 0\n",
    "syntax": "x = = 3\n",
    "interrupt": "raise KeyboardInterrupt\n",
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "imports its neighbour": "import neighbour\nprint(neighbour.WORD)\n",
    "at exit": "import atexit\natexit.register(lambda: print('last', __name__))\n",
    "thread goes on": "import threading, time\ndef late():\n    time.sleep(0.2)\n    print(2)\nthreading.Thread(target=late).start()\n",
    "future": "from __future__ import annotations\ndef f(a: Nope) -> Nada: ...\nprint(f.__annotations__)\n",
    "no future": "def f(a: int) -> str: ...\nprint(f.__annotations__)\n",
    "processes": (
        "import multiprocessing as mp\ndef square(x):\n    return x * x\n"
        "if __name__ == '__main__':\n    with mp.get_context('spawn').Pool(1) as pool:\n        print(pool.map(square, [1, 2]))\n"
    ),
    "encoding": "# -*- coding: latin-1 -*-\nprint(len('\xe9'))\n",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_script_cannot_tell(name: str, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("WORD = 'here'\n")
    (tmp_path / "train.py").write_text(PROGRAMS[name], encoding="latin-1")
    arguments = ["train.py", "--rate", "0.1", ""]
    direct, ours = (
        subprocess.run([sys.executable, *start, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        for start in ((), (str(BOOTSTRAP),))
    )
    # python itself names a script that it was given by its absolute path only in what it prints of the main module
    same = [each.stderr.replace(f"{tmp_path}/", "") for each in (direct, ours)]
    if name == "interrupt":  # how an interrupted interpreter shows its frames is not the program's doing
        same = [each.splitlines()[-1] for each in same]
    assert (ours.returncode, ours.stdout.replace(f"{tmp_path}/train.py", "train.py")) == (
        direct.returncode,
        direct.stdout.replace(f"{tmp_path}/train.py", "train.py"),
    )
    assert same[1] == same[0]


@pytest.mark.parametrize(
    "program",
    [
        "import sys\nprint(__name__, __package__, sys.path[0], sys.argv[1:])\nfrom . import other\nprint(other.WORD)\n",
        "import sys\nsys.exit(4)\n",
        "def f():\n    raise ValueError('x')\nf()\n",
    ],
)
def test_a_module_cannot_tell(program: str, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "other.py").write_text("WORD = 'there'\n")
    (package / "train.py").write_text(program)
    direct, ours = (
        subprocess.run(
            [sys.executable, *start, "package.train", "a"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        for start in (("-m",), (str(BOOTSTRAP),))
    )
    assert (ours.returncode, ours.stdout) == (direct.returncode, direct.stdout)
    frames = [[line for line in each.stderr.splitlines() if "runpy" not in line] for each in (direct, ours)]
    assert frames[1] == frames[0]
