"""The network, and how it is served: this file lies in a model's folder beside the weights, and needs nothing else of the project."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

if sys.platform != "darwin":
    mx.set_default_device(mx.cpu)
    mx.disable_compile()  # on the CPU, compiling would need a C++ compiler on this machine


class Network(nn.Module):
    """A perceptron with two hidden layers."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.layers = [nn.Linear(inputs, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, classes)]

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers[:-1]:
            x = mx.maximum(layer(x), 0)
        return self.layers[-1](x)


def load(folder: Path) -> Callable[[list[Any]], list[int]]:
    """What answers: rows with named columns in, as they stand in the table; labels out."""
    fields = json.loads((folder / "mlops.json").read_text(encoding="utf-8"))["input"]["required"]
    weights = mx.load(str(folder / "model.safetensors"))
    mean, deviation = weights.pop("mean"), weights.pop("deviation")
    hidden, inputs = weights["layers.0.weight"].shape
    network = Network(inputs, hidden, weights["layers.2.weight"].shape[0])
    network.load_weights(list(weights.items()))
    # Read now: what is still lazy belongs to this thread, and requests are answered by others.
    mx.eval(mean, deviation, network.parameters())

    def predict(instances: list[Any]) -> list[int]:
        rows = mx.array([[each[name] for name in fields] for each in instances], dtype=mx.float32)
        return mx.argmax(network((rows - mean) / deviation), axis=1).tolist()

    return predict
