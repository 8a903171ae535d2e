"""The smallest run: options in, a number out. What is left in `--out` goes to MLflow, the numbers of metrics.json as metrics."""

import argparse
import json
from pathlib import Path

options = argparse.ArgumentParser()
options.add_argument("--data", type=Path)
options.add_argument("--seed", type=int, default=0)
options.add_argument("--out", type=Path, required=True)
options.add_argument("--rate", type=float, default=0.1)
options.add_argument("--layers", type=int, default=1)
given = options.parse_args()
accuracy = 1 - given.rate / (given.layers + given.seed + 1)
print(f"rate {given.rate}, layers {given.layers}, seed {given.seed}: accuracy {accuracy:.3f}")
(given.out / "metrics.json").write_text(json.dumps({"accuracy": accuracy}) + "\n", encoding="utf-8")
