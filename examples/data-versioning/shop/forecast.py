"""How many of the visitors buy: one share for usual days, one for holidays. The datasets come in MLOPS_DATASETS, by name."""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    paths = json.loads(os.environ["MLOPS_DATASETS"])
    sales = list(csv.DictReader(Path(paths["sales"]).read_text(encoding="utf-8").splitlines()))
    holidays = set(Path(paths["holidays"]).read_text(encoding="utf-8").split()[1:])
    shares = {}
    for kind in (True, False):
        days = [row for row in sales if (row["day"] in holidays) == kind]
        visitors = sum(int(row["visitors"]) for row in days)
        shares[kind] = sum(int(row["sold"]) for row in days) / visitors if visitors else 0.0
    errors = [abs(shares[row["day"] in holidays] * int(row["visitors"]) - int(row["sold"])) for row in sales]
    told = {"error": sum(errors) / len(errors), "days": len(sales)}
    (given.out / "shares.json").write_text(json.dumps({"usual": shares[False], "holiday": shares[True]}) + "\n", encoding="utf-8")
    (given.out / "metrics.json").write_text(json.dumps(told) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
