"""Contrastive fine-tuning of two towers, one for pictures of digits and one for sentences about them.

Both towers are first trained on the digits 0 to 6. Fine-tuning then shows them a few pictures (`--shots`) of every digit. Pictures are
classified by the nearest sentence; the sentences used for that (the last one of each digit in the captions file) were never trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten
from network import Clip, bag_of_words
from numpy.typing import NDArray

KNOWN = 7
"""Digits below this one are seen before fine-tuning."""

Ints = NDArray[np.int32]


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


def save(model: Clip, images: NDArray[np.float32], labels: Ints, rows: Ints, folder: Path) -> None:
    """The folder that is served: both towers, the pictures to be found, the network's code, and what the model says of itself."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = dict(tree_flatten(model.parameters()))
    gallery = {"gallery.vectors": model.image(mx.array(images)), "gallery.labels": mx.array(labels), "gallery.rows": mx.array(rows)}
    mx.save_safetensors(str(folder / "model.safetensors"), {**weights, **gallery})
    shutil.copy(Path(__file__).with_name("network.py"), folder)
    digit = {"type": "integer", "minimum": 0, "maximum": 9}
    describes = {
        "runtimes": {"mlx": {"load": "network.py:load"}},
        "input": {
            "type": "object",
            "properties": {
                "text": {"type": "string", "minLength": 1, "maxLength": 1000},
                "count": {"type": "integer", "minimum": 1, "maximum": 100},
            },
            "required": ["text"],
        },
        # The digit alone, or with the pictures as service.py answers.
        "output": {"anyOf": [digit, {"type": "object", "properties": {"label": digit}, "required": ["label", "pictures"]}]},
        "example": [{"text": "a handwritten five"}, {"text": "the digit 3"}],
        "packages": {"mlx": version("mlx"), "numpy": version("numpy")},
        "python": platform.python_version(),
    }
    (folder / "mlops.json").write_text(json.dumps(describes, indent=1) + "\n", encoding="utf-8")


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
    """Trains both phases, writes metrics.json, model.safetensors, and model/ to be served."""
    args = arguments()
    mx.random.seed(args.seed)
    rng = np.random.default_rng(args.seed)
    table = np.loadtxt(args.data, delimiter=",", skiprows=1, dtype=np.float32)
    order = rng.permutation(len(table))
    table = table[order]
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
    save(model, images[cut:], labels[cut:], order[cut:].astype(np.int32), args.out / "model")
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    for name, value in before.items():
        print(f"{name} {value:.3f} -> {metrics[name]:.3f}")


if __name__ == "__main__":
    main()
