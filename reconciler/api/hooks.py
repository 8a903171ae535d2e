"""Pushes that a forge tells of: each is a wake-up and nothing more, so that a forged, lost or repeated one changes nothing but the time.

Signatures: GitHub `X-Hub-Signature-256: sha256=HEX`, Gitea and Forgejo `X-Gitea-Signature: HEX`, both HMAC-SHA256 of the body;
GitLab `X-Gitlab-Token`, the secret itself (docs.github.com "Validating webhook deliveries", docs.gitea.com "Webhooks",
docs.gitlab.com "Webhooks")."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

MOST_BYTES = 5 << 20
"""Of a body; GitHub sends 25 MB at most, of which a push of a thousand commits is a small part."""


def genuine(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether one who knows `secret` sent this. An empty secret knows nobody."""
    given = {name.lower(): value for name, value in headers.items()}
    if not secret:
        return False
    if "x-gitlab-token" in given:
        return hmac.compare_digest(given["x-gitlab-token"].encode(), secret.encode())
    told = given.get("x-hub-signature-256", "").removeprefix("sha256=") or given.get("x-gitea-signature", "")
    return hmac.compare_digest(told.encode(), hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode())
