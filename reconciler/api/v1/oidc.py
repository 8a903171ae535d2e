"""Bearer JWTs of the one issuer that the Platform names, verified by PyJWT with the keys that the issuer publishes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt

from reconciler.api.v1.asker import Asker, Grant
from reconciler.api.v1.problems import CHALLENGE, Problem, busy
from schemas.api import Oidc

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric ones only: with `none` and the HMACs whoever knows the public key could sign."""
FRESH = 600.0
"""Seconds for which the issuer's keys are believed."""
AGAIN = 30.0
"""Seconds between two looks for a key that was not there: whoever invents key ids must not make us ask the issuer each time."""
PATIENCE = 5.0
MOST_BYTES = 256 << 10
"""Of an answer of the issuer."""
LEEWAY = 30
"""Seconds that its clock may be off."""


class Issuer:
    """The keys of one issuer, and what its tokens grant."""

    def __init__(self, told: Oidc, now: Callable[[], datetime], clock: Callable[[], float] = time.monotonic) -> None:
        self.told = told
        self._now, self._clock = now, clock
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read: float | None = None

    def who(self, text: str) -> Asker:
        """Raises Problem 401 for what is not good, 503 while the issuer does not tell its keys."""
        try:
            header = jwt.get_unverified_header(text)
            if header.get("alg") not in ALGORITHMS:
                raise jwt.InvalidAlgorithmError("the algorithm is not one of those that are taken")
            key = self._key(str(header.get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                text,
                key,
                algorithms=list(ALGORITHMS),
                audience=self.told.audience,
                issuer=self.told.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Problem(401, f"the token is not good: {error}", headers=CHALLENGE) from None
        grants = tuple(Grant(each.role, frozenset(each.projects)) for each in self.told.roles if _has(claims, each.claim, each.value))
        if not grants:
            raise Problem(403, "the token grants no role here")
        name = str(claims.get(self.told.username) or claims["sub"])
        return Asker(name[:200], f"oidc {claims['sub']}"[:300], grants, datetime.fromtimestamp(int(claims["exp"]), UTC))

    def _key(self, id_: str) -> jwt.PyJWK:
        with self._lock:
            age = None if self._read is None else self._clock() - self._read
            if age is None or age > FRESH or (id_ not in self._keys and age > AGAIN):
                self._look(age)
            found = self._keys.get(id_) if id_ else next(iter(self._keys.values()), None) if len(self._keys) == 1 else None
        if found is None:
            raise jwt.InvalidKeyError("the issuer has no such key")
        return found

    def _look(self, age: float | None) -> None:
        """Keys that are known stay while the issuer is away; those that it no longer names are gone."""
        try:
            where = self.told.jwks or str(_get(f"{self.told.issuer.rstrip('/')}/.well-known/openid-configuration")["jwks_uri"])
            found = jwt.PyJWKSet.from_dict(dict(_get(where)))
        except (httpx.HTTPError, ValueError, KeyError, TypeError, jwt.PyJWTError):
            if age is None:
                raise busy("the issuer of tokens does not tell its keys", PATIENCE) from None
            self._read = self._clock() - FRESH + AGAIN if age > FRESH else self._clock()
            return
        self._keys = {str(each.key_id or ""): each for each in found.keys if each.public_key_use in (None, "sig")}
        self._read = self._clock()


def _has(claims: Mapping[str, Any], claim: str, value: str) -> bool:
    """Whether a claim, `groups` or `realm_access.roles`, is or holds `value`."""
    found: Any = claims
    for part in claim.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return value in found if isinstance(found, list) else isinstance(found, str) and found == value


def _get(url: str) -> Mapping[str, Any]:
    with (
        httpx.Client(timeout=PATIENCE, trust_env=False, follow_redirects=False) as client,
        client.stream("GET", url, headers={"accept": "application/json"}) as answer,
    ):
        answer.raise_for_status()
        body = b""
        for part in answer.iter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise ValueError("too long")
    import json

    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found
