"""Contrastive fine-tuning of two towers, one for pictures of digits and one for sentences about them.

Both towers are first trained on the digits 0 to 6. Fine-tuning then shows them a few pictures (`--shots`) of every digit. Pictures are
classified by the nearest sentence; the sentences used for that (the last one of each digit in the captions file) were never trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import zlib
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten
from numpy.typing import NDArray

if sys.platform != "darwin":
    mx.set_default_device(mx.cpu)
    mx.disable_compile()  # on the CPU, compiling would need a C++ compiler on this machine

BUCKETS = 256
"""Size of the hashed vocabulary; a few dozen words do not collide often enough to matter."""
KNOWN = 7
"""Digits below this one are seen before fine-tuning."""

Ints = NDArray[np.int32]


def bag_of_words(text: str) -> NDArray[np.float32]:
    """Counts of hashed words; CRC-32 because Python's own hash differs from process to process."""
    counts = np.zeros(BUCKETS, dtype=np.float32)
    for word in text.lower().split():
        counts[zlib.crc32(word.encode()) % BUCKETS] += 1
    return counts


class Captions:
    """Sentences of each digit as bags of words: those to train on and the one kept for evaluation."""

    def __init__(self, path: Path) -> None:
        by_label: dict[int, list[NDArray[np.float32]]] = {}
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                by_label.setdefault(int(row["label"]), []).append(bag_of_words(row["text"]))
        labels = sorted(by_label)
        self.train = np.stack([np.stack(by_label[label][:-1]) for label in labels])
        self.held_out = mx.array(np.stack([by_label[label][-1] for label in labels]))

    def draw(self, labels: Ints, rng: np.random.Generator) -> mx.array:
        """A random training sentence for each label."""
        return mx.array(self.train[labels, rng.integers(self.train.shape[1], size=len(labels))])


class Tower(nn.Module):
    """Maps inputs to unit vectors."""

    def __init__(self, inputs: int, hidden: int, size: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.leave = nn.Linear(hidden, size)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.leave(mx.maximum(self.enter(x), 0))
        return x * mx.rsqrt(mx.sum(x * x, axis=1, keepdims=True) + 1e-8)


class Clip(nn.Module):
    """Two towers and the temperature (as its logarithm) of their similarity."""

    def __init__(self, pixels: int, hidden: int, size: int) -> None:
        super().__init__()
        self.image = Tower(pixels, hidden, size)
        self.text = Tower(BUCKETS, hidden, size)
        self.temperature = mx.array(2.0)

    def __call__(self, images: mx.array, texts: mx.array) -> mx.array:
        return mx.exp(self.temperature) * (self.image(images) @ self.text(texts).T)


def contrastive_loss(model: Clip, images: mx.array, texts: mx.array, same: mx.array) -> mx.array:
    """Symmetric cross entropy over the batch; every pair of the same digit is a match (`same`: 1 or 0)."""
    similarity = model(images, texts)
    targets = same / mx.sum(same, axis=1, keepdims=True)
    by_image = mx.mean(nn.losses.cross_entropy(similarity, targets))
    return (by_image + mx.mean(nn.losses.cross_entropy(similarity.T, targets))) / 2


def fit(
    model: Clip, data: tuple[NDArray[np.float32], Ints], captions: Captions, plan: tuple[int, float, str], rng: np.random.Generator
) -> float:
    """Trains for `plan` = (steps, learning rate, name) on batches of 48; returns the last loss."""
    steps, rate, name = plan
    step_of = nn.value_and_grad(model, contrastive_loss)
    optimizer = optim.Adam(learning_rate=rate)
    loss = mx.array(0.0)
    for step in range(1, steps + 1):
        rows = rng.integers(len(data[1]), size=48)
        labels = data[1][rows]
        same = mx.array((labels[:, None] == labels[None, :]).astype(np.float32))
        loss, gradients = step_of(model, mx.array(data[0][rows]), captions.draw(labels, rng), same)
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
        if step % 50 == 0:
            print(f"{name} step {step} loss {loss.item():.4f}", flush=True)
    return float(loss.item())


def measure(model: Clip, images: NDArray[np.float32], labels: Ints, captions: Captions) -> dict[str, float]:
    """Zero-shot accuracy, the accuracy on the digits that the first phase never saw, and how many sentences find a right picture first."""
    similarity = np.array(model(mx.array(images), captions.held_out))
    right = similarity.argmax(axis=1) == labels
    found = labels[similarity.argmax(axis=0)] == np.arange(similarity.shape[1])
    return {"accuracy": float(right.mean()), "accuracy_new": float(right[labels >= KNOWN].mean()), "retrieval": float(found.mean())}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--captions", type=Path, default=Path(__file__).parent / "data/captions.csv")
    parser.add_argument("--shots", type=int, default=16, help="pictures of each digit to fine-tune on")
    parser.add_argument("--size", type=int, default=32, help="of the shared space")
    parser.add_argument("--hidden", type=int, default=96)
    parser.add_argument("--base-steps", type=int, default=250)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rate", type=float, default=2e-3)
    return parser.parse_args()


def main() -> None:
    """Trains both phases, writes metrics.json and model.safetensors."""
    args = arguments()
    mx.random.seed(args.seed)
    rng = np.random.default_rng(args.seed)
    table = rng.permutation(np.loadtxt(args.data, delimiter=",", skiprows=1, dtype=np.float32))
    images, labels = table[:, :-1] / 16, table[:, -1].astype(np.int32)
    cut = len(labels) * 3 // 4
    captions = Captions(args.captions)
    model = Clip(images.shape[1], args.hidden, args.size)
    known = np.flatnonzero(labels[:cut] < KNOWN)
    fit(model, (images[known], labels[known]), captions, (args.base_steps, 3e-3, "base"), rng)
    before = measure(model, images[cut:], labels[cut:], captions)
    shots = np.concatenate([np.flatnonzero(labels[:cut] == each)[: args.shots] for each in range(10)])
    loss = fit(model, (images[shots], labels[shots]), captions, (args.steps, args.rate, "fine-tuning"), rng)
    metrics = {
        "loss": loss,
        **measure(model, images[cut:], labels[cut:], captions),
        **{f"{name}_before": value for name, value in before.items()},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(args.out / "model.safetensors"), dict(tree_flatten(model.parameters())))
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    for name, value in before.items():
        print(f"{name} {value:.3f} -> {metrics[name]:.3f}")


if __name__ == "__main__":
    main()
