"""Learns which words make a ticket urgent, and writes the model as a folder that describes itself."""

from __future__ import annotations

import collections
import csv
import json
import platform
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import network


def learn(data: Path, words: int) -> tuple[Path, float]:
    """The model's folder, and how many of the tickets it gets right."""
    rows = list(csv.DictReader(data.read_text(encoding="utf-8").splitlines()))
    counts: collections.Counter[str] = collections.Counter()
    for row in rows:
        counts.update(dict.fromkeys(row["text"].split(), 1 if row["urgent"] == "1" else -1))
    telling = sorted(counts, key=lambda word: (-abs(counts[word]), word))[:words]
    model = Path(__file__).parent / "model"
    model.mkdir(exist_ok=True)
    (model / "weights.json").write_text(json.dumps({word: counts[word] for word in telling}), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("network.py"), model)
    about = {
        "runtimes": {"mlx": {"load": "network.py:load"}},
        "input": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 1000}}, "required": ["text"]},
        "output": {"type": "integer"},
        "example": [{"text": "the printer is on fire"}, {"text": "thanks for the manual"}],
        "python": platform.python_version(),
    }
    (model / "mlops.json").write_text(json.dumps(about), encoding="utf-8")
    right = [predicted == int(row["urgent"]) for predicted, row in zip(network.load(model)(rows), rows, strict=True)]
    return model, sum(right) / len(right)
