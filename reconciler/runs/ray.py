"""Jobs on the platform's Ray: it decides when one starts, and on which node.

What Ray runs is our own supervisor, so that a job has the same folder, log, receipts and result wherever it runs::

    python -m reconciler.runs.ray FOLDER

takes the job's lock and becomes (exec) the supervisor, with the environment that the folder holds instead of the one of Ray's workers."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from reconciler.errors import ReconcilerError, Terminal, Transient
from reconciler.files import write_private
from reconciler.model.jobs import Job, Progress
from reconciler.model.units import memory
from reconciler.platform.ray import ENDED, FOLDER, connect
from reconciler.runs.ending import Told, ending
from reconciler.runs.folder import Folder, acquire, folder_of, folders, is_held, progress_of, read_job, write_job, write_result
from reconciler.runs.local import (
    Credentials,
    Known,
    LocalRunner,
    Sensors,
    equip,
    holding,
    prepare_folder,
    supervisor_argv,
    supervisor_environment,
)
from reconciler.runs.sweep import take_up

if TYPE_CHECKING:
    import httpx

CALL_SECONDS = 15.0
"""Deadline of one call; the first submission to a fresh head was seen to take 2.6 s on an idle machine."""
LOCK_SECONDS = 60.0
"""How long a job waits for the reconciler that submitted it to let go of its folder."""
_LONGEST = 300
"""Characters of Ray's own words that are passed on."""


class RayRunner(LocalRunner):
    """Every method is safe to repeat and to call from several threads and several reconcilers at once.

    `address` gives the base URL of Ray's REST interface, token included, and raises Transient while there is none."""

    backend = "ray"

    def __init__(self, state_dir: Path, address: Callable[[], str], credentials: Credentials, sensors: Sensors | None = None) -> None:
        super().__init__(state_dir, credentials, sensors)
        self._address = address
        self._clients: dict[str, httpx.Client] = {}

    def launch(self, job: Job) -> None:
        """Submit it. A job of this id that was submitted or started is left alone.

        Raises Terminal, with the number to change, when it could never fit: Ray would keep it waiting for ever, and could not even
        forget it. Raises Transient when Ray does not answer."""
        folder = prepare_folder(self._state_dir, job)
        with holding(folder) as handle:
            if handle is None or folder.record.exists() or folder.result.exists():
                return
            if (trouble := misfit(job, self._nodes())) is not None:
                shutil.rmtree(folder.path, ignore_errors=True)
                raise trouble
            take_up(self._state_dir, job.checkpoint)
            write_job(folder, job)
            equip(folder, self._credentials, self._sensors)
            write_private(folder.environment, json.dumps(supervisor_environment()))
            self._submit(job, folder)  # the lock is held meanwhile: who looks sees a job that is starting

    def look(self) -> Mapping[str, Progress]:
        """Every job of Ray's that has a folder, by id: from the folders, and one call for those that have not begun."""
        self._reap()
        mine = self._mine()
        busy = {folder.id for folder, _ in mine if is_held(folder.lock)}
        asked: Mapping[str, Mapping[str, Any]] | None = {}
        if any(_not_begun(folder) for folder, _ in mine if folder.id not in busy):
            asked = self._listed()
        return {folder.id: known.on(_merged(folder, known.ref, folder.id in busy, asked)) for folder, known in mine}

    def stop(self, job_id: str, why: str) -> None:
        """Ask it to end: its supervisor sends SIGTERM, and SIGKILL ten seconds later. One that still waits for Ray never starts."""
        folder = folder_of(self._state_dir, job_id)
        if folder.job.exists() and _not_begun(folder) and self._settle(folder, Told(0.0, f"stopped: {why}", stopped=True)):
            with contextlib.suppress(ReconcilerError):  # should it start nevertheless, it finds its result and leaves
                self._call("POST", f"/api/jobs/{job_id}/stop")
        else:
            # not through Ray: that would send SIGTERM to supervisor and program at once, and a second one is for many programs a kill
            super().stop(job_id, why)

    def forget(self, job_id: str) -> None:
        """Remove its folder, and Ray's entry. Raises Transient while it runs."""
        super().forget(job_id)
        with contextlib.suppress(ReconcilerError):  # the head's list of ended jobs goes with the head
            self._call("DELETE", f"/api/jobs/{job_id}")

    def tend(self) -> None:
        """See to jobs whose supervisor died, and to those that Ray lost before they began."""
        waiting = [each for each, _ in self._mine() if _not_begun(each) and not is_held(each.lock)]
        asked = self._listed() if waiting else None
        for folder in waiting if asked is not None else ():
            if (why := _never_begins(folder, asked or {})) is not None:
                self._settle(folder, Told(0.0, why, lost=True))
        super().tend()

    def _settle(self, folder: Folder, told: Told) -> bool:
        """Write the end of a job that has not begun and never will, and have the tracking server told; False when it begins after all."""
        job = read_job(folder)
        with holding(folder) as handle:
            if job is None or handle is None or not _not_begun(folder):
                return False
            write_result(folder, ending(job, folder, told))
        self._finish(folder)
        return True

    def _mine(self) -> list[tuple[Folder, Known]]:
        return [
            (each, known) for each in folders(self._state_dir) if (known := self.known(each)) is not None and known.backend == self.backend
        ]

    # --- Ray's REST interface ----------------------------------------------------------------------------------------

    def _submit(self, job: Job, folder: Folder) -> None:
        answer = self._call("POST", "/api/jobs/", submission(job, folder))
        if answer.status_code != 200 and "already exists" not in answer.text:
            words = _words(answer.text)
            if answer.status_code == 400:
                raise Terminal(f"Ray refuses {job.ref}: {words}")
            raise Transient(f"Ray did not take {job.ref} ({answer.status_code}): {words}")

    def _listed(self) -> Mapping[str, Mapping[str, Any]] | None:
        """Ray's jobs by submission id; None when it could not be asked."""
        try:
            answer = self._call("GET", "/api/jobs/")
            return {str(each["submission_id"]): each for each in answer.json()} if answer.status_code == 200 else None
        except (ReconcilerError, ValueError, TypeError, KeyError):
            return None

    def _nodes(self) -> list[Mapping[str, float]]:
        """What each live node has in all."""
        answer = self._call("GET", "/api/v0/nodes?detail=true&limit=1000")
        try:
            found = answer.json()["data"]["result"]["result"]
            return [each["resources_total"] for each in found if each["state"] == "ALIVE"]
        except (ValueError, TypeError, KeyError):
            raise Transient(f"Ray did not tell its nodes ({answer.status_code}): {_words(answer.text)}") from None

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        import httpx

        url = self._address()
        with self._guard:
            if url not in self._clients:
                self._clients = {url: connect(url, CALL_SECONDS)}
            client = self._clients[url]
        try:
            answer = client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise Transient(f"Ray does not answer ({type(error).__name__})", hint="reconcile platform status") from None
        if answer.status_code in (401, 403):
            raise Transient("Ray refuses this installation's token", hint="restart it: reconcile platform down ray, then up")
        return answer


def submission(job: Job, folder: Folder) -> dict[str, Any]:
    """The request that submits the job. Its environment holds nothing: what the supervisor needs is in the folder."""
    entrypoint = ["exec", sys.executable, "-P", "-m", "reconciler.runs.ray", str(folder.path)]
    return {
        "entrypoint": shlex.join(entrypoint),
        "submission_id": job.id,
        "metadata": {FOLDER: str(folder.path), "ref": job.ref},
        "runtime_env": {},
        "entrypoint_num_cpus": job.cpu / 1000,
        "entrypoint_num_gpus": job.gpu / 1000,
        "entrypoint_memory": job.memory,
    }


def misfit(job: Job, nodes: Sequence[Mapping[str, float]]) -> Terminal | None:
    """Why no node could ever run the job, with the number to change; None when one could."""
    if not nodes:
        return None
    gpu, cpu = job.gpu / 1000, job.cpu / 1000
    if gpu > 1 and not gpu.is_integer():
        return Terminal(
            f"{job.ref} asks Ray for {gpu:g} GPUs: above one it gives away whole ones", hint="set resources.gpu to a whole number"
        )
    wants = {"CPU": cpu, "GPU": gpu, "memory": float(job.memory)}
    if any(all(node.get(name, 0.0) >= want for name, want in wants.items()) for node in nodes):
        return None
    words = {
        "CPU": ("resources.cpu", f"{cpu:g} cores"),
        "GPU": ("resources.gpu", f"{gpu:g} GPUs"),
        "memory": ("resources.memory", memory(job.memory)),
    }
    for name, want in wants.items():
        most = max(node.get(name, 0.0) for node in nodes)
        if want > most:
            field, asked = words[name]
            has = memory(int(most)) if name == "memory" else f"{most:g}"
            more = ", or raise ray.cpus of the Platform" if name == "CPU" else ""
            return Terminal(f"{job.ref} asks Ray for {asked}, no node of it has more than {has}", hint=f"lower {field}{more}")
    return Terminal(
        f"{job.ref} asks Ray for {', '.join(asked for _, asked in words.values())}: no single node has all of it",
        hint="lower one of resources.cpu, resources.gpu, resources.memory",
    )


def _not_begun(folder: Folder) -> bool:
    """True when no supervisor has ever had it."""
    return not folder.record.exists() and not folder.result.exists()


def _never_begins(folder: Folder, asked: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Why Ray will not start it any more; None while it may."""
    if folder.id not in asked:
        return "Ray does not know it: its head was started again"
    if asked[folder.id].get("status") in ENDED:
        return f"Ray could not start it: {_words(str(asked[folder.id].get('message') or 'it gave no reason'))}"
    return None


def _merged(folder: Folder, ref: str, busy: bool, asked: Mapping[str, Mapping[str, Any]] | None) -> Progress:
    """How it is: by its folder, and by Ray's list where it has not begun. `busy`: its lock was held before Ray was asked."""
    seen = progress_of(folder, ref)
    if seen.state != "lost" or not _not_begun(folder):
        return seen
    if asked is None:
        return Progress(folder.id, ref, "starting", why="Ray does not answer")
    why = None if busy else _never_begins(folder, asked)
    return Progress(folder.id, ref, "starting", why="in Ray's queue") if why is None else Progress(folder.id, ref, "lost", why=why)


def _words(text: str) -> str:
    """The last line of an error's text: that of a traceback says what was wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" .")]
    return (lines[-1] if lines else "no reason given")[:_LONGEST]


# --- inside Ray ------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    """Become the job's supervisor, under the same PID, so that Ray goes on watching it. Returns only when there is nothing to do."""
    folder = Folder(Path(argv[0]).resolve())
    try:
        lock = acquire(folder.lock, LOCK_SECONDS)
    except FileNotFoundError:  # forgotten while it waited
        return 0
    if lock is not None and not folder.result.exists():
        _become_supervisor(folder, lock)
    return 0


def _become_supervisor(folder: Folder, lock: int) -> NoReturn:
    env = {"PATH": os.defpath, **json.loads(folder.environment.read_bytes())}
    folder.environment.unlink()
    if "CUDA_VISIBLE_DEVICES" in os.environ:  # the devices that Ray gave it
        env["CUDA_VISIBLE_DEVICES"] = os.environ["CUDA_VISIBLE_DEVICES"]
    os.chdir(folder.path)
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # Ray blocks SIGINT in all its processes
    with folder.supervisor_log.open("ab") as log, Path(os.devnull).open("rb") as nothing:
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source.fileno(), target)
    os.set_inheritable(lock, True)
    command = [*supervisor_argv(folder), "--lock", str(lock)]
    os.execve(command[0], command, env)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
