"""Federated averaging: clients train on rows that never leave them, the server averages their weights.

`--data` is a folder with one CSV per client and `test.csv`. Clients differ in size and in the classes that they see, so a client on its
own (`accuracy_alone`, the mean of models trained by one client each with the same number of steps) does much worse than all of them
together.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_map
from numpy.typing import NDArray

if sys.platform != "darwin":
    mx.set_default_device(mx.cpu)
    mx.disable_compile()  # on the CPU, compiling would need a C++ compiler on this machine

Floats = NDArray[np.float32]
Weights = dict[str, mx.array]


@dataclass(frozen=True)
class Client:
    """A client's rows; only counts, sums and weights leave it."""

    name: str
    x: mx.array
    y: mx.array


def read(folder: Path) -> tuple[list[Client], Client]:
    """The clients and the test set, standardised by what the clients' sums say about all rows together."""
    tables = {path.stem: np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32, ndmin=2) for path in sorted(folder.glob("*.csv"))}
    shares = [(len(table), table[:, :-1].sum(axis=0), (table[:, :-1] ** 2).sum(axis=0)) for name, table in tables.items() if name != "test"]
    rows, total, squares = (sum(column) for column in zip(*shares, strict=True))
    mean = total / rows
    deviation = np.sqrt(squares / rows - mean**2)

    def client(name: str) -> Client:
        table = tables[name]
        return Client(name, mx.array((table[:, :-1] - mean) / deviation), mx.array(table[:, -1].astype(np.int32)))

    return [client(name) for name in tables if name != "test"], client("test")


def start(inputs: int, hidden: int, classes: int) -> Weights:
    """Weights of a perceptron with one hidden layer."""
    return {
        "w1": mx.random.normal((inputs, hidden)) / inputs**0.5,
        "b1": mx.zeros((hidden,)),
        "w2": mx.random.normal((hidden, classes)) / hidden**0.5,
        "b2": mx.zeros((classes,)),
    }


def logits(weights: Weights, x: mx.array) -> mx.array:
    return mx.maximum(x @ weights["w1"] + weights["b1"], 0) @ weights["w2"] + weights["b2"]


def accuracy(weights: Weights, data: Client) -> float:
    return float(mx.mean(mx.argmax(logits(weights, data.x), axis=1) == data.y).item())


def train_locally(weights: Weights, client: Client, steps: int, rate: float, mu: float) -> Weights:
    """`steps` of gradient descent on the client's rows; `mu` pulls back to the server's weights (FedProx, Li et al. 2020)."""
    server = weights

    def loss_of(current: Weights) -> mx.array:
        near = sum(mx.sum((current[name] - server[name]) ** 2) for name in server)
        return nn.losses.cross_entropy(logits(current, client.x), client.y, reduction="mean") + mu / 2 * near

    gradient_of = mx.grad(loss_of)
    for _ in range(steps):
        weights = tree_map(lambda value, gradient: value - rate * gradient, weights, gradient_of(weights))
        mx.eval(weights)
    return weights


def average(updates: list[tuple[Weights, int]]) -> Weights:
    """The mean of the clients' weights, each counted by its number of rows."""
    rows = sum(count for _, count in updates)
    return {name: sum((each[name] * (count / rows) for each, count in updates), mx.array(0.0)) for name in updates[0][0]}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one CSV per client and test.csv")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--local-steps", type=int, default=5)
    parser.add_argument("--participation", type=float, default=1.0, help="share of the clients in each round")
    parser.add_argument("--mu", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--hidden", type=int, default=16)
    return parser.parse_args()


def main() -> None:
    """Runs the rounds, writes metrics.json and model.safetensors."""
    args = arguments()
    mx.random.seed(args.seed)
    rng = np.random.default_rng(args.seed)
    clients, test = read(args.data)
    first = start(test.x.shape[1], args.hidden, int(test.y.max().item()) + 1)
    weights = first
    for round_ in range(1, args.rounds + 1):
        chosen = rng.choice(len(clients), max(1, round(args.participation * len(clients))), replace=False)
        weights = average(
            [(train_locally(weights, clients[at], args.local_steps, args.rate, args.mu), len(clients[at].y)) for at in chosen]
        )
        if round_ % 5 == 0:
            print(f"round {round_} accuracy {accuracy(weights, test):.3f}", flush=True)
    alone = [accuracy(train_locally(first, each, args.rounds * args.local_steps, args.rate, 0.0), test) for each in clients]
    metrics = {
        "accuracy": accuracy(weights, test),
        "accuracy_start": accuracy(first, test),
        "accuracy_alone": float(np.mean(alone)),
        "clients": len(clients),
        **{f"accuracy_alone_{each.name}": value for each, value in zip(clients, alone, strict=True)},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(args.out / "model.safetensors"), weights)
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"accuracy {metrics['accuracy']:.3f}; each client alone {metrics['accuracy_alone']:.3f}")


if __name__ == "__main__":
    main()
