"""The routes that the gateway works by."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from reconciler.model.serving import Route, Routes, routes_file

_log = logging.getLogger("reconciler.gateway")
_ROUTES = TypeAdapter(Routes)


class Table:
    """Routes of one generation. A file that cannot be read changes nothing but `problem`."""

    def __init__(self, state_dir: Path) -> None:
        self._path = routes_file(state_dir)
        self._stamp: tuple[int, int, int] | None = None
        self._now = Routes()
        self.problem = ""

    @property
    def generation(self) -> int:
        return self._now.generation

    @property
    def routes(self) -> dict[str, Route]:
        """By `project/name`."""
        return dict(self._now.routes)

    def get(self, path: str) -> Route | None:
        return self._now.routes.get(path)

    def apps(self) -> set[str]:
        """Applications that some route names."""
        return {target.app for route in self._now.routes.values() for target in route.targets}

    def scan(self) -> bool:
        """Take over what is on disk; True when it has changed."""
        stamp: tuple[int, int, int] | None = None
        try:
            look = self._path.stat()
            stamp = (look.st_mtime_ns, look.st_size, look.st_ino)
            if stamp == self._stamp:
                return False
            found = _read(self._path.read_bytes())
        except FileNotFoundError:
            if self._stamp is not None:
                self._broken("it is gone")
            return False
        except (OSError, ValueError, RecursionError) as error:
            self._stamp = stamp
            self._broken(_first(error))
            return False
        self._stamp, self._now, self.problem = stamp, found, ""
        _log.info("works by generation %d: %d routes", found.generation, len(found.routes))
        return True

    def _broken(self, why: str) -> None:
        problem = f"routes.json: {why}; generation {self.generation} stands"
        if problem != self.problem:
            self.problem = problem
            _log.error(problem)


def _read(raw: bytes) -> Routes:
    """Raises ValueError when it is not a whole set of routes."""
    found = _ROUTES.validate_json(raw)
    for path, route in found.routes.items():
        if route.path != path:
            raise ValueError(f"{path!r} holds the route of {route.path!r}")
    return found


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error) or type(error).__name__
