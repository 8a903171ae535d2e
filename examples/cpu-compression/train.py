"""Magnitude pruning on the CPU: trains a perceptron, removes its smallest weights, lets the rest recover.

The label is the table's last column. `bytes` is the size of what is left as a sparse matrix (value plus 16-bit position).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def read(path: Path, seed: int) -> tuple[Floats, Floats, Ints, Ints]:
    """Train and test features, standardised, then train and test labels."""
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    train, test, train_labels, test_labels = train_test_split(
        table[:, :-1], table[:, -1].astype(np.int64), random_state=seed, stratify=table[:, -1]
    )
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test), train_labels, test_labels


def masks_of(model: MLPClassifier, sparsity: float) -> list[NDArray[np.bool_]]:
    """For each layer the weights to keep: all but the share `sparsity` with the smallest magnitude over the whole network."""
    limit = np.quantile(np.abs(np.concatenate([layer.ravel() for layer in model.coefs_])), sparsity)
    return [np.abs(layer) > limit for layer in model.coefs_]


def prune(model: MLPClassifier, masks: list[NDArray[np.bool_]]) -> None:
    for layer, mask in zip(model.coefs_, masks, strict=True):
        layer *= mask


def train(model: MLPClassifier, data: tuple[Floats, Ints], epochs: int, masks: list[NDArray[np.bool_]] | None, name: str) -> None:
    """Trains for some epochs; with masks, removed weights stay removed."""
    for epoch in range(1, epochs + 1):
        model.partial_fit(*data, classes=np.unique(data[1]))
        if masks is not None:
            prune(model, masks)
        if epoch % 10 == 0:
            print(f"{name} epoch {epoch} loss {model.loss_:.4f}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--recover", type=int, default=30, help="epochs after pruning")
    return parser.parse_args()


def main() -> None:
    """Trains, prunes, recovers, writes metrics.json and model.npz."""
    args = arguments()
    x, x_test, y, y_test = read(args.data, args.seed)
    model = MLPClassifier((args.hidden, args.hidden), learning_rate_init=3e-3, random_state=args.seed)
    train(model, (x, y), args.epochs, None, "dense")
    metrics = {"accuracy_dense": float(model.score(x_test, y_test))}
    masks = masks_of(model, args.sparsity)
    prune(model, masks)
    metrics["accuracy_pruned"] = float(model.score(x_test, y_test))
    train(model, (x, y), args.recover, masks, "sparse")
    kept, total = sum(int(mask.sum()) for mask in masks), sum(mask.size for mask in masks)
    biases = sum(layer.size for layer in model.intercepts_)
    metrics |= {
        "accuracy": float(model.score(x_test, y_test)),
        "weights": kept,
        "bytes_dense": 4 * (total + biases),
        "bytes": 6 * kept + 4 * biases,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    layers = {f"weight_{at}": layer.astype(np.float32) for at, layer in enumerate(model.coefs_)}
    np.savez_compressed(
        args.out / "model.npz", **layers, **{f"bias_{at}": layer.astype(np.float32) for at, layer in enumerate(model.intercepts_)}
    )
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"{kept} of {total} weights kept, accuracy {metrics['accuracy_dense']:.3f} -> {metrics['accuracy']:.3f}")


if __name__ == "__main__":
    main()
