"""Post-training quantisation: trains in float32, then stores the weights in 8, 6, 4, 3 or 2 bits and measures what that costs.

The label is the table's last column. `compression` is the float32 size over the quantised size.
"""

from __future__ import annotations

import json

import mlx.core as mx
from mlx.utils import tree_flatten
from model import accuracy, arguments, fit, loss_of, quantized, read, save, size


def main() -> None:
    """Trains, quantises every layer alike, writes metrics.json, model.safetensors, and model/ to be served."""
    parser = arguments(__doc__)
    parser.add_argument("--bits", type=int, default=4, choices=(2, 3, 4, 6, 8))
    args = parser.parse_args()
    mx.random.seed(args.seed)
    data = read(args.data, args.seed)
    model = fit(data, args.hidden, args.steps)
    small = quantized(model, [args.bits] * len(model.layers))
    metrics = {
        "accuracy_float": accuracy(model, data.test),
        "accuracy": accuracy(small, data.test),
        "loss_float": float(loss_of(model, *data.test).item()),
        "loss": float(loss_of(small, *data.test).item()),
        "bytes_float": size(model),
        "bytes": size(small),
        "compression": size(model) / size(small),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(args.out / "model.safetensors"), dict(tree_flatten(small.parameters())))
    save(small, [args.bits], data, args.out / "model")
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"{args.bits} bits: {metrics['compression']:.1f}x smaller, accuracy {metrics['accuracy_float']:.3f} -> {metrics['accuracy']:.3f}")


if __name__ == "__main__":
    main()
