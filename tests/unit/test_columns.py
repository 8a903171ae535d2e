"""What became of a table's columns, in a plan's words."""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from controllers.tools.columns import columns_change, summarized
from controllers.tools.tabular import facts, table_rows


def table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    text = "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def told(before: Path, after: Path, *, grown: bool = False) -> str:
    old, new = facts(before, before.name), facts(after, after.name)
    assert old is not None
    assert new is not None
    return columns_change(before, old, after, new, after.name, grown=grown)


def patients(seed: int, rows: int = 400, *, shift: float = 0.0, north: float = 0.3, empty: float = 0.0) -> list[tuple[object, ...]]:
    draw = random.Random(seed)
    return [
        (
            "" if draw.random() < empty else round(draw.gauss(70 + 12 * shift, 12), 2),
            "north" if draw.random() < north else "south",
            f"note {draw.random()}",
        )
        for _ in range(rows)
    ]


COLUMNS = ("weight", "ward", "note")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_what_moved_is_told_and_chance_is_not(tmp_path: Path, name: str) -> None:
    before = table(tmp_path / f"before-{name}", COLUMNS, patients(1))
    assert told(before, table(tmp_path / name, COLUMNS, patients(2))) == ""
    assert told(before, table(tmp_path / name, COLUMNS, patients(3, shift=1.0))).startswith("'weight' mean 68.81 -> 82.41 (+1.1 sd)")
    assert told(before, table(tmp_path / name, COLUMNS, patients(4, north=0.6))) == "'ward': 'south' 70% -> 40%"
    assert told(before, table(tmp_path / name, COLUMNS, patients(5, empty=0.25))).startswith("'weight' empty 0% -> 2")


def test_false_alarms_are_rare(tmp_path: Path) -> None:
    """Of 200 pairs without any change; three columns are judged in each."""
    raised = 0
    for seed in range(200):
        before = table(tmp_path / "before.csv", COLUMNS, patients(2 * seed, 200))
        raised += bool(told(before, table(tmp_path / "a.csv", COLUMNS, patients(2 * seed + 1, 200))))
    assert raised <= 2


def test_what_is_appended_is_held_against_what_was_there(tmp_path: Path) -> None:
    first = patients(1)
    before = table(tmp_path / "before.csv", COLUMNS, first)
    assert told(before, table(tmp_path / "a.csv", COLUMNS, [*first, *patients(2, 50)]), grown=True) == ""
    assert told(before, table(tmp_path / "a.csv", COLUMNS, [*first, *patients(2, 50, shift=2.0)]), grown=True).startswith(
        "the new rows: 'weight' mean 68.81 -> 93.45 (+2.0 sd)"
    )


def test_corrected_labels_are_one_column(tmp_path: Path) -> None:
    rows = [(number, number % 3) for number in range(30)]
    before = table(tmp_path / "before.csv", ("pixel", "digit"), rows)
    fixed = [(pixel, 7 if pixel in (4, 5) else digit) for pixel, digit in rows]
    assert told(before, table(tmp_path / "a.csv", ("pixel", "digit"), fixed)) == "values of 'digit' changed in 2 of 30 rows"


def test_numbers_that_became_text(tmp_path: Path) -> None:
    before = table(tmp_path / "before.csv", ("size",), [(1,), (2,), (3,)])
    after = table(tmp_path / "a.csv", ("size",), [("small",), ("2",), ("3",), ("4",)])
    assert told(before, after) == "'size' was numbers and is text"


def test_parquet_is_read_too(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(path: Path, shift: float) -> Path:
        pq.write_table(pa.table({"weight": [shift + number % 10 for number in range(500)]}), path)
        return path

    assert told(write(tmp_path / "before.parquet", 0), write(tmp_path / "a.parquet", 9)).startswith("'weight' mean 4.5 -> 13.5 (+3.1 sd)")


def test_a_large_table_is_sampled_evenly(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", ("number",), [(number,) for number in range(50_000)])
    shape = facts(path, path.name)
    assert shape is not None
    found = summarized(table_rows(path, path.name), shape, ["number"], 0)["number"]
    assert 10_000 < found.rows <= 20_000
    assert found.mean == pytest.approx(25_000, rel=0.01)
