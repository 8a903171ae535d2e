"""Distillation on the CPU: one small tree learns from a forest what it cannot learn from the few rows alone.

The target is the table's last column (a number). The student sees the teacher's answers on rows that lie between two real ones; the same
tree trained on the real rows alone (`r2_plain`) shows what the teacher adds.
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeRegressor

Floats = NDArray[np.float64]


def between(rows: Floats, count: int, seed: int) -> Floats:
    """`count` random points on the lines between pairs of rows."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(size=(count, 1))
    return share * rows[rng.integers(len(rows), size=count)] + (1 - share) * rows[rng.integers(len(rows), size=count)]


def arrays(tree: DecisionTreeRegressor) -> dict[str, NDArray[np.generic]]:
    """What is needed to evaluate the tree without scikit-learn."""
    found = tree.tree_
    return {
        "left": found.children_left.astype(np.int32),
        "right": found.children_right.astype(np.int32),
        "feature": found.feature.astype(np.int32),
        "threshold": found.threshold.astype(np.float32),
        "value": found.value.ravel().astype(np.float32),
    }


def save(tree: DecisionTreeRegressor, fields: list[str], example: list[list[float]], folder: Path) -> None:
    """The folder that is served: the tree as scikit-learn keeps it, and what the model says of itself."""
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(tree, folder / "model.joblib")
    number = {"type": "number", "minimum": -1e6, "maximum": 1e6}
    describes = {
        "runtimes": {"sklearn": {"file": "model.joblib"}},
        "input": {"type": "object", "properties": dict.fromkeys(fields, number), "required": fields},
        "output": {"type": "number"},
        "example": [dict(zip(fields, row, strict=True)) for row in example],
        "packages": {name: version(name) for name in ("scikit-learn", "joblib", "numpy")},
        "python": platform.python_version(),
    }
    (folder / "mlops.json").write_text(json.dumps(describes, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--depth", type=int, default=5, help="of the student")
    parser.add_argument("--trees", type=int, default=200, help="of the teacher")
    parser.add_argument("--points", type=int, default=5000, help="rows that the teacher labels for the student")
    return parser.parse_args()


def main() -> None:
    """Trains teacher and student, writes metrics.json, model.npz, and model/ to be served."""
    args = arguments()
    with args.data.open(encoding="utf-8") as file:
        fields = file.readline().strip().split(",")[:-1]
    table = np.loadtxt(args.data, delimiter=",", skiprows=1)
    x, x_test, y, y_test = train_test_split(table[:, :-1], table[:, -1], random_state=args.seed)
    teacher = RandomForestRegressor(args.trees, min_samples_leaf=3, random_state=args.seed).fit(x, y)
    print(f"teacher: {args.trees} trees, r2 {teacher.score(x_test, y_test):.3f}", flush=True)
    points = np.concatenate([x, between(x, args.points, args.seed)])
    student = DecisionTreeRegressor(max_depth=args.depth, random_state=args.seed).fit(points, teacher.predict(points))
    plain = DecisionTreeRegressor(max_depth=args.depth, random_state=args.seed).fit(x, y)
    teacher_nodes = sum(tree.tree_.node_count for tree in teacher.estimators_)
    metrics = {
        "r2_teacher": float(teacher.score(x_test, y_test)),
        "r2": float(student.score(x_test, y_test)),
        "r2_plain": float(plain.score(x_test, y_test)),
        "nodes": int(student.tree_.node_count),
        "compression": teacher_nodes / student.tree_.node_count,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out / "model.npz", **arrays(student))
    save(student, fields, x_test[:2].tolist(), args.out / "model")
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    print(f"student: {metrics['compression']:.0f}x fewer nodes, r2 {metrics['r2']:.3f}; without a teacher {metrics['r2_plain']:.3f}")


if __name__ == "__main__":
    main()
