"""A Workflow as the spec that Airflow's loader turns into a DAG. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controllers.workflows.templates import Planned, tasks_of
from reconciler.exchange import folder
from reconciler.model import JSON, Ref, Resource, digest_of
from schemas.base import duration_value
from schemas.workflow import WorkflowSpec

FORMAT = 1
DEFAULT_PRIORITY = 5
DIGITS = 16


@dataclass(frozen=True)
class Compiled:
    """One DAG."""

    dag: str
    digest: str
    """Of all but the start date; also in the tags."""
    content: Mapping[str, Any] = field(repr=False)

    def text(self, start: str) -> str:
        """The spec file. `start` is when the schedule begins, as ISO time; empty without one."""
        return json.dumps({**self.content, "start": start}, indent=1, sort_keys=True) + "\n"


def dag_id(ref: Ref) -> str:
    """`project.name`: neither part has a dot, so that no two workflows share it. Airflow allows no slash."""
    return f"{ref.project}.{ref.name}"


def pool_name(installation: str, ref: Ref) -> str:
    """Of the pool of a workflow's project; the installation in it, for others may have pools of that name."""
    return f"{installation}.{ref.project}"


def tag(installation: str) -> str:
    """Mark of everything that is ours."""
    return f"installation:{installation}"


def compiled(resource: Resource[WorkflowSpec], installation: str, state_dir: Path, owners: Sequence[str] = ()) -> Compiled:
    """What is to be delivered."""
    spec, ref = resource.spec, resource.ref
    planned = list(tasks_of(ref, spec))
    content: dict[str, JSON] = {
        "format": FORMAT,
        "dag": dag_id(ref),
        "ref": str(ref),
        "installation": installation,
        "description": first_line(spec.description) or f"{spec.template} workflow of {ref.project}",
        "doc": spec.description or "",
        "owner": ", ".join(owners) or str(ref.project),
        "schedule": spec.schedule,
        "timezone": spec.timezone,
        "catchup": spec.catch_up,
        "maxActiveRuns": spec.max_active,
        "paused": spec.paused,
        "place": str(folder(state_dir.absolute())),
        "tasks": [_task(each, ref, installation) for each in planned],
    }
    digest = digest_of(content)[:DIGITS]
    labels = sorted(f"{name}:{value}"[:100] for name, value in resource.labels.items())
    tags = [tag(installation), f"project:{ref.project}", f"digest:{digest}", f"template:{spec.template}", *labels]
    return Compiled(dag_id(ref), digest, {**content, "tags": tags})


def digest_in(tags: Sequence[str]) -> str:
    """The digest that a DAG's tags name; empty = none."""
    return next((each.removeprefix("digest:") for each in tags if each.startswith("digest:")), "")


def described(spec: WorkflowSpec) -> dict[str, JSON]:
    """The spec as fields for a plan: tasks by name, so that a change is shown where it is."""
    fields: dict[str, JSON] = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if "tasks" in fields:
        fields["tasks"] = {each["name"]: {key: one for key, one in each.items() if key != "name"} for each in fields["tasks"]}
    return fields


def first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].lstrip("# ")[:200]


def _task(planned: Planned, ref: Ref, installation: str) -> dict[str, JSON]:
    return {
        "name": planned.name,
        "needs": list(planned.needs),
        "pool": pool_name(installation, ref),
        "priority": planned.priority or DEFAULT_PRIORITY,
        "retries": planned.retries,
        "retrySeconds": duration_value(planned.retry_delay).total_seconds(),
        "doc": planned.doc,
        "work": dict(planned.work),
    }


def scripts(resource: Resource[WorkflowSpec]) -> Iterator[tuple[str, str]]:
    """(project, file) of every Python file that its commands run."""
    for each in tasks_of(resource.ref, resource.spec):
        if each.work["do"] == "command":
            words = [word for word in each.work["command"] if word not in ("python", "python3")]
            if words and words[0].endswith(".py") and "${" not in words[0]:
                yield str(each.work["project"]), str(words[0])
