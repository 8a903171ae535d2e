"""Folders of small models, as training programs write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NUMBER = {"type": "number"}
FIELDS = ("a", "b")
INPUT = {"type": "object", "properties": dict.fromkeys(FIELDS, NUMBER), "required": list(FIELDS)}
SUM = "def load(folder):\n    return lambda instances: [each['a'] + each['b'] for each in instances]\n"
"""A model that adds, as code beside its descriptor; it runs as `sklearn`, which is installed and costs no import."""


def describe(folder: Path, **more: Any) -> None:
    """Write mlops.json."""
    raw = {"input": INPUT, "output": NUMBER, "example": [{"a": 1.0, "b": 2.0}, {"a": -1.0, "b": 0.5}], **more}
    (folder / "mlops.json").write_text(json.dumps(raw), encoding="utf-8")


def adding(folder: Path, code: str = SUM, **more: Any) -> Path:
    """A folder with a model of plain Python."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(code, encoding="utf-8")
    describe(folder, **{"runtimes": {"sklearn": {"load": "model.py:load"}}, **more})
    return folder


def tree(folder: Path, **more: Any) -> Path:
    """A folder with a real scikit-learn model that predicts about `a`."""
    import joblib
    import numpy
    import sklearn
    from sklearn.tree import DecisionTreeRegressor

    folder.mkdir(parents=True, exist_ok=True)
    x = numpy.random.default_rng(0).normal(size=(200, 2))
    joblib.dump(DecisionTreeRegressor(max_depth=4, random_state=0).fit(x, x[:, 0]), folder / "model.joblib")
    describe(folder, **{"runtimes": {"sklearn": {"file": "model.joblib"}}, "packages": {"scikit-learn": sklearn.__version__}, **more})
    return folder


def mlx(folder: Path, **more: Any) -> Path:
    """A folder with an MLX model: a weighted sum. Its weights stay unevaluated, as a careless author leaves them."""
    import mlx.core as mx

    folder.mkdir(parents=True, exist_ok=True)
    mx.set_default_device(mx.cpu)
    mx.save_safetensors(str(folder / "w.safetensors"), {"w": mx.array([2.0, 3.0])})
    (folder / "network.py").write_text(
        "import mlx.core as mx\n"
        "from names import FIELDS\n"
        "def load(folder):\n"
        "    w = mx.load(str(folder / 'w.safetensors'))['w'] * 1.0\n"
        "    return lambda found: (mx.array([[each[n] for n in FIELDS] for each in found]) @ w)\n",
        encoding="utf-8",
    )
    (folder / "names.py").write_text(f"FIELDS = {FIELDS!r}\n", encoding="utf-8")
    describe(folder, **{"runtimes": {"mlx": {"load": "network.py:load"}}, "packages": {}, **more})
    return folder
