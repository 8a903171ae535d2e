"""A small class-conditional diffusion model in pixel space."""

from __future__ import annotations

import math
import sys

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from numpy.typing import NDArray

if sys.platform != "darwin":
    mx.set_default_device(mx.cpu)
    mx.disable_compile()  # on the CPU, compiling would need a C++ compiler on this machine

CLASSES = 10
TIMES = 30

Pixels = NDArray[np.float32]
Labels = NDArray[np.int32]


class Denoiser(nn.Module):
    """Predicts the clean picture from a noisy one, the time and the digit that it should show."""

    def __init__(self, pixels: int, hidden: int) -> None:
        super().__init__()
        self.context = nn.Linear(CLASSES + 8, hidden)
        self.enter = nn.Linear(pixels, hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.leave = nn.Linear(hidden, pixels)

    def __call__(self, x: mx.array, time: mx.array, label: mx.array) -> mx.array:
        waves = time[:, None] * (math.pi * 2.0 ** mx.arange(-1, 3))
        which = (label[:, None] == mx.arange(CLASSES)).astype(mx.float32)
        context = self.context(mx.concatenate([mx.sin(waves), mx.cos(waves), which], axis=1))
        hidden = mx.maximum(self.enter(x) + context, 0)
        hidden = hidden + mx.maximum(self.middle(hidden) + context, 0)
        return self.leave(hidden)


def signal() -> mx.array:
    """Share of the signal that is left after each step: half a cosine."""
    return mx.cos((mx.arange(1, TIMES + 1) / (TIMES + 1)) * math.pi / 2) ** 2


def loss_of(model: Denoiser, left: mx.array, x: mx.array, labels: mx.array) -> mx.array:
    step = mx.random.randint(0, TIMES, (len(x),))
    share = left[step][:, None]
    noisy = mx.sqrt(share) * x + mx.sqrt(1 - share) * mx.random.normal(x.shape)
    return mx.mean((model(noisy, (step + 1) / TIMES, labels) - x) ** 2)


def fit(model: Denoiser, x: Pixels, labels: Labels, steps: int, rate: float, name: str) -> float:
    """Trains on batches of 64; returns the last loss."""
    left, pictures, digits = signal(), mx.array(x), mx.array(labels)
    step_of = nn.value_and_grad(model, loss_of)
    optimizer = optim.Adam(learning_rate=rate)
    loss = mx.array(0.0)
    for step in range(1, steps + 1):
        rows = mx.random.randint(0, len(labels), (64,))
        loss, gradients = step_of(model, left, pictures[rows], digits[rows])
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
        if step % 100 == 0:
            print(f"{name} step {step} loss {loss.item():.4f}", flush=True)
    return float(loss.item())


def draw(model: Denoiser, labels: Labels) -> Pixels:
    """One new picture for each label (DDPM steps from pure noise)."""
    left, digits = signal(), mx.array(labels)
    x = mx.random.normal((len(labels), model.leave.weight.shape[0]))
    for step in range(TIMES - 1, -1, -1):
        clean = mx.clip(model(x, mx.full((len(labels),), (step + 1) / TIMES), digits), -1, 1)
        now, before = left[step], left[step - 1] if step else mx.array(1.0)
        alpha = now / before
        x = (mx.sqrt(before) * (1 - alpha) * clean + mx.sqrt(alpha) * (1 - before) * x) / (1 - now)
        if step:
            x = x + mx.sqrt((1 - before) / (1 - now) * (1 - alpha)) * mx.random.normal(x.shape)
        mx.eval(x)
    return np.array(mx.clip(x, -1, 1))
