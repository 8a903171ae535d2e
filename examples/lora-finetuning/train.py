"""Low-rank adapters on a frozen network: train on one domain, adapt to another with a few per cent of the weights.

The table has feature columns, then `domain` (0 = what the base model is trained on, 1 = what it must learn later) and `label`. `--rank 0`
adapts nothing and gives the base model's own accuracy on the new domain.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten
from network import Network


@dataclass(frozen=True)
class Split:
    """Standardised features and labels, three quarters to train on and one to test on."""

    train: tuple[mx.array, mx.array]
    test: tuple[mx.array, mx.array]


@dataclass(frozen=True)
class Table:
    """Both domains, the names of the features, and what they are standardised by."""

    base: Split
    target: Split
    fields: list[str]
    mean: mx.array
    deviation: mx.array


class LoRALinear(nn.Module):
    """A frozen linear layer plus `scale * x A B` with A and B of rank `rank`; B starts at zero, so nothing changes at first."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        outputs, inputs = base.weight.shape
        self.base = base
        self.scale = alpha / rank
        self.lora_a = mx.random.normal((inputs, rank)) / math.sqrt(inputs)
        self.lora_b = mx.zeros((rank, outputs))
        base.freeze()

    def __call__(self, x: mx.array) -> mx.array:
        return self.base(x) + self.scale * ((x @ self.lora_a) @ self.lora_b)

    def merged(self) -> nn.Linear:
        """One layer that answers the same."""
        linear = nn.Linear(self.lora_a.shape[0], self.lora_b.shape[1])
        linear.weight = self.base.weight + self.scale * (self.lora_a @ self.lora_b).T
        linear.bias = self.base.bias
        return linear


def adapt(network: Network, rank: int, alpha: float) -> None:
    """Freezes every weight and puts an adapter beside each layer."""
    network.freeze()
    network.layers = [LoRALinear(layer, rank, alpha) for layer in network.layers]


def read(path: Path, seed: int) -> Table:
    """The base domain and the target domain, both scaled by the base domain's mean and deviation."""
    with path.open(encoding="utf-8") as file:
        fields = file.readline().strip().split(",")[:-2]
    table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32)
    table = np.random.default_rng(seed).permutation(table)
    features, domain, labels = table[:, :-2], table[:, -2], table[:, -1].astype(np.int32)
    mean, deviation = features[domain == 0].mean(axis=0), features[domain == 0].std(axis=0) + 0.1
    features = (features - mean) / deviation

    def split(of: int) -> Split:
        x, y = mx.array(features[domain == of]), mx.array(labels[domain == of])
        cut = len(y) * 3 // 4
        return Split((x[:cut], y[:cut]), (x[cut:], y[cut:]))

    return Table(split(0), split(1), fields, mx.array(mean), mx.array(deviation))


def loss_of(network: Network, x: mx.array, y: mx.array) -> mx.array:
    return nn.losses.cross_entropy(network(x), y, reduction="mean")


def accuracy(network: Network, data: tuple[mx.array, mx.array]) -> float:
    return float(mx.mean(mx.argmax(network(data[0]), axis=1) == data[1]).item())


def fit(network: Network, data: tuple[mx.array, mx.array], steps: int, rate: float, name: str) -> float:
    """Trains whatever is not frozen on batches of 64; returns the last loss."""
    step_of = nn.value_and_grad(network, loss_of)
    optimizer = optim.Adam(learning_rate=rate)
    loss = mx.array(0.0)
    for step in range(1, steps + 1):
        rows = mx.random.randint(0, len(data[1]), (64,))
        loss, gradients = step_of(network, data[0][rows], data[1][rows])
        optimizer.update(network, gradients)
        mx.eval(network.parameters(), optimizer.state)
        if step % 100 == 0:
            print(f"{name} step {step} loss {loss.item():.4f}", flush=True)
    return float(loss.item())


def count(parameters: object) -> int:
    return sum(int(each.size) for _, each in tree_flatten(parameters))


def save(network: Network, table: Table, classes: int, folder: Path) -> None:
    """The folder that is served: the weights with the adapters merged in, the network's code, and what the model says of itself."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = [layer.merged() if isinstance(layer, LoRALinear) else layer for layer in network.layers]
    weights = {f"layers.{at}.{name}": layer[name] for at, layer in enumerate(layers) for name in ("weight", "bias")}
    mx.save_safetensors(str(folder / "model.safetensors"), {**weights, "mean": table.mean, "deviation": table.deviation})
    shutil.copy(Path(__file__).with_name("network.py"), folder)
    number = {"type": "number", "minimum": -1e6, "maximum": 1e6}
    rows = (table.target.test[0][:2] * table.deviation + table.mean).tolist()
    describes = {
        "runtimes": {"mlx": {"load": "network.py:load"}},
        "input": {"type": "object", "properties": dict.fromkeys(table.fields, number), "required": table.fields},
        "output": {"type": "integer", "minimum": 0, "maximum": classes - 1},
        "example": [dict(zip(table.fields, [round(value, 3) for value in row], strict=True)) for row in rows],
        "packages": {"mlx": version("mlx")},
        "python": platform.python_version(),
    }
    (folder / "mlops.json").write_text(json.dumps(describes, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=16.0)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--hidden", type=int, default=160)
    parser.add_argument("--base-steps", type=int, default=300)
    parser.add_argument("--steps", type=int, default=300)
    return parser.parse_args()


def main() -> None:
    """Trains the base, adapts it, writes metrics.json, the adapters alone (adapters.safetensors), and model/ to be served."""
    args = arguments()
    mx.random.seed(args.seed)
    table = read(args.data, args.seed)
    base, target = table.base, table.target
    classes = int(mx.maximum(base.train[1].max(), target.train[1].max()).item()) + 1
    network = Network(base.train[0].shape[1], args.hidden, classes)
    fit(network, base.train, args.base_steps, 2e-3, "base")
    metrics = {"accuracy_base": accuracy(network, base.test), "accuracy_before": accuracy(network, target.test)}
    total = count(network.parameters())
    if args.rank > 0:
        adapt(network, args.rank, args.alpha)
        metrics["loss"] = fit(network, target.train, args.steps, args.rate, "adapter")
    adapters = dict(tree_flatten(network.trainable_parameters())) if args.rank > 0 else {}
    metrics |= {
        "accuracy": accuracy(network, target.test),
        "trainable_parameters": count(adapters),
        "trainable_share": count(adapters) / total,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(args.out / "adapters.safetensors"), adapters)
    save(network, table, classes, args.out / "model")
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"accuracy {metrics['accuracy_before']:.3f} -> {metrics['accuracy']:.3f} with {metrics['trainable_share']:.1%} of the weights")


if __name__ == "__main__":
    main()
