"""The bundle of our workflows: Airflow's git bundle, less the callbacks that our DAGs do not have."""

from __future__ import annotations

import os
from typing import Any

from airflow.providers.git.bundles.git import GitDagBundle

PROCESSOR = "MLOPS_DAG_PROCESSOR"
"""Environment variable that says that this process is the dag-processor."""


class WorkflowBundle(GitDagBundle):
    """A git repository of specs and one loader.

    Airflow 3.3 asks the dag-processor for a callback whenever a trigger ends a task, even of a task without any. A callback of a versioned
    bundle leaves statistics behind that hide those of the file itself (`presence_key` leaves the version out), so that the file is read
    again ten times a second from then on. The dag-processor skips a callback whose bundle raises ValueError."""

    def __init__(self, *, version: str | None = None, **kwargs: Any) -> None:
        if version and PROCESSOR in os.environ:
            raise ValueError("workflows have no callbacks")
        super().__init__(version=version, **kwargs)
