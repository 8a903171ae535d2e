"""One HTTP request: `python -m reconciler.tasks.call`, told by $MLOPS_CALL (JSON; with its secrets, which is why it is no argument).

Exit code 1 for an answer that was not expected, or none."""

from __future__ import annotations

import json
import os
from typing import Any

from reconciler.tasks.outputs import tell

LARGEST = 64 << 10
"""Bytes of a body that later tasks are told."""


def call(given: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The answer. Redirects are not followed: their host was not allowed. Raises SystemExit with a sentence."""
    import httpx

    where = given["url"].partition("?")[0]
    try:
        answer = httpx.request(
            given["method"], given["url"], headers=given["headers"], json=given.get("json"), timeout=seconds, follow_redirects=False
        )
    except httpx.HTTPError as error:
        raise SystemExit(f"{given['method']} {where} was not answered: {type(error).__name__}") from None
    if answer.status_code not in given["expect"]:
        raise SystemExit(f"{given['method']} {where} was answered with {answer.status_code}: {answer.text[:500]}")
    found: dict[str, Any] = {"status": answer.status_code}
    if len(answer.content) <= LARGEST:
        try:
            found["body"] = answer.json()
        except ValueError:
            found["body"] = answer.text
    return found


def main() -> None:
    given = json.loads(os.environ["MLOPS_CALL"])
    found = call(given, float(os.environ.get("MLOPS_CALL_SECONDS") or 60.0))
    tell(found)
    print(f"{given['method']} {given['url'].partition('?')[0]}: {found['status']}")  # noqa: T201


if __name__ == "__main__":
    main()
