"""docs/metrics.md names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from reconciler.telemetry import catalogue

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_every_metric_and_every_file_that_the_page_names_is_there() -> None:
    names = {each.name for each in catalogue.ALL} | set(catalogue.BY_NAME)
    for name in re.findall(r"`((?:mlops_reconciler_)?[a-z_]+(?:_seconds|_leader|_up))\b", PAGE):
        assert name in names, name
    for path in re.findall(r"`((?:tests|deploy)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path


def test_every_critical_rule_is_in_the_page_s_table() -> None:
    rules = (ROOT / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8")
    [row] = [line for line in PAGE.splitlines() if line.endswith("| critical |")]
    assert rules.count("severity: critical") == row.count(",") + 1


def test_the_page_is_short() -> None:
    assert len(PAGE.splitlines()) <= 100
