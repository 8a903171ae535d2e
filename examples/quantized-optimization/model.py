"""A small classifier for tables, its post-training quantisation to a few bits per weight, and the folder that is served."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten
from network import GROUP, Classifier


@dataclass(frozen=True)
class Data:
    """Standardised features, padded with zeros to a multiple of `GROUP` columns, and labels."""

    train: tuple[mx.array, mx.array]
    check: tuple[mx.array, mx.array]
    test: tuple[mx.array, mx.array]
    fields: list[str]
    mean: mx.array
    deviation: mx.array


def read(path: Path, seed: int) -> Data:
    """Half of the rows to train on, a quarter to choose by, a quarter to test on."""
    with path.open(encoding="utf-8") as file:
        fields = file.readline().strip().split(",")[:-1]
    table = np.random.default_rng(seed).permutation(np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32))
    features, labels = table[:, :-1], table[:, -1].astype(np.int32)
    half, most = len(labels) // 2, len(labels) * 3 // 4
    mean, deviation = features[:half].mean(axis=0), features[:half].std(axis=0) + 1e-2
    features = np.pad((features - mean) / deviation, ((0, 0), (0, -features.shape[1] % GROUP)))
    x, y = mx.array(features), mx.array(labels)
    parts = ((x[:half], y[:half]), (x[half:most], y[half:most]), (x[most:], y[most:]))
    return Data(*parts, fields, mx.array(mean), mx.array(deviation))


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


def save(model: Classifier, bits: Sequence[int], data: Data, folder: Path) -> None:
    """The folder that is served: quantised weights, the classifier's code, and what the model says of itself."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), {**weights, "mean": data.mean, "deviation": data.deviation})
    shutil.copy(Path(__file__).with_name("network.py"), folder)
    number = {"type": "number", "minimum": -1e6, "maximum": 1e6}
    rows = (data.test[0][:2, : len(data.fields)] * data.deviation + data.mean).tolist()
    describes = {
        "runtimes": {"mlx": {"load": "network.py:load"}},
        "input": {"type": "object", "properties": dict.fromkeys(data.fields, number), "required": data.fields},
        "output": {"type": "integer", "minimum": 0, "maximum": model.layers[-1].scales.shape[0] - 1},
        "example": [dict(zip(data.fields, [round(value, 3) for value in row], strict=True)) for row in rows],
        "packages": {"mlx": version("mlx")},
        "python": platform.python_version(),
        "quantization": f"{', '.join(dict.fromkeys(str(each) for each in bits))}-bit",
    }
    (folder / "mlops.json").write_text(json.dumps(describes, indent=1) + "\n", encoding="utf-8")


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """What both scripts understand."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hidden", type=int, default=32, help="a multiple of 32")
    parser.add_argument("--steps", type=int, default=300)
    return parser
