"""What the gateway takes for a body, and what it refuses before any model sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.body import DEPTH, expect, parse, read
from reconciler.gateway.problems import Problem


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b'"\\ud800"', "UTF-8"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b"NaN", "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"[1e400]", "larger than any"),
        (b"[-1E+0999]", "larger than any"),
        (b"[" + b"9" * 400 + b"]", "larger than any"),
        (b"[" + b"9" * 5000 + b"]", "larger than any"),
        (b"[0." + b"0" * 10 + b"1e400]", "larger than any"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), "deeper"),
        (b"[" * 200_000, "deeper"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "deeper"),
    ],
)
def test_refused(raw: bytes, says: str) -> None:
    with pytest.raises(Problem) as refused:
        parse(raw)
    assert refused.value.status == 400
    assert says in refused.value.detail


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"[1e308, 1e-999, 123456789012345678901234567890]", [1e308, 0.0, 123456789012345678901234567890]),
        (b'"\\ud83d\\ude00 \xc3\xa9"', "\U0001f600 é"),
        (b"[" * DEPTH + b"]" * DEPTH, None),
        (b"[" + b"[1]," * 5000 + b"2]", None),
        (b'{"e100000": "1e100000"}', {"e100000": "1e100000"}),
    ],
)
def test_accepted(raw: bytes, value: Any) -> None:
    assert parse(raw) == (value if value is not None else json.loads(raw))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_problem(raw: bytes) -> None:
    with contextlib.suppress(Problem):
        parse(raw)


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({}, True),
        ({b"content-type": b"application/json"}, True),
        ({b"content-type": b"Application/JSON; charset=UTF-8"}, True),
        ({b"content-type": b"application/x-www-form-urlencoded"}, False),
        ({b"content-type": b"application/json; charset=latin-1"}, False),
        ({b"content-type": b"application/json", b"content-encoding": b"gzip"}, False),
    ],
)
def test_content_type(headers: dict[bytes, bytes], good: bool) -> None:
    if good:
        expect(headers, "application/json")
    else:
        with pytest.raises(Problem) as refused:
            expect(headers, "application/json")
        assert refused.value.status == 415


def test_body_is_read_within_its_bounds() -> None:
    def body(*parts: bytes, headers: dict[bytes, bytes] | None = None, stops: bool = False) -> bytes:
        left = list(parts)

        async def receive() -> Any:
            if not left:
                if stops:
                    return {"type": "http.disconnect"}
                await asyncio.sleep(60)
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or stops or len(parts) == 0}

        return asyncio.run(read(receive, headers or {}, 10, 0.05))

    assert body(b"12345", b"", b"67890") == b"1234567890"
    for parts, headers, status in (
        ((b"123456", b"789012"), {}, 413),
        ((b"1",), {b"content-length": b"11"}, 413),
        ((b"1",), {b"content-length": b"9" * 50}, 413),
        ((), {}, 408),
    ):
        with pytest.raises(Problem) as refused:
            body(*parts, headers=headers)
        assert refused.value.status == status
        assert refused.value.headers["connection"] == "close"
    with pytest.raises(ConnectionResetError):
        body(b"1", stops=True)
