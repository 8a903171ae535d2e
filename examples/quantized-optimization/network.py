"""The classifier, and how it is served: this file lies in a model's folder beside the weights, and needs nothing else of the project."""

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

GROUP = 32
"""Weights that share one scale and one bias; MLX quantises rows in groups of 32, 64 or 128."""


class Classifier(nn.Module):
    """A perceptron with two hidden layers."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.layers = [nn.Linear(inputs, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, classes)]

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers[:-1]:
            x = mx.maximum(layer(x), 0)
        return self.layers[-1](x)


def stored(weights: dict[str, mx.array]) -> Classifier:
    """The quantised classifier with these weights; how many bits a layer has is seen from the shapes: they are packed into words of 32."""
    model = Classifier(GROUP, GROUP, 1)
    for at in range(len(model.layers)):
        outputs, groups = weights[f"layers.{at}.scales"].shape
        bits = weights[f"layers.{at}.weight"].shape[1] * 32 // (groups * GROUP)
        model.layers[at] = nn.QuantizedLinear(groups * GROUP, outputs, group_size=GROUP, bits=bits)
    model.load_weights(list(weights.items()))
    return model


def load(folder: Path) -> Callable[[list[Any]], list[int]]:
    """What answers: rows with named columns in, as they stand in the table; labels out."""
    fields = json.loads((folder / "mlops.json").read_text(encoding="utf-8"))["input"]["required"]
    weights = mx.load(str(folder / "model.safetensors"))
    mean, deviation = weights.pop("mean"), weights.pop("deviation")
    model = stored(weights)
    padding = -len(fields) % GROUP
    # Read now: what is still lazy belongs to this thread, and requests are answered by others.
    mx.eval(mean, deviation, model.parameters())

    def predict(instances: list[Any]) -> list[int]:
        rows = mx.array([[each[name] for name in fields] for each in instances], dtype=mx.float32)
        return mx.argmax(model(mx.pad((rows - mean) / deviation, ((0, 0), (0, padding)))), axis=1).tolist()

    return predict
