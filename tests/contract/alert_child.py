"""Sends alerts in a process of its own, that kills itself at a named point if one is given: `python alert_child.py ROOT [MOMENT WHAT]`.

MOMENT is `before` or `after`, WHAT a call: of the deliveries (`queue`, `claim`, `arrived`: the receiver has answered), `follow` of the
alerts, inside the transaction of the statuses, or `report`: a scheduled one is queued. A deployment and a dataset are not well; the file
`mended` in ROOT mends the deployment."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reconciler.alerting.courier import Courier
from tests.contract.alert_lab import WORDS, house_in, ill, well


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(call: Callable[..., Any], moment: str) -> Callable[..., Any]:
    """The call, and the end of this process before or after it."""

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if moment == "before":
            die()
        call(*arguments, **named)
        die()

    return wrapped


def main(root: Path, moment: str, what: str) -> None:
    house = house_in(root, lambda: datetime.now(UTC))
    if what:
        store = house.store
        elsewhere: dict[str, tuple[Any, str]] = {"follow": (store.alerts, "follow"), "report": (store.reports, "queue")}
        part, name = elsewhere.get(what, (store.deliveries, what))
        setattr(part, name, dying(getattr(part, name), moment))
    house.store.put_statuses([well() if (root / "mended").exists() else ill(), ill(WORDS)])
    courier = Courier(house)
    courier.look()
    courier.wait(20.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(sys.argv[2:] or ("", "")))
