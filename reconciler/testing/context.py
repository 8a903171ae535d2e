"""A Context and Resources, made by hand: what the engine would give to a controller."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reconciler.controller import Call, Context, Services
from reconciler.errors import Terminal
from reconciler.model import JSON, Location, Outputs, Ref, Resource, digest_of
from reconciler.testing.services import NoServices
from schemas.base import FromEnv, KindInfo, Lifecycle, Spec
from schemas.platform import PlatformSpec

INSTALLATION = "contract"
"""The installation's id in everything that is made here, unless another is given."""


class Recorder:
    """A wire log in memory: give it to a Context as `wire`, then read what was called.

    Safe to share between threads."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> None:
        with self._lock:
            self.calls.append(call)

    @property
    def writes(self) -> list[Call]:
        """The calls that may have changed something."""
        return [each for each in self.calls if each.write]

    def clear(self) -> None:
        """Forget everything that was recorded."""
        with self._lock:
            self.calls.clear()


class Notebook:
    """`Context.memo` in memory: a dict for each Ref, kept as long as this object."""

    def __init__(self) -> None:
        self.pages: dict[Ref, dict[str, JSON]] = {}

    def __call__(self, ref: Ref) -> MutableMapping[str, JSON]:
        return self.pages.setdefault(ref, {})


class Lines:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def info(self, event: str, **context: Any) -> None:
        self.lines.append(("info", event, context))

    def warning(self, event: str, **context: Any) -> None:
        self.lines.append(("warning", event, context))


def make_context(
    folder: Path,
    *,
    installation: str = INSTALLATION,
    platform: Mapping[str, JSON] | None = None,
    services: Services | None = None,
    wanted: Sequence[str] = (),
    wire: Callable[[Call], None] | None = None,
    memo: Callable[[Ref], MutableMapping[str, JSON]] | None = None,
    projects: Mapping[str, Resource[Any]] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    deadline: float = 20.0,
) -> Context:
    """A Context over `folder`: projects' code below `folder/tree`, the installation's state below `folder/state`; both are made.

    `platform` is the rest of the Platform's spec, as in YAML. `wire` (default: a new Recorder) hears of every call.
    `deadline` is in seconds for each call to a tool."""
    for name in ("tree", "state"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return Context(
        installation=installation,
        platform=PlatformSpec.model_validate({"installation": installation, **(platform or {})}),
        root=folder / "tree",
        state_dir=folder / "state",
        services=services or NoServices(),
        wanted=tuple(wanted),
        secret=_from_environment,
        memo=memo or Notebook(),
        projects=projects or {},
        now=now,
        log=Lines(),
        wire=wire or Recorder(),
        deadline=deadline,
    )


def make_resource(
    info: KindInfo,
    name: str,
    spec: Mapping[str, JSON] | None = None,
    *,
    project: str | None = "demo",
    lifecycle: Mapping[str, JSON] | None = None,
    labels: Mapping[str, str] | None = None,
    references: Sequence[Ref] = (),
    requires: Sequence[Ref] = (),
    inputs: Mapping[Ref, Outputs] | None = None,
    root: Path = Path(),
    source: str = "root",
) -> Resource[Spec]:
    """A Resource of the kind `info`, as it comes out of `resolve`; `spec` and `lifecycle` are written as in YAML.

    `project` is ignored for kinds of the whole installation. Raises pydantic's ValidationError for a spec that is not one."""
    ref = Ref(info.name, project if info.scope == "project" else None, name)
    wanted = info.spec.model_validate(dict(spec or {}))
    life = Lifecycle.model_validate(dict(lifecycle or {}))
    return Resource(
        ref=ref,
        spec=wanted,
        lifecycle=life,
        labels=dict(labels or {}),
        location=Location(f"{ref.path}.yaml", 1),
        source=source,
        digest=digest_of({"spec": wanted.model_dump(mode="json"), "labels": dict(labels or {})}),
        prune=life.prune or info.prune,
        root=root,
        references=tuple(references),
        requires=tuple(requires),
        inputs=dict(inputs or {}),
    )


def _from_environment(reference: Any) -> str:
    if isinstance(reference, FromEnv) and reference.from_env in os.environ:
        return os.environ[reference.from_env]
    raise Terminal("the secret is not there")
