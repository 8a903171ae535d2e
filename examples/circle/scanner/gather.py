"""New records of the ward, as data to learn from and data to be judged by: `python gather.py --since 2026-11-30T09:00:00+00:00`.

The ward adds to `data/ward.csv` what it finds out about each patient, with the time in the first column."""

from __future__ import annotations

import argparse
import csv
import json
import os
from datetime import datetime
from pathlib import Path

LEAST = 150
SHARE = 3
"""One record of so many is kept back to judge by."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--since", required=True, help="only records from then on")
    args = parser.parse_args()
    since = datetime.fromisoformat(args.since)
    with Path("data/ward.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    fresh = [row[1:] for row in rows if datetime.fromisoformat(row[0]) >= since]
    if len(fresh) < LEAST:
        raise SystemExit(f"{len(fresh)} records since {args.since}; {LEAST} are needed")
    kept = {
        "records": [row for number, row in enumerate(fresh) if number % SHARE],
        "later": [row for number, row in enumerate(fresh) if not number % SHARE],
    }
    for name, found in kept.items():
        path = Path(f"data/{name}.csv")
        half = path.with_suffix(".half")
        with half.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([header[1:], *found])
        half.replace(path)
    if told := os.environ.get("MLOPS_OUTPUTS"):
        Path(told).write_text(json.dumps({"rows": len(fresh)}), encoding="utf-8")
    print(f"{len(fresh)} records since {args.since}")


if __name__ == "__main__":
    main()
