"""`reconcile init`: a small tree that works as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from reconciler.errors import UsageError
from reconciler.registry import discover
from reconciler.schema import any_schema

SCHEMA = "manifests/manifest.schema.json"
_HEADER = "# yaml-language-server: $schema={path}\n"

_PLATFORM = """\
# The shared services. Everything has a default: one MLflow server on one PostgreSQL, DVC with a local cache.
apiVersion: reconciler.mlops/v1
kind: Platform
metadata:
  name: platform
spec:
  installation: {installation}     # marks everything that is made in a tool
"""
_PROJECT = """\
apiVersion: reconciler.mlops/v1
kind: Project
metadata:
  name: hello
spec:
  path: hello                      # folder of the code, from here
---
apiVersion: reconciler.mlops/v1
kind: Dataset
metadata:
  name: flowers
  project: hello
spec:
  path: data/flowers.csv           # every version of it is kept by DVC
---
apiVersion: reconciler.mlops/v1
kind: Experiment
metadata:
  name: first-steps
  project: hello
spec:
  description: What can be told from the size of a flower.
  datasets: [flowers]
  tags:
    stage: exploration
"""
_DATA = """\
petal_length,petal_width,species
1.4,0.2,setosa
1.3,0.2,setosa
4.7,1.4,versicolor
4.5,1.5,versicolor
6.0,2.5,virginica
5.1,1.9,virginica
"""
_README = """\
# An ML platform from manifests

* `manifests/` says what should exist: the platform, the project `hello`, a dataset and an experiment.
* `hello/` is the project's code and data.

    reconcile --dry-run     # what would be done
    reconcile --wait        # do it
    reconcile status --all  # where everything stands
    reconcile platform down # stop the services; their data stays in .mlops/

Change `manifests/hello.yaml` or `hello/data/flowers.csv` and reconcile again. `reconcile explain experiment` tells what can be set.
"""


def tree(installation: str) -> Mapping[str, str]:
    """Path -> content of every file."""
    schema = json.dumps(any_schema(discover().kinds.values()), indent=2, ensure_ascii=False)
    header = _HEADER.format(path="manifest.schema.json")
    return {
        "manifests/platform.yaml": header + _PLATFORM.format(installation=installation),
        "manifests/hello.yaml": header + _PROJECT,
        SCHEMA: f"{schema}\n",
        "hello/data/flowers.csv": _DATA,
        "README.md": _README,
        ".gitignore": ".mlops/\n",
    }


def write_tree(folder: Path) -> list[Path]:
    """Write the tree below `folder`. Raises UsageError, having written nothing, when one of its files is there already."""
    files = {folder / name: text for name, text in tree(_installation(folder)).items()}
    taken = [path for path in files if path.exists() or path.is_symlink()]
    if taken:
        raise UsageError(f"{taken[0]} is there already; nothing was written", hint="name another folder: reconcile init DIR")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(files)


def _installation(folder: Path) -> str:
    """The folder's name as a DNS label."""
    name = "".join(each if each.isascii() and each.isalnum() else "-" for each in folder.absolute().name.lower()).strip("-")
    return name[:63].strip("-") or "toolkit"
