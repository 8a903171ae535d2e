"""What is declared: a few projects with datasets, experiments and models, and random commits that change them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

API = "reconciler.mlops/v1"
AUTO = {"prune": "auto"}
"""Nobody is asked before a single deletion; the budget holds back more."""
ROOT, TEAM = "root", "team"
HOMES = {"alpha": ROOT, "beta": ROOT, "team": TEAM}
"""Project, less the end of its name -> the repository that its manifests are in."""
WORDS = ("amber", "basalt", "cedar", "delta", "ember", "fjord", "grove", "heath")
KEYS = ("owner", "stage", "cost-centre")
MOST = 34
"""Resources; above, a commit rather removes something."""


@dataclass
class Thing:
    """One declared resource. `data` is the content of a dataset's file."""

    kind: str
    project: str
    name: str
    spec: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    data: str = ""
    tracked: bool = True
    """Whether the data comes with a commit; else it is written beside the repository."""
    home: str = ROOT
    """The repository that its manifest is in."""

    @property
    def ref(self) -> str:
        return f"{self.kind.lower()}/{self.name}" if self.kind == "Project" else f"{self.kind.lower()}/{self.project}/{self.name}"

    @property
    def file(self) -> str:
        """Its manifest's, in the repository that it is in."""
        folder = "deploy" if self.home == TEAM else "manifests"
        return f"{folder}/{self.project}-{self.kind.lower()}-{self.name}.yaml"

    @property
    def data_file(self) -> str:
        return f"code/{self.project}/{self.spec['path']}"

    def text(self) -> str:
        meta: dict[str, Any] = {"name": self.name} if self.kind == "Project" else {"name": self.name, "project": self.project}
        if self.labels:
            meta["labels"] = self.labels
        found = {"apiVersion": API, "kind": self.kind, "metadata": meta, "lifecycle": AUTO, "spec": self.spec}
        return yaml.safe_dump(found, sort_keys=False)


@dataclass
class World:
    """Everything that is declared now, and what has been at some time since the last look."""

    tag: str = ""
    """At the end of every project's name: several worlds may share a server."""
    things: dict[str, Thing] = field(default_factory=dict)
    made: int = 0
    gone: set[str] = field(default_factory=set)
    """Refs that were undeclared at some moment: an object of theirs may go, and come again as another one."""

    def of(self, *kinds: str) -> list[Thing]:
        return [each for _, each in sorted(self.things.items()) if each.kind in kinds]

    def files(self, home: str) -> dict[str, str]:
        """What a repository holds: manifests, and data that is tracked."""
        found = {each.file: each.text() for each in self.things.values() if each.home == home}
        return found | {each.data_file: each.data for each in self.of("Dataset") if home == ROOT and each.tracked}

    def loose(self) -> dict[str, str]:
        """Data that no repository has."""
        return {each.data_file: each.data for each in self.of("Dataset") if not each.tracked}

    def add(self, thing: Thing) -> None:
        if thing.kind != "Project":
            thing.home = HOMES.get(thing.project.removesuffix(self.tag), ROOT)
        self.things[thing.ref] = thing

    def named(self, project: str) -> str:
        """A project's whole name."""
        return f"{project}{self.tag}"

    def drop(self, thing: Thing) -> None:
        del self.things[thing.ref]
        self.gone.add(thing.ref)


def first(rng: random.Random, tag: str = "") -> World:
    """Where a campaign begins."""
    world = World(tag)
    homes = [world.named(each) for each in HOMES]
    for name in homes:
        world.add(Thing("Project", name, name, {"path": f"code/{name}"}))
    for project in homes:
        for _ in range(2):
            _new_dataset(world, rng, project)
        for _ in range(3):
            _new_experiment(world, rng, project)
        _new_model(world, rng, project)
    return world


def mutate(world: World, rng: random.Random) -> list[str]:
    """One commit's worth of changes; what was changed, in words."""
    steps = rng.randint(2, 5)
    return [each for each in (_step(world, rng) for _ in range(steps)) if each]


def _step(world: World, rng: random.Random) -> str:
    grow = [_grow_experiment, _grow_dataset, _grow_model, _grow_project]
    change = [_change_experiment, _change_experiment, _change_model, _change_data, _change_data]
    shrink = [_shrink, _shrink, _shrink_project]
    doing: list[Callable[[World, random.Random], str]] = [*change, *(shrink if len(world.things) > MOST else [*grow, *shrink])]
    return rng.choice(doing)(world, rng)


def change(world: World, rng: random.Random) -> str:
    """One change of something that is there."""
    return rng.choice((_change_experiment, _change_model, _change_data))(world, rng)


def _name(world: World, rng: random.Random) -> str:
    world.made += 1
    return f"{rng.choice(WORDS)}-{world.made}"


def _projects(world: World) -> list[str]:
    return [each.name for each in world.of("Project")]


def _new_dataset(world: World, rng: random.Random, project: str) -> Thing:
    name, tracked = _name(world, rng), rng.random() < 0.5
    path = f"{'data' if tracked else 'local'}/{name}.csv"
    thing = Thing("Dataset", project, name, {"path": path, "settle": "0s"}, data=_rows(rng), tracked=tracked)
    world.add(thing)
    return thing


def _new_experiment(world: World, rng: random.Random, project: str) -> Thing:
    own = [each.name for each in world.of("Dataset") if each.project == project]
    spec: dict[str, Any] = {"description": _words(rng), "tags": {key: _words(rng) for key in KEYS if rng.random() < 0.7}}
    if own and rng.random() < 0.7:
        spec["datasets"] = [rng.choice(own)]
    thing = Thing("Experiment", project, _name(world, rng), spec, {"team": rng.choice(WORDS)} if rng.random() < 0.5 else {})
    world.add(thing)
    return thing


def _new_model(world: World, rng: random.Random, project: str) -> Thing | None:
    own = [each.name for each in world.of("Experiment") if each.project == project]
    if not own:
        return None
    spec = {"experiment": rng.choice(own), "description": _words(rng), "tags": {key: _words(rng) for key in KEYS if rng.random() < 0.5}}
    thing = Thing("Model", project, _name(world, rng), spec)
    world.add(thing)
    return thing


def _grow_experiment(world: World, rng: random.Random) -> str:
    return f"+ {_new_experiment(world, rng, rng.choice(_projects(world))).ref}"


def _grow_dataset(world: World, rng: random.Random) -> str:
    return f"+ {_new_dataset(world, rng, rng.choice(_projects(world))).ref}"


def _grow_model(world: World, rng: random.Random) -> str:
    made = _new_model(world, rng, rng.choice(_projects(world)))
    return f"+ {made.ref}" if made else ""


def _grow_project(world: World, rng: random.Random) -> str:
    if len(_projects(world)) > len(HOMES) + 1:
        return ""
    name = world.named(_name(world, rng))
    world.add(Thing("Project", name, name, {"path": f"code/{name}"}))
    _new_dataset(world, rng, name)
    _new_experiment(world, rng, name)
    return f"+ project/{name}"


def _shrink_project(world: World, rng: random.Random) -> str:
    guests = [each for each in world.of("Project") if each.name.removesuffix(world.tag) not in HOMES]
    if not guests:
        return ""
    gone = rng.choice(guests)
    for each in [each for each in world.things.values() if each.project == gone.name]:
        world.drop(each)
    return f"- {gone.ref}"


def _shrink(world: World, rng: random.Random) -> str:
    used = set(_used(world))
    free = [each for each in world.of("Dataset", "Experiment", "Model") if each.ref not in used]
    if len(free) < 4:
        return ""
    gone = rng.choice(free)
    world.drop(gone)
    return f"- {gone.ref}"


def _used(world: World) -> Iterator[str]:
    for each in world.of("Experiment"):
        yield from (f"dataset/{each.project}/{name}" for name in each.spec.get("datasets", ()))
    for each in world.of("Model"):
        yield f"experiment/{each.project}/{each.spec['experiment']}"


def _change_experiment(world: World, rng: random.Random) -> str:
    chosen = rng.choice(world.of("Experiment"))
    key = rng.choice(KEYS)
    if key in chosen.spec["tags"] and rng.random() < 0.3:
        del chosen.spec["tags"][key]
    else:
        chosen.spec["tags"][key] = _words(rng)
    if rng.random() < 0.3:
        chosen.spec["description"] = _words(rng)
    if rng.random() < 0.2:
        chosen.labels = {"team": rng.choice(WORDS)}
    return f"~ {chosen.ref}"


def _change_model(world: World, rng: random.Random) -> str:
    found = world.of("Model")
    if not found:
        return ""
    chosen = rng.choice(found)
    chosen.spec["tags"][rng.choice(KEYS)] = _words(rng)
    if rng.random() < 0.5:
        chosen.spec["description"] = _words(rng)
    return f"~ {chosen.ref}"


def _change_data(world: World, rng: random.Random) -> str:
    found = world.of("Dataset")
    if not found:
        return ""
    chosen = rng.choice(found)
    chosen.data = _rows(rng)
    return f"~ {chosen.ref} (data)"


def _rows(rng: random.Random) -> str:
    return "id,value\n" + "".join(f"{index},{rng.randint(0, 10**9)}\n" for index in range(rng.randint(3, 200)))


def _words(rng: random.Random) -> str:
    return f"{rng.choice(WORDS)} {rng.randint(0, 10**6)}"
