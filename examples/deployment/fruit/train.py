"""The middle of each fruit, by its first `--features` features; leaves the folder `model` that can be served."""

from __future__ import annotations

import argparse
import csv
import json
import platform
import shutil
from pathlib import Path
from statistics import mean

import network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--features", type=int, required=True)
    given = parser.parse_args()
    rows = list(csv.DictReader(given.data.read_text(encoding="utf-8").splitlines()))
    used = network.FEATURES[: given.features]
    names = sorted({row["fruit"] for row in rows})
    middles = {name: [mean(float(row[key]) for row in rows if row["fruit"] == name) for key in used] for name in names}
    model = given.out / "model"
    model.mkdir()
    (model / "middles.json").write_text(json.dumps(middles), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("network.py"), model)
    number = {"type": "number"}
    about = {
        "runtimes": {"mlx": {"load": "network.py:load"}},
        "input": {"type": "object", "properties": {"weight": number, "length": number}, "required": ["weight", "length"]},
        "output": {"enum": names},
        "example": [{"weight": 150, "length": 7}, {"weight": 120, "length": 19}],
        "python": platform.python_version(),
    }
    (model / "mlops.json").write_text(json.dumps(about), encoding="utf-8")
    right = [network.nearest(middles, {key: float(row[key]) for key in network.FEATURES}) == row["fruit"] for row in rows]
    (given.out / "metrics.json").write_text(json.dumps({"accuracy": sum(right) / len(right)}), encoding="utf-8")


if __name__ == "__main__":
    main()
