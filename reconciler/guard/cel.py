"""Starts the program that evaluates CEL, bounds its time, and reads its answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reconciler.guard.values import GuardRule
from reconciler.secret import masked

DEADLINE, PER_CALL = 10.0, 0.001
"""Seconds for all rules of a pass, and for each action that a rule looks at: ten thousand of them are looked at in a few seconds."""
MISSING = "the package cel-expr-python is not installed"
WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Answers:
    """What came back. `errors` are by rule: why it cannot be judged at all; `said` are by call: true, false, or an error."""

    errors: tuple[str, ...]
    said: tuple[bool | str, ...]


def evaluate(
    rules: Sequence[GuardRule], plan: Mapping[str, Any], actions: Sequence[Mapping[str, Any]], calls: Sequence[tuple[int, int]]
) -> Answers:
    """Ask each of `calls` (number of a rule, number of an action). Raises nothing: what is not answered is an error."""
    folder = _folder()
    if folder is None:
        return _unanswered(rules, calls, MISSING)
    asked = {
        "rules": [{"condition": each.condition, "when": each.when, "planWide": each.plan_wide} for each in rules],
        "plan": plan,
        "actions": actions,
        "calls": calls,
    }
    said, trouble = _run(folder, masked(json.dumps(asked, default=str)), DEADLINE + PER_CALL * len(calls))
    lines = [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith("\n")]
    errors = [str(each["error"] or "") for each in lines[: len(rules)]]
    found = [each["answer"] if "answer" in each else str(each["error"]) for each in lines[len(rules) :]]
    return Answers(
        (*errors, *[trouble] * (len(rules) - len(errors))),
        (*found, *[trouble] * (len(calls) - len(found))),
    )


def _unanswered(rules: Sequence[GuardRule], calls: Sequence[tuple[int, int]], why: str) -> Answers:
    return Answers((why,) * len(rules), (why,) * len(calls))


def _folder() -> Path | None:
    """Where the package lies; it is not imported into this process."""
    found = find_spec("cel_expr_python")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    return Path(places[0]).parent if places else None


def _run(folder: Path, asked: str, most: float) -> tuple[str, str]:
    """What it wrote within `most` seconds, and why the rest is missing."""
    command = [sys.executable, "-I", "-S", "-X", "utf8", str(WORKER), str(folder.absolute()), f"{most:.0f}"]
    try:
        done = subprocess.run(
            command, input=asked, capture_output=True, text=True, encoding="utf-8", timeout=most, check=False, env={}, cwd="/"
        )
    except subprocess.TimeoutExpired as error:
        out = error.stdout or b""
        return out.decode("utf-8", "replace") if isinstance(out, bytes) else out, f"the rules took more than {most:.0f} s"
    except OSError as error:
        return "", f"the program that evaluates CEL could not be started: {error.strerror}"
    last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
    return done.stdout, f"the program that evaluates CEL needed too much, or failed: {last[0][:200]}"
