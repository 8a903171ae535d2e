"""For plain `mlflow` code in a project: its runs carry the same tags as those of the client. MLflow finds this through the entry point
`mlflow.run_context_provider` and asks it whenever it makes a run.

A run in an experiment of another name than `<project>/...` stays where it is: only tags are added."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

from reconciler.client.datasets import Datasets
from reconciler.client.errors import ClientError
from reconciler.client.hardware import machine
from reconciler.client.marks import CONTEXT, DATASET, INSTALLATION, PROJECT, REF, UNMANAGED
from reconciler.client.place import Place, find

GIVEN = "MLOPS_DATASETS"
"""Set by the reconciler for the runs that it starts: JSON of what they read, name to path."""
PRESENT = "mlops.data"
"""Tag: the present version of each dataset of the project, as JSON; which of them the run reads is not known."""
LONGEST = 5000
"""Characters of a tag that every backend takes."""


class PlatformContext:
    """MLflow's RunContextProvider, which is a protocol in all but name: MLflow's package is not imported for it."""

    def in_context(self) -> bool:
        """True within a project's folder, and in programs that the reconciler has started."""
        return _place(str(Path.cwd()), os.environ.get("MLOPS_ROOT", ""), os.environ.get("MLOPS_PROJECT", "")) is not None

    def tags(self) -> dict[str, str]:
        """Project, mark, versions of data, machine. Never raises: a run must not fail for its tags."""
        where = _place(str(Path.cwd()), os.environ.get("MLOPS_ROOT", ""), os.environ.get("MLOPS_PROJECT", ""))
        if where is None:
            return {}
        marks = {PROJECT: where.project, REF: f"{UNMANAGED}{where.project}", INSTALLATION: where.installation}
        return {**marks, **{f"{CONTEXT}{name}": text for name, text in machine().items()}, **_versions(where)}


def _versions(where: Place) -> dict[str, str]:
    try:
        present = Datasets(where).present()
    except (ClientError, OSError):
        return {}
    try:
        read = [str(each) for each in json.loads(os.environ.get(GIVEN) or "{}")]
    except (ValueError, TypeError):
        read = []
    told = json.dumps(present, sort_keys=True)
    return {
        **{f"{DATASET}{name}": present[name] for name in read if name in present},
        **({PRESENT: told} if present and len(told) <= LONGEST else {}),
    }


@cache
def _place(folder: str, root: str, project: str) -> Place | None:
    """Where this program is; the arguments are all that it depends on, for the cache."""
    try:
        return find(project or None, root or None)
    except (ClientError, OSError):
        return None
