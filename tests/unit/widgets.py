"""Short ways to say what the tests of the pure middle talk about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from reconciler.bind import Bound
from reconciler.model import Absent, Change, Diff, Mark, Observation, Owned, Plan, Present, Ref, Resource, Source
from reconciler.plan import plan
from reconciler.policy import Policy
from reconciler.testing import make_resource
from reconciler.testing.widget import KIND

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HERE = "here"
"""The installation's id."""
ROOT = Source("root", "abc", complete=True, files=1, documents=9)
RED = Change("spec.color", "grey", "red", forces_replace=True)
BIG = Change("spec.size", 1, 2)


def ref(name: str, project: str = "p") -> Ref:
    return Ref("Widget", project, name)


def widget(name: str, *uses: str, project: str = "p", requires: Sequence[Ref] = (), **lifecycle: Any) -> Resource[Any]:
    """A desired widget that references the widgets `uses`."""
    references = [ref(each, project) for each in uses]
    spec = {"parts": list(uses)}
    return make_resource(KIND, name, spec, project=project, lifecycle=lifecycle, references=references, requires=requires)


def owned(name: str, *uses: str, project: str = "p", **more: Any) -> Owned:
    """What the inventory says of the widget that `there` shows."""
    usual: dict[str, Any] = {"source": "root", "digest": "d", "applied": {}, "prune": "auto"}
    return Owned(ref(name, project), f"id-{name}", references=tuple(ref(each, project) for each in uses), **{**usual, **more})


def mark(name: str, project: str = "p", installation: str = HERE) -> Mark:
    return Mark(installation, str(ref(name, project)))


def there(name: str, project: str = "p", **more: Any) -> Present:
    """The widget in the tool, ours."""
    usual: dict[str, Any] = {
        "fields": {},
        "outputs": {"serial": f"s-{name}"},
        "mark": mark(name, project),
        "raw": {"busy": False, "name": f"{project}/{name}"},
    }
    return Present(f"id-{name}", **{**usual, **more})


def inventory(*entries: Owned) -> dict[Ref, Owned]:
    return {each.ref: each for each in entries}


def policy(**more: Any) -> Policy:
    return Policy(**{"installation": HERE, "now": NOW, "sources": (ROOT,), **more})


def decide(
    resources: Sequence[Resource[Any]],
    seen: Mapping[str, Observation] | None = None,
    diffs: Mapping[str, Diff] | None = None,
    owns: Sequence[Owned] = (),
    **rules: Any,
) -> Plan:
    """The plan for `resources` in project p; what is not in `seen` is Absent."""
    observations: dict[Ref, Observation] = {each.ref: Absent() for each in resources}
    observations |= {ref(name): each for name, each in (seen or {}).items()}
    bound = Bound({each.ref: each for each in resources}, {ref(name): each for name, each in (diffs or {}).items()})
    return plan(bound, observations, inventory(*owns), policy(**rules))


def shown(found: Plan) -> dict[str, str]:
    """Name -> what happens: the action's class, and the reason of a Blocked."""
    return {each.ref.name: getattr(each, "reason", "") or type(each).__name__ for each in found.actions}
