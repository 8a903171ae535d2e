"""What the API stands in, and how a request reaches it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from fastapi import Depends, Request

from reconciler.api.v1.answers import Bodies
from reconciler.api.v1.asker import Act, Asker
from reconciler.api.v1.authenticate import Authenticator
from reconciler.api.v1.kept import pool
from reconciler.api.v1.limits import Limits, Rates
from reconciler.api.v1.picture import Pictures
from reconciler.api.v1.problems import Problem
from reconciler.board import Board
from reconciler.house import House, Memos
from reconciler.kept import OneMeter, OneRunner, OneSampler
from reconciler.secret import secret


@dataclass
class Door:
    """One API. Reads from any thread."""

    house: House
    """Its own view of the installation: the loop's Store and kinds, sensors and runner of its own, so that it disturbs no pass."""
    board: Board
    limits: Limits = field(default_factory=Limits)
    pictures: Pictures = field(init=False)
    authenticator: Authenticator = field(init=False)
    rates: Rates = field(init=False)
    asks: ThreadPoolExecutor = field(default_factory=pool)
    closing: threading.Event = field(default_factory=threading.Event)
    """Set when the process ends: streams are to end by themselves."""
    bodies: Bodies = field(default_factory=Bodies)
    shared: dict[str, Any] = field(default_factory=dict)
    """Answers that are kept, by name."""

    def __post_init__(self) -> None:
        self.pictures = Pictures(self.house)
        self.rates = Rates(self.limits)
        self.authenticator = Authenticator(self.house, self.pictures, self.rates)

    def close(self) -> None:
        """Streams end, and nothing more is asked. Safe to repeat."""
        self.closing.set()
        self.asks.shutdown(wait=False, cancel_futures=True)


def open_door(house: House, board: Board, limits: Limits | None = None) -> Door:
    """The API beside the loop of `house`."""
    own = replace(
        house,
        memos=Memos({}, -1),
        sensors=OneSampler(house.settings, True),
        jobs=OneRunner(house.settings, secret),
        services=OneMeter(house.settings, secret),
        backoff=None,
        read_only=True,
    )
    return Door(own, board, limits or Limits())


def door_of(request: Request) -> Door:
    """The API that a request came to."""
    found: Door = request.app.state.door
    return found


TheDoor = Annotated[Door, Depends(door_of)]


SEVERAL = frozenset({"kind", "project", "health", "selector", "event"})
"""Parameters of a query that may be given more than once."""


def asking(request: Request, door: TheDoor) -> Asker:
    """Who asks. Raises Problem 401, 403, 429; and 422 for a query that could be meant in two ways."""
    who = door.authenticator.who(request)
    names = [name for name, _ in request.query_params.multi_items() if name not in SEVERAL]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Problem(422, f"`{twice[0][:50]}` is given more than once")
    return who


Asking = Annotated[Asker, Depends(asking)]


def somewhere(act: Act) -> Callable[[Asker], Asker]:
    """For routes about no project in particular: whoever may do this in any. Raises Problem 403."""

    def check(who: Asking) -> Asker:
        if not who.may_somewhere(act):
            raise refused(who, act)
        return who

    return check


def must(who: Asker, act: Act, project: str) -> None:
    """Raises Problem 403. What is there must be looked up before: 404 comes first where nothing may be seen."""
    if not who.may(act, project):
        raise refused(who, act)


def refused(who: Asker, act: Act) -> Problem:
    """403, with the roles that may."""
    from reconciler.api.v1.asker import MAY

    able = " or ".join(role for role, acts in MAY.items() if act in acts)
    return Problem(403, f"{who.name} may not do this: it takes the role {able}")
