"""Tokens of the API, for people and programs. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from reconciler.report.json import FORMAT_VERSION
from reconciler.report.show import clean, count, paint, rfc3339, since
from reconciler.state.records import EVERY, Token

_HEADS = ("ID", "NAME", "ROLE", "PROJECTS", "STATE", "MADE", "BY")


def token_value(token: Token, now: datetime) -> dict[str, Any]:
    """One token, without its hash."""
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "projects": sorted(token.projects),
        "actor": token.actor,
        "created": rfc3339(token.created),
        "expires": rfc3339(token.expires),
        "revoked": rfc3339(token.revoked),
        "good": token.good(now),
    }


def tokens_json(tokens: Sequence[Token], now: datetime) -> str:
    """All of them for programs."""
    body = {"formatVersion": FORMAT_VERSION, "kind": "tokens", "tokens": [token_value(each, now) for each in tokens]}
    return json.dumps(body, indent=2, ensure_ascii=True)


def token_json(token: Token, now: datetime, text: str = "") -> str:
    """One of them for programs; `text` of a new one."""
    body = {"formatVersion": FORMAT_VERSION, "kind": "token", **token_value(token, now), **({"token": text} if text else {})}
    return json.dumps(body, indent=2, ensure_ascii=True)


def tokens_text(tokens: Sequence[Token], now: datetime, *, all_: bool = False, color: bool = False) -> str:
    """One line each; those that are good no longer only with `all_`."""
    good = [each for each in tokens if each.good(now)]
    shown = tokens if all_ else good
    head = f"{count(len(good), 'token')} good, {len(tokens) - len(good)} not any more."
    if not shown:
        return f"{head}\nNext: `reconcile token create NAME` makes one."
    rows = [_HEADS, *(_cells(each, now) for each in shown)]
    sizes = [max(len(row[at]) for row in rows) for at in range(len(_HEADS))]
    lines = ["  ".join(f"{cell:<{size}}" for cell, size in zip(row, sizes, strict=True)).rstrip() for row in rows]
    return "\n".join([head, "", paint(lines[0], "dim", color), *lines[1:]])


def token_told(token: Token, now: datetime) -> str:
    """A new one, in a sentence."""
    end = f"until {rfc3339(token.expires)}" if token.expires else "until it is revoked"
    return f"Token {token.id} `{clean(token.name)}`: {token.role} of {_whose(token)}, {end}."


def _cells(token: Token, now: datetime) -> tuple[str, ...]:
    made = f"{since(token.created, now)} ago"
    return (token.id, clean(token.name), token.role, _whose(token), _state(token, now), made, clean(token.actor))


def _state(token: Token, now: datetime) -> str:
    if token.revoked is not None:
        return f"revoked {since(token.revoked, now)} ago"
    if token.expires is None:
        return "good"
    return f"good until {rfc3339(token.expires)}" if token.good(now) else f"over for {since(token.expires, now)}"


def _whose(token: Token) -> str:
    return "every project" if EVERY in token.projects else clean(", ".join(sorted(token.projects)))
