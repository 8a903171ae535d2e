"""Small things made readable: foreign text, values, time spans, counts, colour. Pure."""

from __future__ import annotations

import json
import re
import textwrap
import unicodedata
from collections.abc import Iterable
from datetime import datetime

from reconciler.model import JSON, KNOWN_AFTER_APPLY

ABSENT = "(not set)"
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that a terminal or a browser acts on, or shows as nothing: controls, format characters such as the
right-to-left override, surrogates, unassigned."""
_JOINERS = frozenset("\u200c\u200d")
"""Zero-width joiners: needed by real scripts and by emoji, harmless otherwise."""
_BARE = re.compile(r"[^\s\"'`{}\[\],:#&*!|>%@][^\s\"'`{}\[\],]*")
_DIGEST = re.compile(r"[0-9a-f]{32,64}")
"""Shown by its ends: nobody reads more of it, and programs have the JSON."""
_SGR = {"green": "32", "yellow": "33", "red": "31", "magenta": "35", "cyan": "36", "bold": "1", "dim": "2"}


def clean(text: str) -> str:
    """`text` on one line with everything that a terminal would act on written as an escape (`\\x1b`, `\\n`, `\\u202e`)."""
    if text.isprintable():
        return text
    return "".join(_shown(each) for each in text)


def _shown(char: str) -> str:
    if char.isprintable() or char in _JOINERS or unicodedata.category(char) not in _HIDDEN:
        return char
    return char.encode("unicode_escape").decode("ascii")


def clean_lines(text: str) -> str:
    """Like `clean`, but line breaks stay."""
    return "\n".join(clean(line) for line in text.split("\n"))


def paint(text: str, style: str, color: bool) -> str:
    """`text` in a colour or weight of `_SGR`, or as it is."""
    return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if color and style and text else text


def value(found: JSON, *, whole: bool = False) -> str:
    """A field's value on one line: bare where that reads unambiguously, as JSON otherwise. `whole`: a digest is not shortened."""
    if found is None:
        return ABSENT
    if isinstance(found, str):
        if not whole and _DIGEST.fullmatch(found):
            return f"{found[:8]}…{found[-4:]}"
        plain = found == KNOWN_AFTER_APPLY or (_BARE.fullmatch(found) and found not in ("true", "false", "null"))
        return clean(found) if plain else clean(json.dumps(found, ensure_ascii=False))
    return clean(json.dumps(found, ensure_ascii=False, sort_keys=True, default=str))


def shorten(text: str, room: int) -> str:
    """`text` cut in its middle to `room` columns; both ends stay, for they tell a digest or a path."""
    if len(text) <= room or room < 5:
        return text
    head = (room - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (room - 1 - head) :]}"


def pair(have: JSON, want: JSON, room: int) -> tuple[str, str]:
    """Both values, each cut to `room`. Long ones are cut so that the first place where they differ stays in sight."""
    old, new = value(have), value(want)
    if len(old) <= room and len(new) <= room:
        return old, new
    same = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(0, same - room // 3)
    return _window(old, start, room), _window(new, start, room)


def _window(text: str, start: int, room: int) -> str:
    if start == 0 or len(text) <= room:
        return shorten(text, room) if start == 0 and len(text) > room and room < 12 else _tail(text, room)
    return _tail(f"…{text[start + 1 :]}", room)


def _tail(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def took(seconds: float) -> str:
    """A time span for people: `0.6 s`, `12 s`, `3 min`, `2 h`, `4 d`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for limit, size, unit in ((100, 1, "s"), (100 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def since(at: datetime | None, now: datetime) -> str:
    """How long ago `at` was; `-` when that is not known."""
    if at is None:
        return "-"
    seconds = max(0.0, (now - at).total_seconds())
    return took(seconds) if seconds >= 10 else f"{seconds:.0f} s"


def rfc3339(at: datetime | None) -> str | None:
    """UTC with `Z`, to the second; None stays None."""
    return None if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`, `1,204 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: Iterable[object], most: int = 5) -> str:
    """The first few of `names`, with how many more there are."""
    shown = [clean(str(each)) for each in names]
    return ", ".join(shown) if len(shown) <= most else f"{', '.join(shown[:most])} and {len(shown) - most} more"


def wrap(text: str, width: int, indent: str) -> list[str]:
    """`text` in lines of at most `width`, each with `indent`; long words stay whole, so that names can be copied."""
    return textwrap.wrap(
        text, max(width, len(indent) + 20), initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
