"""One signed request to a webhook."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reconciler.alerting.verify import signature
from reconciler.errors import Terminal, Transient
from schemas.receiver import Webhook, is_loopback, url_trouble

if TYPE_CHECKING:
    import httpx


def post(webhook: Webhook, delivery: str, body: bytes, secret: Callable[[Any], str], seconds: float) -> None:
    """Send it; it is accepted when this returns. No error shows the address, a header or the answer: they may hold secrets.

    Raises Transient when it was not accepted, Terminal when a secret is missing or the address is none."""
    import httpx

    url = webhook.url if isinstance(webhook.url, str) else secret(webhook.url)
    if trouble := url_trouble(url):
        raise Terminal(f"the webhook's url {trouble}")
    stamp = str(int(time.time()))
    headers = {name: value if isinstance(value, str) else secret(value) for name, value in webhook.headers.items()}
    headers |= {
        "Content-Type": "application/json",
        "User-Agent": "mlops-reconciler",
        "X-MLOps-Delivery": delivery,
        "X-MLOps-Timestamp": stamp,
        "X-MLOps-Signature": signature(secret(webhook.secret), delivery, stamp, body),
    }
    here = is_loopback(urlsplit(url).hostname or "")
    try:
        with (
            httpx.Client(timeout=seconds, follow_redirects=False, trust_env=not here, verify=url.startswith("https")) as client,
            client.stream("POST", url, content=body, headers=headers) as answer,  # the answer's text is not read
        ):
            _accepted(answer)
    except httpx.TimeoutException:
        raise Transient(f"no answer within {seconds:.0f} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise Transient(_words(error)) from None


def _accepted(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    after = answer.headers.get("Retry-After", "")
    wait = float(after) if after.isascii() and after.isdecimal() else None
    raise Transient(f"it answered {answer.status_code}", retry_after=wait)


def _words(error: Exception) -> str:
    """Only what this program chose to say: an exception's own text may repeat the address or a header."""
    import ssl

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "its certificate is not accepted"
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there"
        cause = cause.__cause__ or cause.__context__
    return {"ConnectError": "it cannot be reached", "RemoteProtocolError": "it hung up"}.get(type(error).__name__, "the request failed")
