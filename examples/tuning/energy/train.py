"""One point of the search: ridge regression with so many bends, in plain Python. Also writes the folder that a Model needs."""

from __future__ import annotations

import argparse
import csv
import json
import platform
import shutil
from pathlib import Path

import network

HELD_BACK = 4
"""One day of so many is kept to compare the runs by."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bends", type=int, required=True)
    parser.add_argument("--ridge", type=float, required=True)
    given = parser.parse_args()
    days = list(csv.DictReader(given.data.read_text(encoding="utf-8").splitlines()))
    judged = days[::HELD_BACK]
    learnt = [day for at, day in enumerate(days) if at % HELD_BACK]
    rows = [network.columns(day, given.bends) for day in learnt]
    weights = solve(rows, [float(day["load"]) for day in learnt], given.ridge)
    model = given.out / "model"
    model.mkdir()
    (model / "weights.json").write_text(json.dumps({"weights": weights, "bends": given.bends}) + "\n", encoding="utf-8")
    shutil.copy(Path(__file__).with_name("network.py"), model)
    number = {"type": "number"}
    about = {
        "runtimes": {"mlx": {"load": "network.py:load"}},
        "input": {"type": "object", "properties": {"temperature": number, "weekend": number}, "required": ["temperature", "weekend"]},
        "output": number,
        "example": [{"temperature": 4.5, "weekend": 0}, {"temperature": 21, "weekend": 1}],
        "python": platform.python_version(),
    }
    (model / "mlops.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
    errors = [predicted - float(day["load"]) for predicted, day in zip(network.load(model)(judged), judged, strict=True)]
    rmse = (sum(each * each for each in errors) / len(errors)) ** 0.5
    (given.out / "metrics.json").write_text(json.dumps({"rmse": rmse}) + "\n", encoding="utf-8")
    print(f"{given.bends} bends, ridge {given.ridge:g}: rmse {rmse:.2f} on {len(judged)} days")


def solve(rows: list[list[float]], targets: list[float], ridge: float) -> list[float]:
    """The weights with the least squares, held small by `ridge`: Gauss on the normal equations."""
    size = len(rows[0])
    table = [
        [sum(row[i] * row[j] for row in rows) + (ridge if i == j > 0 else 0.0) for j in range(size)]
        + [sum(row[i] * target for row, target in zip(rows, targets, strict=True))]
        for i in range(size)
    ]
    for at in range(size):
        pivot = max(range(at, size), key=lambda row: abs(table[row][at]))
        table[at], table[pivot] = table[pivot], table[at]
        table[at] = [each / table[at][at] for each in table[at]]
        for row in range(size):
            if row != at:
                table[row] = [a - table[row][at] * b for a, b in zip(table[row], table[at], strict=True)]
    return [row[-1] for row in table]


if __name__ == "__main__":
    main()
