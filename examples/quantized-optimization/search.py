"""Mixed precision by greedy search: each layer gets the fewest bits that the check rows tolerate.

Starting at 8 bits everywhere, the layer that saves the most bytes is lowered to the next width as long as the loss on the check rows
grows by at most `--tolerance`; a layer that cannot go lower is left where it is. The test rows are looked at once, at the end.
"""

from __future__ import annotations

import json

import mlx.core as mx
from mlx.utils import tree_flatten
from model import Classifier, Data, accuracy, arguments, fit, loss_of, quantized, read, save, size

WIDTHS = (8, 6, 4, 3, 2)


def search(model: Classifier, data: Data, tolerance: float) -> list[int]:
    """Bits per layer."""
    limit = float(loss_of(model, *data.check).item()) + tolerance
    bits = [WIDTHS[0]] * len(model.layers)
    open_layers = set(range(len(bits)))
    while open_layers:
        layer = max(open_layers, key=lambda each: (model.layers[each].weight.size, -each))
        lower = [width for width in WIDTHS if width < bits[layer]]
        trial = [*bits[:layer], lower[0], *bits[layer + 1 :]] if lower else bits
        loss = float(loss_of(quantized(model, trial), *data.check).item())
        if not lower or loss > limit:
            open_layers.discard(layer)
            continue
        bits = trial
        print(f"bits {bits} loss {loss:.4f} (limit {limit:.4f})", flush=True)
    return bits


def main() -> None:
    """Trains, searches, writes metrics.json, model.safetensors, and model/ to be served."""
    parser = arguments(__doc__)
    parser.add_argument("--tolerance", type=float, default=0.01, help="growth of the loss on the check rows")
    args = parser.parse_args()
    mx.random.seed(args.seed)
    data = read(args.data, args.seed)
    model = fit(data, args.hidden, args.steps)
    bits = search(model, data, args.tolerance)
    small = quantized(model, bits)
    metrics = {
        "accuracy_float": accuracy(model, data.test),
        "accuracy": accuracy(small, data.test),
        "loss_float": float(loss_of(model, *data.test).item()),
        "loss": float(loss_of(small, *data.test).item()),
        "bytes_float": size(model),
        "bytes": size(small),
        "compression": size(model) / size(small),
        **{f"bits_{layer}": width for layer, width in enumerate(bits)},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(args.out / "model.safetensors"), dict(tree_flatten(small.parameters())))
    save(small, bits, data, args.out / "model")
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"bits {bits}: {metrics['compression']:.1f}x smaller, accuracy {metrics['accuracy_float']:.3f} -> {metrics['accuracy']:.3f}")


if __name__ == "__main__":
    main()
