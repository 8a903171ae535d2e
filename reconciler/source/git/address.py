"""Where a repository lies, and how that is spoken to. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from reconciler.errors import Terminal
from reconciler.source.git.values import printable

_SCP = re.compile(r"(?:[^\s/:@\[\]-][^\s/:@\[\]]*@)?(?:\[[0-9A-Fa-f:.]+\]|[^\s/:@\[\]-][^\s/:@\[\]]*):(?![:-]).+")
_USER = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/]*@", re.I)
_SPELLED = "url: https://…, ssh://…, user@host:path, file:///… or an absolute path"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a repository lies. `protocol` is git's name of the transport; `shown` is safe to print."""

    url: str
    protocol: str
    shown: str
    host: str = ""
    """`https://host:port/` for what is spoken to over http; empty for the rest."""


def address_of(source: str, url: str) -> Address:
    """Raises Terminal for a URL that is none of those that are followed, or that carries a secret: it would stand in a process list."""
    shown = shown_url(url)
    wrong = Terminal(f"source {source}: {shown!r} is not the URL of a repository that can be followed", hint=_SPELLED)
    if not url or url.startswith("-") or not url.isprintable():
        raise wrong
    if url.startswith("/"):
        return Address(url, "file", shown)
    if "://" not in url:
        if _SCP.fullmatch(url):
            return Address(url, "ssh", shown)
        raise wrong
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise wrong from None
    match parts.scheme:
        case "file" if not parts.netloc and parts.path.startswith("/"):
            return Address(url, "file", shown)
        case "ssh" if host and not host.startswith("-") and parts.password is None:
            return Address(url, "ssh", shown)
        case "https" | "http" if host and "@" not in parts.netloc and (parts.scheme == "https" or _loopback(host)):
            spoken = f"[{host}]" if ":" in host else host
            return Address(url, parts.scheme, shown, f"{parts.scheme}://{spoken}{f':{port}' if port else ''}/")
    raise _why_not(source, parts, wrong)


def without_user(url: str) -> str:
    """A URL without the user and the password before its host."""
    return _USER.sub(r"\1", url)


def shown_url(url: str) -> str:
    """A URL for messages: without what may be a secret in it."""
    return printable(without_user(re.split(r"[?#]", url, maxsplit=1)[0]))


def _why_not(source: str, parts: SplitResult, otherwise: Terminal) -> Terminal:
    if "@" in parts.netloc and parts.scheme in ("https", "http", "ssh"):
        hint = "leave user and password out of the URL, and give the token as a secret"
        return Terminal(f"source {source}: its URL must not hold a user or a password", hint=hint)
    if parts.scheme == "http":
        return Terminal(f"source {source}: http is spoken to this machine only", hint="use https")
    return otherwise


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
