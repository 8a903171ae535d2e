"""Looks after the services beside the loop, in a thread of its own: says when one has come or gone, and keeps their logs within bounds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.house import House
from reconciler.platform.attend import Attendant
from reconciler.wakeups import beside

LOOK, AGAIN = 1.0, 60.0
"""Seconds between two looks at the services' processes and logs; more where one could not be cut."""


@contextmanager
def attending(house: House, stop: threading.Event) -> Iterator[None]:
    """While the block runs."""
    done, log, settings = threading.Event(), house.log.aside, house.settings
    attendant = Attendant(settings.state, settings.log_size, settings.log_files)

    def wait() -> None:
        while not stop.is_set():
            try:
                for each in attendant.look():
                    log.told("warning" if each.what == "died" else "info", f"service_{each.what}", service=each.service, pid=each.pid)
                for name in attendant.bound():
                    log.told("info", "log_rotated", service=name)
            except OSError as error:  # a full disk, most likely: the next look tries again
                log.warning("logs_not_bounded", error=str(error))
                done.wait(AGAIN)
            if done.wait(LOOK):
                return

    with beside(wait, "attend-services", done):
        yield
