"""Diffusion that adapts its schedule: it trains more where the loss is large and draws with few steps, placed where they help most.

`frechet` is the Fréchet distance between drawn and held-out pictures (mean and covariance of the pixels); `frechet_noise` is what a
picture of noise gets and `frechet_uniform` what the same model gets with equally spaced stops. Stops are chosen on the training pictures.
The pictures are square, their label is ignored.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten
from numpy.typing import NDArray
from schedule import AdaptiveTimes, Ints, UniformTimes, best_stops, candidates, uniform_stops

if sys.platform != "darwin":
    mx.set_default_device(mx.cpu)
    mx.disable_compile()  # on the CPU, compiling would need a C++ compiler on this machine

TIMES = 200
Pixels = NDArray[np.float32]


class Denoiser(nn.Module):
    """Predicts the noise in a picture at a time between 0 and 1."""

    def __init__(self, pixels: int, hidden: int) -> None:
        super().__init__()
        self.time = nn.Linear(16, hidden)
        self.enter = nn.Linear(pixels, hidden)
        self.blocks = [nn.Linear(hidden, hidden) for _ in range(2)]
        self.leave = nn.Linear(hidden, pixels)

    def __call__(self, x: mx.array, time: mx.array) -> mx.array:
        waves = time[:, None] * (math.pi * 2.0 ** mx.arange(-1, 7))
        context = self.time(mx.concatenate([mx.sin(waves), mx.cos(waves)], axis=1))
        hidden = self.enter(x)
        for block in self.blocks:
            hidden = hidden + block(mx.maximum(hidden + context, 0))
        return self.leave(mx.maximum(hidden, 0))


def signal() -> mx.array:
    """Share of the signal left at each time: the linear schedule of Ho et al. 2020, stretched to `TIMES` steps."""
    return mx.cumprod(1 - mx.linspace(1e-4, 0.02, TIMES) * (1000 / TIMES))


def losses_of(model: Denoiser, left: mx.array, x: mx.array, times: mx.array) -> mx.array:
    """Mean squared error of the predicted noise, one per picture."""
    share = left[times][:, None]
    noise = mx.random.normal(x.shape)
    predicted = model(mx.sqrt(share) * x + mx.sqrt(1 - share) * noise, times / TIMES)
    return mx.mean((predicted - noise) ** 2, axis=1)


def fit(model: Denoiser, left: mx.array, x: mx.array, steps: int, times: AdaptiveTimes | UniformTimes, rng: np.random.Generator) -> None:
    """Trains on batches of 96 pictures at the times that `times` proposes."""

    def loss_of(network: Denoiser, batch: mx.array, at: mx.array, weights: mx.array) -> tuple[mx.array, mx.array]:
        losses = losses_of(network, left, batch, at)
        return mx.mean(losses * weights), losses

    step_of = nn.value_and_grad(model, loss_of)
    optimizer = optim.Adam(learning_rate=optim.cosine_decay(3e-3, steps))
    for step in range(1, steps + 1):
        at, weights = times.draw(96, rng)
        rows = mx.array(rng.integers(len(x), size=96))
        (loss, losses), gradients = step_of(model, x[rows], mx.array(at), mx.array(weights.astype(np.float32)))
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state, losses)
        times.learn(at, np.array(losses, dtype=np.float64))
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)


def loss_at_all_times(model: Denoiser, left: mx.array, x: mx.array) -> float:
    """Mean loss over evenly spaced times."""
    found = [mx.mean(losses_of(model, left, x, mx.full((len(x),), time, dtype=mx.int32))) for time in range(0, TIMES, 10)]
    return float(mx.mean(mx.stack(found)).item())


def draw(model: Denoiser, left: mx.array, stops: Ints, start: mx.array) -> Pixels:
    """Walks from noise to pictures over the given times, without new noise (DDIM, Song et al. 2021)."""
    x = start
    for at, now in enumerate(stops):
        share = left[int(now)]
        noise = model(x, mx.full((len(x),), float(now) / TIMES))
        clean = mx.clip((x - mx.sqrt(1 - share) * noise) / mx.sqrt(share), -1, 1)
        after = left[int(stops[at + 1])] if at + 1 < len(stops) else mx.array(1.0)
        x = mx.sqrt(after) * clean + mx.sqrt(1 - after) * (x - mx.sqrt(share) * clean) / mx.sqrt(1 - share)
        mx.eval(x)
    return np.array(mx.clip(x, -1, 1))


def frechet(drawn: Pixels, real: Pixels) -> float:
    """Fréchet distance between two sets, seen as normal distributions."""
    first, second = np.cov(drawn, rowvar=False), np.cov(real, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(((drawn.mean(axis=0) - real.mean(axis=0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * cross)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--times", choices=("adaptive", "uniform"), default="adaptive", help="times to train on")
    parser.add_argument("--stops", type=int, default=4, help="steps from noise to picture")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--hidden", type=int, default=96)
    return parser.parse_args()


def main() -> None:
    """Trains, chooses the stops, draws 400 pictures, writes metrics.json and model.safetensors."""
    args = arguments()
    mx.random.seed(args.seed)
    rng = np.random.default_rng(args.seed)
    pixels = rng.permutation(np.loadtxt(args.data, delimiter=",", skiprows=1, dtype=np.float32))[:, :-1] / 8 - 1
    cut = len(pixels) * 3 // 4
    left, model = signal(), Denoiser(pixels.shape[1], args.hidden)
    fit(model, left, mx.array(pixels[:cut]), args.steps, (AdaptiveTimes if args.times == "adaptive" else UniformTimes)(TIMES), rng)
    known, real = pixels[:cut], pixels[cut:]
    start = mx.random.normal((400, pixels.shape[1]))
    stops = best_stops(candidates(TIMES, args.stops), lambda each: frechet(draw(model, left, each, start), known))
    print(f"stops {stops.tolist()}", flush=True)
    fresh = mx.random.normal(start.shape)
    metrics = {
        "loss": loss_at_all_times(model, left, mx.array(real)),
        "frechet": frechet(draw(model, left, stops, fresh), real),
        "frechet_uniform": frechet(draw(model, left, uniform_stops(TIMES, args.stops), fresh), real),
        "frechet_noise": frechet(np.array(mx.clip(fresh, -1, 1)), real),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(args.out / "model.safetensors"), dict(tree_flatten(model.parameters())))
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"distance {metrics['frechet']:.2f} in {args.stops} steps, with equally spaced ones {metrics['frechet_uniform']:.2f}")


if __name__ == "__main__":
    main()
