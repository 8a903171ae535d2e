"""How each service is run, as data: a further service is one more `Recipe` and nothing else."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reconciler.platform import airflow, evidently, gateway, mlflow, postgres, ray
from reconciler.platform.process import Launch
from reconciler.platform.spec import Endpoint, Probe, ServiceSpec, Site


def _nothing(site: Site) -> None:
    """Nothing to do."""


def _nobody(site: Site) -> list[int]:
    """A service whose processes all carry the mark, or end with the one that does."""
    return []


@dataclass(frozen=True)
class Recipe:
    """One service. All functions are safe to repeat; only `prepare`, `probe` and `tidy` touch the world."""

    name: str
    prepare: Callable[[Site], None]
    """Blocking work before a start: folders, databases. Called with the lock held, once what it needs answers."""
    launch: Callable[[Site], Launch]
    probe: Callable[[Site], Probe]
    """A look at work done, with a deadline of a few seconds."""
    endpoint: Callable[[Site], Endpoint]
    launch_beside: Callable[[Site], Launch] | None = None
    """As `launch`, for one that takes the port over from the one that runs; its probe tells which process answered. None = it cannot."""
    needs: Callable[[ServiceSpec], tuple[str, ...]] = lambda spec: ()
    find: Callable[[Site], int | None] | None = None
    """PID of a process that was started and not recorded; None = found by the mark in its environment."""
    port: int | None = None
    """The port when the spec names none; None = a free one is chosen and remembered."""
    ready_seconds: float = 120.0
    """How long a start may take until it answers."""
    stop_signal: signal.Signals = signal.SIGTERM
    leads: bool = False
    """The process that was started ends the others, in order: only it gets the signal. Otherwise its whole process group does.
    What has a session of its own below it is work that it does for others, whose memory is not its own."""
    busy: tuple[str, ...] = ()
    """Words in the log of a failed start that mean: again in a moment."""
    drain: Callable[[Site], None] = _nothing
    """Before a stop: ends the work that it does for others, with a deadline of its own."""
    strays: Callable[[Site], list[int]] = _nobody
    """PIDs of its processes that neither carry the mark nor descend from one that does."""
    tidy: Callable[[Site], None] = _nothing
    """After a stop."""
    on_demand: bool = False
    """Started only when a resource needs it; while it is down nobody misses it."""


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "postgres": Recipe(
            "postgres",
            postgres.prepare,
            postgres.launch,
            postgres.probe,
            postgres.endpoint,
            find=postgres.find,
            port=postgres.SOCKET_PORT,
            ready_seconds=60.0,
            stop_signal=postgres.STOP_SIGNAL,
            busy=postgres.BUSY,
            tidy=postgres.tidy,
        ),
        "mlflow": Recipe("mlflow", mlflow.prepare, mlflow.launch, mlflow.probe, mlflow.endpoint, needs=mlflow.needs, busy=mlflow.BUSY),
        "ray": Recipe(
            "ray",
            ray.prepare,
            ray.launch,
            ray.probe,
            ray.endpoint,
            leads=True,
            busy=ray.BUSY,
            drain=ray.drain,
            strays=ray.strays,
            tidy=ray.tidy,
            on_demand=True,
        ),
        "gateway": Recipe(
            "gateway",
            gateway.prepare,
            gateway.launch,
            gateway.probe,
            gateway.endpoint,
            ready_seconds=60.0,
            launch_beside=gateway.launch_beside if sys.platform == "linux" else None,
            busy=gateway.BUSY,
            on_demand=True,
        ),
        "evidently": Recipe(
            "evidently",
            evidently.prepare,
            evidently.launch,
            evidently.probe,
            evidently.endpoint,
            ready_seconds=evidently.READY_SECONDS,
            busy=evidently.BUSY,
            on_demand=True,
        ),
        **{
            name: Recipe(
                name,
                airflow.prepare,
                airflow.launch,
                airflow.probe,
                airflow.endpoint,
                needs=airflow.needs,
                port=None if name == airflow.API else airflow.NO_PORT,
                ready_seconds=airflow.READY_SECONDS,
                busy=airflow.BUSY,
                on_demand=True,
            )
            for name in airflow.SERVICES
        },
    }
)
