"""What the client and the reconciler both know is the same, although neither imports the other; and the rule that it does not is whole."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from controllers.runs.standing import Tag
from reconciler import plan
from reconciler.cli.options import DEFAULT_MANIFESTS
from reconciler.client import marks
from reconciler.client.hardware import machine
from reconciler.hardware.detector import detect
from reconciler.runs.context import CONTEXT
from reconciler.settings import Settings
from reconciler.source import load, yamltext
from schemas import base

ROOT = Path(__file__).parents[2]


def test_words_are_those_of_the_reconciler() -> None:
    assert marks.UNMANAGED == plan.UNMANAGED
    assert (marks.INSTALLATION, marks.REF, marks.KEY, marks.DATASET) == (Tag.INSTALLATION, Tag.REF, Tag.KEY, Tag.DATASET)
    assert marks.CONTEXT == CONTEXT
    assert marks.API_VERSION == base.API_VERSION
    assert (marks.OVERLAYS, marks.IGNORE) == (load.OVERLAYS, load.IGNORE)
    assert marks.MANIFESTS == DEFAULT_MANIFESTS
    assert Settings(root=ROOT).state.name == marks.STATE
    assert marks.LARGEST_MANIFEST == yamltext.MAX_BYTES


def test_a_name_is_what_the_schema_takes() -> None:
    label = re.compile(base.DnsLabel.__metadata__[0].pattern)
    for text in ("a", "a-b", "-a", "a-", "A", "a/b", "a_b", "0", "x" * 63):
        assert bool(re.fullmatch(marks.LABEL, text)) == bool(label.match(text))
    assert not re.fullmatch(marks.LABEL, "x" * 64)


def test_the_machine_is_the_one_that_the_reconciler_detects() -> None:
    ours, found = machine(), detect()
    assert (ours["chip"], ours["os"], ours["machine"], ours.get("mlx", "")) == (found.chip, found.system, found.name, found.mlx)


def test_the_import_rule_names_every_other_package_of_ours() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (rule,) = (each for each in contracts if each.get("source_modules") == ["reconciler.client"])
    there = {each.stem for each in (ROOT / "reconciler").iterdir() if each.suffix == ".py" or (each / "__init__.py").exists()}
    assert {f"reconciler.{each}" for each in there - {"__init__", "client"}} | {"schemas", "controllers"} == set(rule["forbidden_modules"])
