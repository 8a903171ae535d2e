"""Latent diffusion on 8x8 digits: trains a class-conditional denoiser, draws samples and checks what they look like.

`sample_accuracy` is the share of drawn pictures whose nearest real picture (of those held out) shows the digit that was asked for; chance
is 0.1. `loss` is the error of the predicted noise on held-out pictures; predicting nothing gives 1.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from diffusion import Codec, Denoiser, Floats, cosine_schedule, sample
from mlx.utils import tree_flatten
from numpy.typing import NDArray

CLASSES = 10


def noise_loss(model: Denoiser, signal: mx.array, x: mx.array, labels: mx.array) -> mx.array:
    """Mean squared error of the noise predicted at random times."""
    step = mx.random.randint(0, len(signal), (len(x),))
    noise = mx.random.normal(x.shape)
    left = signal[step][:, None]
    noisy = mx.sqrt(left) * x + mx.sqrt(1 - left) * noise
    return mx.mean((model(noisy, (step + 1) / len(signal), labels) - noise) ** 2)


def fit(model: Denoiser, signal: mx.array, x: mx.array, labels: mx.array, steps: int) -> None:
    """Trains on batches of 128; one label in ten is hidden, so that the model also learns to draw without one."""
    step_of = nn.value_and_grad(model, noise_loss)
    optimizer = optim.Adam(learning_rate=optim.cosine_decay(3e-3, steps))
    for step in range(1, steps + 1):
        rows = mx.random.randint(0, len(x), (128,))
        shown = mx.where(mx.random.uniform(shape=(128,)) < 0.1, CLASSES, labels[rows])
        loss, gradients = step_of(model, signal, x[rows], shown)
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)


def nearest(drawn: Floats, real: Floats, labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The class of the nearest real picture."""
    distance = ((drawn[:, None, :] - real[None, :, :]) ** 2).sum(axis=2)
    return labels[distance.argmin(axis=1)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--timesteps", type=int, default=50)
    parser.add_argument("--latent", type=int, default=24)
    parser.add_argument("--hidden", type=int, default=96)
    parser.add_argument("--guidance", type=float, default=2.0)
    return parser.parse_args()


def main() -> None:
    """Trains, draws 20 pictures of each digit, writes metrics.json, model.safetensors and samples.csv."""
    args = arguments()
    mx.random.seed(args.seed)
    table = np.random.default_rng(args.seed).permutation(np.loadtxt(args.data, delimiter=",", skiprows=1, dtype=np.float32))
    pixels, labels = table[:, :-1] / 8 - 1, table[:, -1].astype(np.int32)
    cut = len(pixels) * 4 // 5
    codec = Codec.fit(pixels[:cut], args.latent)
    latents, signal = mx.array(codec.encode(pixels)), cosine_schedule(args.timesteps)
    model = Denoiser(args.latent, args.hidden, CLASSES)
    fit(model, signal, latents[:cut], mx.array(labels[:cut]), args.steps)
    held_out = [noise_loss(model, signal, latents[cut:], mx.array(labels[cut:])).item() for _ in range(8)]
    asked = np.repeat(np.arange(CLASSES, dtype=np.int32), 20)
    drawn = np.clip(codec.decode(np.array(sample(model, signal, mx.array(asked), args.latent, args.guidance, CLASSES))), -1, 1)
    metrics = {
        "loss": float(np.mean(held_out)),
        "sample_accuracy": float((nearest(drawn, pixels[cut:], labels[cut:]) == asked).mean()),
        "codec_error": float(((codec.decode(codec.encode(pixels[cut:])) - pixels[cut:]) ** 2).mean()),
        "parameters": float(sum(each.size for _, each in tree_flatten(model.parameters()))),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(args.out / "model.safetensors"), dict(tree_flatten(model.parameters())))
    np.savetxt(args.out / "samples.csv", np.column_stack([(drawn + 1) * 8, asked]), fmt="%.1f", delimiter=",")
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"loss {metrics['loss']:.3f}, {metrics['sample_accuracy']:.0%} of the samples look like what was asked for")


if __name__ == "__main__":
    main()
