"""A workflow as it was seen: what is delivered, what Airflow has read of it, how its runs go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from controllers.workflows import looking, telling
from controllers.workflows.compiling import Compiled, compiled, digest_in
from controllers.workflows.looking import LAST, Sight
from controllers.workflows.pools import pool_of
from controllers.workflows.telling import FIRED
from reconciler.controller import Context
from reconciler.model import JSON, Mark, Present, Ref, Resource
from schemas.workflow import WorkflowSpec

AT = "deliveredAt"
"""In the notebook: when it was last delivered (Unix seconds)."""
AGAIN_SECONDS, LATER_SECONDS = 1.0, 5.0
"""After which it is looked at again: while Airflow reads it; while a run goes on, or its pool is small."""


def wanted(resource: Resource[Any], ctx: Context) -> Compiled:
    """What is to be delivered."""
    project = ctx.projects.get(resource.ref.owner)
    return compiled(resource, ctx.installation, ctx.state_dir, project.spec.owners if project else ())


def present(resource: Resource[WorkflowSpec], want: Compiled, look: Sight, first: bool) -> Present:
    """One that is there. `first`: it carries its project's pool."""
    ctx, dag, page = look.ctx, look.dags.get(want.dag), look.ctx.memo(resource.ref)
    delivered = look.delivered.get(want.dag)
    digest = delivered.digest if delivered else digest_in(dag.tags) if dag else ""
    is_read = dag is not None and not dag.stale and telling.read(dag.tags, digest)
    late = look.at - float(page.get(AT) or 0.0) > telling.LATE_SECONDS
    newest = looking.look_at(resource.ref, ctx)
    active = [each.id for each in look.active.get(want.dag, ())]
    raw: dict[str, JSON] = {
        "want": want.digest,
        "delivered": delivered.digest if delivered else "",
        "read": is_read,
        "lost": delivered is not None and not is_read and late and not look.errors,
        "error": look.errors if not is_read else "",
        "trouble": looking.trouble(ctx),
        "paused": dag.paused if is_read and dag else None,
        "active": active,
        "last": looking.told_of(newest, look) if newest is not None else page.get(LAST),
        FIRED: dict(page.get(FIRED) or {}),
        "pool": pool_of(resource.ref, look) if first and is_read else None,
    }
    mark = Mark(delivered.installation, delivered.ref, digest) if delivered else Mark(ctx.installation, str(resource.ref), digest)
    low = raw["pool"] is not None and raw["pool"]["want"] < raw["pool"]["full"]
    again = ctx.now() + timedelta(seconds=LATER_SECONDS if is_read else AGAIN_SECONDS)
    return Present(
        want.dag, {"digest": digest}, {"dag": want.dag}, mark, raw=raw, recheck_at=again if not is_read or active or low else None
    )


def orphans(look: Sight, wants: Mapping[Ref, Compiled]) -> Iterator[tuple[Ref, Present]]:
    """Ours, and nobody's: a spec that no manifest asks for, or a DAG that is left of one."""
    wanted = {each.dag for each in wants.values()}
    for dag in {*look.delivered, *look.dags} - wanted:
        spec, ref = look.delivered.get(dag), looking.ref_of(dag)
        if ref is not None and (spec is None or spec.installation == look.ctx.installation):
            yield ref, Present(dag, {"digest": spec.digest if spec else ""}, mark=Mark(look.ctx.installation, str(ref)), raw={})


class Everybodys(frozenset[str]):
    """Ids of the DAGs that Airflow has, whoever made them; listed once in a pass."""


def everybodys(ctx: Context) -> Everybodys:
    return ctx.client(Everybodys, lambda ctx: Everybodys(each.id for each in looking.sight(ctx).airflow.dags() if not each.stale))


def firsts(resources: Sequence[Resource[Any]], look: Sight) -> set[Ref]:
    """The one of each project that carries its pool."""
    first: dict[str, Ref] = {}
    asked = {each.ref for each in resources}
    ours = (dag for dag, each in look.delivered.items() if each.installation == look.ctx.installation)
    there = {ref for dag in ours if (ref := looking.ref_of(dag)) is not None}
    for ref in sorted(asked | there):
        first.setdefault(str(ref.project), ref)
    return set(first.values()) & asked
