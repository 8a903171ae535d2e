"""What must hold after each round, asked of the tools themselves: MLflow's REST, DVC's files, the requests on the wire."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reconciler.errors import StoreError
from reconciler.state import open_store
from tests.campaign.site import Site
from tests.campaign.wire import Asked
from tests.campaign.world import ROOT, TEAM, Thing, World
from tests.contract.git_lab import git

NOTE = "mlflow.note.content"
UNKNOWN = "an unknown object"
STOPS = ("experiments/delete", "registered-models/delete")


@dataclass(frozen=True)
class Object:
    """Something of ours in MLflow. `id` stays the same for as long as it is the same object."""

    ref: str
    id: str
    name: str
    stage: str
    tags: Mapping[str, str]
    description: str = ""


def experiments(site: Site) -> list[Object]:
    """All that carry our mark, or have done so, deleted ones included."""
    body: dict[str, Any] = {"max_results": 5000, "view_type": "ALL"}
    found = site.rest("POST", "experiments/search", json=body).get("experiments", [])
    return _ours(site, [_experiment(each) for each in found])


def _ours(site: Site, found: list[Object]) -> list[Object]:
    site.ids.update(each.id for each in found if each.tags.get("mlops.installation") == site.name)
    return [each for each in found if each.id in site.ids]


def _experiment(found: Mapping[str, Any]) -> Object:
    tags = _tags(found)
    name, stage = found["name"], found["lifecycle_stage"]
    return Object(tags.get("mlops.ref", f"unmarked {name}"), found["experiment_id"], name, stage, tags, tags.get(NOTE, ""))


def models(site: Site) -> list[Object]:
    found = site.rest("GET", "registered-models/search", params={"max_results": 1000}).get("registered_models", [])
    return _ours(site, [_model(each) for each in found])


def _model(found: Mapping[str, Any]) -> Object:
    tags, name = _tags(found), found["name"]
    ref, made = tags.get("mlops.ref", f"unmarked {name}"), f"model {found['creation_timestamp']}"
    return Object(ref, made, name, "active", tags, found.get("description", ""))


def _tags(found: Mapping[str, Any]) -> dict[str, str]:
    return {each["key"]: str(each.get("value", "")) for each in found.get("tags", [])}


@dataclass
class Judge:
    """Remembers which object each Ref was, from one round to the next."""

    site: Site
    world: World
    ids: dict[str, str] = field(default_factory=dict)
    remade: set[str] = field(default_factory=set)
    """Refs whose object somebody deleted by hand for good: another one takes its place."""
    seen: int = 0
    """Requests on the wire that were judged already."""
    leaked: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    """Id, or a model's name -> Ref."""
    edits: dict[tuple[str, str], int] = field(default_factory=dict)
    """(Ref, field) -> how often it was edited by hand."""

    def kept(self, thing: Thing) -> Path:
        """The object of a dataset's declared bytes in the cache."""
        md5 = _md5(thing.data)
        return self.site.root / ".mlops" / "dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]

    def holds(self, thing: Thing) -> bool:
        """Whether a dataset's declared bytes are its recorded version, and safe in the cache."""
        folder = self.site.root / ".mlops" / "dvc" / "projects" / thing.project / thing.name
        try:
            recorded = [yaml.safe_load(each.read_text())["outs"][0]["md5"] for each in folder.glob("*.dvc")]
            return recorded == [_md5(thing.data)] and self.kept(thing).read_bytes() == thing.data.encode()
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            return False

    def differences(self) -> list[str]:
        """Where the tools are not as declared; empty = converged."""
        here, at = experiments(self.site), models(self.site)
        for each in (*here, *at):
            self.names[each.id] = self.names[each.name] = each.ref
        return [*self._mlflow("Experiment", here), *self._mlflow("Model", at), *self._dvc(), *self._places()]

    def twins(self) -> Iterator[str]:
        """Two objects for one Ref, deleted ones included."""
        for kind in (experiments, models):
            by_ref = defaultdict(list)
            for each in kind(self.site):
                by_ref[each.ref].append(f"{each.name} (id {each.id}, {each.stage})")
            yield from (f"twin: {ref} is {', '.join(some)}" for ref, some in by_ref.items() if len(some) > 1)

    def unasked(self) -> Iterator[str]:
        """Deletions, and objects that were made anew, that nobody asked for."""
        for each in (*experiments(self.site), *models(self.site)):
            before = self.ids.get(each.ref)
            if each.ref in self.world.things and before not in (None, each.id) and each.ref not in self.world.gone | self.remade:
                yield f"recreated: {each.ref} was {before} and is {each.id}"
            self.ids[each.ref] = each.id
        asked = list(self.site.wire.asked)
        for one in asked[self.seen :]:
            if one.method != "GET" and one.path.partition("?")[0].endswith(STOPS):
                ref = self._of(one)
                declared = ref in self.world.things or ref.startswith(
                    UNKNOWN
                )  # what is not may go, after a rewritten history brought it back
                if declared and ref not in self.world.gone:
                    yield f"unasked deletion: {one.path} of {ref}"
        self.seen = len(asked)

    def _of(self, asked: Asked) -> str:
        told = str(asked.body.get("experiment_id") or asked.body.get("name") or "")
        return self.names.get(told, f"{UNKNOWN} {told}")

    def books(self) -> Iterator[str]:
        """What the Store says of itself: no intent is open, and it owns what is there."""
        place: str | Path = self.site.store or self.site.root / ".mlops" / "store.db"
        try:
            with open_store(place, read_only=True) as store:
                yield from (f"journal: {ref} is still {intent.state}" for ref, intent in store.open_intents().items())
                owned = {str(ref): each.external_id for ref, each in store.inventory().items()}
                if isinstance(place, Path):
                    yield from (f"the Store is damaged: {each}" for each in store.damage())
        except StoreError as error:
            yield f"the Store cannot be read: {error}"
            return
        for ref, thing in self.world.things.items():
            if thing.kind == "Experiment" and owned.get(ref) != self.ids.get(ref, owned.get(ref)):
                yield f"inventory: {ref} is {self.ids.get(ref)} and the Store says {owned.get(ref)}"
        mine = {ref for ref in owned if ref.split("/")[0] in ("experiment", "model", "dataset", "project")}
        yield from (f"inventory: {ref} is owned and not declared" for ref in sorted(mine - self.world.things.keys()))
        yield from (f"inventory: {ref} is declared and not owned" for ref in sorted(self.world.things.keys() - mine))

    def leaks(self, *, everywhere: bool = False) -> Iterator[str]:
        """Secrets in what was printed, and (`everywhere`) in every file of the installation."""
        logs = [*self.site.folder.glob("*.log")]
        if everywhere:
            logs += [each for each in self.site.root.rglob("*") if each.is_file()]
        for path in logs:
            try:
                yield from self._sung(str(path.relative_to(self.site.folder)), path.read_bytes().decode(errors="replace"))
            except FileNotFoundError:
                continue
        yield from self._sung("output of a command", "\n".join(self.site.said))

    def _sung(self, where: str, text: str) -> Iterator[str]:
        for name, word in self.site.secrets.items():
            if word in text and (told := f"secret: `{name}` stands in {where}") not in self.leaked:
                self.leaked.add(told)
                yield told

    # --- the parts ---

    def _mlflow(self, kind: str, found: list[Object]) -> Iterator[str]:
        wanted = {each.ref: each for each in self.world.of(kind)}
        active = {each.ref: each for each in found if each.stage == "active"}
        for ref, thing in wanted.items():
            if ref not in active:
                yield f"{ref} is not there"
            else:
                yield from (f"{ref}: {each}" for each in _compared(thing, active[ref], self._digests(thing)))
        yield from (f"{ref} is there and not declared (id {each.id})" for ref, each in active.items() if ref not in wanted)

    def _digests(self, thing: Thing) -> dict[str, str]:
        """Of the datasets that an experiment names."""
        told = thing.spec.get("datasets", ()) if thing.kind == "Experiment" else ()
        return {name: _md5(self.world.things[f"dataset/{thing.project}/{name}"].data) for name in told}

    def _dvc(self) -> Iterator[str]:
        area = self.site.root / ".mlops" / "dvc"
        wanted = {(each.project, each.name): each for each in self.world.of("Dataset")}
        there = {(each.parent.parent.name, each.parent.name): each for each in area.glob("projects/*/*/*.dvc")}
        there = {key: each for key, each in there.items() if not key[1].startswith((".", "_"))}
        for key, thing in wanted.items():
            yield from (f"{thing.ref}: {each}" for each in _dataset(self.site.root, area, thing, key, there))
        yield from (f"dataset/{'/'.join(key)} is in DVC and not declared" for key in there.keys() - wanted.keys())
        for kept in area.glob("projects/*/_versions/*/*/*.dvc"):
            md5 = kept.parent.name
            if not (area / "cache" / "files" / "md5" / md5[:2] / md5[2:]).exists():
                yield f"history: the bytes of {kept.relative_to(area)} are gone"
        made, declared = {each.parent.name for each in area.glob("projects/*/.dvc")}, {each.name for each in self.world.of("Project")}
        yield from (f"project/{name} has no namespace" for name in declared - made)
        yield from (f"project/{name} has a namespace and is not declared" for name in made - declared)

    def _places(self) -> Iterator[str]:
        """Where the clones are."""
        for home, where in ((ROOT, self.site.root), (TEAM, self.site.root / ".mlops" / "sources" / TEAM)):
            try:
                here, newest = git(where, "rev-parse", "--verify", "HEAD"), self.site.newest(home)
            except (AssertionError, OSError):
                yield f"there is no clone of {home}"
                continue
            if here != newest:
                yield f"{home} is at {here[:7]} and not at {newest[:7]}"


def _compared(thing: Thing, have: Object, digests: Mapping[str, str]) -> Iterator[str]:
    name = f"{thing.project}/{thing.name}" if thing.kind == "Experiment" else f"{thing.project}.{thing.name}"
    own = {key: value for key, value in have.tags.items() if not key.startswith(("mlops.", "mlflow."))}
    pairs = {
        "name": (name, have.name),
        "tags": (thing.spec.get("tags", {}), own),
        "description": (thing.spec.get("description", ""), have.description),
        "labels": (thing.labels, _cut(have.tags, "mlops.label.")),
    }
    if thing.kind == "Experiment":
        pairs["datasets"] = (dict(digests), _cut(have.tags, "mlops.dataset."))
    else:
        pairs["experiment"] = (thing.spec["experiment"], have.tags.get("mlops.experiment"))
    yield from (f"{what} should be {want} and is {there}" for what, (want, there) in pairs.items() if want != there)


def _cut(tags: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in tags.items() if key.startswith(prefix)}


def _dataset(root: Path, area: Path, thing: Thing, key: tuple[str, str], there: Mapping[tuple[str, str], Path]) -> Iterator[str]:
    path = root / thing.data_file
    if not path.exists() or path.read_text() != thing.data:
        yield f"{thing.data_file} does not hold what it should"
    if key not in there:
        yield "is not in DVC"
        return
    if len(files := list(there[key].parent.glob("*.dvc"))) != 1:
        yield f"has {len(files)} present versions"
    try:
        told = yaml.safe_load(there[key].read_text())
        md5, notes = told["outs"][0]["md5"], json.loads(told["meta"]["mlops"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        yield f"its .dvc file cannot be read: {type(error).__name__}"
        return
    if md5 != _md5(thing.data):
        yield f"its version is {md5} and its bytes are {_md5(thing.data)}"
    if notes.get("ref") != thing.ref:
        yield f"its mark says {notes.get('ref')}"
    kept = area / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    if not kept.exists() or hashlib.md5(kept.read_bytes(), usedforsecurity=False).hexdigest() != md5:
        yield "the cache does not hold its version whole"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
