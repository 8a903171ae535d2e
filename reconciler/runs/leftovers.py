"""What a supervisor left running when it died."""

from __future__ import annotations

import signal

from reconciler.platform.process import is_alive, read_record
from reconciler.runs.folder import Folder
from reconciler.runs.processes import marked, members
from reconciler.runs.program import MARK, mark, signal_all


def end_leftovers(folder: Folder, seconds: float = 5.0) -> int:
    """Kill every process of the job; returns how many there were. Only for the holder of the job's lock.

    Found by the program's record (PID and birth) and by the mark in the environment, so that nobody else's process is taken for one."""
    import psutil

    record = read_record(folder.program)
    pids = set(members(record.pid)) if record is not None and is_alive(record) else set()
    pids |= {process.pid for process in marked(MARK, mark(folder))}
    processes = []
    for pid in pids:
        try:
            processes.append(psutil.Process(pid))
        except psutil.Error:
            continue
    signal_all([], [process.pid for process in processes], [signal.SIGKILL])
    psutil.wait_procs(processes, timeout=seconds)
    return len(processes)
