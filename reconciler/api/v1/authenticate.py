"""From the headers of a request to who asks."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from datetime import datetime
from typing import TYPE_CHECKING

from fastapi import Request

from reconciler.api.v1.asker import Asker, Grant
from reconciler.api.v1.limits import Rates
from reconciler.api.v1.picture import Pictures
from reconciler.api.v1.problems import CHALLENGE, Problem
from reconciler.house import House
from reconciler.state import Token
from reconciler.state.records import EVERY, Role

if TYPE_CHECKING:
    from reconciler.api.v1.oidc import Issuer

_TEXT = re.compile(r"mlt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""Headers of proxies: what they bring comes from elsewhere, although its address is this machine's."""
READS = frozenset({"GET", "HEAD"})
LONGEST = 8192
"""Characters of a credential that are looked at."""


def new_token(
    name: str, role: Role, projects: frozenset[str], *, actor: str, now: datetime, expires: datetime | None = None
) -> tuple[Token, str]:
    """A token, and its text, which is kept nowhere."""
    id_, text = secrets.token_hex(6), secrets.token_urlsafe(32)
    return Token(id_, name, role, projects, hashed(text), actor, now, expires), f"mlt_{id_}_{text}"


def hashed(text: str) -> str:
    """256 random bits need no salt and no slow hash: there is nothing to guess."""
    return hashlib.sha256(text.encode()).hexdigest()


class Authenticator:
    """Tokens of the Store, bearer JWTs of the issuer that the Platform names, and whoever reads on this machine."""

    def __init__(self, house: House, pictures: Pictures, rates: Rates) -> None:
        self._house, self._pictures, self._rates = house, pictures, rates
        self._issuer: Issuer | None = None

    def who(self, request: Request) -> Asker:
        """Raises Problem 401 without a good credential, 429 for one that asks too often."""
        found = self.identify(request)
        (self._rates.read if request.method in READS else self._rates.write)(found.key)
        return found

    def identify(self, request: Request) -> Asker:
        """Raises Problem 401, and 429 for an address that tried too many credentials that are not good."""
        header, address = request.headers.get("authorization", ""), _address(request)
        if not header:
            return self._anybody(request, address)
        scheme, _, text = header.partition(" ")
        try:
            found = self.bearer(text.strip()) if scheme.lower() == "bearer" and len(text) <= LONGEST else None
        except Problem:
            self._rates.failure(address)
            raise
        if found is None:
            self._rates.failure(address)
            raise Problem(401, "the token is not known, or good no longer", headers=CHALLENGE)
        return found

    def bearer(self, text: str) -> Asker | None:
        """Whose token this is, or whose JWT; None = nobody's. Raises Problem 401, 503."""
        if text.startswith("mlt_"):
            return self._token(text)
        platform = self._pictures.platform()
        if platform is None or platform.api.oidc is None or text.count(".") != 2:
            return None
        from reconciler.api.v1.oidc import Issuer

        if self._issuer is None or self._issuer.told != platform.api.oidc:
            self._issuer = Issuer(platform.api.oidc, self._house.now)
        return self._issuer.who(text)

    def _token(self, text: str) -> Asker | None:
        match = _TEXT.fullmatch(text)
        token = self._house.store.doors.token(match[1]) if match is not None else None
        known = token.hash if token is not None else hashed("")  # as long for an id that there is none of
        same = hmac.compare_digest(hashed(match[2] if match is not None else "-"), known)
        if token is None or not same or not token.good(self._house.now()):
            return None
        return Asker(token.name, f"token {token.id}", (Grant(token.role, token.projects),), token.expires)

    def _anybody(self, request: Request, address: str) -> Asker:
        """Whoever is on this machine may read, where the Platform lets him."""
        platform = self._pictures.platform()
        local = is_loopback(address) and is_local_name(request.headers.get("host", ""))
        open_ = platform is None or platform.api.anonymous_read
        if local and open_ and request.method in READS and not any(name in request.headers for name in FORWARDED):
            return Asker("anybody", f"address {address}", (Grant("viewer", frozenset({EVERY})),))
        raise Problem(401, "send a token: `Authorization: Bearer TOKEN`; `reconcile token create` makes one", headers=CHALLENGE)


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def is_loopback(address: str) -> bool:
    """Whether a peer's address is this machine's."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def is_local_name(host: str) -> bool:
    """Whether a Host header names this machine: a name of somebody's choosing may be made to lead here (DNS rebinding)."""
    return _name(host) in ("localhost", "127.0.0.1", "::1")


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def is_known_host(host: str, names: tuple[str, ...]) -> bool:
    """Whether the API answers under this Host header."""
    return is_local_name(host) or _name(host) in {each.lower() for each in names}
