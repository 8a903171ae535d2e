"""This project's part of a federated model: its own digits, in small batches, on the shared softmax regression."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="where to start from; unset = nothing is known yet")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8, help="in each round")
    args = parser.parse_args()
    rng, table = np.random.default_rng(args.rounds), np.loadtxt("data/digits-here.csv", delimiter=",", skiprows=1)
    x, labels = np.hstack([table[:, :-1] / 16, np.ones((len(table), 1))]), table[:, -1].astype(int)
    weights = np.load(args.weights)["w"].astype(float) if args.weights else np.zeros((x.shape[1], 10))
    for _ in range(args.rounds * args.epochs):
        for batch in np.array_split(rng.permutation(len(x)), 5):
            chances = np.exp(x[batch] @ weights)
            chances /= chances.sum(axis=1, keepdims=True)
            chances[np.arange(len(batch)), labels[batch]] -= 1
            weights -= 0.5 * x[batch].T @ chances / len(batch)
    args.out.mkdir(parents=True, exist_ok=True)
    np.savez(args.out / "weights.npz", w=weights.astype(np.float32))
    if told := os.environ.get("MLOPS_OUTPUTS"):
        Path(told).write_text(json.dumps({"rows": len(table)}), encoding="utf-8")
    print(f"{len(table)} rows")


if __name__ == "__main__":
    main()
