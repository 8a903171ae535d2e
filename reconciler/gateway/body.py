"""A request's body: read within bounds, parsed strictly. What passes here is safe to hand on as the bytes that came.

Python's own JSON reader is lenient where RFC 8259 and I-JSON (RFC 7493) are not; a replica might read the same bytes differently from
us, or fail on them, so these are refused: NaN and Infinity, numbers that no double holds, names that appear twice in an object, lone
surrogates, text that is not UTF-8, and nesting deeper than any instance of a model."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive

from reconciler.gateway.problems import Problem

DEPTH = 64
"""Deepest nesting of arrays and objects."""
_LONG_NUMBER = re.compile(rb"\d{200}|\d[eE]\+?\d{3}")
"""Every number above the largest double (1.8e308) has so many digits or such an exponent; few others do."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


async def read(receive: Receive, headers: Mapping[bytes, bytes], most: int, seconds: float) -> bytes:
    """The whole body. Raises Problem: 413 above `most` bytes, of which no more are kept; 408 when it took longer than `seconds`;
    ConnectionResetError when the client went away."""
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced[:20]) > most:
        raise too_large(most)
    try:
        async with asyncio.timeout(seconds):
            return await _read_parts(receive, most)
    except TimeoutError:
        raise Problem(408, f"the body did not come within {seconds:g} s", headers={"connection": "close"}) from None


async def _read_parts(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionResetError
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            raise too_large(most)
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)


def too_large(most: int) -> Problem:
    return Problem(413, f"a request may have {most} bytes at most", headers={"connection": "close"})


def expect(headers: Mapping[bytes, bytes], media_type: str) -> None:
    """Raises Problem 415 unless the body is plain `media_type`. A request that does not say is taken at its word."""
    said = headers.get(b"content-type", b"").decode("latin-1")
    name, _, parameters = said.partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\s\";]+)", parameters, re.IGNORECASE)
    if said and name.strip().lower() != media_type:
        raise Problem(415, f"send `content-type: {media_type}`", headers={"accept": media_type})
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        raise Problem(415, "JSON is UTF-8: no other charset is read")
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise Problem(415, "compressed bodies are not read", headers={"accept-encoding": "identity"})


def parse(raw: bytes) -> Any:
    """The JSON value. Raises Problem 400."""
    try:
        value = (_CAREFUL if _LONG_NUMBER.search(raw) else _STRICT).decode(raw.decode("utf-8"))
        if _SURROGATE.search(raw):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise Problem(400, "the body is not valid UTF-8, or holds half of a surrogate pair") from None
    except RecursionError:
        raise too_deep() from None
    except json.JSONDecodeError as error:
        raise Problem(400, f"not JSON: {error.msg} at character {error.pos}") from None
    except ValueError as error:  # an integer with more digits than Python reads
        raise Problem(400, f"not JSON that can be read: {error}"[:300]) from None
    if raw.count(b"[") + raw.count(b"{") > DEPTH:
        _measure(value)
    return value


def too_deep() -> Problem:
    return Problem(400, f"nested deeper than {DEPTH} levels")


def _measure(value: Any) -> None:
    """Raises Problem 400 when `value` is nested too deep. Level by level, because a recursion would be what it guards against."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEPTH):
        if not level:
            return
        inside = (inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer))
        level = [each for each in inside if isinstance(each, (dict, list))]
    if level:
        raise too_deep()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Problem(400, "a name appears twice in one object")
    return found


def _constant(name: str) -> Any:
    raise Problem(400, f"{name} is not JSON")


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Problem(400, "a number is larger than any that a double holds")
    return value


def _integer(text: str) -> int:
    _real(text)
    return int(text)


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
_CAREFUL = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_real, parse_int=_integer)
