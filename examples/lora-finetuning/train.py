"""Low-rank adapters on a frozen network: train on one domain, adapt to another with a few per cent of the weights.

The table has feature columns, then `domain` (0 = what the base model is trained on, 1 = what it must learn later) and `label`. `--rank 0`
adapts nothing and gives the base model's own accuracy on the new domain.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
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


@dataclass(frozen=True)
class Split:
    """Standardised features and labels, three quarters to train on and one to test on."""

    train: tuple[mx.array, mx.array]
    test: tuple[mx.array, mx.array]


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


class Network(nn.Module):
    """A perceptron with two hidden layers."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.layers = [nn.Linear(inputs, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, classes)]

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers[:-1]:
            x = mx.maximum(layer(x), 0)
        return self.layers[-1](x)

    def adapt(self, rank: int, alpha: float) -> None:
        """Freezes every weight and puts an adapter beside each layer."""
        self.freeze()
        self.layers = [LoRALinear(layer, rank, alpha) for layer in self.layers]


def read(path: Path, seed: int) -> tuple[Split, Split]:
    """The base domain and the target domain, both scaled by the base domain's mean and deviation."""
    table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32)
    table = np.random.default_rng(seed).permutation(table)
    features, domain, labels = table[:, :-2], table[:, -2], table[:, -1].astype(np.int32)
    base = features[domain == 0]
    features = (features - base.mean(axis=0)) / (base.std(axis=0) + 0.1)

    def split(of: int) -> Split:
        x, y = mx.array(features[domain == of]), mx.array(labels[domain == of])
        cut = len(y) * 3 // 4
        return Split((x[:cut], y[:cut]), (x[cut:], y[cut:]))

    return split(0), split(1)


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
    """Trains the base, adapts it, writes metrics.json and the adapters alone (adapters.safetensors)."""
    args = arguments()
    mx.random.seed(args.seed)
    base, target = read(args.data, args.seed)
    classes = int(mx.maximum(base.train[1].max(), target.train[1].max()).item()) + 1
    network = Network(base.train[0].shape[1], args.hidden, classes)
    fit(network, base.train, args.base_steps, 2e-3, "base")
    metrics = {"accuracy_base": accuracy(network, base.test), "accuracy_before": accuracy(network, target.test)}
    total = count(network.parameters())
    if args.rank > 0:
        network.adapt(args.rank, args.alpha)
        metrics["loss"] = fit(network, target.train, args.steps, args.rate, "adapter")
    adapters = dict(tree_flatten(network.trainable_parameters())) if args.rank > 0 else {}
    metrics |= {
        "accuracy": accuracy(network, target.test),
        "trainable_parameters": count(adapters),
        "trainable_share": count(adapters) / total,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(args.out / "adapters.safetensors"), adapters)
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"accuracy {metrics['accuracy_before']:.3f} -> {metrics['accuracy']:.3f} with {metrics['trainable_share']:.1%} of the weights")


if __name__ == "__main__":
    main()
