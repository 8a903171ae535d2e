"""What changed shortly before a breach: the surroundings of the bad window held against those of the last good one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from reconciler.model.monitoring import WindowResult

WORDS = {
    "version": "another version of the model answers",
    "revision": "the deployment's revision changed",
    "reference": "what is held to be normal changed",
    "monitor": "the monitor's own manifest changed",
    "heat": "the machine's heat changed",
    "os": "the operating system changed",
    "mlx": "MLX changed",
    "machine": "the machine changed",
    "python": "Python changed",
}
FIRST: Mapping[str, Sequence[str]] = {
    "drift": ("reference", "dataset", "monitor", "version"),
    "quality": ("reference", "dataset", "monitor"),
    "predictions": ("version", "revision", "mlx", "reference", "dataset", "os", "python", "machine"),
    "labels": ("reference", "dataset"),
    "performance": ("version", "revision", "mlx", "os", "python", "machine", "dataset"),
    "operations": ("heat", "version", "revision", "machine", "os", "mlx", "python"),
}
"""For each check, what explains its failing, the most probable first: inputs change without the model, answers hardly do."""


def causes(found: WindowResult, now: Mapping[str, str], good: Mapping[str, str]) -> tuple[str, ...]:
    """In words, the most probable first. `now` is the context of the window, `good` that of the last one in which all was well."""
    failing = [each.check for each in found.checks if each.verdict == "fail"]
    if not failing or not good:
        return ()
    changed = {name for name in now.keys() | good.keys() if now.get(name, "") != good.get(name, "")}
    ranked = sorted(changed, key=lambda name: (_rank(name, failing), name))
    words = [_word(name, good.get(name, ""), now.get(name, "")) for name in ranked if name != "revision" or "version" not in changed]
    inputs = {"drift", "quality"}.intersection(failing)
    if inputs and not any(_kind(name) in ("dataset", "reference", "monitor") for name in changed):
        words.insert(0, "what is asked changed: nothing that is declared here did since the last good window")
    elif not words and "operations" not in failing:
        words.append("nothing that is declared here changed since the last good window")
    return (*words, *_through(failing, {each.check for each in found.checks if each.verdict == "pass"}))


def _through(failing: Sequence[str], good: Collection[str]) -> Iterator[str]:
    """What one failing check says about another, which did not hold."""
    if "predictions" in failing and "drift" in failing:
        yield "the answers moved with the inputs"
    elif "predictions" in failing and "drift" in good:
        yield "the inputs are as they were: what answers is what changed, or what it is connected with"
    if "performance" in failing and {"drift", "predictions"} <= set(good):
        yield "inputs and answers are as they were: what is true for them changed"


def _rank(name: str, failing: Sequence[str]) -> int:
    kind = _kind(name)
    places = [list(FIRST[check]).index(kind) for check in failing if kind in FIRST.get(check, ())]
    return min(places, default=len(WORDS))


def _kind(name: str) -> str:
    return name.partition("/")[0]


def _word(name: str, before: str, after: str) -> str:
    told = WORDS.get(name) or f"{name} changed"
    if name == "reference":
        return told
    short = [each if len(each) <= 16 else each[:8] for each in (before or "none", after or "none")]
    return f"{told} ({short[0]} -> {short[1]})"
