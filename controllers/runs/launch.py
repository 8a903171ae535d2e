"""One launch: what is written on the run in MLflow, and the job that its program becomes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from controllers.runs.identity import datasets, key, parts, versions
from controllers.runs.standing import Tag, checkpoint
from controllers.tools.code import LOCK, read, reader
from reconciler.controller import Context
from reconciler.errors import Terminal, Transient
from reconciler.model import Job, Ref, Resource, output
from schemas.base import duration_value
from schemas.grid import argument
from schemas.run import RunSpec

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
"""Seconds before the first retry; doubled for each further one, up to the longest."""


def pause(failed: int) -> timedelta:
    """How long after its `failed`-th failure a run is tried again."""
    return timedelta(seconds=min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (min(failed, 16) - 1)))


def checked(child: Resource[RunSpec], ctx: Context) -> str:
    """The key of a run that may be launched now. Raises Terminal when it cannot start as it is declared, Transient when the files or
    the inputs are not, or not yet, what it was planned for."""
    spec = child.spec
    if spec.trouble:
        raise Terminal(spec.trouble)
    found = key(child)
    if not found:
        raise Transient(f"{child.ref} needs the version of a dataset that does not exist yet")
    code = read(child.root, spec.runs.entrypoint, spec.runs.code, pinned=spec.runs.environment == "pinned")  # what the plan read may be old
    if (code.digest, code.lock) != (spec.code, spec.lock):
        raise Transient("its code changed since the plan was made", hint="the next pass sees what it is now")
    return found


def tags(child: Resource[RunSpec], ctx: Context, attempt: int) -> dict[str, str]:
    """Marks and context that the run gets in the request that creates it, so that nothing of ours is ever unmarked."""
    spec = child.spec
    found = {
        Tag.INSTALLATION: ctx.installation,
        Tag.REF: str(child.ref),
        Tag.KEY: key(child),
        Tag.ATTEMPT: str(attempt),
        Tag.RERUN: spec.runs.rerun or "",
        "mlops.project": child.ref.owner,
        "mlops.entrypoint": spec.runs.entrypoint,
        "mlops.seed": str(spec.seed),
        "mlops.code": spec.code,
        "mlops.backend": spec.runs.backend,
        "mlflow.source.name": spec.runs.entrypoint,
        "mlflow.source.type": "PROJECT",
    }
    found |= {f"{Tag.DATASET}{name}": digest for name, digest in versions(child).items()}
    optional = {"mlops.lock": spec.lock, "mlops.data": parts(child).get("data"), "mlflow.source.git.commit": reader(ctx).commit(child.root)}
    return found | {name: value for name, value in optional.items() if value}


def params(child: Resource[RunSpec]) -> dict[str, str]:
    """What MLflow shows as the run's parameters: the explicit ones and the seed."""
    return {**{name: argument(value) for name, value in child.spec.params.items()}, "seed": str(child.spec.seed)}


def inputs(child: Resource[RunSpec]) -> list[dict[str, str]]:
    """Its datasets for MLflow's own pages."""
    read = {name: child.inputs.get(ref, {}) for name, ref in datasets(child).items()}
    return [
        {"name": name, "digest": output(each, "digest"), "source": json.dumps({"path": output(each, "path")})}
        for name, each in read.items()
    ]


def job(child: Resource[RunSpec], run_id: str, experiment: str, ctx: Context) -> Job:
    """The program as it is handed to the runner. Needs the lease of `child` in `ctx.granted`."""
    spec, lease, project = child.spec, ctx.granted[child.ref], ctx.projects.get(child.ref.owner)
    if project is None:
        raise Terminal(f"project {child.ref.owner} is not part of this pass", hint="reconcile without the filter")
    paths = data_paths(child, ctx)
    first = next(iter(paths.values()), "")
    arguments = [
        *(_option("data", first) if first else ()),
        *(word for each in sorted(spec.params) for word in _option(each, argument(spec.params[each]))),
    ]
    made = Job(
        id=run_id,
        ref=str(child.ref),
        backend=spec.runs.backend,
        cwd=str(child.root.absolute()),
        entrypoint=spec.runs.entrypoint,
        arguments=(*arguments, *_option("seed", str(spec.seed)), "--out", "{out}"),
        requirements=tuple(project.spec.requirements),
        lock=str((child.root / LOCK).absolute()) if spec.runs.environment == "pinned" else "",
        project=child.ref.owner,
        env={**spec.runs.env, "MLOPS_DATASETS": json.dumps(paths)},
        timeout=duration_value(spec.runs.timeout).total_seconds() if spec.runs.timeout else None,
        tracking=ctx.services.endpoint("mlflow"),
        experiment=experiment,
        checkpoint=checkpoint(key(child)),
        tags={Tag.NODE: lease.node, "mlops.preempted": str(lease.preempted)},
    )
    return under_lease(made, child.ref, ctx)


def under_lease(job: Job, ref: Ref, ctx: Context) -> Job:
    """The job with what the lease of `ref`, in `ctx.granted`, gives it, and how long it waited for that."""
    lease = ctx.granted[ref]
    waited = max(0.0, (lease.since - lease.queued).total_seconds())
    return replace(job, memory=lease.amounts.memory, cpu=lease.amounts.cpu, gpu=lease.amounts.gpu, queued=waited)


def data_paths(child: Resource[RunSpec], ctx: Context) -> Mapping[str, str]:
    """Absolute path of each dataset, by the name that the manifest uses; the first one first."""
    return {name: str(place(ref, child, ctx)) for name, ref in datasets(child).items()}


def place(ref: Ref, child: Resource[Any], ctx: Context) -> Path:
    """Where a dataset lies that `child`, of whatever kind, reads. Raises Transient when this pass does not know it."""
    path, owner = output(child.inputs.get(ref, {}), "path"), ctx.projects.get(ref.owner)
    if not path or (owner is None and ref.owner != child.ref.owner):
        raise Transient(f"where {ref} lies is not known in this pass", hint="reconcile without the filter")
    root = child.root if ref.owner == child.ref.owner or owner is None else ctx.root / owner.spec.path
    return (root / path).absolute()


def _option(name: str, value: str) -> tuple[str, ...]:
    """As two words; as one where the value could be taken for an option."""
    return (f"--{name}={value}",) if value.startswith("-") else (f"--{name}", value)
