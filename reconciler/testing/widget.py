"""Widget: a kind that exists for tests, and the shortest example of a complete controller. Its tool is `fake.FakeTool`.

Marks: the labels `installation`, `ref` and `digest`, set in the request that makes the thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from reconciler.controller import Context
from reconciler.diff import compare
from reconciler.errors import Conflict, Rejected, Terminal, Transient
from reconciler.model import (
    JSON,
    Absent,
    Change,
    Create,
    Diff,
    Done,
    Fields,
    Health,
    HealthReport,
    Mark,
    Observation,
    Outcome,
    Owned,
    Present,
    Ref,
    Replace,
    Resource,
    Started,
    Update,
    digest_of,
    manifest,
    output,
)
from reconciler.testing.fake import FakeTool, Thing
from schemas.base import Immutable, KindInfo, RefTo, ResourceName, Spec, marked


class WidgetSpec(Spec):
    """A thing with a size, a colour and parts."""

    size: Annotated[int, Field(ge=0)] = 1
    color: Annotated[str, Immutable] = "grey"
    """Cannot change: the tool has no call for it."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Ours key by key; people may add others in the tool."""
    parts: tuple[Annotated[ResourceName, RefTo("Widget")], ...] = ()
    """Other widgets; their serial numbers are written on this one."""
    slow: bool = False
    """True: the tool accepts it at once and takes its time."""


KIND = KindInfo(name="Widget", spec=WidgetSpec, scope="project", prune="auto", summary="A thing in the fake tool, for tests.")
IMMUTABLE = marked(WidgetSpec, Immutable)
NAME = "metadata.name"


class WidgetController:
    """See `reconciler.controller.Controller`."""

    info = KIND
    tool = "fake"
    services: tuple[str, ...] = ()

    def __init__(self, tool: FakeTool) -> None:
        self._tool = tool

    def observe(self, resources: Sequence[Resource[WidgetSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        wanted = {each.ref.path: each.ref for each in resources}
        seen: dict[Ref, Observation] = {ref: Absent() for ref in wanted.values()}
        for thing in self._all(ctx):
            present = _present(thing)
            if thing.stage == "deleted":
                continue  # its name is still taken: `_create` takes it out of the trash
            if thing.name in wanted:
                seen[wanted[thing.name]] = present
            elif present.mark is not None and present.mark.installation == ctx.installation:
                ref = Ref.parse(present.mark.ref, [KIND.name])
                if ref is not None and not isinstance(seen.get(ref), Present):
                    seen[ref] = present  # an orphan; or, when it was asked for, a thing that goes by another name now
        return seen

    def desired(self, resource: Resource[WidgetSpec]) -> Fields:
        spec = resource.spec
        parts = {ref.name: output(resource.inputs.get(ref, {}), "serial") for ref in resource.references if ref.kind == KIND.name}
        return {"size": spec.size, "color": spec.color, "tags": dict(spec.tags), "parts": parts}

    def diff(self, resource: Resource[WidgetSpec], seen: Present) -> Diff:
        changes = compare(self.desired(resource), seen.fields, resource.last, immutable=IMMUTABLE)
        if seen.raw["name"] != resource.ref.path:
            changes = (Change(NAME, seen.raw["name"], resource.ref.path, note="renamed in the tool"), *changes)
        return changes

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        resource: Resource[Any] = action.resource
        wanted = self.desired(resource)
        match action:
            case Update(seen=seen):
                thing = self._update(action, wanted, ctx)
            case Replace(seen=seen):
                # The name stays reserved in the trash, so the old one gives it up first.
                self._tool.rename(ctx.wire, seen.external_id, f"{resource.ref.path}@replaced-{seen.external_id}")
                self._tool.delete(ctx.wire, seen.external_id)
                thing = self._create(resource, wanted, ctx)
            case Create():
                thing = self._create(resource, wanted, ctx)
        if thing.busy:
            return Started(thing.id)
        return Done(thing.id, _outputs(thing))

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        thing = next((each for each in self._all(ctx) if each.id == owned.external_id and each.stage == "active"), None)
        if thing is not None:
            if thing.labels.get("installation") != ctx.installation:
                raise Conflict(f"{thing.name} no longer carries this installation's mark; it was left alone")
            self._tool.delete(ctx.wire, thing.id)
        return Done(owned.external_id)

    def move(self, owned: Owned, resource: Resource[Any], ctx: Context) -> Outcome:
        """See `reconciler.controller.Moves`."""
        things = [each for each in self._all(ctx) if each.stage == "active"]
        thing = next((each for each in things if each.id == owned.external_id), None)
        if thing is None:
            raise Transient(f"thing {owned.external_id} is not there any more")
        marks = [(ctx.installation, str(ref)) for ref in (owned.ref, resource.ref)]
        if (thing.labels.get("installation"), thing.labels.get("ref")) not in marks:
            raise Conflict(f"{thing.name} no longer carries this installation's mark; it was left alone")
        if any(each.name == resource.ref.path and each.id != thing.id for each in things):
            raise Conflict(f"there is another thing named {resource.ref.path}")
        if thing.name != resource.ref.path:
            self._tool.rename(ctx.wire, thing.id, resource.ref.path)
        if thing.labels["ref"] != str(resource.ref):
            self._tool.update(ctx.wire, thing.id, {}, {"ref": str(resource.ref)})
        return Done(thing.id, _outputs(thing))

    def health(self, resource: Resource[WidgetSpec], seen: Present) -> HealthReport:
        if seen.raw["busy"]:
            return HealthReport(Health.PROGRESSING, "the tool is still at it")
        return HealthReport(Health.HEALTHY)

    def found(self, ctx: Context) -> Sequence[str]:
        return [each.name for each in self._all(ctx) if each.stage == "active"]

    def export(self, external_id: str, ctx: Context) -> Mapping[str, JSON]:
        thing = next((each for each in self._all(ctx) if each.stage == "active" and each.name == external_id), None)
        if thing is None:
            raise Terminal(f"the tool has no thing named '{external_id}'")
        project, _, name = thing.name.partition("/")
        mark = _present(thing).mark
        ref = Ref(KIND.name, project, name)
        adopt = mark is None or (mark.installation, mark.ref) != (ctx.installation, str(ref))
        return manifest(ref, {**thing.fields, "parts": sorted(thing.fields.get("parts", {}))}, adopt=adopt)

    def _all(self, ctx: Context) -> list[Thing]:
        found, token = self._tool.page(ctx.wire)
        while token:
            more, token = self._tool.page(ctx.wire, token)
            found += more
        return found

    def _create(self, resource: Resource[WidgetSpec], wanted: Fields, ctx: Context) -> Thing:
        labels = _labels(resource.ref, wanted, ctx)
        try:
            return self._tool.create(ctx.wire, resource.ref.path, wanted, labels, busy=resource.spec.slow)
        except Conflict:
            # An answer that was lost, a pass that was killed, or a thing in the trash: ours by its mark, then it is the one we wanted.
            found = next((each for each in self._all(ctx) if each.name == resource.ref.path), None)
            if found is None or (found.labels.get("installation"), found.labels.get("ref")) != (ctx.installation, str(resource.ref)):
                raise
            if found.fields.get("color") != wanted["color"]:
                raise Rejected(f"{found.name} exists with another colour, which cannot change") from None
            if found.stage == "deleted":
                self._tool.restore(ctx.wire, found.id)
            if found.fields == wanted:
                return found
            return self._tool.update(ctx.wire, found.id, wanted, labels)

    def _update(self, action: Update, wanted: Fields, ctx: Context) -> Thing:
        if any(each.path == NAME for each in action.changes):
            self._tool.rename(ctx.wire, action.seen.external_id, action.ref.path)
        fields: dict[str, JSON] = {}
        for change in action.changes:
            parts = change.path.split(".", 2)[1:]
            if parts[0] in ("tags", "parts"):
                group: dict[str, JSON] = dict(fields[parts[0]] if parts[0] in fields else action.seen.fields.get(parts[0], {}))
                for name in parts[1:]:
                    if change.want is None:
                        group.pop(name, None)
                    else:
                        group[name] = change.want
                fields[parts[0]] = group
            elif parts[0] in wanted:
                fields[parts[0]] = change.want
        return self._tool.update(ctx.wire, action.seen.external_id, fields, _labels(action.ref, wanted, ctx))


def _labels(ref: Ref, wanted: Fields, ctx: Context) -> dict[str, str]:
    return {"installation": ctx.installation, "ref": str(ref), "digest": digest_of(wanted)[:16]}


def _outputs(thing: Thing) -> dict[str, str]:
    return {"serial": f"{thing.id}-{thing.fields.get('color', '')}"}


def _present(thing: Thing) -> Present:
    mark = Mark(thing.labels["installation"], thing.labels["ref"], thing.labels.get("digest", "")) if "ref" in thing.labels else None
    return Present(thing.id, thing.fields, _outputs(thing), mark, raw={"busy": thing.busy, "name": thing.name})
