"""Looks at one window: `python -m reconciler.monitoring SPEC.json`, where the file holds a WindowSpec. The result is a WindowResult.

Exit code 0 whatever the verdict: the result says why. Another one means that no result could be written."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from reconciler.files import write_private
from reconciler.model.monitoring import Source, WindowResult, WindowSpec
from reconciler.model.values import JSON
from reconciler.monitoring.look import look
from reconciler.serving.trial import peak_memory

YIELDS = 5
"""Added to its niceness: replicas, the gateway and the loop go first where cores are few."""
T = TypeVar("T")


def spec_of(raw: dict[str, Any]) -> WindowSpec:
    """As it was written; what another version wrote beside it is left out."""
    known = _known(WindowSpec, raw)
    sources = {name: Source(**_known(Source, known[name])) for name in ("current", "reference")}
    return WindowSpec(**{**known, **sources, "expected": tuple(known.get("expected") or ())})


def text_of(result: WindowResult) -> str:
    """As JSON, which has no infinity, and in ASCII: a field's name may hold half of a surrogate pair."""
    return json.dumps(_finite(asdict(result)), allow_nan=False)


def main(argv: Sequence[str]) -> int:
    """Look, and write what was found."""
    os.environ["DO_NOT_TRACK"] = "1"  # before Evidently is imported
    os.nice(YIELDS)
    began = time.perf_counter()
    spec = spec_of(json.loads(Path(argv[0]).read_bytes()))
    result = _looked(spec)
    result = replace(result, seconds=time.perf_counter() - began, memory=peak_memory(), at=time.time())
    target = Path(spec.result)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(target, text_of(result))
    print(ascii(f"{result.verdict}: {result.why}")[1:-1])  # noqa: T201 - into the job's log
    return 0


def _looked(spec: WindowSpec) -> WindowResult:
    try:
        return look(spec)
    except Exception as error:  # a defect, or no memory: neither a good window nor a bad one
        why = f"it could not be looked at: {type(error).__name__}: {error}"
        return WindowResult(spec.key, "hold", spec.current.start, spec.current.end or spec.current.start, why=why)


def _known(kind: type[T], raw: dict[str, Any]) -> dict[str, Any]:
    return {each.name: raw[each.name] for each in fields(kind) if each.name in raw}  # type: ignore[arg-type]


def _finite(value: JSON) -> JSON:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
