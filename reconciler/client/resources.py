"""`client.models`, `client.deployments` and their like: what is declared and how it stands, and changes to what is declared.

A change is written into the manifests and nowhere else: review, history and the loop's own rules come with git, so that nothing of a tool
is changed behind their back."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from reconciler.client import manifests
from reconciler.client.answers import Answers
from reconciler.client.errors import NotAsked, Refused, Unavailable, warn
from reconciler.client.manifests import Document
from reconciler.client.marks import API_VERSION, LABEL, MANIFESTS
from reconciler.client.place import Place

log = logging.getLogger("reconciler.client")
Action = Literal["added", "changed", "removed", "unchanged"]


@dataclass(frozen=True)
class Resource:
    """One resource: what its manifest says, and how the last pass left it."""

    kind: str
    project: str
    name: str
    spec: Mapping[str, Any]
    """As its manifest has it; empty when it has none any more."""
    file: Path | None
    """Its manifest; None = it has none, or it comes from another source."""
    health: str = "Unknown"
    """`Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing`, `Unknown`; `Unknown` too where no pass has seen it yet."""
    message: str = ""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    """What it became: a dataset's digest, a model's version."""

    @property
    def ref(self) -> str:
        return f"{self.kind.lower()}/{self.project}/{self.name}"


@dataclass(frozen=True)
class Change:
    """A change to the manifests: it has been written, and nothing else has been done."""

    ref: str
    action: Action
    file: Path

    def __str__(self) -> str:
        if self.action == "unchanged":
            return f"{self.ref}: {self.file} says that already"
        return f"{self.ref}: {self.action} in {self.file}; commit it, and the next pass does it (`reconcile --dry-run` shows what)"


@dataclass(frozen=True)
class Resources:
    """The resources of one kind in the client's project."""

    kind: str
    place: Place
    answers: Answers

    def list(self) -> Sequence[Resource]:
        """What is declared or was made, by name. Where the installation cannot be asked, what is declared, with a warning."""
        declared = {each.named("name"): self._declared(each) for each in self._documents()}
        try:
            told = self.answers.status([self.kind])["resources"]
        except (Unavailable, NotAsked) as error:
            warn(f"how the {self.kind.lower()}s stand is not known: {error}")
            told = []
        for each in told:
            if each["kind"] == self.kind and not each.get("key"):
                known = declared.get(each["name"], Resource(self.kind, self.place.project, each["name"], {}, None))
                stands = {"health": each["health"], "message": each["message"], "outputs": each.get("outputs") or {}}
                declared[each["name"]] = replace(known, **stands)
        return [declared[name] for name in sorted(declared)]

    def get(self, name: str) -> Resource:
        """One of them. Raises NotAsked when it is neither declared nor there."""
        found = next((each for each in self.list() if each.name == name), None)
        if found is None:
            raise NotAsked(
                f"{self.place.project} has no {self.kind.lower()} '{name}'", hint=f"client.{self.kind.lower()}s.create({name!r}, ...)"
            )
        return found

    def create(self, name: str, spec: Mapping[str, Any] | None = None, /, **fields: Any) -> Change:
        """Declare one: `spec` and `fields` as its manifest has them (camelCase). Raises NotAsked when it is declared already, Refused when
        the manifest would be wrong."""
        if not re.fullmatch(LABEL, name):
            raise NotAsked(f"'{name}' cannot be a name", hint="lower-case letters, digits and `-`")
        self.place.need_checkout("a change")
        if (there := self._find(name)) is not None:
            raise NotAsked(f"{self._ref(name)} is declared in {self._shown(there.path)}", hint="update it")
        metadata = {"name": name, "project": self.place.project}
        value = {"apiVersion": API_VERSION, "kind": self.kind, "metadata": metadata, "spec": {**(spec or {}), **fields}}
        file = self._home()
        return self._write(name, "added", file, lambda root: manifests.append(root / file.relative_to(self.place.root), value))

    def update(self, name: str, /, **fields: Any) -> Change:
        """Change fields of its spec: mappings are merged key by key, None takes a field out (RFC 7386). Raises NotAsked, or Refused."""
        found = self._needed(name)
        value = {**found.value, "spec": merged(found.spec, fields)}
        if value == found.value:
            return Change(self._ref(name), "unchanged", self._shown(found.path))
        return self._write(name, "changed", found.path, lambda root: manifests.rewrite(self._in(found, root), value))

    def delete(self, name: str) -> Change:
        """Take its manifest away. What becomes of it then the reconciler decides (`lifecycle.prune`). Raises NotAsked, or Refused."""
        found = self._needed(name)
        return self._write(name, "removed", found.path, lambda root: manifests.rewrite(self._in(found, root), None))

    def ensure(self, name: str, /, **fields: Any) -> Change:
        """`update` it where it is declared, else `create` it."""
        return self.update(name, **fields) if self._find(name) is not None else self.create(name, **fields)

    # --- where its manifest is ---

    def _documents(self) -> Sequence[Document]:
        found = manifests.documents(self.place.manifests, self.kind)
        return [each for each in found if each.named("project") == self.place.project]

    def _find(self, name: str) -> Document | None:
        return next((each for each in self._documents() if each.named("name") == name), None)

    def _needed(self, name: str) -> Document:
        self.place.need_checkout("a change")
        found = self._find(name)
        if found is None:
            raise NotAsked(f"{self._ref(name)} has no manifest below {self.place.manifests}")
        return found

    def _home(self) -> Path:
        """The file of a new manifest: beside the project's others, named for the kind."""
        own = [each.path for each in manifests.documents(self.place.manifests) if each.named("project") == self.place.project]
        same = [each.path for each in self._documents()]
        if same:
            return same[-1]
        folder = own[0].parent if own and own[0].parent != self.place.manifests else self.place.manifests / "projects" / self.place.project
        return folder / f"{self.kind.lower()}s.yaml"

    def _declared(self, found: Document) -> Resource:
        return Resource(self.kind, self.place.project, found.named("name"), found.spec, found.path)

    def _in(self, found: Document, root: Path) -> Document:
        return replace(found, path=root / found.path.relative_to(self.place.root))

    def _ref(self, name: str) -> str:
        return f"{self.kind.lower()}/{self.place.project}/{name}"

    def _shown(self, path: Path) -> Path:
        return path.relative_to(self.place.root)

    # --- writing ---

    def _write(self, name: str, action: Action, file: Path, change: Callable[[Path], None]) -> Change:
        """Tried on a copy of the manifests first: a loop that watches them must not see a wrong one."""
        with tempfile.TemporaryDirectory(prefix="mlops-change-") as copy:
            shutil.copytree(self.place.manifests, Path(copy) / MANIFESTS, symlinks=True)
            change(Path(copy))
            self._judge(Path(copy))
        change(self.place.root)
        done = Change(self._ref(name), action, self._shown(file))
        log.warning("%s", done)
        return done

    def _judge(self, root: Path) -> None:
        try:
            wrong = self.answers.mistakes(root)
            known = [_mistake(each) for each in self.answers.mistakes(self.place.root)] if wrong else []
        except (Unavailable, NotAsked) as error:
            warn(f"the change could not be checked: {error}")
            return
        new = [_mistake(each) for each in wrong if _mistake(each) not in known]
        if new:
            raise Refused(f"nothing was written: {'; '.join(new[:3])}", code="InvalidManifest")


def merged(target: Any, patch: Any) -> Any:
    """`target` as `patch` wants it (RFC 7386)."""
    if not isinstance(patch, Mapping):
        return patch
    found = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def _mistake(told: Mapping[str, Any]) -> str:
    """One diagnostic in a line, without the place, which moves when something is written before it."""
    hint = f" ({told['hint']})" if told.get("hint") else ""
    return f"{told.get('ref') or ''} {told.get('path') or ''}: {told.get('message')}{hint}".strip()
