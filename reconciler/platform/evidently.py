"""Evidently's pages over the workspace of this installation: one process, on loopback. Reading is open to whoever reaches the port, writing
asks for the secret in its folder.

The workspace is a folder of files that others write (Monitors their projects, their workers the reports); the pages follow it, so that
nothing is lost and nothing waits while they are down. Its own store of what it serves is that folder and nothing else."""

from __future__ import annotations

import secrets
import sys

from reconciler.errors import Transient
from reconciler.files import write_private
from reconciler.model.monitoring import WORKSPACE
from reconciler.platform import package
from reconciler.platform.process import Launch
from reconciler.platform.spec import Endpoint, Probe, Site

PROBE_SECONDS = 5.0
READY_SECONDS = 120.0
"""It imports for 5 to 20 s, as busy as the machine is."""
BUSY = ("address already in use",)
"""A chosen port that somebody took between the choice and the start: the next start chooses another."""


def prepare(site: Site) -> None:
    """Check that it can run; make its workspace and its secret."""
    package.require(site, "Evidently")
    (site.home / WORKSPACE).mkdir(mode=0o700, exist_ok=True)
    if not (site.home / "secret").exists():
        write_private(site.home / "secret", secrets.token_urlsafe(32))


def launch(site: Site) -> Launch:
    """The secret is in the environment, because everybody may read an argv. Without DO_NOT_TRACK it would report to its makers."""
    argv = (
        *(site.spec.interpreter or sys.executable, "-m", "evidently.cli", "ui", "--host", "127.0.0.1", "--port", str(site.port)),
        *("--workspace", str(site.home / WORKSPACE)),
    )
    secret = (site.home / "secret").read_text(encoding="utf-8").strip()
    return Launch(argv, site.home, {"DO_NOT_TRACK": "1", "EVIDENTLY_SECRET": secret, **site.spec.env})


def endpoint(site: Site) -> Endpoint:
    """Its base URL. Raises Transient before the first start."""
    if not (site.home / "secret").exists():
        raise Transient("evidently was never started here", hint="reconcile platform up evidently")
    return Endpoint(site.name, "http", "127.0.0.1", site.port)


def probe(site: Site) -> Probe:
    """Its list of projects, which it reads from the workspace."""
    import httpx

    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{site.port}/api", timeout=PROBE_SECONDS, trust_env=False) as client:
            listed = client.get("/projects/")
            if listed.status_code != 200 or not isinstance(listed.json(), list):
                return Probe(False, f"its list of projects was answered with {listed.status_code}")
            return package.compare(site, str(client.get("/version").json().get("version")))
    except httpx.ConnectError:
        return Probe(False, "nothing answers at its port")
    except httpx.TimeoutException:
        return Probe(False, f"its list of projects was not answered in {PROBE_SECONDS:.0f} s")
    except (httpx.HTTPError, ValueError) as error:
        return Probe(False, f"its list of projects was not answered: {type(error).__name__}")
