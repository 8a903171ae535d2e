"""Federated averaging: `python -m reconciler.tasks.average --out DIR FILE=ROWS ...`.

w = sum_k (n_k / n) w_k over the arrays of each `.npz` (McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from
Decentralized Data, algorithm 1). All files must hold the same names and shapes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reconciler.tasks.outputs import tell

WEIGHTS = "weights.npz"


def average(files: Sequence[Path], rows: Sequence[float], out: Path) -> int:
    """Write the average to `out/weights.npz`; returns the number of rows behind it. Raises ValueError that names what does not fit."""
    import numpy as np

    total = float(sum(rows))
    if not files or total <= 0 or min(rows) < 0:
        raise ValueError("there is nothing to average: no file, or no rows")
    mean: dict[str, object] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path, count in zip(files, rows, strict=True):
        with np.load(path, allow_pickle=False) as found:
            here = {name: found[name] for name in found.files}
        if shapes and {name: each.shape for name, each in here.items()} != shapes:
            raise ValueError(f"{path} holds other arrays than {files[0]}: {sorted(here)} against {sorted(shapes)}, or other shapes")
        shapes = {name: each.shape for name, each in here.items()}
        for name, each in here.items():
            mean[name] = mean.get(name, 0.0) + each.astype(np.float64) * (count / total)
    out.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {name: np.asarray(each, dtype=np.float32) for name, each in mean.items()}
    np.savez(out / WEIGHTS, **arrays)
    return round(total)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("files", nargs="+", help="FILE=ROWS")
    given = parser.parse_args()
    pairs = [each.rpartition("=") for each in given.files]
    tell({"rows": average([Path(path) for path, _, _ in pairs], [float(rows) for _, _, rows in pairs], given.out)})


if __name__ == "__main__":
    main()
