"""Asks the API from inside this process, as whoever looks at the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.requests import Request
from starlette.types import ASGIApp

from reconciler.api.v1.authenticate import FORWARDED

PATIENCE = 30.0
"""Seconds that a page waits for one answer."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that is none: `detail` says why and what to do."""

    status: int
    detail: str


class Reader:
    """One page's view of the API. An answer that has not changed is the same object as before. `token` gives the token that is good now,
    or nothing: a page that stays open must not outlive its session."""

    def __init__(self, api: ASGIApp, token: Callable[[], str], request: Request) -> None:
        address = (request.client.host, request.client.port) if request.client is not None else ("", 0)
        # where it came from decides what somebody without a token may read
        headers = {name: request.headers[name] for name in ("host", *FORWARDED) if name in request.headers}
        self._token = token
        transport = httpx.ASGITransport(app=api, client=address, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers, timeout=PATIENCE)
        self._known: dict[str, tuple[str, Any]] = {}

    async def get(self, path: str) -> Any:
        """The answer to `path`, with its query; or Refused."""
        tag, value = self._known.get(path, ("", None))
        try:
            response = await self._client.get(path, headers=self._said() | ({"if-none-match": tag} if tag else {}))
        except (httpx.HTTPError, RuntimeError) as error:
            return Refused(503, f"the API does not answer: {error!r}")
        if response.status_code == 304:
            return value
        if response.status_code != 200:
            self._known.pop(path, None)
            return _refused(response)
        found = response.json()
        if found == value:
            found = value
        self._known[path] = (response.headers.get("etag", ""), found)
        return found

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Give an order; its answer, or Refused."""
        try:
            response = await self._client.post(path, json=dict(body) if body is not None else None, headers=self._said())
        except (httpx.HTTPError, RuntimeError) as error:
            return Refused(503, f"the API does not answer: {error!r}")
        return response.json() if response.is_success else _refused(response)

    def _said(self) -> dict[str, str]:
        token = self._token()
        return {"authorization": f"Bearer {token}"} if token else {}


def _refused(response: httpx.Response) -> Refused:
    try:
        told = response.json()
    except ValueError:
        return Refused(response.status_code, response.text[:500])
    mistakes = "; ".join(f"{each['path']}: {each['message']}" for each in told.get("errors", ()))
    return Refused(response.status_code, ": ".join(filter(None, (str(told.get("detail", "")), mistakes))))
