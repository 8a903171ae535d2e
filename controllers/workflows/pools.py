"""The pool of a project: how many of its tasks may be in flight. Shrunk at once, restored step by step."""

from __future__ import annotations

from controllers.workflows.compiling import pool_name
from controllers.workflows.looking import Sight
from reconciler.model import JSON, Ref

SHRUNK, CALM = "poolShrunk", "poolCalm"
"""In the notebook of the project: the pool was made smaller for heat or pressure; since when there has been more room (Unix seconds)."""
CALM_SECONDS = 20.0
"""Heat has its own hysteresis (`reconciler.hardware.filter`); this keeps the pool from following each of its steps up."""
STEPS = 2
"""In which a pool grows back to its full size."""


def pool_of(ref: Ref, look: Sight) -> dict[str, JSON]:
    """`have` (None: there is none), `want`, `full`, `deferred` and `why` it is smaller than by quota."""
    there, slots, page = (
        look.pools.get(pool_name(look.ctx.installation, ref)),
        look.ctx.slots(str(ref.project)),
        look.ctx.memo(Ref("Project", None, str(ref.project))),
    )
    have, want, why = there.slots if there else None, slots.now, slots.why
    if have is not None and want < have:
        page[SHRUNK] = bool(slots.why)
        page.pop(CALM, None)
    elif have is not None and want > have and page.get(SHRUNK):
        page.setdefault(CALM, look.at)
        if look.at - float(page[CALM]) >= CALM_SECONDS:
            want = min(want, have + max(1, slots.full // STEPS))
            page[CALM] = look.at
        else:
            want = have
        why = why or "restored step by step"
    elif SHRUNK in page and want == slots.full:
        page.pop(SHRUNK, None)
        page.pop(CALM, None)
    return {"have": have, "want": want, "full": slots.full, "deferred": there.deferred if there else False, "why": why}
