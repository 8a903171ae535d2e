"""The values behind secret references, and how they are kept out of what is written for people: whatever this process has resolved is known
here, so that it can be hidden wherever it would turn up (in the words of a library, in an address, in a trace)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reconciler.errors import Terminal
from schemas.base import FromEnv, FromFile

HIDDEN = "***"
SHORTEST = 4
"""Characters of a secret that is looked for; a shorter one is no secret, and would hide half of every sentence."""
SURE = 10
"""Characters from which on a secret is no word of ordinary text."""
_LINE = 16
"""Characters of a line of a longer secret (a key in a file) that is looked for by itself."""
_ADDRESS = re.compile(r"(\w[\w+.-]*://)[^\s/?#'\"<>]*@")
_OPTION = re.compile(r"(?i)([?&;](?:password|passwd|pwd|token|secret|api_?key|access_?key|signature|sig|sslpassword)=)[^&;\s'\"<>]+")
_HEADER = re.compile(r"(?i)\b(bearer|basic) +[\w+/=.~-]{8,}")

_known: dict[str, None] = {}
"""Values to hide, as they are and as an address holds them. Grows with the secrets of an installation, which are few."""


def secret(reference: Any) -> str:
    """The value of a secret reference, which is hidden from now on. Raises Terminal, which names the reference and never a value."""
    match reference:
        case FromEnv(from_env=name):
            if name not in os.environ:
                raise Terminal(f"the environment variable {name} is not set", hint="it holds a secret that a manifest refers to")
            value = os.environ[name]
        case FromFile(from_file=path):
            value = _read(path)
        case _:
            raise Terminal("a secret must be given as {fromEnv: NAME} or {fromFile: path}")
    hide(value)
    return value


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Terminal(f"the secret file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Terminal(f"the secret file {path} is not UTF-8 text") from None


def hide(value: str) -> None:
    """Let `hidden` hide this value, in whatever form it may turn up."""
    parts = [value, *(line for line in value.splitlines() if len(line) >= _LINE)]
    for each in parts:
        if len(each) >= SHORTEST:
            _known.update(dict.fromkeys((each, quote(each, safe=""), quote(each))))


def hidden(text: str) -> str:
    """`text` without any secret that this process has resolved, and without what an address or a header brings along to log in with."""
    text = _without(text, SHORTEST)
    if "://" in text or "=" in text:
        text = _OPTION.sub(rf"\1{HIDDEN}", _ADDRESS.sub(rf"\1{HIDDEN}@", text))
    return _HEADER.sub(rf"\1 {HIDDEN}", text)


def masked(text: str) -> str:
    """`text` without the secrets that this process has resolved, for what people and programs read: a tool may repeat in its answer what it
    was given. Short ones are left, for they would take away words (and parts of JSON) that are none: `hidden` takes them too."""
    return _without(text, SURE) if _known else text


def masked_in(value: Any) -> Any:
    """The same for every text in plain values."""
    match value:
        case str():
            return masked(value)
        case Mapping():
            return {key: masked_in(each) for key, each in value.items()}
        case list() | tuple():
            return [masked_in(each) for each in value]
        case _:
            return value


def _without(text: str, shortest: int) -> str:
    for value in sorted(_known, key=len, reverse=True):  # the longest first: one may be part of another
        if len(value) >= shortest and value in text:
            text = text.replace(value, HIDDEN)
    return text


def hidden_in(value: Any) -> Any:
    """The same for every text in plain values, whatever is none as its text; keys too."""
    match value:
        case str():
            return hidden(value)
        case None | bool() | int() | float():
            return value
        case dict():
            return {hidden(str(key)): hidden_in(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [hidden_in(each) for each in value]
        case _:
            return hidden(str(value))
