"""What a schema says about a value, turned into what a person can act on: one message for each field.

pydantic reports every branch of a union and every type that did not fit; here they become what was found, what is allowed and
what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError

from reconciler.fields import description_of, fields_at, homes_of, pattern_of
from reconciler.schemaerrors import SchemaError, Steps, grouped
from schemas.base import DnsLabel, ResourceName

Written: TypeAlias = Callable[[Steps], str | None]
"""The text of a scalar as it stands in the file."""

_LONGEST = 60
_SENSITIVE = re.compile(r"(?i)(password|passwd|secret|token|credential|api_?key|access_?key|private_?key)")
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+@")
_LABEL = "lower-case letters, digits and `-`, at most 63, with a letter or digit at both ends"
_PATTERNS = {
    pattern_of(DnsLabel): ("a name", _LABEL),
    pattern_of(ResourceName): ("a name", f"`name`, or `project/name`: {_LABEL}"),
}
_KINDS = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "dict": "a mapping",
    "model": "a mapping",
}
_KINDS |= {"list": "a list", "tuple": "a list", "set": "a list", "datetime": "a time such as 2027-01-01T00:00:00Z"}
_BOUNDS = {
    "greater_than_equal": "expected at least {ge}",
    "greater_than": "expected more than {gt}",
    "less_than_equal": "expected at most {le}",
    "less_than": "expected less than {lt}",
    "string_too_short": "expected at least {min_length} characters",
    "string_too_long": "expected at most {max_length} characters",
    "too_short": "expected at least {min_length} entries",
    "too_long": "expected at most {max_length} entries",
}


@dataclass(frozen=True)
class Mistake:
    """One field that is wrong. `key`: the place to show is the key, not the value."""

    steps: Steps
    message: str
    hint: str = ""
    key: bool = False


@dataclass(frozen=True)
class Reader:
    """A schema with what is needed to explain what is wrong with values for it."""

    model: type[BaseModel]
    secrets: frozenset[str]
    """Dotted paths below the model whose values are never shown; `*` stands for any key or index."""

    def mistakes(self, error: ValidationError, data: Mapping[str, Any], written: Written) -> tuple[Mistake, ...]:
        """Every field that is wrong, in the order of the schema."""
        found = [self._mistake(group, data, written) for group in grouped(error, data)]
        renamed = {m.hint for m in found if m.key}
        return tuple(m for m in found if not (m.message == _MISSING and f"Did you mean `{m.steps[-1]}`?" in renamed))

    def _mistake(self, errors: list[SchemaError], data: Mapping[str, Any], written: Written) -> Mistake:
        first, steps = errors[0], errors[0].steps
        if first.type == "missing":
            return Mistake(steps, _MISSING, description_of(self.model, steps))
        if first.type == "extra_forbidden":
            return Mistake(steps, "unknown field", self._meant(steps), key=True)
        if self._secret(steps):
            return Mistake(steps, "this is not a reference to a secret (what was found is not shown)", _SECRET)
        if first.found is None or isinstance(first.found, bool | int | float | date):
            trap = self._trap(errors, data, written(steps))
            if trap is not None:
                return trap
        message, hint = _sentence(errors, _shown(first.found, steps))
        about = description_of(self.model, steps) if first.type == "string_pattern_mismatch" and not hint else ""
        return Mistake(steps, message, hint or (f"expected: {about}" if about else ""))

    def _trap(self, errors: list[SchemaError], data: Mapping[str, Any], raw: str | None) -> Mistake | None:
        """A text is wanted, and YAML made something else of what was written; would it do in quotes?"""
        steps, found = errors[0].steps, errors[0].found
        if raw is None or not any(each.type in ("string_type", "literal_error", "value_error") for each in errors):
            return None
        if raw == "":
            return Mistake(steps, "there is no value", "write one, or remove the line")
        shown = "…" if _sensitive(steps) else raw[:_LONGEST]
        meaning = "a number" if _sensitive(steps) and not isinstance(found, bool | date | None) else _meaning(found)
        reads = f"YAML reads `{shown}` as {meaning}"
        quoted = self._quoted(steps, data, raw)
        if not quoted:
            return Mistake(steps, reads, f"write '{shown}' in quotes")
        message, hint = _sentence(quoted, _shown(raw, steps))
        return Mistake(steps, reads if found is None or isinstance(found, bool) else message, hint)

    def _quoted(self, steps: Steps, data: Mapping[str, Any], raw: str) -> list[SchemaError]:
        """What would be wrong with the field if its value were the text `raw`."""
        changed = _with(data, steps, raw)
        try:
            self.model.model_validate(changed)
        except ValidationError as error:
            return next((group for group in grouped(error, changed) if group[0].steps == steps), [])
        return []

    def _meant(self, steps: Steps) -> str:
        name, known = str(steps[-1]), fields_at(self.model, steps[:-1])
        plain = {each.lower(): each for each in known}
        close = get_close_matches(name.lower().replace("_", ""), plain, n=1, cutoff=0.65)
        if close:
            return f"Did you mean `{plain[close[0]]}`?"
        homes = homes_of(self.model, name)
        if homes:
            return f"`{name}` belongs in `{homes[0]}`"
        return f"known here: {', '.join(sorted(known))}" if known else "no fields are known here"

    def _secret(self, steps: Steps) -> bool:
        return any(
            all(want in ("*", str(have)) for want, have in zip(path.split("."), steps, strict=False)) and len(path.split(".")) <= len(steps)
            for path in self.secrets
        )


_MISSING = "required field is missing"
_SECRET = "write {fromEnv: NAME} or {fromFile: path}; the secret itself never belongs in a manifest"


def _with(data: Any, steps: Steps, text: str) -> Any:
    """A copy of `data` in which the value at `steps` is `text`."""
    if not steps:
        return text
    copy = data.copy()
    copy[steps[0]] = _with(data[steps[0]], steps[1:], text)
    return copy


# --- sentences -----------------------------------------------------------------------------------------------------


def _sentence(errors: list[SchemaError], shown: str) -> tuple[str, str]:
    """(message, hint) for a value that is there and does not fit."""
    if len({each.type for each in errors}) > 1:
        wanted = list(dict.fromkeys(_wanted(each) for each in errors))
        if "a number" in wanted and "a whole number" in wanted:
            wanted.remove("a whole number")
        return f"{shown} does not fit here", f"expected {_either(wanted)}"
    first = errors[0]
    if first.type == "value_error":
        return _said(str(first.context.get("error", first.said)), shown)
    if first.type == "literal_error":
        return _literal(first, shown)
    if first.type == "string_pattern_mismatch":
        pattern: str = first.context["pattern"]
        what, hint = _PATTERNS.get(pattern, ("", f"a text that matches {pattern}" if len(pattern) <= _LONGEST else ""))
        return (f"{shown} is not {what}" if what else f"{shown} is not allowed here"), f"expected {hint}" if hint else ""
    if first.type == "string_too_short" and first.context["min_length"] == 1:
        return "the text is empty", "expected at least one character"
    if first.type in _BOUNDS:
        return f"{shown} is not allowed here", _BOUNDS[first.type].format(**first.context)
    return f"{shown} is not {_wanted(first)}", ""


def _said(text: str, shown: str) -> tuple[str, str]:
    """The words of a validator of the schema, which may hold the hint after a semicolon."""
    if text.startswith("Invalid isoformat string"):
        return f"{shown} is not a time", "expected a time with a zone such as 2027-01-01T00:00:00Z"
    message, _, hint = text.partition("; ")
    if message.startswith("expected"):
        return f"{shown} is not allowed here", message
    return (message if len(message) <= 2 * _LONGEST else f"{shown} is not allowed here"), hint


def _literal(error: SchemaError, shown: str) -> tuple[str, str]:
    allowed = [each.strip("'") for each in re.split(r", | or ", error.context["expected"])]
    if len(allowed) == 1:
        return f"{shown} is not `{allowed[0]}`", f"expected `{allowed[0]}`"
    close = get_close_matches(str(error.found).lower(), allowed, n=1, cutoff=0.6)
    meant = f". Did you mean `{close[0]}`?" if close else ""
    return f"{shown} is not one of the values allowed here", f"expected {_either(allowed)}{meant}"


def _wanted(error: SchemaError) -> str:
    kind = _KINDS.get(error.type.split("_")[0])
    if kind is not None and error.type.endswith(("_type", "_parsing", "_from_float", "_size")):
        return kind
    if error.type == "literal_error":
        return f"one of {error.context['expected'].replace(chr(39), '')}"
    return error.said.removeprefix("Input should be ").removeprefix("Value error, expected ")


def _either(words: list[str]) -> str:
    return (
        words[0]
        if len(words) == 1
        else f"{', '.join(words[:-1])}, or {words[-1]}"
        if " or " in words[-1]
        else f"{', '.join(words[:-1])} or {words[-1]}"
    )


def _meaning(found: Any) -> str:
    match found:
        case None:
            return "nothing"
        case bool():
            return "true" if found else "false"
        case date():
            return "a date"
        case _:
            return f"the number {found}"


def _sensitive(steps: Steps) -> bool:
    return any(isinstance(each, str) and _SENSITIVE.search(each) for each in steps)


def _shown(found: Any, steps: Steps) -> str:
    """A value as it may be printed: short, on one line, without control characters, and without what looks like a secret."""
    if isinstance(found, dict):
        return "a mapping"
    if isinstance(found, list | tuple):
        return "a list"
    if _sensitive(steps):
        return "the value (not shown)"
    if found is None or isinstance(found, bool | date):
        return _meaning(found)
    text = _CREDENTIALS.sub("…@", str(found))
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return repr(short) if isinstance(found, str) else short
