"""Which iris is it: softmax regression in plain Python, so that the example needs no package.

`reconcile` calls it with `--data`, `--seed`, `--out` and one option for each parameter. The numbers of metrics.json become metrics of the
MLflow run, everything else in `--out` its artifacts."""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

HELD_BACK = 5
"""One row of so many is kept to judge by."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=0.2)
    given = parser.parse_args()
    with given.data.open(newline="", encoding="utf-8") as file:
        names, *table = csv.reader(file)
    random.Random(given.seed).shuffle(table)
    species = sorted({row[-1] for row in table})
    rows = [([1.0, *map(float, row[:-1])], species.index(row[-1])) for row in table]
    judged, learnt = rows[::HELD_BACK], [row for at, row in enumerate(rows) if at % HELD_BACK]
    weights = [[0.0] * len(names) for _ in species]
    for step in range(given.steps):
        loss = descend(weights, learnt, given.rate)
        if step % 100 == 0:
            print(f"step {step}: loss {loss:.4f}", flush=True)
    right = [max(range(len(species)), key=lambda at, x=x: score(weights, x)[at]) == y for x, y in judged]
    told = {"accuracy": sum(right) / len(right), "loss": loss}
    (given.out / "weights.json").write_text(json.dumps(dict(zip(species, weights, strict=True)), indent=1) + "\n", encoding="utf-8")
    (given.out / "metrics.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
    print(f"{len(judged)} flowers held back, accuracy {told['accuracy']:.3f}")


def score(weights: Sequence[Sequence[float]], x: Sequence[float]) -> list[float]:
    """How likely each species is."""
    raised = [math.exp(sum(a * b for a, b in zip(each, x, strict=True))) for each in weights]
    return [each / sum(raised) for each in raised]


def descend(weights: list[list[float]], rows: Sequence[tuple[list[float], int]], rate: float) -> float:
    """One step over all rows; the loss before it."""
    slopes, loss = [[0.0] * len(each) for each in weights], 0.0
    for x, y in rows:
        likely = score(weights, x)
        loss -= math.log(max(likely[y], 1e-12)) / len(rows)
        for at, slope in enumerate(slopes):
            wrong = likely[at] - (at == y)
            for column, value in enumerate(x):
                slope[column] += wrong * value / len(rows)
    for each, slope in zip(weights, slopes, strict=True):
        each[:] = [weight - rate * down for weight, down in zip(each, slope, strict=True)]
    return loss


if __name__ == "__main__":
    main()
