"""What a replica must show before it serves: good answers to its examples, fast enough, within its memory. Through its own socket."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.errors import Terminal
from reconciler.model.units import memory as text_of
from reconciler.serving.metrics import quantile

CALLS = 20
"""Answers that a 95th percentile is taken over, where SECONDS allow."""
SECONDS = 3.0
FIRST = 5
"""Calls that may fill caches before growth counts as a leak."""
LEAK = 8
"""Growth over the remaining calls by more than this part of the grant is a leak: some hundred requests would be the end of it."""
LEAK_BYTES = 64 << 20
"""The same where memory is not bounded."""
ANSWER_SECONDS = 30.0


def warm_up(path: Path, args: Mapping[str, Any], used: Callable[[], int]) -> None:
    """Raises Terminal with what the replica lacks. `args`: example, output (JSON Schema), latency (seconds), memory (bytes)."""
    example: Sequence[Any] = args["example"]
    _within(used(), args["memory"])
    if not example:
        return
    with Client(path) as client:
        _check(client.predict(example), example, args["output"])
        seconds, grew = [], used()
        for place, took in enumerate(_timed(client, example)):
            seconds.append(took)
            if place + 1 == FIRST:
                grew = used()
        now = used()
    _within(now, args["memory"])
    most = args["memory"] // LEAK if args["memory"] else LEAK_BYTES
    if len(seconds) > FIRST and now - grew > most:
        raise Terminal(f"its memory grew by {text_of(now - grew)} over {len(seconds) - FIRST} requests: it leaks")
    if args["latency"] is not None and (p95 := quantile(seconds, 0.95)) > args["latency"]:
        raise Terminal(f"too slow: p95 {p95 * 1000:.1f} ms over {len(seconds)} requests (limit {args['latency'] * 1000:.0f} ms)")


def _timed(client: Client, example: Sequence[Any]) -> Iterator[float]:
    ends = time.monotonic() + SECONDS
    for place in range(CALLS):
        began = time.monotonic()
        client.predict([example[place % len(example)]])
        yield time.monotonic() - began
        if time.monotonic() > ends:
            return


def _within(used: int, granted: int) -> None:
    if granted and used > granted:
        raise Terminal(f"needs {text_of(used)}, its lease gives {text_of(granted)}", hint="set resources.memory to more")


def _check(answer: Any, example: Sequence[Any], schema: Mapping[str, Any]) -> None:
    if not isinstance(answer, list) or len(answer) != len(example):
        found = f"a list of {len(answer)}" if isinstance(answer, list) else f"{type(answer).__name__}"
        raise Terminal(f"wrong output: {len(example)} examples were answered with {found}, expected a list of {len(example)} predictions")
    if schema:
        import fastjsonschema

        valid = fastjsonschema.compile(dict(schema))
        for place, each in enumerate(answer):
            try:
                valid(each)
            except fastjsonschema.JsonSchemaValueException as error:
                raise Terminal(f"wrong output: prediction {place} for the examples: {error.message}") from None


class Client:
    """A connection to the socket that is kept open between requests."""

    def __init__(self, path: Path) -> None:
        self._http = http.client.HTTPConnection("localhost", timeout=ANSWER_SECONDS)
        self._http.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._http.sock.settimeout(ANSWER_SECONDS)
        self._http.sock.connect(str(path))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def predict(self, instances: Sequence[Any]) -> Any:
        """The answer, as JSON. Raises Terminal when there is none."""
        body = json.dumps({"instances": list(instances)})
        try:
            self._http.request("POST", "/predict", body, {"content-type": "application/json"})
            answer = self._http.getresponse()
            text = answer.read()
        except TimeoutError:
            raise Terminal(f"did not answer its examples in {ANSWER_SECONDS:.0f} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise Terminal(f"broke off the answer to its examples: {type(error).__name__}") from None
        if answer.status != 200:
            raise Terminal(f"answered its examples with {answer.status}: {text[:300].decode('utf-8', 'replace').strip()}")
        try:
            return json.loads(text)
        except ValueError:
            raise Terminal("wrong output: its answer to the examples is not JSON") from None
