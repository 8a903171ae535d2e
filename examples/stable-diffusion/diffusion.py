"""The three parts of a latent diffusion model, small: codec (pixels <-> latents), noise schedule, denoiser."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

if sys.platform != "darwin":
    mx.set_default_device(mx.cpu)
    mx.disable_compile()  # on the CPU, compiling would need a C++ compiler on this machine

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Codec:
    """Principal components as a linear autoencoder: latents have mean 0 and deviation 1 in every direction."""

    mean: Floats
    basis: Floats
    scale: Floats

    @classmethod
    def fit(cls, pixels: Floats, size: int) -> Codec:
        mean = pixels.mean(axis=0)
        _, strength, basis = np.linalg.svd(pixels - mean, full_matrices=False)
        return cls(mean, basis[:size], strength[:size] / math.sqrt(len(pixels)))

    def encode(self, pixels: Floats) -> Floats:
        return (pixels - self.mean) @ self.basis.T / self.scale

    def decode(self, latents: Floats) -> Floats:
        return latents * self.scale @ self.basis + self.mean


def cosine_schedule(steps: int) -> mx.array:
    """Share of the signal that is left (alpha bar) after each of `steps` noise steps; Nichol and Dhariwal 2021, equation 17."""
    at = (mx.arange(1, steps + 1) / steps + 0.008) / 1.008
    left = mx.cos(at * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    return mx.clip(left, 1e-4, 0.9999)


class Denoiser(nn.Module):
    """Predicts the noise in a latent from the latent, the time and the class; class `classes` means "no class given"."""

    def __init__(self, size: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.label = nn.Embedding(classes + 1, hidden)
        self.time = nn.Linear(16, hidden)
        self.enter = nn.Linear(size, hidden)
        self.blocks = [nn.Linear(hidden, hidden) for _ in range(2)]
        self.leave = nn.Linear(hidden, size)

    def __call__(self, x: mx.array, time: mx.array, label: mx.array) -> mx.array:
        waves = time[:, None] * (math.pi * 2.0 ** mx.arange(-1, 7))
        context = self.time(mx.concatenate([mx.sin(waves), mx.cos(waves)], axis=1)) + self.label(label)
        hidden = self.enter(x)
        for block in self.blocks:
            hidden = hidden + block(mx.maximum(hidden + context, 0))
        return self.leave(mx.maximum(hidden, 0))


def sample(
    denoise: Callable[[mx.array, mx.array, mx.array], mx.array],
    signal: mx.array,
    labels: mx.array,
    size: int,
    guidance: float,
    nothing: int,
) -> mx.array:
    """Walks from pure noise to latents of the given classes: DDPM steps, guided away from what `nothing` (no class) gives."""
    steps, count = len(signal), len(labels)
    no_label = mx.full((count,), nothing, dtype=mx.int32)
    x = mx.random.normal((count, size))
    for step in range(steps - 1, -1, -1):
        time = mx.full((count,), (step + 1) / steps)
        given, free = denoise(x, time, labels), denoise(x, time, no_label)
        noise = free + guidance * (given - free)
        now, before = signal[step], signal[step - 1] if step else mx.array(1.0)
        clean = mx.clip((x - mx.sqrt(1 - now) * noise) / mx.sqrt(now), -4, 4)
        alpha = now / before
        x = (mx.sqrt(before) * (1 - alpha) * clean + mx.sqrt(alpha) * (1 - before) * x) / (1 - now)
        if step:
            x = x + mx.sqrt((1 - before) / (1 - now) * (1 - alpha)) * mx.random.normal(x.shape)
        mx.eval(x)
    return x
