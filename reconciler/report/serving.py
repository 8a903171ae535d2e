"""API keys, and what deployments answered, as text and JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from reconciler.model import JSON
from reconciler.report.json import FORMAT_VERSION
from reconciler.report.show import clean, count, listed, paint, rfc3339, shorten, since, took, value

if TYPE_CHECKING:
    from reconciler.gateway.keys import Key

_KEYS = ("ID", "PROJECT", "FOR", "STATE", "MADE", "NOTE")
_ANSWERS = ("DEPLOYMENT", "RUNTIME", "VERSION", "RUN", "TRAINED ON", "ANSWER", "MS")
SHORT_ID = 8
"""Characters of a run's id in a table."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one deployment answered, and what it answered with."""

    deployment: str
    """`project/name`."""
    asked: int = 0
    """Instances."""
    predictions: Sequence[JSON] = ()
    ids: Sequence[str] = ()
    model: str = ""
    version: str = ""
    run: str = ""
    revision: str = ""
    runtime: str = ""
    role: str = ""
    datasets: Mapping[str, str] = field(default_factory=dict)
    """Dataset that the run was trained on -> digest of its version."""
    seconds: float = 0.0
    """From the request to its answer."""
    why: str = ""
    """Why there is no answer; empty = there is one."""
    off: bool = False
    """Nothing is served on purpose."""
    untried: bool = False
    """It was not asked: nobody knows what it would accept."""

    @property
    def answered(self) -> bool:
        return not self.why


# --- keys ----------------------------------------------------------------------------------------------------------------


def keys_text(keys: Sequence[Key], now: datetime, *, all_: bool = False, color: bool = False) -> str:
    """A line for each key; those that are good no longer only with `all_`."""
    good = [each for each in keys if each.good(now.timestamp())]
    shown = keys if all_ else good
    ended = len(keys) - len(good)
    lines = [f"{count(len(good), 'key')} {'is' if len(good) == 1 else 'are'} good" if good else "No key is good."]
    if shown:
        lines += ["", *_table(_KEYS, [_key_cells(each, now) for each in shown], color)]
    hidden = f"{count(ended, 'key')} of before {'is' if ended == 1 else 'are'} good no longer (`--all`). " if ended and not all_ else ""
    step = (
        "`reconcile keys rotate ID` replaces one, `reconcile keys revoke ID` ends one" if good else "`reconcile keys create --project NAME`"
    )
    return "\n".join([*lines, "", f"{hidden}Next: {step}."])


def key_told(key: Key, now: datetime) -> str:
    """One key in a sentence, without its text."""
    ends = f"it ends in {_in(key.expires, now)}" if key.expires is not None else "it does not end by itself"
    return f"Key {key.id} is for {_whose(key)}: {listed(sorted(key.scopes))}; {ends}."


def keys_json(keys: Sequence[Key], now: datetime) -> str:
    """All of them for programs."""
    return _text("keys", keys=[_key_value(each, now) for each in keys])


def key_json(key: Key, now: datetime, text: str = "") -> str:
    """One for programs; with its text where it was just made."""
    return _text("key", **({"key": text} if text else {}), **_key_value(key, now))


def _key_value(key: Key, now: datetime) -> dict[str, Any]:
    return {
        "id": key.id,
        "project": key.project,
        "scopes": sorted(key.scopes),
        "good": key.good(now.timestamp()),
        "created": _moment(key.created),
        "expires": _moment(key.expires),
        "revoked": _moment(key.revoked),
        "replacedBy": key.replaced_by or None,
        "note": key.note,
    }


def _key_cells(key: Key, now: datetime) -> tuple[str, ...]:
    made = f"{since(datetime.fromtimestamp(key.created, UTC), now)} ago"
    return (key.id, clean(key.project), ", ".join(sorted(key.scopes)), _state(key, now), made, clean(key.note))


def _state(key: Key, now: datetime) -> str:
    replaced = f", replaced by {key.replaced_by}" if key.replaced_by else ""
    if key.revoked is not None:
        return f"revoked{replaced}"
    if not key.good(now.timestamp()):
        return f"ended{replaced}"
    return (f"ends in {_in(key.expires, now)}" if key.expires is not None else "good") + replaced


def _whose(key: Key) -> str:
    return "every project" if key.project == "*" else f"project {clean(key.project)}"


def _in(at: float, now: datetime) -> str:
    return took(max(0.0, at - now.timestamp()))


# --- answers -------------------------------------------------------------------------------------------------------------


def answer_text(answer: Answer, *, color: bool = False, width: int = 100) -> str:
    """What one deployment answered: the predictions, one a line, and where they come from."""
    head = f"{paint(clean(answer.deployment), 'bold', color)} answered {count(answer.asked, 'instance')} in {_milliseconds(answer)} ms"
    facts = [
        ("model", f"{clean(answer.model)} version {clean(answer.version)}{f', {clean(answer.runtime)}' if answer.runtime else ''}"),
        ("run", clean(answer.run) or "-"),
        ("trained on", _datasets(answer, width) or "-"),
        ("revision", f"{clean(answer.revision)[:SHORT_ID]}{f' ({clean(answer.role)})' if answer.role else ''}"),
    ]
    lines = [head, "", *(f"  {name:<11} {told}" for name, told in facts), ""]
    for number, each in enumerate(answer.predictions):
        id_ = f"   {clean(answer.ids[number])}" if number < len(answer.ids) else ""
        lines.append(f"  {_json(each)}{id_}")
    step = "`reconcile predict --all` asks every deployment"
    if answer.ids:
        step = f"send what was right to `POST /feedback/{clean(answer.deployment)}` with the id beside each prediction"
    return "\n".join([*lines, "", f"Next: {step}."])


def answers_text(answers: Sequence[Answer], *, color: bool = False, width: int = 100) -> str:
    """One line for each deployment that was asked."""
    if not answers:
        return "No deployment is served here.\nNext: declare one (`reconcile explain deployment`), then `reconcile --wait`."
    wanted = [each for each in answers if not each.off]
    fine = sum(each.answered for each in wanted)
    silent = sorted((each for each in wanted if not each.answered), key=lambda each: each.untried)
    rows = [_answer_cells(each) for each in answers]
    room = max(24, width - sum(max(len(row[at]) for row in [_ANSWERS, *rows]) for at in (0, 1, 2, 3, 4, 6)) - 2 * (len(_ANSWERS) - 1))
    rows = [(*row[:5], shorten(row[5], room), row[6]) for row in rows]
    table = _table(_ANSWERS, rows, color)
    lines = [table[0]]
    for each, line in zip(answers, table[1:], strict=True):
        lines.append(paint(line, "" if each.answered or each.off else "red", color))
    first = (silent or wanted or list(answers))[0].deployment
    step = (
        f"`reconcile why deployment/{clean(first)}`"
        if silent
        else f"`reconcile predict {clean(first)} --rows '[...]'` asks with your own data"
    )
    head = f"{fine} of {count(len(wanted), 'deployment')} answered through the gateway"
    return "\n".join([head, "", *lines, "", f"Next: {step}."])


def answer_json(answer: Answer) -> str:
    """One for programs."""
    return _text("prediction", **_answer_value(answer))


def answers_json(answers: Sequence[Answer]) -> str:
    """All for programs."""
    return _text("predictions", deployments=[_answer_value(each) for each in answers])


def _answer_value(answer: Answer) -> dict[str, Any]:
    return {
        "deployment": answer.deployment,
        "answered": answer.answered,
        "why": answer.why or None,
        "off": answer.off,
        "predictions": list(answer.predictions),
        "ids": list(answer.ids),
        "model": answer.model,
        "version": answer.version,
        "run": answer.run,
        "revision": answer.revision,
        "role": answer.role,
        "runtime": answer.runtime,
        "datasets": dict(answer.datasets),
        "milliseconds": round(answer.seconds * 1000, 3) if answer.answered else None,
    }


def _answer_cells(answer: Answer) -> tuple[str, ...]:
    if not answer.answered:
        return (clean(answer.deployment), clean(answer.runtime) or "-", clean(answer.version) or "-", "-", "-", clean(answer.why), "-")
    told = _json(answer.predictions[0]) if answer.predictions else "nothing"
    more = f" and {len(answer.predictions) - 1} more" if len(answer.predictions) > 1 else ""
    return (
        clean(answer.deployment),
        clean(answer.runtime) or "-",
        clean(answer.version) or "-",
        clean(answer.run)[:SHORT_ID] or "-",
        _datasets(answer, 40) or "-",
        f"{told}{more}",
        _milliseconds(answer),
    )


def _datasets(answer: Answer, room: int) -> str:
    return shorten(", ".join(f"{clean(name)} {value(digest)}" for name, digest in sorted(answer.datasets.items())), room)


def _milliseconds(answer: Answer) -> str:
    found = answer.seconds * 1000
    return f"{found:.1f}" if found < 10 else f"{found:,.0f}"


# --- both ----------------------------------------------------------------------------------------------------------------


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], color: bool) -> list[str]:
    sizes = [max(len(row[at]) for row in [heads, *rows]) for at in range(len(heads))]
    lines = ["  ".join(f"{cell:<{size}}" for cell, size in zip(row, sizes, strict=True)).rstrip() for row in [heads, *rows]]
    return [paint(lines[0], "dim", color), *lines[1:]]


def _json(found: JSON) -> str:
    return clean(json.dumps(found, ensure_ascii=False))


def _moment(at: float | None) -> str | None:
    return None if at is None else rfc3339(datetime.fromtimestamp(at, UTC))


def _text(kind: str, **body: Any) -> str:
    return json.dumps({"formatVersion": FORMAT_VERSION, "kind": kind, **body}, indent=2, ensure_ascii=True)
