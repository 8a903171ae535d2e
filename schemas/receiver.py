"""Receivers of alerts: what apprise reaches, and signed webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from schemas.base import DnsLabel, FromEnv, FromFile, SecretRef, Strict

RESERVED = ("content-type", "content-length", "host", "x-mlops-delivery", "x-mlops-timestamp", "x-mlops-signature")
"""Headers that the sender sets itself."""
SENSITIVE = ("authorization", "cookie", "x-api-key")
Header = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]*$", max_length=100)]
Plain = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$", max_length=1000)]


class Webhook(Strict):
    """An address that gets JSON, signed so that its receiver can tell that it is ours, new and unchanged."""

    url: Plain | SecretRef
    """`https://...`; `http://` for this machine only."""
    secret: SecretRef
    """Of the signature; the receiver knows it too."""
    headers: dict[Header, Plain | SecretRef] = Field(default_factory=dict)
    """Sent along; `Authorization` from a secret."""


class Receiver(Strict):
    """Somebody who can be told; exactly one of `apprise`, `webhook` is set."""

    name: DnsLabel
    apprise: SecretRef | None = None
    """Holds one address that apprise understands (mail, Slack, Teams, ntfy, ...)."""
    webhook: Webhook | None = None


def secrets(receiver: Receiver) -> Iterator[FromEnv | FromFile]:
    """References to all secrets that a receiver needs."""
    told = [receiver.apprise]
    if receiver.webhook is not None:
        told += [
            receiver.webhook.secret,
            *(each for each in (receiver.webhook.url, *receiver.webhook.headers.values()) if not isinstance(each, str)),
        ]
    yield from (each for each in told if each is not None)


def check_receiver(path: str, receiver: Receiver, names: list[str], used: set[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with one of several receivers; `used` are those that a route or a report leads to."""
    if (receiver.apprise is None) == (receiver.webhook is None):
        yield path, "set exactly one of apprise, webhook"
    if names.count(receiver.name) > 1 and f"receivers.{names.index(receiver.name)}" != path:
        yield f"{path}.name", f"the name '{receiver.name}' is used twice"
    if receiver.name not in used:
        yield f"{path}.name", f"no route leads to '{receiver.name}': name it in `routes` or `reports`, or remove it"
    if receiver.webhook is None:
        return
    if isinstance(receiver.webhook.url, str) and (trouble := url_trouble(receiver.webhook.url)):
        yield f"{path}.webhook.url", trouble
    for name, value in receiver.webhook.headers.items():
        if name.lower() in RESERVED:
            yield f"{path}.webhook.headers.{name}", "is set by the sender itself"
        elif name.lower() in SENSITIVE and not isinstance(value, FromEnv | FromFile):
            yield f"{path}.webhook.headers.{name}", "is a secret: write {fromEnv: NAME} or {fromFile: path}"


def url_trouble(url: str) -> str:
    """What is wrong with a webhook's address; empty = nothing. Never repeats it: a token may be in it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is not an address; expected https://host/path"
    if parts.scheme not in ("http", "https") or not host:
        return "is not an address; expected https://host/path"
    if parts.scheme == "http" and not is_loopback(host):
        return "`http://` is for this machine only (127.0.0.1, localhost); use https://"
    return ""


def is_loopback(host: str) -> bool:
    """Whether a host's name means this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
