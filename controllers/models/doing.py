"""Carries out steps on a model: versions, signatures, trials, verdicts, the alias. Every one is safe to repeat after a crash."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import assert_never

from controllers.models.evidence import facts, trial_text, written
from controllers.models.looking import PUBLIC_KEY, REFUSED, TRIES
from controllers.models.scene import Scene, Tag, Version
from controllers.models.selecting import label_of
from controllers.models.steps import Judge, Note, Point, Register, Sign, Step, Try
from controllers.models.trials import counted, data_digest, dataset, job_id, key_of, trials_folder
from controllers.runs import launch
from controllers.tools import artifacts, signing
from controllers.tools import mlflow_registry as registry
from controllers.tools.bentoml import interpreter
from controllers.tools.mlflow import Mlflow
from controllers.tools.mlflow_runs import RunInfo
from controllers.tools.ours import import_path
from reconciler.controller import Context
from reconciler.errors import Terminal, Transient
from reconciler.model import JSON, Job, Ref, Resource
from reconciler.model.packaging import TrialSpec
from reconciler.model.serving import TrialResult
from schemas.base import duration_value
from schemas.model import ModelSpec

PROGRAM = "reconciler.serving.trial"
SPEC = ".spec"
"""Ending of the file that tells a trial what to do."""
KEPT_SECONDS = 7 * 86400.0
"""What a trial showed is on the version; its file stays for other models with the same files."""


class Doer:
    """The writes of one model in one pass."""

    def __init__(self, resource: Resource[ModelSpec], mlflow: Mlflow, ctx: Context) -> None:
        self._resource, self._spec, self._mlflow, self._ctx = resource, resource.spec, mlflow, ctx
        self._page: MutableMapping[str, JSON] = ctx.memo(resource.ref)
        self.launched = ""
        """Id of the job that was launched."""

    def do(self, step: Step, scene: Scene) -> Scene | None:
        """One step; returns the scene after it, or None when it has to be looked at again.

        Raises Transient for what may pass, Terminal for what will not."""
        match step:
            case Register(run):
                self._register(run, scene)
                return None
            case Sign(version):
                return self._sign_again(version, scene)
            case Note(judged):
                assert judged.version is not None
                assert judged.trial.result is not None
                self._page.pop(TRIES, None)
                sweep(self._ctx)
                return self._tag(scene, judged.version.number, {Tag.TRIAL: trial_text(judged.trial.key, judged.trial.result)})
            case Judge(version, evidence):
                tags = {Tag.EVIDENCE: written(evidence, self._now()), Tag.VERDICT: str(evidence["verdict"])}
                return self._tag(scene, version.number, tags)
            case Point(number):
                return self._point(number, scene)
            case Try(judged):
                assert judged.version is not None
                return self._try(judged.version, scene)
            case _:
                assert_never(step)

    def _register(self, run: RunInfo, scene: Scene) -> None:
        """A version with everything that is known of it. What can never become one is remembered, and the next best run is looked at."""
        artifact = self._spec.artifact
        try:
            source = artifacts.location(run.artifacts, artifact)
            folder = artifacts.fetch(self._ctx, source)
            said = artifacts.descriptor(folder)
        except Terminal as error:
            self._page[REFUSED] = {**dict(self._page.get(REFUSED) or {}), f"{run.id}/{artifact}": str(error)[:500]}
            return
        tags = facts(run, label_of(run), artifact, folder.name, artifacts.size(folder), said)
        tags |= {Tag.INSTALLATION: self._ctx.installation, Tag.REF: str(self._resource.ref), Tag.PROJECT: self._resource.ref.owner}
        if self._spec.sign is not None:
            tags |= self._signed(folder, run.artifacts, scene)
        told = f"{label_of(run)} of {scene.experiment}"
        registry.create_version(self._mlflow, scene.name, f"{run.artifacts}/{artifact}", run.id, tags, told)

    def _sign_again(self, version: Version, scene: Scene) -> Scene:
        home = version.info.source.removesuffix(f"/{version.artifact}")
        folder = self._files(version, scene, verify=False)
        return self._tag(scene, version.number, self._signed(folder, home, scene))

    def _signed(self, folder: Path, artifact_uri: str, scene: Scene) -> dict[str, str]:
        """Sign the files and store the signature beside them; what must be written on the version. It is named by the files' digest and
        the key, so that a second try writes the same file."""
        assert self._spec.sign is not None
        made = signing.sign(folder, self._ctx.secret(self._spec.sign.key))
        name = f"signatures/{scene.name}-{folder.name[:12]}-{made.fingerprint[:8]}.json"
        path = artifacts.location(artifact_uri, name)
        artifacts.upload(self._ctx, path, made.content)
        self._page[PUBLIC_KEY] = made.public_key
        return {Tag.SIGNATURE: path, Tag.SIGNER: made.fingerprint}

    def _point(self, number: str, scene: Scene) -> Scene:
        """First what must be so, then the alias: a crash between the two shows as an alias that was moved, and is put right."""
        version = scene.version(number) if number else None
        if version is not None and not version.promoted:
            scene = self._tag(scene, number, {Tag.PROMOTED: self._now()})
        if scene.tags.get(Tag.CHAMPION) != (number or None):
            registry.tag_model(self._mlflow, scene.name, Tag.CHAMPION, number or None)
        if scene.aliases.get(self._spec.alias) != (number or None):
            registry.set_alias(self._mlflow, scene.name, self._spec.alias, number or None)
        return replace(
            scene,
            tags={**_less(scene.tags, Tag.CHAMPION), **({Tag.CHAMPION: number} if number else {})},
            aliases={**_less(scene.aliases, self._spec.alias), **({self._spec.alias: number} if number else {})},
        )

    def _try(self, version: Version, scene: Scene) -> Scene | None:
        """Launch the trial. A version whose files are not what they were has shown enough."""
        ctx, ref = self._ctx, self._resource.ref
        if ctx.jobs is None or ref not in ctx.granted:
            raise Terminal(f"{ref} has no lease", hint="work starts only when admission has granted what it needs")
        data = data_digest(self._resource)
        if data is None:
            raise Transient("the version of its evaluation data is not known yet")
        key = key_of(self._spec, version.digest, data)
        try:
            folder = self._files(version, scene, verify=True)
        except Terminal as error:
            return self._tag(scene, version.number, {Tag.TRIAL: trial_text(key, TrialResult(version.digest, "", str(error)))})
        tries = counted(scene, key)
        number, place = tries.launched + 1, trials_folder(ctx.state_dir.resolve())
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = place / f"{key}{SPEC}"
        _write(told, json.dumps(asdict(self._told(folder, version, key, data))))
        seconds = duration_value(self._spec.trial.timeout).total_seconds()
        id = job_id(ref, key, number)
        made = Job(
            id=id,
            ref=str(ref),
            backend="local",
            cwd=str(place),
            entrypoint=PROGRAM,
            arguments=(str(told),),
            requirements=(),
            interpreter=interpreter(ctx),
            project=ref.owner,
            env={"PYTHONPATH": paths} if (paths := import_path(ctx, interpreter(ctx))) else {},
            timeout=seconds,
        )
        ctx.jobs.launch(launch.under_lease(made, ref, ctx))
        self._page[TRIES], self.launched = asdict(replace(tries, launched=number)), id
        return None

    def _told(self, folder: Path, version: Version, key: str, data: str) -> TrialSpec:
        evaluation = self._spec.gates.evaluation
        return TrialSpec(
            model=str(folder),
            digest=version.digest,
            result=str(trials_folder(self._ctx.state_dir.resolve()) / f"{key}.json"),
            requests=self._spec.trial.requests,
            evaluation=str(self._data_path()) if evaluation is not None else "",
            target=evaluation.target if evaluation is not None else "",
            data=data,
        )

    def _data_path(self) -> Path:
        ref = dataset(self._resource)
        assert ref is not None
        return launch.place(ref, self._resource, self._ctx)

    def _files(self, version: Version, scene: Scene, *, verify: bool) -> Path:
        """The version's files as they were registered, and as they were signed. Raises Terminal when they are not."""
        home = version.info.source.removesuffix(f"/{version.artifact}")
        folder = artifacts.fetch(self._ctx, artifacts.location(home, version.artifact), version.digest)
        signature = version.info.tags.get(Tag.SIGNATURE, "")
        if verify and self._spec.sign is not None and signature and scene.public_key:
            signing.verify(folder, artifacts.read(self._ctx, signature), scene.public_key)
        return folder

    def _tag(self, scene: Scene, number: str, tags: Mapping[str, str]) -> Scene:
        for key, value in tags.items():
            registry.tag_version(self._mlflow, scene.name, number, key, value)
        tagged = (
            Version(replace(each.info, tags={**each.info.tags, **tags})) if each.number == number else each for each in scene.versions
        )
        return replace(scene, versions=tuple(tagged))

    def _now(self) -> str:
        return self._ctx.now().isoformat(timespec="seconds")


def stop_trials(ref: Ref, ctx: Context) -> None:
    """Nobody wants to know any more."""
    jobs = ctx.jobs
    for id, each in (jobs.look() if jobs is not None else {}).items():
        if jobs is not None and each.ref == str(ref) and each.state in ("starting", "running", "paused"):
            jobs.stop(id, "its model is not wanted any more")


def sweep(ctx: Context) -> None:
    """Remove what trials left here long ago, and model files that nobody has fetched for a day."""
    for path in trials_folder(ctx.state_dir).glob("*"):
        with suppress(FileNotFoundError):  # another model's sweep was faster
            if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                path.unlink()
    artifacts.sweep(ctx.state_dir)


def _less(found: Mapping[str, str], key: str) -> dict[str, str]:
    return {name: value for name, value in found.items() if name != key}


def _write(path: Path, text: str) -> None:
    """For the owner only; whole before anybody reads it."""
    half = path.with_name(f"{path.name}-{os.getpid()}")
    half.touch(mode=0o600)
    half.write_text(text, encoding="utf-8")
    half.replace(path)
