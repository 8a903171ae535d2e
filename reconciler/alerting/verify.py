"""Checks that a webhook's request is ours, new and unchanged. Needs nothing else of this package: copy it into your receiver.

try:
    if verify(SECRET, request.headers, request.body, seen):
        act_on(json.loads(request.body))
except Refused as error:
    return 401, str(error)
return 204                      # for one that was seen before, too: a sender that died could not know that you have it
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping, MutableSet

MAX_AGE = 300.0
"""Seconds that a signature is good for: a request that was recorded is of no use later."""


class Refused(ValueError):
    """Not from our sender, or too old. Answer with 401 or 403."""


def verify(secret: str, headers: Mapping[str, str], body: bytes, seen: MutableSet[str], *, now: float | None = None) -> bool:
    """True: act on it. False: it was seen before, so do nothing, and answer with success. Raises Refused.

    `seen` holds the ids that were taken; it must outlive your process and remember them for a day, for as long as a sender tries.
    `now`: seconds since the epoch; unset = this moment."""
    given = {name.lower(): value for name, value in headers.items()}
    delivery, stamp = given.get("x-mlops-delivery", ""), given.get("x-mlops-timestamp", "")
    if not delivery or not stamp.isascii() or not stamp.isdecimal():
        raise Refused("the headers X-MLOps-Delivery and X-MLOps-Timestamp are missing")
    if not hmac.compare_digest(given.get("x-mlops-signature", "").encode(), signature(secret, delivery, stamp, body).encode()):
        raise Refused("the signature is wrong")
    if abs((time.time() if now is None else now) - int(stamp)) > MAX_AGE:
        raise Refused("the request is too old, or the clocks differ")
    if delivery in seen:
        return False
    seen.add(delivery)
    return True


def signature(secret: str, delivery: str, stamp: str, body: bytes) -> str:
    """The value of `X-MLOps-Signature`: HMAC-SHA256 (RFC 2104) over id, time and body, so that none can be changed alone."""
    told = hmac.new(secret.encode(), f"{delivery}.{stamp}.".encode() + body, hashlib.sha256)
    return f"v1={told.hexdigest()}"
