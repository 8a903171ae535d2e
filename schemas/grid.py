"""The runs that a grid of parameters stands for, and what may be wrong with it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping

from schemas.run import Runs, Scalar

OURS = ("data", "seed", "out")
"""Options that every program gets from the reconciler."""
MOST = 1000
"""Runs of one experiment: a grid that is larger is taken for a mistake."""

SHOWN = 40
"""Characters of a value in a message."""


def argument(value: Scalar) -> str:
    """A parameter's value as the program gets it: `true` and `false` for booleans. Two values with the same text are the same run."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def combinations(runs: Runs) -> Iterator[tuple[Mapping[str, Scalar], int]]:
    """(parameters, seed) of every run: the whole grid or each listed set, for each seed."""
    for params in _sets(runs):
        for seed in runs.seeds:
            yield params, seed


def _sets(runs: Runs) -> Iterator[Mapping[str, Scalar]]:
    if not isinstance(runs.params, dict):
        yield from runs.params or ({},)
        return
    names = list(runs.params)
    values = [each if isinstance(each, tuple) else (each,) for each in runs.params.values()]
    for chosen in itertools.product(*values):
        yield dict(zip(names, chosen, strict=True))


def check(runs: Runs) -> Iterator[tuple[str, str]]:
    """Conditions that span fields: yields (field path below `runs`, message)."""
    if ".." in runs.entrypoint.split("/"):
        yield "entrypoint", "expected a script or a module of the project: a path without '..'"
    if not runs.seeds:
        yield "seeds", "an empty list gives no run at all; leave the field out for the one seed 0"
    grid = runs.params if isinstance(runs.params, dict) else {}
    for name, values in grid.items():
        if values == ():
            yield f"params.{name}", "an empty list gives no run at all; give a value, or leave the parameter out"
    named = {name for each in ([grid] if grid else [each for each in runs.params if isinstance(each, dict)]) for name in each}
    for name in sorted(named & set(OURS)):
        yield f"params.{name}", f"every program gets `--{name}` from the reconciler; `seeds` and `datasets` set what it holds"
    number = count(runs)
    if number > MOST:
        yield "params", f"{number:,} runs in one experiment; at most {MOST:,} can be declared: make the grid smaller or split it"
        return
    told = Counter((tuple(sorted((name, argument(value)) for name, value in params.items())), seed) for params, seed in combinations(runs))
    for (params, seed), times in told.items():
        if times > 1:
            shown = ", ".join([*(f"{name} {_cut(value)}" for name, value in params), f"seed {seed}"])
            yield "params", f"the same run is declared {times} times: {shown}"


def _cut(value: str) -> str:
    return value if len(value) <= SHOWN else f"{value[: SHOWN - 1]}…"


def count(runs: Runs) -> int:
    """How many runs there are, without making them."""
    sets = len(runs.params) or 1
    if isinstance(runs.params, dict):
        sets = 1
        for each in runs.params.values():
            sets *= len(each) if isinstance(each, tuple) else 1
    return sets * len(runs.seeds)
