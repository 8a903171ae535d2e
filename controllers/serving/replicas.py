"""The replicas of a deployment as children: which must be there, what each asks for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controllers.serving.scene import Following, Scene
from reconciler.model import Demand, Ref, Resource, digest_of
from reconciler.model.demand import Amounts
from schemas.base import Spec
from schemas.deployment import DeploymentSpec

DIGITS = 8
"""Of a revision's digest in a child's name."""
RESTART_SECONDS = 60.0
"""After the last start, before one that Serve has given up is started once more."""


class ReplicaSpec(Spec):
    """One replica of one revision."""

    revision: str
    """Its digest."""
    slot: int
    memory: int
    """Bytes."""
    cpu: int
    """Thousandths of a core."""
    gpu: int = 0
    watts: int = 0
    label: str = ""
    """Of the revision, for people."""
    restart: str = ""
    """Why its application is to be started once more: Serve has given it up, and it is the one that should serve."""

    @property
    def amounts(self) -> Amounts:
        return Amounts(self.memory, self.cpu, self.gpu, self.watts)


def name(revision: str, slot: int) -> str:
    """A child's key: `3fa9c2e1-0`."""
    return f"{revision[:DIGITS]}-{slot}"


def slot_of(ref: Ref) -> tuple[str, int] | None:
    """The first digits of the revision, and the slot, that a child's Ref names; None for another one."""
    revision, _, slot = ref.key.partition("-")
    return (revision, int(slot)) if revision and slot.isdecimal() else None


def children(resource: Resource[DeploymentSpec], scene: Scene, then: Following) -> Sequence[Resource[ReplicaSpec]]:
    """Every replica that must be there, as a resource of its own."""
    made: list[Resource[ReplicaSpec]] = []
    for digest, number in then.slots.items():
        revision = then.revisions.get(digest)
        amounts = revision.amounts if revision else Amounts()
        app = scene.facts.app(digest)
        again = app.given_up and digest == then.state.stable and scene.facts.now - app.begun > RESTART_SECONDS
        for slot in range(number):
            spec = ReplicaSpec(
                revision=digest, slot=slot, **amounts._asdict(), label=then.label(digest), restart=app.failed if again else ""
            )
            made.append(
                Resource(
                    ref=replace(resource.ref, key=name(digest, slot)),
                    spec=spec,
                    lifecycle=resource.lifecycle,
                    labels=resource.labels,
                    location=resource.location,
                    source=resource.source,
                    digest=digest_of(spec.model_dump(mode="json")),
                    prune="auto",
                    root=resource.root,
                    requires=(*resource.requires, resource.ref),
                )
            )
    return made


def demand(spec: ReplicaSpec) -> Demand:
    """A standing reservation for as long as the replica is wanted."""
    return Demand(work="serving", peak=spec.amounts, steady=spec.amounts, preemptible=False, declared=True)
