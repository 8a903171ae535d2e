"""The jobs of a workflow's tasks: what each asks of the machine, and the program that is handed to the runner."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import urlsplit

from controllers.runs.launch import place, under_lease
from controllers.tools import artifacts
from controllers.tools.bentoml import interpreter
from controllers.tools.ours import import_path
from controllers.workflows.asking import TaskSpec, target
from reconciler import exchange
from reconciler.controller import Context
from reconciler.errors import Terminal, Transient
from reconciler.model import JSON, Demand, Job, Ref, Resource, output
from reconciler.model.demand import one_core
from reconciler.model.packaging import TrialSpec
from schemas.base import FromEnv, FromFile, duration_value
from schemas.run import Resources
from schemas.tasks import Call

JOBS = ("command", "average", "score", "call")
"""What becomes a job; the rest is done, or waited for, by the pass itself."""
CALL = Resources(memory="128Mi", cpu="100m", duration="5s")
CALL_SECONDS = 60.0


def demand(child: Resource[TaskSpec]) -> Demand:
    """What it asks of the machine. No new launch in the sense of the launch budget: its workflow was reviewed."""
    work = child.spec.work
    wanted = CALL if work["do"] == "call" else Resources.model_validate(work.get("resources") or {})
    amounts = one_core(wanted.model_dump())
    return Demand(
        work="batch",
        peak=amounts,
        steady=amounts,
        seconds=duration_value(wanted.duration).total_seconds() if wanted.duration else None,
        priority=work.get("priority"),
        template=f"{replace(child.ref, key='')}/{child.spec.task}/{wanted.memory or ''}",
        declared=wanted.memory is not None,
        fresh=False,
        preemptible=work["do"] == "command",
    )


def job(child: Resource[TaskSpec], ctx: Context) -> Job:
    """The program as it is handed to the runner. Needs the lease of `child` in `ctx.granted`."""
    spec, lease = child.spec, ctx.granted[child.ref]
    place = exchange.folder(ctx.state_dir.resolve())
    shared = exchange.run_folder(place, f"{child.ref.project}.{child.ref.name}", spec.run)
    given = Job(
        id=spec.id,
        ref=str(child.ref),
        backend="local",
        cwd=str(ctx.state_dir.resolve()),
        entrypoint="",
        arguments=(),
        requirements=(),
        project=child.ref.owner,
        timeout=spec.work.get("timeout"),
        out=str(shared / spec.task),
        node="" if ctx.is_here(lease.node) else lease.node,
        answers=str(place),
    )
    given = under_lease(given, child.ref, ctx)
    match spec.work["do"]:
        case "command":
            return _command(given, child, str(shared), ctx)
        case "average":
            pairs = [f"{file}={rows}" for file, rows in zip(spec.work["files"], spec.work["rows"], strict=True)]
            return _ours(given, "average", ("--out", "{out}", *pairs), ctx, outputs=("rows",))
        case "call":
            return _call(given, child, ctx)
        case _:
            return _score(given, child, ctx)


def _command(given: Job, child: Resource[TaskSpec], shared: str, ctx: Context) -> Job:
    work, owner = child.spec.work, str(child.spec.work["project"])
    project = ctx.projects.get(owner)
    if project is None:
        raise Transient(f"project {owner} is not part of this pass", hint="reconcile without the filter")
    root = (ctx.root / project.spec.path).absolute()
    words, python = [_text(each) for each in work["command"]], False
    if words[0] in ("python", "python3"):
        words, python = words[1:], True
    if words and words[0] == "-m":
        words, python = words[1:], True
    if not words:
        raise Terminal(f"the command of {child.ref} names no program", hint="expected for example: command: python prepare.py")
    interval = {"MLOPS_RUN_ID": child.spec.run, "MLOPS_RUN_DIR": shared, "MLOPS_ATTEMPT": str(child.spec.attempt)}
    return replace(
        given,
        cwd=str(root),
        entrypoint=words[0],
        arguments=tuple(words[1:]),
        requirements=tuple(project.spec.requirements),
        project=owner,
        env={**interval, **{name: _text(each) for name, each in work["env"].items()}, **_tracking(ctx)},
        program=not python and not words[0].endswith(".py"),
        outputs=tuple(work["outputs"]),
    )


def _text(value: JSON) -> str:
    """An output that fills a whole word keeps its type; a program gets text."""
    return value if isinstance(value, str) else json.dumps(value)


def _tracking(ctx: Context) -> Mapping[str, str]:
    """Where a command that logs to MLflow finds it; nothing when there is none."""
    try:
        return {"MLFLOW_TRACKING_URI": ctx.services.endpoint("mlflow")} if "mlflow" in ctx.wanted else {}
    except Transient:
        return {}


def _ours(
    given: Job, module: str, arguments: tuple[str, ...], ctx: Context, outputs: tuple[str, ...], env: Mapping[str, str] | None = None
) -> Job:
    paths = {"PYTHONPATH": found} if (found := import_path(ctx, interpreter(ctx))) else {}
    return replace(
        given,
        entrypoint=f"reconciler.tasks.{module}",
        arguments=arguments,
        interpreter=interpreter(ctx),
        env={**paths, **(env or {})},
        outputs=outputs,
    )


def _call(given: Job, child: Resource[TaskSpec], ctx: Context) -> Job:
    """Its secrets go into the job's environment, which only its owner reads, and nowhere else."""
    asked = child.spec.work["call"]
    texts = {name: each if isinstance(each, dict) else _text(each) for name, each in asked["headers"].items()}
    wanted, seconds = Call.model_validate({**asked, "headers": texts}), given.timeout or CALL_SECONDS
    host, project = urlsplit(wanted.url).hostname or "", ctx.projects.get(child.ref.owner)
    if project is None or host.lower() not in {each.lower() for each in project.spec.allow.hosts}:  # what was filled in may lead elsewhere
        raise Terminal(f"host '{host}' is not allowed for project {child.ref.owner}", hint="spec.allow.hosts of the Project")
    headers = {name: ctx.secret(each) if isinstance(each, FromEnv | FromFile) else each for name, each in wanted.headers.items()}
    told = {**wanted.model_dump(mode="json", by_alias=True), "headers": headers}
    env = {"MLOPS_CALL": json.dumps(told), "MLOPS_CALL_SECONDS": str(seconds)}
    return replace(_ours(given, "call", (), ctx, ("status", "body?"), env), timeout=seconds + 30.0)


def _score(given: Job, child: Resource[TaskSpec], ctx: Context) -> Job:
    work, model = child.spec.work, target(child.spec.work)
    data = Ref.parse(str(work["dataset"]), ["Dataset"])
    assert model is not None
    assert data is not None
    version = _version(child.inputs.get(model, {}), str(work["version"]), model)
    folder = artifacts.fetch(ctx, version["source"], version["digest"])
    path = exchange.folder(ctx.state_dir.resolve()) / "open" / f".{child.spec.id}.trial"
    told = TrialSpec(
        model=str(folder),
        digest=version["digest"],
        result="",
        requests=10,
        evaluation=str(place(data, child, ctx)),
        target=str(work["target"]),
        data=str(work["digest"]),
    )
    path.write_text(json.dumps(asdict(told)), encoding="utf-8")
    return _ours(given, "score", (str(path), str(work["metric"])), ctx, ("metric", "rows"))


def _version(outputs: Mapping[str, Any], wanted: str, model: Ref) -> Mapping[str, str]:
    """What is known of the version that `wanted` names: a number, the model's alias, or nothing for that."""
    if not wanted.isdigit():
        alias, number = output(outputs, "alias"), output(outputs, "version")
        if wanted and alias and wanted != alias:
            raise Terminal(f"{model} keeps the alias {alias}, not {wanted}", hint=f"name it without an alias, or as @{alias}")
        if not number:
            raise Transient(f"no version of {model} has its alias yet")
        return {name: output(outputs, name) for name in ("source", "digest")}
    known = json.loads(output(outputs, "versions") or "{}")
    if wanted not in known:
        raise Terminal(f"{model} has no version {wanted} that its manifest knows", hint=f"it has {', '.join(sorted(known)) or 'none'}")
    return {name: str(known[wanted][name]) for name in ("source", "digest")}
