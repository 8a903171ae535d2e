"""What `reconcile doctor` found, as text and JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from reconciler.report.show import clean, count, paint, wrap

_STYLE = {"ok": "green", "warning": "yellow", "missing": "red"}
_WORD = {"ok": "ok", "warning": "look", "missing": "MISSING"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warning", "missing"]
    found: str
    how: str = ""
    """How to put it right; told only when it is not ok."""


def doctor_text(checks: Sequence[Check], *, color: bool = False, width: int = 100) -> str:
    """How many things are amiss, one line for each check, how to put right what is."""
    wrong = [each for each in checks if each.state == "missing"]
    look = [each for each in checks if each.state == "warning"]
    told = [f"{count(len(wrong), 'thing')} {'is' if len(wrong) == 1 else 'are'} missing"] if wrong else []
    told += [f"{count(len(look), 'thing')} to look at"] if look else []
    lines = [f"{', '.join(told) or 'Everything is there'}.", ""]
    column = max((len(each.name) for each in checks), default=0)
    for each in checks:
        first, *rest = wrap(clean(each.found), width, " " * (column + 13)) or [""]
        lines.append(f"  {paint(f'{_WORD[each.state]:<7}', _STYLE[each.state], color)}  {clean(each.name):<{column}}  {first.strip()}")
        lines += rest
        if each.state != "ok" and each.how:
            lines += wrap(clean(each.how), width, " " * (column + 13))
    following = "put right what is MISSING, top to bottom" if wrong else "`reconcile --dry-run`"
    if look and not wrong:
        following = f"see what is marked `{_WORD['warning']}`, then {following}"
    return "\n".join([*lines, "", f"Next: {following}."])


def doctor_json(checks: Sequence[Check]) -> str:
    """The same for programs."""
    return json.dumps({"formatVersion": 1, "kind": "doctor", "checks": [asdict(each) for each in checks]}, indent=2)
