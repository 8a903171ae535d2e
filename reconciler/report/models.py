"""The registered models of every project, as text and JSON. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler.model import JSON, Outputs, Ref, Status
from reconciler.model.units import memory
from reconciler.report.json import FORMAT_VERSION, ref_value
from reconciler.report.show import clean, count, paint, rfc3339, shorten, value

_MODELS = ("MODEL", "ALIAS", "VERSION", "RUN", "TRAINED ON", "VERSIONS", "STATE")
_VERSIONS = ("MODEL", "VERSION", "VERDICT", "RUN", "TRAINED ON", "RUNTIMES", "MEMORY", "NOTE")
SHORT_ID = 8
"""Characters of a run's id in a table."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One registered model, as the last pass saw it."""

    ref: Ref
    alias: str = ""
    version: str = ""
    """The one that has the alias; empty = none has it."""
    run: str = ""
    datasets: Mapping[str, JSON] = field(default_factory=dict)
    versions: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    """Number -> what is known of it; the newest first."""
    health: str = ""
    message: str = ""


def listed(ref: Ref, outputs: Outputs, status: Status | None) -> Listed:
    """From what a Model hands on to Deployments."""
    versions = _object(outputs.get("versions", ""))
    newest = sorted((number for number in versions if number.isdecimal()), key=int, reverse=True)
    return Listed(
        ref,
        alias=outputs.get("alias", ""),
        version=outputs.get("version", ""),
        run=outputs.get("run", ""),
        datasets=_object(outputs.get("datasets", "")),
        versions={number: versions[number] for number in newest if isinstance(versions[number], dict)},
        health=str(status.health) if status is not None else "",
        message=status.message if status is not None else "",
    )


def models_text(models: Sequence[Listed], *, all_: bool = False, color: bool = False, width: int = 100) -> str:
    """One line for each model, or with `all_` one for each version."""
    if not models:
        return "No model is registered here.\nNext: declare one (`reconcile explain model`), then `reconcile --wait`."
    projects, having = {each.ref.project for each in models}, sum(bool(each.version) for each in models)
    head = f"{count(len(models), 'model')} in {count(len(projects), 'project')}, {having} with a version that passed"
    heads = _VERSIONS if all_ else _MODELS
    rows = [row for each in models for row in _version_rows(each)] if all_ else [_model_row(each) for each in models]
    room = max(40, width - sum(max(len(row[at]) for row in [heads, *rows]) for at in range(len(heads) - 1)) - 2 * (len(heads) - 1))
    rows = [(*row[:-1], row[-1] if len(row[-1]) <= room else f"{row[-1][: room - 1]}…") for row in rows]
    sizes = [max(len(row[at]) for row in [heads, *rows]) for at in range(len(heads))]
    lines = ["  ".join(f"{cell:<{size}}" for cell, size in zip(row, sizes, strict=True)).rstrip() for row in [heads, *rows]]
    more = "" if all_ else "`reconcile models --all` shows every version and its verdict; "
    step = f"Next: {more}`reconcile status {clean(str(models[0].ref))}` tells all of one."
    return "\n".join([head, "", paint(lines[0], "dim", color), *lines[1:], "", step])


def models_json(models: Sequence[Listed], at: datetime | None = None) -> str:
    """All of them for programs, with every version."""
    return json.dumps(
        {"formatVersion": FORMAT_VERSION, "kind": "models", "at": rfc3339(at), "models": [model_value(each) for each in models]},
        indent=2,
        ensure_ascii=True,
    )


def _model_row(model: Listed) -> tuple[str, ...]:
    return (
        clean(model.ref.path),
        clean(model.alias) or "-",
        clean(model.version) or "-",
        clean(model.run)[:SHORT_ID] or "-",
        _datasets(model.datasets) or "-",
        _verdicts(model) or "-",
        clean(f"{model.health}: {model.message}" if model.message else model.health) or "-",
    )


def _verdicts(model: Listed) -> str:
    """`3 pass, 1 fail`."""
    counted = Counter(_verdict(each) for each in model.versions.values())
    return ", ".join(f"{number} {clean(name)}" for name, number in sorted(counted.items()))


def _version_rows(model: Listed) -> list[tuple[str, ...]]:
    if not model.versions:
        return [(clean(model.ref.path), "-", "-", "-", "-", "-", "-", clean(model.message))]
    return [_version_row(model, number, each) for number, each in model.versions.items()]


def _version_row(model: Listed, number: str, told: Mapping[str, JSON]) -> tuple[str, ...]:
    size, why = str(told.get("memory") or ""), str(told.get("quarantined") or "")
    notes = [clean(model.alias)] if number == model.version else []
    return (
        clean(model.ref.path),
        number,
        clean(_verdict(told)),
        clean(str(told.get("run") or ""))[:SHORT_ID] or "-",
        _datasets(_object(told.get("datasets"))) or "-",
        clean(", ".join(map(str, _array(told.get("runtimes"))))) or "-",
        memory(int(size)) if size.isdecimal() else "-",
        "; ".join([*notes, *([f"quarantined: {clean(why)}"] if why else [])]),
    )


def _verdict(told: Mapping[str, JSON]) -> str:
    return "quarantined" if told.get("quarantined") else str(told.get("verdict") or "hold")


def _datasets(found: Mapping[str, JSON]) -> str:
    return shorten(", ".join(f"{clean(name)} {value(digest)}" for name, digest in sorted(found.items())), 40)


def model_value(model: Listed) -> dict[str, Any]:
    """One model as plain values."""
    return {
        **ref_value(model.ref),
        "alias": model.alias,
        "version": model.version or None,
        "run": model.run or None,
        "datasets": dict(model.datasets),
        "health": model.health or None,
        "message": model.message,
        "versions": [
            {
                "version": number,
                "verdict": told.get("verdict") or "hold",
                "quarantined": told.get("quarantined") or None,
                "alias": model.alias if number == model.version else None,
                "run": told.get("run"),
                "digest": told.get("digest"),
                "datasets": _object(told.get("datasets")),
                "runtimes": _array(told.get("runtimes")),
                "memoryBytes": int(size) if (size := str(told.get("memory") or "")).isdecimal() else None,
                "signed": bool(told.get("signature")),
            }
            for number, told in model.versions.items()
        ],
    }


def _object(text: JSON) -> dict[str, JSON]:
    found = _parsed(text)
    return found if isinstance(found, dict) else {}


def _array(text: JSON) -> list[JSON]:
    found = _parsed(text)
    return found if isinstance(found, list) else []


def _parsed(text: JSON) -> JSON:
    """Outputs are text, JSON in it where they are more; what is not known yet is neither."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
