"""Both towers, and how they are served: this file lies in a model's folder beside the weights, and needs nothing else of the project."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

if sys.platform != "darwin":
    mx.set_default_device(mx.cpu)
    mx.disable_compile()  # on the CPU, compiling would need a C++ compiler on this machine

BUCKETS = 256
"""Size of the hashed vocabulary; a few dozen words do not collide often enough to matter."""


def bag_of_words(text: str) -> NDArray[np.float32]:
    """Counts of hashed words; CRC-32 because Python's own hash differs from process to process."""
    counts = np.zeros(BUCKETS, dtype=np.float32)
    for word in text.lower().split():
        counts[zlib.crc32(word.encode()) % BUCKETS] += 1
    return counts


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


class Gallery:
    """The text tower of a trained model, and the vectors of pictures that it can find."""

    def __init__(self, folder: Path) -> None:
        weights = mx.load(str(folder / "model.safetensors"))
        self.vectors, labels, rows = (weights.pop(f"gallery.{name}") for name in ("vectors", "labels", "rows"))
        hidden, _ = weights["text.enter.weight"].shape
        self.text = Tower(BUCKETS, hidden, self.vectors.shape[1])
        self.text.load_weights([(name.removeprefix("text."), each) for name, each in weights.items() if name.startswith("text.")])
        self.labels: list[int] = labels.tolist()
        self.rows: list[int] = rows.tolist()
        # Read now: what is still lazy belongs to this thread, and requests are answered by others.
        mx.eval(self.vectors, self.text.parameters())

    def nearest(self, texts: Sequence[str]) -> list[list[tuple[int, float]]]:
        """For each text all pictures as (position, cosine similarity), the best first."""
        found = np.array(self.text(mx.array(np.stack([bag_of_words(each) for each in texts]))) @ self.vectors.T)
        return [[(int(at), float(row[at])) for at in np.argsort(-row, kind="stable")] for row in found]


def load(folder: Path) -> Callable[[list[Any]], list[int]]:
    """What answers: `{"text": ...}` in, the digit on the picture that fits best out."""
    gallery = Gallery(folder)

    def predict(instances: list[Any]) -> list[int]:
        return [gallery.labels[found[0][0]] for found in gallery.nearest([each["text"] for each in instances])]

    return predict
