"""Meta-learned adapters: learn a starting point from which small adapters solve a new task after a few steps.

A task is "tell digit a from digit b" with `--shots` pictures of each. The base network is trained on the digits 0 to 5 and frozen.
Reptile (Nichol et al. 2018) moves the starting point of the adapters and of the head towards what each training task ends with. Test
tasks use the digits 6 to 9 only. `accuracy_scratch` is what the same adaptation reaches from adapters and a head that were never
meta-learned.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map
from numpy.typing import NDArray

if sys.platform != "darwin":
    mx.set_default_device(mx.cpu)
    mx.disable_compile()  # on the CPU, compiling would need a C++ compiler on this machine

SEEN = 6
"""Digits below this one belong to the training tasks."""

Pixels = NDArray[np.float32]
Small = dict[str, mx.array]


@dataclass(frozen=True)
class Task:
    """A few labelled pictures to adapt to, and others to test on."""

    support: tuple[mx.array, mx.array]
    query: tuple[mx.array, mx.array]


class Base(nn.Module):
    """A perceptron whose hidden layer adapters are added to."""

    def __init__(self, pixels: int, hidden: int) -> None:
        super().__init__()
        self.enter = nn.Linear(pixels, hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, SEEN)

    def features(self, x: mx.array, small: Small | None = None) -> mx.array:
        x = mx.maximum(self.enter(x), 0)
        adapted = self.middle(x)
        if small is not None:
            adapted = adapted + (x @ small["down"]) @ small["up"]
        return mx.maximum(adapted, 0)

    def __call__(self, x: mx.array) -> mx.array:
        return self.head(self.features(x))


def adapters(hidden: int, rank: int) -> Small:
    """The few weights that a task may change: a low-rank term and a head for two classes."""
    return {
        "down": mx.random.normal((hidden, rank)) / hidden**0.5,
        "up": mx.zeros((rank, hidden)),
        "head": mx.random.normal((hidden, 2)) / hidden**0.5,
        "bias": mx.zeros((2,)),
    }


def predict(base: Base, small: Small, x: mx.array) -> mx.array:
    return base.features(x, small) @ small["head"] + small["bias"]


def train_base(base: Base, x: Pixels, y: NDArray[np.int32], steps: int, rng: np.random.Generator) -> None:
    """Trains the base network on the seen digits."""

    def loss_of(network: Base, images: mx.array, labels: mx.array) -> mx.array:
        return nn.losses.cross_entropy(network(images), labels, reduction="mean")

    step_of = nn.value_and_grad(base, loss_of)
    optimizer = optim.Adam(learning_rate=2e-3)
    for step in range(1, steps + 1):
        rows = rng.integers(len(y), size=64)
        loss, gradients = step_of(base, mx.array(x[rows]), mx.array(y[rows]))
        optimizer.update(base, gradients)
        mx.eval(base.parameters(), optimizer.state)
        if step % 100 == 0:
            print(f"base step {step} loss {loss.item():.4f}", flush=True)


def adapt(base: Base, small: Small, task: Task, steps: int, rate: float) -> Small:
    """Gradient descent on the task's few pictures; the base does not change."""

    def loss_of(current: Small) -> mx.array:
        return nn.losses.cross_entropy(predict(base, current, task.support[0]), task.support[1], reduction="mean")

    gradient_of = mx.grad(loss_of)
    for _ in range(steps):
        small = tree_map(lambda value, gradient: value - rate * gradient, small, gradient_of(small))
    mx.eval(small)
    return small


def draw_task(images: dict[int, Pixels], pair: tuple[int, int], shots: int, rng: np.random.Generator) -> Task:
    """`shots` random pictures of each of the two digits to adapt to, the others to test on."""
    shuffled = [rng.permutation(images[digit]) for digit in pair]

    def labelled(parts: list[Pixels]) -> tuple[mx.array, mx.array]:
        labels = np.repeat(np.array([0, 1], dtype=np.int32), [len(part) for part in parts])
        return mx.array(np.concatenate(parts)), mx.array(labels)

    return Task(labelled([each[:shots] for each in shuffled]), labelled([each[shots:] for each in shuffled]))


def reptile(base: Base, small: Small, images: dict[int, Pixels], args: argparse.Namespace, rng: np.random.Generator) -> Small:
    """The starting point after `args.tasks` training tasks, each on a random ordered pair of seen digits."""
    for number in range(1, args.tasks + 1):
        first, second = rng.choice(SEEN, 2, replace=False)
        task = draw_task(images, (int(first), int(second)), args.shots, rng)
        ended = adapt(base, small, task, args.inner_steps, args.inner_rate)
        step = args.outer_rate * (1 - (number - 1) / args.tasks)
        small = tree_map(lambda start, end, step=step: start + step * (end - start), small, ended)
        mx.eval(small)
        if number % 100 == 0:
            print(f"task {number} accuracy {accuracy(base, ended, task):.3f}", flush=True)
    return small


def accuracy(base: Base, small: Small, task: Task) -> float:
    return float(mx.mean(mx.argmax(predict(base, small, task.query[0]), axis=1) == task.query[1]).item())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--inner-steps", type=int, default=5)
    parser.add_argument("--inner-rate", type=float, default=0.05)
    parser.add_argument("--outer-rate", type=float, default=0.5)
    parser.add_argument("--base-steps", type=int, default=200)
    parser.add_argument("--hidden", type=int, default=64)
    return parser.parse_args()


def main() -> None:
    """Trains the base and the starting point, tests on unseen digits, writes metrics.json and model.safetensors."""
    args = arguments()
    mx.random.seed(args.seed)
    rng = np.random.default_rng(args.seed)
    table = np.loadtxt(args.data, delimiter=",", skiprows=1, dtype=np.float32)
    x, y = table[:, :-1] / 16, table[:, -1].astype(np.int32)
    images = {digit: x[y == digit] for digit in range(10)}
    base = Base(x.shape[1], args.hidden)
    train_base(base, x[y < SEEN], y[y < SEEN], args.base_steps, rng)
    first = adapters(args.hidden, args.rank)
    learned = reptile(base, first, images, args, rng)
    tasks = [draw_task(images, pair, args.shots, rng) for pair in combinations(range(SEEN, 10), 2) for _ in range(4)]

    def after(start: Small) -> float:
        return float(np.mean([accuracy(base, adapt(base, start, task, args.inner_steps, args.inner_rate), task) for task in tasks]))

    metrics = {
        "accuracy": after(learned),
        "accuracy_scratch": after(first),
        "accuracy_unadapted": float(np.mean([accuracy(base, learned, task) for task in tasks])),
        "adapted_parameters": sum(int(each.size) for each in learned.values()),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    weights = dict(tree_flatten(base.parameters())) | {f"adapter.{name}": value for name, value in learned.items()}
    mx.save_safetensors(str(args.out / "model.safetensors"), weights)
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"new tasks after {args.inner_steps} steps: {metrics['accuracy']:.3f}; without meta-learning {metrics['accuracy_scratch']:.3f}")


if __name__ == "__main__":
    main()
