"""Steps that wait for a resource to be as its manifest says: when they are answered, and with what."""

from __future__ import annotations

from collections.abc import Mapping

from controllers.workflows.asking import TaskSpec, target
from reconciler.controller import Context
from reconciler.exchange import Answer
from reconciler.model import KNOWN_AFTER_APPLY, Health, Outputs, Resource, Status, output
from schemas.taskgraph import OUTPUTS

JUDGED = ("NoRunPasses", "NoVerdict", "AwaitingApproval", "BetterFails", "ChampionFails", "NoCandidate")
"""Reasons with which a Model says that its best run was judged, whatever came of it (`controllers.models.telling`)."""
VERBS = {
    "dataset": "its data is a version",
    "experiment": "all its runs have finished",
    "evaluate": "its best run was judged",
    "promote": "its best run that passes has the alias",
    "deployment": "what it names is served",
    "monitor": "a window that ends from now on is judged",
}


def answer_to(child: Resource[TaskSpec], ctx: Context) -> Answer | None:
    """The answer to a step that waits; None while there is none.

    Only a pass that began after the step asked can tell: an earlier one saw the world as it was before."""
    spec, ref = child.spec, target(child.spec.work)
    if ref is None:
        return Answer(False, f"this version of the reconciler does not know the step {spec.work.get('step') or spec.work.get('do')!r}")
    late = spec.work.get("timeout")
    if late and ctx.now().timestamp() - spec.created > late:
        return Answer(False, f"{ref} was not so far in {late:.0f} s: {told(child, ctx)}")
    if ctx.told_since is None or ctx.told_since.timestamp() <= spec.created:
        return None
    status = ctx.told(ref)
    if status is None:  # a pass that only brought services up says nothing about it
        return None
    outputs = child.inputs.get(ref, {})
    if spec.work["step"] == "monitor":
        return _verdict(outputs, spec.created, status)
    if KNOWN_AFTER_APPLY in (output(outputs, name) for name in OUTPUTS[spec.work["step"]]):
        return None
    if _is_so(status, str(spec.work["step"])):
        found = {name: output(outputs, name) for name in OUTPUTS[spec.work["step"]]}
        return Answer(True, outputs={name: value for name, value in found.items() if value})
    if status.health is Health.DEGRADED or any(each.type == "Stalled" and each.status for each in status.conditions):
        return Answer(False, f"{ref}: {status.message}")
    return None


def _verdict(outputs: Outputs, asked: float, status: Status) -> Answer | None:
    """Of a monitor's last window, if it ended since; one without a verdict is waited past."""
    verdict, ended = output(outputs, "verdict"), output(outputs, "judged")
    if verdict not in ("pass", "fail") or not ended or float(ended) < asked:
        return None
    return Answer(verdict == "pass", "" if verdict == "pass" else f"{status.ref}: {status.message}", {"verdict": verdict})


def told(child: Resource[TaskSpec], ctx: Context | None = None) -> str:
    """What it waits for, in words that do not change from pass to pass."""
    ref = target(child.spec.work)
    waits = f"waits until {ref}: {VERBS.get(str(child.spec.work.get('step')), 'is ready')}"
    status = ctx.told(ref) if ctx is not None and ref is not None else None
    return f"{waits} ({status.message})" if status is not None and status.message and not status.ready else waits


def _is_so(status: Status, step: str) -> bool:
    reasons: Mapping[str, str] = {each.type: each.reason for each in status.conditions}
    if step == "evaluate" and reasons.get("Ready") in JUDGED:
        return True
    if step == "promote" and reasons.get("Compatible") in ("BetterFails", "NoVerdict", "AwaitingApproval"):
        return reasons["Compatible"] != "AwaitingApproval"
    return status.ready
