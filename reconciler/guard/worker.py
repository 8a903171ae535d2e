"""Evaluates CEL: one JSON object on stdin, one JSON line for each answer on stdout. A program of its own, without anything of ours.

Started as `python -I -S worker.py FOLDER SECONDS`, with an empty environment; FOLDER is where `cel_expr_python` lies. Expressions are
code of somebody who writes rules: an evaluation can be ended only with its process, and its memory is bounded only there.

In: `{"rules": [{"condition", "when", "planWide"}], "plan": {...}, "actions": [{...}], "calls": [[rule, action], ...]}`.
Out: for each rule `{"rule": n, "error": text or null}`, then for each call `{"answer": true or false}` or `{"error": text}`."""

from __future__ import annotations

import json
import resource
import sys
from contextlib import suppress
from typing import Any

MEMORY = 2 << 30
"""Bytes of address space; macOS does not hold anybody to it."""
OVER_ACTION = ("action", "resource", "project", "plan")


def main(folder: str, seconds: int) -> None:
    """Read, evaluate, answer."""
    for what, most in ((resource.RLIMIT_CPU, seconds + 1), (resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))
    sys.path.append(folder)
    from cel_expr_python import cel

    asked = json.load(sys.stdin)
    envs = {True: _env(cel, ("plan",)), False: _env(cel, OVER_ACTION)}
    programs = [_compiled(envs, each) for each in asked["rules"]]
    for number, (error, _, _) in enumerate(programs):
        _say({"rule": number, "error": error})
    plan, actions = asked["plan"], asked["actions"]
    small = {name: value for name, value in plan.items() if name != "actions"}
    whole: dict[int, Any] = {}
    for number, at in asked["calls"]:
        error, when, condition = programs[number]
        seen = {**actions[at], "plan": small}
        if error is not None:
            _say({"error": error})
        elif when is not None and (said := _judged(when, seen, "when: ")) != {"answer": True}:
            _say(said)
        elif asked["rules"][number]["planWide"]:
            if number not in whole:
                whole[number] = _judged(condition, {"plan": plan}, "")
            _say(whole[number])
        else:
            _say(_judged(condition, seen, ""))


def _env(cel: Any, names: tuple[str, ...]) -> Any:
    return cel.NewEnv(variables=dict.fromkeys(names, cel.Type.DYN))


def _compiled(envs: dict[bool, Any], rule: dict[str, Any]) -> tuple[str | None, Any, Any]:
    """(why it cannot be judged or None, `when` or None, the condition)."""
    made: list[Any] = []
    for text, env, name in ((rule["when"], envs[False], "when: "), (rule["condition"], envs[rule["planWide"]], "")):
        if not text:
            made.append(None)
            continue
        try:
            program = env.compile(text)
        except Exception as error:
            return name + _told(str(error)), None, None
        if (given := program.return_type().name()) not in ("BOOL", "DYN"):
            return f"{name}it gives {given.lower()}, not true or false", None, None
        made.append(program)
    return None, made[0], made[1]


def _judged(program: Any, seen: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        found = program.eval(data=seen)
        kind, value = found.type().name(), found.plain_value()
    except Exception as error:
        return {"error": name + _told(str(error))}
    if kind == "ERROR":
        return {"error": name + _told(str(value))}
    return {"answer": value} if kind == "BOOL" else {"error": f"{name}it gives {kind.lower()}, not true or false"}


def _told(text: str) -> str:
    """The first of what CEL says, without the words that are about its own making."""
    lines = [each for each in text.split("\n") if each.strip() and not each.lstrip().startswith("|")]
    first = lines[0] if lines else "it cannot be evaluated"
    for word in ("INVALID_ARGUMENT: ", "ERROR: ", "NOT_FOUND: ", "UNKNOWN: ", "INTERNAL: ", "CANCELLED: ", "OUT_OF_RANGE: "):
        first = first.removeprefix(word)
    place, _, rest = first.removeprefix("<input>:").partition(": ")
    if first.startswith("<input>:") and rest:
        line, _, column = place.partition(":")
        rest = rest.split(" expecting {")[0].removesuffix(" (in container '')")
        first = f"{rest} (line {line}, column {column} of the expression)" if line.isdecimal() else rest
    return first.split(" [")[0]


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
