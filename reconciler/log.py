"""What the program writes for those who operate it: warnings to stderr, and with a file (`reconcile watch`) everything, as JSON lines.

A line is one JSON object in ASCII, so that no terminal acts on it: `time` (UTC), `level`, `event`, `pass` (the id of the pass that it is
part of, where there is one), then what the event is about. No secret gets into it (`reconciler.secret`)."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from reconciler.secret import hidden_in

if TYPE_CHECKING:
    from reconciler.logfile import LogFile

LONGEST = 8192
"""Characters of one value; a trace may be long, and a line must stay one that a reader can hold."""


class Log:
    """`reconciler.controller.Logger`, safe to use from several threads. What is said in a pass carries the pass's id; `aside` is for what
    happens beside it. structlog is imported when there is something to write."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._out = _Out(verbose)
        self._aside = False

    @property
    def aside(self) -> Log:
        """For what belongs to no pass."""
        other = Log.__new__(Log)
        other._out, other._aside = self._out, True
        return other

    @property
    def pass_id(self) -> str:
        """Of the pass that goes on; empty before the first."""
        return self._out.pass_id

    def info(self, event: str, **context: Any) -> None:
        """Something happened, as it should. Shown on stderr with `-v` only."""
        self._write("info", event, context, people=True)

    def warning(self, event: str, **context: Any) -> None:
        """Something that somebody should look at."""
        self._write("warning", event, context, people=True)

    def told(self, level: str, event: str, **context: Any) -> None:
        """Write to the file alone: people are told in other words. `level` is `info` or `warning`."""
        self._write(level, event, context, people=False)

    def next_pass(self) -> None:
        """What is said from now on belongs to another pass."""
        self._out.pass_id = uuid4().hex[:12]

    def keep(self, path: Path, size: int, files: int, **common: Any) -> None:
        """Write everything to this file from now on, at most `size` bytes long, with so many older ones; `common` on every line of it.
        Raises OSError."""
        from reconciler.logfile import LogFile

        self._out.file, self._out.common = LogFile(path, size, files), common

    def _write(self, level: str, event: str, context: dict[str, Any], *, people: bool) -> None:
        belongs = {} if self._aside else {"pass": self._out.pass_id}
        self._out.write(level, event, {**belongs, **context}, people=people)


class _Out:
    """Where lines go."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self.pass_id = ""
        self.file: LogFile | None = None
        self.common: dict[str, Any] = {}

    def write(self, level: str, event: str, context: dict[str, Any], *, people: bool) -> None:
        known = {key: _cut(hidden_in(value)) for key, value in context.items() if value not in ("", None)}
        if self.file is not None:
            with suppress(OSError):  # nor can stderr be told of it
                self.file.write(level, event, {**known, **self.common})
        if people and (self.verbose or level == "warning"):
            with suppress(OSError):  # a full disk below it costs the line: nothing here ends for that
                _stderr().info(event, **known)


def _cut(value: Any) -> Any:
    return f"{value[:LONGEST]}..." if isinstance(value, str) and len(value) > LONGEST else value


def _stderr() -> Any:
    import structlog

    return structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=[structlog.processors.KeyValueRenderer()])
