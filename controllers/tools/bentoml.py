"""BentoML's store of packages: built by a program of their own, listed from their files. BentoML itself is not imported here.

A package carries as labels whose it is: installation, Ref, digest of the revision, model, run, datasets.
Source: BentoML documentation, Bento and Model stores; file layout checked against 1.4."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from controllers.tools.ours import import_path
from reconciler.controller import Call, Context
from reconciler.errors import Terminal, Transient
from reconciler.model.packaging import LABEL, BentoInfo, BentoSpec
from reconciler.model.serving import bentoml_home

SECONDS = 180.0
"""Longest build: an own class may import a deep-learning framework."""
REMOVED = ".removing-"
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
_QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Bentoml:
    """The installation's packages. Safe to use from several threads and several reconcilers at once."""

    def __init__(self, ctx: Context) -> None:
        self._home = bentoml_home(ctx.state_dir.resolve())
        self._interpreter = interpreter(ctx)
        self._paths = import_path(ctx, interpreter(ctx))
        self._wire = ctx.wire

    @property
    def home(self) -> Path:
        """BENTOML_HOME."""
        return self._home

    def build(self, spec: BentoSpec) -> str:
        """Make the package where it is not there yet; returns its tag. Raises Terminal with the reason, Transient when it took too long."""
        if self._whole(spec):
            return spec.tag
        began, status = time.monotonic(), "no answer"
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            code, out, errors = self._run(json.dumps(asdict(spec)))
            status = str(code)
        finally:
            self._wire(Call("bentoml", "build", spec.tag, True, status, time.monotonic() - began))
        answer = _answer(out)
        if "tag" in answer:
            return str(answer["tag"])
        if "why" in answer:
            raise Terminal(f"{spec.tag} cannot be packaged: {answer['why']}", hint=str(answer.get("hint", "")))
        last = (errors.strip().splitlines() or [f"exit {code}"])[-1][:300]
        raise Terminal(f"{spec.tag} cannot be packaged: {last}", hint="look at what its service class does when it is imported")

    def bentos(self) -> Mapping[str, BentoInfo]:
        """Every package that carries marks of ours, by tag."""
        return {info.tag: info for path in self._files("bentos/*/*/bento.yaml") if (info := _info(path)) is not None}

    def remove(self, tags: Collection[str], in_use: Collection[str]) -> tuple[str, ...]:
        """Remove these packages, but none of those in use, and the models' files that no package refers to any more.

        Returns the tags that are gone; none while a package is being built, because that may need what looks unused."""
        gone = []
        with self._alone() as free:
            if not free:
                return ()
            there = self.bentos()
            for tag in sorted(set(tags) & set(there) - set(in_use)):
                self._drop(self._home / "bentos", tag)
                gone.append(tag)
            self._drop_models({each for tag, info in there.items() if tag not in gone for each in info.models})
            for left in self._home.glob(f"{REMOVED}*"):
                shutil.rmtree(left, ignore_errors=True)
        return tuple(gone)

    def _files(self, pattern: str) -> Iterator[Path]:
        """Files of the store. What another one removes meanwhile is left out, where Path.glob of Python 3.11 would raise."""
        return (self._home / each for each in glob.iglob(pattern, root_dir=self._home))  # noqa: PTH207 - on purpose

    def _whole(self, spec: BentoSpec) -> bool:
        """True when the package of this very revision is there, with its model."""
        name, _, version = spec.tag.partition(":")
        info = _info(self._home / "bentos" / name / version / "bento.yaml")
        return info is not None and info.digest == spec.digest and all(self._model(each).exists() for each in info.models)

    def _model(self, tag: str) -> Path:
        name, _, version = tag.partition(":")
        return self._home / "models" / name / version / "model.yaml"

    def _run(self, spec: str) -> tuple[int, str, str]:
        """Exit code, output and errors of the program that builds."""
        environment = {**{name: os.environ[name] for name in _KEPT if name in os.environ}, **_QUIET, "BENTOML_HOME": str(self._home)}
        try:
            process = subprocess.Popen(
                [self._interpreter, "-P", "-m", "reconciler.serving.package", "/dev/stdin"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",  # a class may print anything when it is imported
                cwd=self._home,
                env={**environment, **({"PYTHONPATH": self._paths} if self._paths else {})},
                start_new_session=True,
            )
        except OSError as error:
            raise Terminal(
                f"the interpreter that serves models does not start: {self._interpreter}", hint="spec.ray.interpreter of the Platform"
            ) from error
        try:
            out, errors = process.communicate(spec, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise Transient(
                f"packaging took longer than {SECONDS:.0f} s", hint="look at what the service class does when imported"
            ) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        return process.returncode, out, errors

    def _drop_models(self, referred: Collection[str]) -> None:
        for path in self._files("models/*/*/model.yaml"):
            tag = f"{path.parent.parent.name}:{path.parent.name}"
            if tag not in referred and f"{LABEL}digest" in (_yaml(path).get("labels") or {}):
                self._drop(self._home / "models", tag)

    def _drop(self, store: Path, tag: str) -> None:
        """Out of the store at once, whatever ends us afterwards; `latest` names another one."""
        began, (name, _, version) = time.monotonic(), tag.partition(":")
        away = self._home / f"{REMOVED}{store.name}-{name}-{version}"
        shutil.rmtree(away, ignore_errors=True)
        (store / name / version).rename(away)
        left = sorted((each for each in (store / name).iterdir() if each.is_dir()), key=lambda each: each.stat().st_mtime)
        if left:
            (store / name / "latest").write_text(left[-1].name, encoding="utf-8")
        else:
            shutil.rmtree(store / name)
        shutil.rmtree(away, ignore_errors=True)
        self._wire(Call("bentoml", f"remove {store.name}", tag, True, "0", time.monotonic() - began))

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """The lock of the program that builds; False when somebody else holds it, or there is no store."""
        if not self._home.is_dir():
            yield False
            return
        with (self._home / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True


def connect(ctx: Context) -> Bentoml:
    """The pass's one view of the store."""
    return ctx.client(Bentoml, Bentoml)


def interpreter(ctx: Context) -> str:
    """The Python program that serves models: Ray's."""
    return ctx.platform.ray.interpreter or sys.executable


def _info(path: Path) -> BentoInfo | None:
    raw = _yaml(path)
    labels = {str(key): str(value) for key, value in (raw.get("labels") or {}).items()}
    if f"{LABEL}digest" not in labels:
        return None
    return BentoInfo(
        tag=f"{path.parent.parent.name}:{path.parent.name}",
        ref=labels.get(f"{LABEL}ref", ""),
        installation=labels.get(f"{LABEL}installation", ""),
        digest=labels[f"{LABEL}digest"],
        labels=labels,
        models=tuple(str(each.get("tag", "")) for each in raw.get("models") or ()),
        created=str(raw.get("creation_time", "")),
    )


def _yaml(path: Path) -> Mapping[str, Any]:
    """Empty for what is not there, or is no YAML of BentoML's."""
    import yaml

    try:
        raw = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (OSError, yaml.YAMLError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _answer(out: str) -> Mapping[str, Any]:
    """The last line of the program's output: what a class prints when it is imported comes before."""
    try:
        found = json.loads((out.strip().splitlines() or [""])[-1])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
