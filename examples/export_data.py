"""Writes the examples' data sets: `python examples/export_data.py [DIR]`.

Everything is derived from the data sets that ship inside scikit-learn (digits, iris, wine, breast cancer, diabetes), so that the examples
need no download. The same scikit-learn data gives the same bytes: every choice of rows below comes from a fixed seed.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SENTENCES = (
    "a handwritten {word}",
    "the digit {number}",
    "{word} written in ink by hand",
    "a small scan of the numeral {number}",
    "the figure {number} which reads {word}",
    "a grey picture of the number {word}",
)
LABELS = ("{word}", "number {word}", "a {word}")


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """One CSV with a header; numbers as short as they are exact."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def table(features: Floats, *labels: Ints) -> list[list[str]]:
    """Rows of features followed by the label columns."""
    cells = [[f"{value:.6g}" for value in row] for row in features]
    return [row + [str(int(column[at])) for column in labels] for at, row in enumerate(cells)]


def pixels(size: int) -> list[str]:
    """Column names of a square picture, row by row."""
    return [f"p{row}{column}" for row in range(size) for column in range(size)]


def names(columns: Iterable[str]) -> list[str]:
    """Column names without spaces and units."""
    return [column.split(" (")[0].replace(" ", "_").replace("/", "_per_") for column in columns]


def turned(images: Floats) -> Floats:
    """Each 8x8 picture turned by a quarter."""
    return np.rot90(images.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)


def per_class(labels: Ints, count: int, seed: int) -> Ints:
    """Indices of `count` random rows of each class, in the order of the source."""
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.choice(np.flatnonzero(labels == each), count, replace=False) for each in np.unique(labels)]))


def mislabelled(labels: Ints, share: float, seed: int) -> Ints:
    """The labels as a careless annotator would give them: a share of them is any digit."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(labels)) < share, rng.integers(10, size=len(labels)), labels)


def export_digits(root: Path, images: Floats, labels: Ints) -> None:
    """The 8x8 digits as the diffusion projects, CLIP and meta-learning use them."""
    header = [*pixels(8), "label"]
    write(root / "stable-diffusion/data/digits.csv", header, table(images, labels))
    some = per_class(labels, 45, seed=1)
    write(root / "stable-diffusion/data/digits-small.csv", header, table(images[some], labels[some]))
    few = per_class(labels, 12, seed=2)
    write(root / "self-improving-diffusion/data/seed-digits.csv", header, table(images[few], mislabelled(labels[few], share=0.35, seed=9)))
    pooled = images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    write(root / "adaptive-diffusion/data/digits-4x4.csv", [*pixels(4), "label"], table(pooled, labels))
    ink = per_class(labels, 80, seed=3)
    write(root / "adaptive-diffusion/data/digits-ink.csv", header, table((images[ink] > 7).astype(float) * 16, labels[ink]))
    tasks = per_class(labels, 60, seed=4)
    write(root / "meta-learning-peft/data/digit-tasks.csv", header, table(images[tasks], labels[tasks]))
    other = per_class(labels, 60, seed=5)
    write(root / "meta-learning-peft/data/turned-tasks.csv", header, table(turned(images[other]), labels[other]))


def export_domains(root: Path, images: Floats, labels: Ints) -> None:
    """A base domain to train on and a changed one to adapt to (column `domain`: 0 and 1)."""
    base, target, rest = np.split(np.random.default_rng(6).permutation(len(images)), [900, 1400])
    features = np.concatenate([images[base], turned(images[target])])
    domain = np.repeat([0, 1], [len(base), len(target)])
    write(
        root / "lora-finetuning/data/digits-domains.csv",
        [*pixels(8), "domain", "label"],
        table(features, domain, labels[np.concatenate([base, target])]),
    )
    # Turned digits that are in no domain above: models are judged by them before they serve.
    unseen = rest[:250]
    write(root / "lora-finetuning/data/digits-turned.csv", [*pixels(8), "label"], table(turned(images[unseen]), labels[unseen]))
    iris = datasets.load_iris()
    order = np.random.default_rng(7).permutation(len(iris.data))
    domain = (np.arange(len(order)) >= 75).astype(np.int64)
    # The second half as another instrument would give it: columns in another order, in millimetres, one of them with an offset.
    other = iris.data[order][:, [2, 3, 0, 1]] * 10 + np.array([0.0, 5.0, 0.0, 0.0])
    features = np.where(domain[:, None] == 0, iris.data[order], other)
    write(
        root / "lora-finetuning/data/iris-domains.csv",
        [*names(iris.feature_names), "domain", "label"],
        table(features, domain, iris.target[order]),
    )


def export_tables(root: Path) -> None:
    """Tables for compression and quantisation: each has its label or target in the last column."""
    cancer, wine, diabetes, iris = (
        datasets.load_breast_cancer(),
        datasets.load_wine(),
        datasets.load_diabetes(scaled=False),
        datasets.load_iris(),
    )
    for path, data in (("quantized-optimization/data/breast-cancer.csv", cancer), ("quantized-optimization/data/wine.csv", wine)):
        write(root / path, [*names(data.feature_names), "label"], table(data.data, data.target))
    # Eighty patients are kept apart: models are judged by them before they serve.
    later, first = np.split(np.random.default_rng(10).permutation(len(diabetes.data)), [80])
    for name, rows in (("diabetes", np.sort(first)), ("diabetes-later", np.sort(later))):
        header = [*names(diabetes.feature_names), "progression"]
        write(root / f"cpu-compression/data/{name}.csv", header, table(diabetes.data[rows], diabetes.target[rows]))
    write(root / "cpu-compression/data/iris.csv", [*names(iris.feature_names), "label"], table(iris.data, iris.target))


def export_clients(root: Path) -> None:
    """One file per client plus `test.csv`; clients differ in size and in the classes that they see."""
    wine, cancer = datasets.load_wine(), datasets.load_breast_cancer()
    for folder, data, clients in (
        ("wineries", wine, ("alba", "barolo", "cuneo")),
        ("hospitals", cancer, ("north", "south", "east", "west")),
    ):
        rng = np.random.default_rng(8)
        header = [*names(data.feature_names), "label"]
        order = rng.permutation(len(data.data))
        test, rest = np.split(order, [len(order) // 4])
        owner = np.empty(len(rest), dtype=np.int64)
        for label in np.unique(data.target):
            of_class = np.flatnonzero(data.target[rest] == label)
            owner[of_class] = rng.choice(len(clients), len(of_class), p=rng.dirichlet(np.full(len(clients), 0.4)))
        for at, rows in [("test", test), *((name, rest[owner == index]) for index, name in enumerate(clients))]:
            write(root / f"federated-learning/data/{folder}/{at}.csv", header, table(data.data[rows], data.target[rows]))


def export_shares(root: Path, images: Floats, labels: Ints) -> None:
    """Digits that three projects keep to themselves, each with the digits that it gets to see; and some of all that nobody trains on."""
    header = [*pixels(8), "label"]
    test, rest = np.split(np.random.default_rng(11).permutation(len(images)), [300])
    write(root / "federated-learning/data/digits-unseen.csv", header, table(images[test], labels[test]))
    for project, seen, count in (
        ("lora-finetuning", (0, 1, 2, 3), 240),
        ("cpu-compression", (4, 5, 6), 180),
        ("stable-diffusion", (7, 8, 9), 210),
    ):
        rows = rest[np.isin(labels[rest], seen)][:count]
        write(root / f"{project}/data/digits-here.csv", header, table(images[rows], labels[rows]))


def export_captions(root: Path) -> None:
    """Sentences about each digit; the last of each digit is kept for evaluation."""
    for name, templates in (("captions", SENTENCES), ("captions-short", LABELS)):
        rows = [(label, each.format(word=word, number=label)) for label, word in enumerate(WORDS) for each in templates]
        write(root / f"clip-finetuning/data/{name}.csv", ("label", "text"), rows)


def main() -> None:
    """Writes every data set below the given folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parent, help="folder of the examples (default: this one)")
    root: Path = parser.parse_args().root
    digits = datasets.load_digits()
    export_digits(root, digits.data, digits.target)
    export_domains(root, digits.data, digits.target)
    export_tables(root)
    export_clients(root)
    export_shares(root, digits.data, digits.target)
    export_captions(root)
    for path in sorted(root.glob("*/data/**/*.csv")):
        print(f"{path.stat().st_size:>8} {path.relative_to(root)}")


if __name__ == "__main__":
    main()
