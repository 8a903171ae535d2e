"""One installation with two projects, and what the engine does with its datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controllers.dataset import DatasetController
from controllers.tools.dvc import Dvc
from controllers.tools.dvc_open import open_dvc
from reconciler.controller import Call, Context
from reconciler.errors import Transient
from reconciler.model import (
    Absent,
    Create,
    Diff,
    Done,
    HealthReport,
    Location,
    Owned,
    Present,
    Ref,
    Resource,
    Update,
    digest_of,
)
from schemas.base import Lifecycle
from schemas.dataset import DatasetSpec
from schemas.platform import PlatformSpec
from schemas.project import ProjectSpec

KIND = DatasetController()
STORE = [{"name": "store", "url": "../remote"}]


class NoServices:
    """Datasets need no service."""

    def endpoint(self, name: str) -> str:
        raise Transient(name)

    def start(self, names: Sequence[str]) -> None: ...

    def stop(self, names: Sequence[str]) -> None: ...

    def renew(self, names: Sequence[str]) -> None: ...

    def report(self) -> Mapping[str, Mapping[str, Any]]:
        return {}

    def memory(self) -> int:
        return 0

    def pristine(self, names: Sequence[str]) -> bool:
        return True


class Quiet:
    def info(self, event: str, **context: Any) -> None: ...

    def warning(self, event: str, **context: Any) -> None: ...


class House:
    """One installation with the projects `p` and `q`, and what the engine does with one kind."""

    def __init__(self, base: Path, **platform: Any) -> None:
        self.root, self.state, self.calls, self.ahead = base / "tree", base / "state", list[Call](), timedelta()
        self.platform = PlatformSpec.model_validate({"installation": "test", "dvc": {"remotes": STORE, **platform}})
        self.memos: dict[Ref, dict[str, Any]] = {}
        self.allow: dict[str, dict[str, Any]] = {"p": {}, "q": {}}
        for each in self.allow:
            (self.root / each).mkdir(parents=True)

    def context(self) -> Context:
        projects = {name: self._project(name, allow) for name, allow in self.allow.items()}
        return Context(
            installation="test",
            platform=self.platform,
            root=self.root,
            state_dir=self.state,
            services=NoServices(),
            wanted=(),
            secret=lambda _: "",
            memo=lambda ref: self.memos.setdefault(ref, {}),
            projects=projects,
            now=lambda: datetime.now(UTC) + self.ahead,
            log=Quiet(),
            wire=self.calls.append,
        )

    def _project(self, name: str, allow: dict[str, Any]) -> Resource[Any]:
        spec = ProjectSpec.model_validate({"path": name, "allow": allow})
        return Resource(Ref("Project", None, name), spec, Lifecycle(), {}, Location("t"), "root", name, "confirm", self.root)

    def dataset(self, name: str, path: str, project: str = "p", **spec: Any) -> Resource[DatasetSpec]:
        found = DatasetSpec.model_validate({"path": path, "settle": "0s", **spec})
        ref = Ref("Dataset", project, name)
        return Resource(ref, found, Lifecycle(), {}, Location("t"), "root", digest_of(spec), "confirm", self.root / project)

    def file(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def see(self, resource: Resource[DatasetSpec]) -> Any:
        return KIND.observe([resource], self.context())[resource.ref]

    def diff(self, resource: Resource[DatasetSpec]) -> Diff:
        seen = self.see(resource)
        assert isinstance(seen, Present)
        return KIND.diff(resource, seen)

    def paths(self, resource: Resource[DatasetSpec]) -> list[str]:
        return [each.path for each in self.diff(resource)]

    def health(self, resource: Resource[DatasetSpec]) -> HealthReport:
        seen = self.see(resource)
        assert isinstance(seen, Present)
        return KIND.health(resource, seen)

    def reconcile(self, resource: Resource[DatasetSpec]) -> str:
        """One pass; its digest. What was read after the write must be as desired."""
        seen = self.see(resource)
        if isinstance(seen, Absent):
            outcome = KIND.apply(Create(resource), self.context())
        else:
            assert isinstance(seen, Present), seen
            outcome = KIND.apply(Update(resource, seen, KIND.diff(resource, seen)), self.context())
        assert isinstance(outcome, Done)
        after = self.see(resource)
        assert isinstance(after, Present)
        assert KIND.diff(resource, after) == ()
        assert after.outputs == outcome.outputs
        return after.outputs["digest"]

    def delete(self, resource: Resource[DatasetSpec]) -> None:
        owned = Owned(resource.ref, resource.ref.path, "root", resource.digest, {}, "confirm")
        assert isinstance(KIND.delete(owned, self.context()), Done)

    @property
    def dvc(self) -> Dvc:
        return open_dvc(self.context())

    def kept(self, digest: str) -> str:
        return self.dvc.cache.path(digest).read_text()

    @property
    def objects(self) -> int:
        return sum(each.is_file() for each in self.dvc.cache.objects.rglob("*"))
