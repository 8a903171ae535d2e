"""A small classifier for tables and its post-training quantisation to a few bits per weight."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten

if sys.platform != "darwin":
    mx.set_default_device(mx.cpu)
    mx.disable_compile()  # on the CPU, compiling would need a C++ compiler on this machine

GROUP = 32
"""Weights that share one scale and one bias; MLX quantises rows in groups of 32, 64 or 128."""


@dataclass(frozen=True)
class Data:
    """Standardised features, padded with zeros to a multiple of `GROUP` columns, and labels."""

    train: tuple[mx.array, mx.array]
    check: tuple[mx.array, mx.array]
    test: tuple[mx.array, mx.array]


class Classifier(nn.Module):
    """A perceptron with two hidden layers."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.layers = [nn.Linear(inputs, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, classes)]

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers[:-1]:
            x = mx.maximum(layer(x), 0)
        return self.layers[-1](x)


def read(path: Path, seed: int) -> Data:
    """Half of the rows to train on, a quarter to choose by, a quarter to test on."""
    table = np.random.default_rng(seed).permutation(np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32))
    features, labels = table[:, :-1], table[:, -1].astype(np.int32)
    half, most = len(labels) // 2, len(labels) * 3 // 4
    features = (features - features[:half].mean(axis=0)) / (features[:half].std(axis=0) + 1e-2)
    features = np.pad(features, ((0, 0), (0, -features.shape[1] % GROUP)))
    x, y = mx.array(features), mx.array(labels)
    return Data((x[:half], y[:half]), (x[half:most], y[half:most]), (x[most:], y[most:]))


def loss_of(model: Classifier, x: mx.array, y: mx.array) -> mx.array:
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


def accuracy(model: Classifier, data: tuple[mx.array, mx.array]) -> float:
    return float(mx.mean(mx.argmax(model(data[0]), axis=1) == data[1]).item())


def fit(data: Data, hidden: int, steps: int) -> Classifier:
    """A float32 classifier trained on batches of 64."""
    model = Classifier(data.train[0].shape[1], hidden, int(data.train[1].max().item()) + 1)
    step_of = nn.value_and_grad(model, loss_of)
    optimizer = optim.AdamW(learning_rate=2e-3, weight_decay=0.1)
    for step in range(1, steps + 1):
        rows = mx.random.randint(0, len(data.train[1]), (64,))
        loss, gradients = step_of(model, data.train[0][rows], data.train[1][rows])
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
    return model


def quantized(model: Classifier, bits: Sequence[int]) -> Classifier:
    """A copy whose layers hold that many bits per weight each; 32 leaves a layer in float32. The given model stays as it is."""
    copy = Classifier(model.layers[0].weight.shape[1], model.layers[0].weight.shape[0], model.layers[-1].weight.shape[0])
    copy.update(model.parameters())
    copy.layers = [
        layer if width == 32 else nn.QuantizedLinear.from_linear(layer, group_size=GROUP, bits=width)
        for layer, width in zip(copy.layers, bits, strict=True)
    ]
    return copy


def size(model: Classifier) -> int:
    """Bytes of all parameters, scales and biases of the groups included."""
    return sum(int(each.nbytes) for _, each in tree_flatten(model.parameters()))


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """What both scripts understand."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hidden", type=int, default=32, help="a multiple of 32")
    parser.add_argument("--steps", type=int, default=300)
    return parser
