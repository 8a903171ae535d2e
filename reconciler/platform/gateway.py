"""The gateway: what answers `POST /predict/{project}/{name}` on this machine, on loopback. A program of ours, in a process of its own.

Routes and replicas it reads from the state folder, so it needs no other service. The token in its folder lets the reconciler ask for its
state, and is a key for every project."""

from __future__ import annotations

import importlib.util
import secrets
import sys
from dataclasses import replace

from reconciler.errors import Terminal, Transient
from reconciler.files import write_private
from reconciler.platform import package
from reconciler.platform.process import Launch
from reconciler.platform.spec import Endpoint, Probe, Site

USER = "gateway"
"""Stands before the token in the address; the gateway looks at the token only."""
PROBE_SECONDS = 5.0
BUSY = ("cannot be had",)
"""A chosen port that somebody took between the choice and the start: the next start chooses another."""
_MODULES = ("aiohttp", "fastjsonschema", "prometheus_client", "pyarrow", "starlette", "uvicorn")


def prepare(site: Site) -> None:
    """Check that it can run, and make its token."""
    package.check_interpreter(site)
    missing = [each for each in _MODULES if site.spec.interpreter is None and importlib.util.find_spec(each) is None]
    if missing:
        raise Terminal(f"the gateway needs {', '.join(missing)}", hint="pip install 'mlops-reconciler[serving]'")
    if not (site.home / "token").exists():
        write_private(site.home / "token", secrets.token_urlsafe(32))


def launch(site: Site) -> Launch:
    """One process; the token is in a file, because everybody may read an argv."""
    argv = (
        *(site.spec.interpreter or sys.executable, "-P", "-m", "reconciler.gateway"),
        *("--state", str(site.home.parent.parent), "--port", str(site.port)),
    )
    return Launch(argv, site.home, {**package.import_path(site), **site.spec.env})


def launch_beside(site: Site) -> Launch:
    """One that takes over the port from the one that listens there."""
    alone = launch(site)
    return replace(alone, argv=(*alone.argv, "--take-over"))


def endpoint(site: Site) -> Endpoint:
    """Its address; the token stands where a password does. Raises Transient before the first start."""
    try:
        token = (site.home / "token").read_text(encoding="utf-8").strip()
    except OSError:
        raise Transient("the gateway was never started here", hint="reconcile platform up gateway") from None
    return Endpoint(site.name, "http", "127.0.0.1", site.port, USER, token)


def probe(site: Site) -> Probe:
    """Its state, which it tells only who has the token: another program at its port does not know it."""
    import httpx

    try:
        where = endpoint(site)
        with httpx.Client(base_url=f"http://{where.host}:{where.port}", timeout=PROBE_SECONDS, trust_env=False) as client:
            health = client.get("/healthz")
            state = client.get("/-/state", headers={"Authorization": f"Bearer {where.password}"})
        if health.status_code == 200 == state.status_code and "generation" in state.json():
            return Probe(True, pid=state.json().get("pid"))
        return Probe(False, f"its state was answered with {max(health.status_code, state.status_code)}")
    except httpx.ConnectError:
        return Probe(False, "nothing answers at its port")
    except httpx.TimeoutException:
        return Probe(False, f"its state was not answered in {PROBE_SECONDS:.0f} s")
    except (httpx.HTTPError, ValueError) as error:
        return Probe(False, f"its state was not answered: {type(error).__name__}")
