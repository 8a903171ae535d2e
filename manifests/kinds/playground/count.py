"""Counts the rows of a table, and tells later tasks how many there are."""

import argparse
import json
import os
from pathlib import Path

options = argparse.ArgumentParser()
options.add_argument("table", type=Path)
options.add_argument("--until", default="")
options.add_argument("--expect", type=int)
given = options.parse_args()

rows = len(given.table.read_text(encoding="utf-8").splitlines()) - 1
print(f"{rows} rows until {given.until or 'now'}")
if given.expect is not None and rows != given.expect:
    raise SystemExit(f"expected {given.expect} rows")
if told := os.environ.get("MLOPS_OUTPUTS"):
    Path(told).write_text(json.dumps({"rows": rows}), encoding="utf-8")
