"""The Ray head: scheduler and jobs REST of this machine, on loopback, behind a token.

What was found out about Ray 2.60 and shapes this file:

* `--node-ip-address=127.0.0.1` is rewritten to an outside address unless RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER is 0
  (ray._private.services.resolve_ip_for_localhost).
* A job inherits the whole environment of `ray start`: it holds nothing secret. The token is in a file, named by RAY_AUTH_TOKEN_PATH.
* Ray makes its folders for everybody (mode 0777) and puts sockets there, so they lie inside a private folder with a short path.
* `ray stop` signals everything on the machine that looks like Ray, anybody's: it is never called."""

from __future__ import annotations

import contextlib
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.errors import Terminal, Transient
from reconciler.files import write_private
from reconciler.model.serving import applications_file
from reconciler.platform import package, ports
from reconciler.platform.private import short_folder
from reconciler.platform.process import Launch, mark
from reconciler.platform.spec import Endpoint, Probe, Site
from schemas.base import quantity_value

if TYPE_CHECKING:
    import httpx

USER = "ray"
"""Stands before the token in the address; Ray looks at the token only."""
OBJECT_STORE = "100M"
"""Jobs share no objects; Ray's own default would be almost a third of the memory."""
PROBE_SECONDS = 10.0
"""A busy machine is what Ray is for: its dashboard may take its time."""
DRAIN_SECONDS = 20.0
"""How long jobs may take to end before a stop: their supervisors give a program ten seconds."""
ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
"""States of a job that has ended. Source: ray.job_submission.JobStatus."""
FOLDER = "folder"
"""Key in a job's metadata: the folder that its supervisor works in."""
BUSY = ("ddress already in use", "is already in use", "Failed to bind")
"""A chosen port that somebody took between the choice and the start: the next start chooses others."""

SERVE = "/api/serve/applications/"
_OPTIONS = frozenset({"cpus", "objectStore"})
"""What `extra` may say: cores that Ray may give away, and bytes for shared objects (a Quantity)."""
_NAMED = (
    *("port", "ray-client-server-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port"),
    *("runtime-env-agent-port", "node-manager-port", "object-manager-port"),
)
"""Options of `ray start` that name a port; left out, Ray takes well-known or random ones. One port of the range for each, in this order."""
_DASHBOARD_METRICS = len(_NAMED)
_WORKERS = 128
"""Ports for workers: each running job has one worker."""
_RANGE = _DASHBOARD_METRICS + 1 + _WORKERS
_LONGEST_FOLDER = 36
"""sockaddr_un holds 103 bytes on macOS, whose /tmp is /private/tmp; Ray adds `/s/session_<26 characters>_<pid>/sockets/dash_ReportHead`
and the like."""


def prepare(site: Site) -> None:
    """Check that it can run; make its token, its private folder and its choice of ports. Old sessions go, but for the last one's logs."""
    if unknown := sorted(set(site.spec.extra) - _OPTIONS):
        raise Terminal(f"ray has no option {unknown[0]!r}", hint=f"allowed: {', '.join(sorted(_OPTIONS))}")
    package.require(site, "Ray")
    if not (site.home / "token").exists():
        write_private(site.home / "token", secrets.token_urlsafe(32))
    folder = short_folder(site.home / "folder", "mlops-ray-", _LONGEST_FOLDER)
    for name in ("s", "tmp"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    for old in sorted((folder / "s").glob("session_2*"))[:-1]:
        shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir(mode=0o700)
    first = ports.remembered(site.home / "ports")
    if first is None or site.port in range(first, first + _RANGE) or not ports.range_is_free(first, _RANGE):
        ports.remember(site.home / "ports", ports.choose_range(mark("ray", site.home), _RANGE, apart_from=site.port))


def launch(site: Site) -> Launch:
    """The head with its dashboard (which is the REST interface), without autoscaler and log forwarding, which nothing here uses."""
    first, folder = ports.remembered(site.home / "ports") or 0, Path(_read(site.home / "folder"))
    named = (f"--{option}={first + place}" for place, option in enumerate(_NAMED))
    workers = first + _DASHBOARD_METRICS + 1
    argv = (
        *(site.spec.interpreter or sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address=127.0.0.1", "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={site.port}"),
        *(*named, f"--min-worker-port={workers}", f"--max-worker-port={workers + _WORKERS - 1}"),
        *("--include-log-monitor=false", "--no-monitor", "--disable-usage-stats", "--log-color=false", f"--temp-dir={folder / 's'}"),
        *_resources(site.spec.extra, platform.system(), platform.machine()),
    )
    env = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(site.home / "token"),
        "DASHBOARD_METRIC_PORT": str(first + _DASHBOARD_METRICS),
        "TMPDIR": str(folder / "tmp"),
        # nothing to drain: jobs are ended before the head is, and while one runs draining waits its whole 30 s
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        # a supervisor gives its program ten seconds, and tells the tracking server
        "RAY_JOB_STOP_WAIT_TIME_S": "30",
        # memory is watched by each job's supervisor against its grant; Ray would end whatever it chose, the supervisor too
        "RAY_memory_monitor_refresh_ms": "0",
        # a job's program is no more to be chosen by the kernel than one that runs beside Ray; Ray's workers pass on what they have
        "RAY_worker_oom_score_adjustment": "0",
        # two idle workers of 90 MiB that jobs would not use
        "RAY_enable_worker_prestart": "0",
        # Serve's controller looks ten times a second by default and took 3.5 % of a core; so it takes 1.9 %, and a start half a second more
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",
        "RAY_ROTATION_MAX_BYTES": str(8 << 20),
        "RAY_ROTATION_BACKUP_COUNT": "1",
        # replicas are programs of ours, run by Ray's workers
        **package.import_path(site),
        **site.spec.env,
    }
    return Launch(argv, site.home, env)


def endpoint(site: Site) -> Endpoint:
    """Its REST interface; the token stands where a password does. Raises Transient before the first start."""
    token = _read(site.home / "token")
    if not token:
        raise Transient("ray was never started here", hint="reconcile platform up")
    return Endpoint(site.name, "http", "127.0.0.1", site.port, USER, token)


def probe(site: Site) -> Probe:
    """Its version, and the list of jobs, which the dashboard must fetch from the scheduler."""
    import httpx

    try:
        with connect(endpoint(site).url, PROBE_SECONDS) as client:
            version, jobs = client.get("/api/version"), client.get("/api/jobs/")
            if version.status_code == 200 == jobs.status_code and isinstance(jobs.json(), list):
                look = package.compare(site, str(version.json().get("ray_version")))
                # a newer version can wait: a remark would have it restarted, and a restart ends its jobs
                return replace(look, message="") if any(_unfinished(each) for each in jobs.json()) else look
            return Probe(False, f"its list of jobs was answered with {jobs.status_code}")
    except httpx.ConnectError:
        return Probe(False, "nothing answers at its port")
    except httpx.TimeoutException:
        return Probe(False, f"its list of jobs was not answered in {PROBE_SECONDS:.0f} s")
    except (httpx.HTTPError, ValueError) as error:
        return Probe(False, f"its list of jobs was not answered: {type(error).__name__}")


def connect(url: str, timeout: float) -> httpx.Client:
    """A client of the REST interface at `url`, which holds the token."""
    import httpx

    where = httpx.URL(url)
    headers = {"Authorization": f"Bearer {where.password}"} if where.password else {}
    return httpx.Client(base_url=where.copy_with(username=None, password=None), headers=headers, timeout=timeout, trust_env=False)


def drain(site: Site) -> None:
    """End the jobs before the head ends: it would kill their supervisors, and a killed supervisor tells nobody how a run ended.
    And Serve, whose replicas then finish what they have in hand."""
    import httpx

    deadline = time.monotonic() + DRAIN_SECONDS
    with contextlib.suppress(httpx.HTTPError, ValueError, Transient), connect(endpoint(site).url, 5.0) as client:
        for each in _active(client):
            _ask_to_end(client, each)
        if applications_file(site.home.parent.parent).exists():  # to ask a Serve that was never used takes seconds
            _end_serve(client)
        while (left := list(_active(client))) and time.monotonic() < deadline:
            for each in left:
                _ask_to_end(client, each)
            time.sleep(0.3)


def _end_serve(client: httpx.Client) -> None:
    """Returns once its replicas have ended, or after DRAIN_SECONDS. Applications that others have declared end with the head anyway."""
    import httpx

    with contextlib.suppress(httpx.TimeoutException):
        if client.get(SERVE).json().get("controller_info"):
            client.delete(SERVE, timeout=DRAIN_SECONDS)


def strays(site: Site) -> list[int]:
    """PIDs of Ray's own helpers that outlived a killed head. They overwrite their environment, and with it the mark, with their title;
    they are known by the logs that they hold open in our private folder. They would end by themselves, minutes later."""
    import psutil

    folder = _read(site.home / "folder")
    found = []
    for process in psutil.process_iter(["name", "ppid"]):
        if not folder or process.info["ppid"] != 1 or not str(process.info["name"]).startswith("ray"):
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if any(each.path.startswith(f"{folder}/") for each in process.open_files()):
                found.append(process.pid)
    return found


def tidy(site: Site) -> None:
    """Remove the private folder once the head is down."""
    folder = _read(site.home / "folder")
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def _resources(extra: Mapping[str, str], system: str, machine: str) -> Iterator[str]:
    """What Ray may give away. Memory is all that there is: who gets how much is admission's to decide, and Ray's own idea of it, what is
    free at its start, would keep granted work waiting. Ray does not know Apple's GPU; as a number to share out it is one device."""
    import psutil

    yield f"--memory={psutil.virtual_memory().total}"
    yield f"--object-store-memory={int(quantity_value(extra.get('objectStore', OBJECT_STORE)))}"
    if "cpus" in extra:
        yield f"--num-cpus={extra['cpus']}"
    if (system, machine) == ("Darwin", "arm64"):
        yield "--num-gpus=1"


def _active(client: httpx.Client) -> Iterator[Mapping[str, Any]]:
    answer = client.get("/api/jobs/")
    answer.raise_for_status()
    yield from filter(_unfinished, answer.json())


def _unfinished(job: Mapping[str, Any]) -> bool:
    return bool(job.get("submission_id")) and job.get("status") not in ENDED


def _ask_to_end(client: httpx.Client, job: Mapping[str, Any]) -> None:
    """By its folder, as the reconciler does. Ray's own stop signals the supervisor and its program at once; it is left for jobs that
    have no supervisor yet."""
    folder = Path(str((job.get("metadata") or {}).get(FOLDER, "")))
    if job.get("status") == "RUNNING" and (folder / "job.json").exists():
        if not (folder / "stop").exists():
            write_private(folder / "stop", "the platform's Ray was stopped")
    else:
        client.post(f"/api/jobs/{job['submission_id']}/stop")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
