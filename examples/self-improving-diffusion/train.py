"""A generator that learns from its own best pictures.

A diffusion model starts from few pictures, a third of them with a wrong label (`--start`). Each round it draws new ones, a judge trained
on the large set (`--data`) scores how clearly each shows its digit, and the generator trains on its first pictures plus the best of its
own. `--keep 0` is the control: as many steps, none of its own pictures. `diversity` (mean distance between pictures of the same digit, 1
= as between real ones) shows the price: a generator that only pleases the judge draws the same picture again and again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import mlx.core as mx
import numpy as np
from generator import CLASSES, Denoiser, Labels, Pixels, draw, fit
from mlx.utils import tree_flatten
from sklearn.linear_model import LogisticRegression


def read(path: Path) -> tuple[Pixels, Labels]:
    """Pictures in -1..1 and their digits."""
    table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32)
    return table[:, :-1] / 8 - 1, table[:, -1].astype(np.int32)


def spread(x: Pixels, labels: Labels) -> float:
    """Mean distance between two pictures of the same digit."""
    found = []
    for digit in range(CLASSES):
        some = x[labels == digit]
        distance = np.sqrt(((some[:, None, :] - some[None, :, :]) ** 2).sum(axis=2))
        found.append(distance.sum() / (len(some) * (len(some) - 1)))
    return float(np.mean(found))


def best(scores: Pixels, labels: Labels, share: float) -> Labels:
    """Indices of the best-scored share of each digit, so that easy digits do not crowd out the others."""
    count = round(share * len(labels) / CLASSES)
    groups = [np.flatnonzero(labels == digit) for digit in range(CLASSES)]
    return np.concatenate([group[np.argsort(-scores[group], kind="stable")[:count]] for group in groups]).astype(np.int32)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what the judge learns from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, default=Path(__file__).parent / "data/seed-digits.csv", help="what the generator starts from")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=float, default=0.25, help="share of its own pictures that it learns from")
    parser.add_argument("--steps", type=int, default=300, help="before the first round")
    parser.add_argument("--round-steps", type=int, default=150)
    parser.add_argument("--hidden", type=int, default=96)
    return parser.parse_args()


def main() -> None:
    """Trains and improves, writes metrics.json, model.safetensors and samples.csv."""
    args = arguments()
    mx.random.seed(args.seed)
    (x, labels), (real, real_labels) = read(args.start), read(args.data)
    judge = LogisticRegression(C=0.1, max_iter=200).fit(real, real_labels)
    model = Denoiser(x.shape[1], args.hidden)
    loss = fit(model, x, labels, args.steps, 2e-3, "start")
    asked = np.repeat(np.arange(CLASSES, dtype=np.int32), 40)
    metrics: dict[str, float] = {}
    for number in range(args.rounds + 1):
        drawn = draw(model, asked)
        chances = judge.predict_proba(drawn)
        scores = chances[np.arange(len(asked)), asked]
        metrics |= {f"score_{number}": float(scores.mean()), f"accuracy_{number}": float((chances.argmax(axis=1) == asked).mean())}
        print(f"round {number} score {scores.mean():.3f} diversity {spread(drawn, asked) / spread(real, real_labels):.3f}", flush=True)
        if number < args.rounds:
            kept = best(scores, asked, args.keep)
            loss = fit(
                model,
                np.concatenate([x, drawn[kept]]),
                np.concatenate([labels, asked[kept]]),
                args.round_steps,
                1e-3,
                f"round {number + 1}",
            )
    metrics |= {"score": metrics[f"score_{args.rounds}"], "accuracy": metrics[f"accuracy_{args.rounds}"], "loss": loss}
    metrics["diversity"] = spread(drawn, asked) / spread(real, real_labels)
    args.out.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(args.out / "model.safetensors"), dict(tree_flatten(model.parameters())))
    np.savetxt(args.out / "samples.csv", np.column_stack([(drawn + 1) * 8, asked]), fmt="%.1f", delimiter=",")
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"the judge's score went from {metrics['score_0']:.3f} to {metrics['score']:.3f}, diversity is {metrics['diversity']:.3f}")


if __name__ == "__main__":
    main()
