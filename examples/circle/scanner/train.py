"""Benign or not, from eight measures of a scan: a forest, with what it says of itself."""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split


def main() -> None:
    """Trains, writes metrics.json, and model/ to be served."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with args.data.open(encoding="utf-8") as file:
        fields = file.readline().strip().split(",")[:-1]
    table = np.loadtxt(args.data, delimiter=",", skiprows=1)
    x, x_test, y, y_test = train_test_split(table[:, :-1], table[:, -1].astype(int), random_state=args.seed)
    forest = RandomForestClassifier(60, min_samples_leaf=2, random_state=args.seed).fit(x, y)
    accuracy = float(forest.score(x_test, y_test))
    folder = args.out / "model"
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(forest, folder / "model.joblib")
    number = {"type": "number", "minimum": -1e6, "maximum": 1e6}
    describes = {
        "runtimes": {"sklearn": {"file": "model.joblib"}},
        "input": {"type": "object", "properties": dict.fromkeys(fields, number), "required": fields},
        "output": {"type": "integer"},
        "example": [dict(zip(fields, row, strict=True)) for row in x_test[:2].tolist()],
        "packages": {name: version(name) for name in ("scikit-learn", "joblib", "numpy")},
        "python": platform.python_version(),
    }
    (folder / "mlops.json").write_text(json.dumps(describes, indent=1) + "\n", encoding="utf-8")
    (args.out / "metrics.json").write_text(json.dumps({"accuracy": accuracy}) + "\n", encoding="utf-8")
    print(f"{len(table)} records, accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
