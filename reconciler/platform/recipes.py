"""How each service is run, as data: a further service is one more `Recipe` and nothing else."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reconciler.platform import mlflow, postgres
from reconciler.platform.process import Launch
from reconciler.platform.spec import Endpoint, Probe, ServiceSpec, Site


def _nothing(site: Site) -> None:
    """A service that leaves nothing behind."""


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
    needs: Callable[[ServiceSpec], tuple[str, ...]] = lambda spec: ()
    find: Callable[[Site], int | None] | None = None
    """PID of a process that was started and not recorded; None = found by the mark in its environment."""
    port: int | None = None
    """The port when the spec names none; None = a free one is chosen and remembered."""
    ready_seconds: float = 120.0
    """How long a start may take until it answers."""
    stop_signal: signal.Signals = signal.SIGTERM
    busy: tuple[str, ...] = ()
    """Words in the log of a failed start that mean: again in a moment."""
    tidy: Callable[[Site], None] = _nothing
    """After a stop."""


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
    }
)
