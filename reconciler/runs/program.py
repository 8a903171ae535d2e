"""The program of a job: its command line, its environment, its processes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from reconciler.errors import Terminal
from reconciler.model.jobs import Job
from reconciler.platform.process import Record, birth, write_record
from reconciler.runs.folder import Folder
from reconciler.runs.processes import marked, members
from reconciler.runs.sweep import place_of

MARK = "MLOPS_JOB"
"""Environment variable that marks a job's processes: `job id:digest of the state folder`."""
BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "CUDA_VISIBLE_DEVICES")
"""The last one, where it is set, says which devices are the job's."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS")
OUTPUTS = "outputs.json"
"""File in the folder of results with what a task tells later ones: one JSON object."""
MPS_SHARE = 0.75
"""Share of a Mac's memory that Metal recommends to use at most. Seen from 0.75 to 0.81 on machines with the default limit;
the low end, because the ratio that PyTorch wants is of that amount."""


def environment(job: Job, folder: Folder, python: Path, base: Mapping[str, str]) -> dict[str, str]:
    """All that the program gets of an environment. `base` is ours, of which only a few names pass.

    What the manifest declares wins over all but what MLflow and we need to find the run."""
    kept = {name: base[name] for name in _INHERITED if name in base}
    path = os.pathsep.join([str(python.parent), kept.get("PATH", os.defpath)])
    threads = str(max(1, job.cpu // 1000))
    ours = {
        MARK: mark(folder),
        "MLOPS_PROJECT": job.project,
        "MLOPS_STATE_DIR": str(folder.state_dir.resolve()),
        "MLOPS_OUT": str(results(job, folder)),
        "MLOPS_OUTPUTS": str(results(job, folder) / OUTPUTS) if job.answers else "",
        "MLOPS_STATS": str(folder.stats),
        "MLOPS_MEMORY_LIMIT": str(job.memory) if job.memory else "",
        "MLOPS_CHECKPOINT_DIR": str(checkpoint(job, folder) or ""),
        "MLFLOW_TRACKING_URI": job.tracking,
        "MLFLOW_RUN_ID": job.id if job.tracking else "",
        "MLFLOW_EXPERIMENT_ID": job.experiment,
    }
    return {
        **kept,
        "PATH": path,
        "VIRTUAL_ENV": str(python.parent.parent),
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(_THREADS, threads),
        **_metal(job, base),
        **job.env,
        **{name: value for name, value in ours.items() if value},
    }


def _metal(job: Job, base: Mapping[str, str]) -> dict[str, str]:
    """PyTorch's limit on Metal memory, as a ratio of what Metal recommends (PyTorch documentation, MPS environment variables)."""
    if sys.platform != "darwin" or not job.memory:
        return {}
    import psutil

    ratio = min(1.0, max(0.05, job.memory / (MPS_SHARE * psutil.virtual_memory().total)))
    # the low mark must not be above the high one, or PyTorch refuses both; its default is 1.4
    return {"PYTORCH_MPS_HIGH_WATERMARK_RATIO": f"{ratio:.3f}", "PYTORCH_MPS_LOW_WATERMARK_RATIO": f"{ratio * 0.9:.3f}"}


def results(job: Job, folder: Folder) -> Path:
    """The folder of its results."""
    return Path(job.out) if job.out else folder.out


def checkpoint(job: Job, folder: Folder) -> Path | None:
    """The folder that survives retries and pre-emptions of the same work; None = it has none."""
    return place_of(folder.state_dir, job.checkpoint) if job.checkpoint else None


def mark(folder: Folder) -> str:
    """The value of MARK: the same for one job of one state folder, however its path is written."""
    return f"{folder.id}:{hashlib.sha256(os.fsencode(folder.state_dir.resolve())).hexdigest()[:16]}"


class Program:
    """The running program and all processes that come from it."""

    def __init__(self, job: Job, folder: Folder, python: Path) -> None:
        """Start it in a session of its own, with nothing on its input and its output in the folder's log."""
        arguments = [each.replace("{out}", str(results(job, folder))) for each in job.arguments]
        env = environment(job, folder, python, os.environ)
        self._mark = mark(folder)
        self._own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with folder.log.open("ab") as output:
            self._child = subprocess.Popen(
                [*_started(job, python, env["PATH"]), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=job.cwd,
                env=env,
                start_new_session=True,
            )
        self.pid = self._child.pid
        self.exit_code: int | None = None
        self.largest = 0
        """Bytes: the kernel's own high-water mark of its largest process, known at the end."""
        write_record(folder.program, Record(self.pid, birth(self.pid) or "", time.time(), job.id))

    def ended(self) -> bool:
        """True when the program's first process has ended; its children may still live."""
        if self.exit_code is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = self._child.returncode = os.waitstatus_to_exitcode(status)
                # getrusage(2): bytes there, KiB here. A Linux process inherits the mark of the one that forked it: ours tells nothing
                scale = 1 if sys.platform == "darwin" else 1024
                self.largest = usage.ru_maxrss * scale if usage.ru_maxrss > self._own else 0
        return self.exit_code is not None

    def processes(self) -> list[int]:
        """PIDs of all live processes that come from it by descent or by session."""
        return members(self.pid)

    def send(self, *numbers: signal.Signals) -> None:
        """Signal its process group, and those that left the group."""
        signal_all([] if self.exit_code is not None else [self.pid], self.processes(), numbers)

    def end(self, grace: float) -> None:
        """SIGTERM, and SIGKILL to what is left after `grace` seconds. Returns when its first process is gone."""
        if grace > 0:
            self.send(signal.SIGTERM, signal.SIGCONT)
            deadline = time.monotonic() + grace
            while time.monotonic() < deadline and not (self.ended() and not self.processes()):
                time.sleep(0.05)
        self.send(signal.SIGKILL)
        while not self.ended():
            time.sleep(0.02)
        self.sweep()

    def sweep(self) -> None:
        """Kill what it left behind, also what hid in a session of its own: the lease covers the program, not its heirs."""
        left = set(self.processes()) | {process.pid for process in marked(MARK, self._mark)}
        signal_all([], left, [signal.SIGKILL])


def _started(job: Job, python: Path, path: str) -> list[str]:
    if not job.program:
        return [str(python), str(BOOTSTRAP), job.entrypoint]
    found = shutil.which(job.entrypoint, path=path) if "/" not in job.entrypoint else str(Path(job.cwd) / job.entrypoint)
    if found is None:
        raise Terminal(f"there is no program '{job.entrypoint}' in the project's environment or on this machine's PATH")
    return [found]


def signal_all(groups: Iterable[int], pids: Iterable[int], numbers: Iterable[signal.Signals]) -> None:
    """Signal process groups, then single processes that are in none of them, each once; what is gone is fine.

    Once, because to many programs a second SIGTERM means: now, without saving."""
    led = set(groups)
    alone = [pid for pid in pids if _group(pid) not in led]
    for number in numbers:
        for group in led:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        for pid in alone:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _group(pid: int) -> int:
    """The process group of `pid`; 0 when it is gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
