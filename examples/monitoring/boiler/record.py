"""Readings of a boiler: `record.py FILE ROWS SEED [BIAS]`. With a bias its thermometer is off by so many degrees."""

from __future__ import annotations

import random
import sys
from pathlib import Path


def main() -> None:
    file, rows, seed, *bias = sys.argv[1:]
    draw, off = random.Random(int(seed)), float(bias[0]) if bias else 0.0
    lines = ["second,temperature,pressure"]
    lines += [f"{at},{draw.gauss(62, 3) + off:.1f},{draw.gauss(1.5, 0.1):.2f}" for at in range(int(rows))]
    Path(file).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
