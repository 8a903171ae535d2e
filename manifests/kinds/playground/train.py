"""The smallest run: data and options in, numbers and a model out. What is left in `--out` goes to MLflow, the numbers of metrics.json
as metrics, and the folder `model` can be served."""

import argparse
import csv
import json
import platform
import shutil
from pathlib import Path

options = argparse.ArgumentParser()
options.add_argument("--data", type=Path, required=True)
options.add_argument("--seed", type=int, default=0)
options.add_argument("--out", type=Path, required=True)
options.add_argument("--rate", type=float, default=0.1)
options.add_argument("--layers", type=int, default=1)
given = options.parse_args()

with given.data.open(encoding="utf-8", newline="") as file:
    weights: dict[str, float] = {}
    for row in csv.DictReader(file):
        for word in row["text"].split():
            weights[word] = weights.get(word, 0.0) + given.rate * (2 * int(row["label"]) - 1)

model = given.out / "model"
model.mkdir(parents=True)
(model / "weights.json").write_text(json.dumps(weights), encoding="utf-8")
shutil.copy(Path(__file__).with_name("network.py"), model)
describes = {
    "runtimes": {"mlx": {"load": "network.py:load"}},
    "input": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 1000}}, "required": ["text"]},
    "output": {"type": "integer", "minimum": 0, "maximum": 1},
    "example": [{"text": "the printer is on fire"}, {"text": "thanks"}],
    "python": platform.python_version(),
}
(model / "mlops.json").write_text(json.dumps(describes, indent=1) + "\n", encoding="utf-8")

accuracy = 1 - given.rate / (given.layers + given.seed + 1)
print(f"rate {given.rate}, layers {given.layers}, seed {given.seed}: accuracy {accuracy:.3f}")
(given.out / "metrics.json").write_text(json.dumps({"accuracy": accuracy}) + "\n", encoding="utf-8")
