"""How a model is, in words. Pure."""

from __future__ import annotations

from controllers.models.deciding import Decision, Judged, decide, told
from controllers.models.gates import number
from controllers.models.scene import Scene
from controllers.models.trials import How
from controllers.runs.standing import lives
from reconciler.model import Health, HealthReport, Resource
from schemas.model import ModelSpec


def health(resource: Resource[ModelSpec], scene: Scene) -> HealthReport:
    """From what was decided. A model without a champion is as far as its best run; one that has a champion is as well as that."""
    if scene.trouble and resource.spec.sign is not None:
        return HealthReport(Health.DEGRADED, scene.trouble, "CannotSign")
    decision = decide(resource, scene)
    on_its_way = _moving(scene, decision)
    if on_its_way is not None:
        return on_its_way
    if decision.refused:
        return HealthReport(Health.DEGRADED, decision.refused, "ApprovalRefused", stalled=True)
    champion = decision.champion
    if champion is None:
        return _without(resource, scene, decision)
    if champion.state == "fail":
        message = f"{told(champion)} has the alias, and {champion.why}; {_others(decision, champion)}"
        return HealthReport(Health.DEGRADED, message, "ChampionFails", stalled=True)
    line = f"{told(champion)}{_value(decision, champion)}, {resource.spec.alias}"
    if decision.waits is not None:
        return HealthReport(Health.HEALTHY, f"{line}; {_approval(decision, decision.waits)}", "AwaitingApproval")
    if held := next((each for each in (champion, *decision.walked) if each.state == "hold"), None):
        return HealthReport(Health.HEALTHY, f"{line}; no verdict on {told(held)}: {held.why}", "NoVerdict")
    if failed := next((each for each in decision.walked if each.state == "fail" and each.number != champion.number), None):
        return HealthReport(Health.HEALTHY, f"{line}; {told(failed)}{_value(decision, failed)} does not pass: {failed.why}", "BetterFails")
    return HealthReport(Health.HEALTHY, line)


def _moving(scene: Scene, decision: Decision) -> HealthReport | None:
    """What will be known by itself is waited for; None = nothing is."""
    if not scene.there or scene.awaited:
        what = "its runs" if scene.there else "which is not there yet"
        message = f"waits for {what} of {scene.experiment}" if scene.there else f"waits for {scene.experiment}, {what}"
        return HealthReport(Health.PROGRESSING, message, "WaitingForRuns")
    if decision.register is not None:
        return HealthReport(Health.PROGRESSING, "the best run becomes a version", "Registering")
    running = any(lives(each) for each in scene.jobs.values())
    tried = next((each for each in decision.judged if each.trial.how in (How.RUNS, How.WANTED) and not each.refused), None)
    if running or tried is not None:
        whom = told(tried) if tried is not None else "a version"
        return HealthReport(Health.PROGRESSING, f"{whom} is tried: loaded as it would be served, and asked", "Trial")
    if any(each.version is not None and each.trial.how is How.WAITS and not each.refused for each in decision.judged):
        return HealthReport(Health.PROGRESSING, "waits for the first version of its evaluation data", "WaitingForData")
    return None


def _without(resource: Resource[ModelSpec], scene: Scene, decision: Decision) -> HealthReport:
    if decision.waits is not None:
        return HealthReport(Health.SUSPENDED, _approval(decision, decision.waits), "AwaitingApproval")
    if not decision.walked:
        return HealthReport(Health.DEGRADED, _nothing(resource, scene, decision.metric), "NoCandidate", stalled=True)
    last = decision.walked[-1]
    if last.state == "hold":
        return HealthReport(Health.DEGRADED, f"no verdict on {told(last)}{_value(decision, last)}: {last.why}", "NoVerdict", stalled=True)
    if last.state == "pass":
        return HealthReport(Health.PROGRESSING, f"{told(last)} passes, and gets the alias", "Promoting")
    best = decision.walked[0]
    message = f"no run passes: of the best, {told(best)}{_value(decision, best)}, {best.why}"
    return HealthReport(Health.DEGRADED, message, "NoRunPasses", stalled=True)


def _nothing(resource: Resource[ModelSpec], scene: Scene, metric: str) -> str:
    """Why no run competes."""
    if not any(each.status == "FINISHED" and not each.deleted for each in scene.runs):
        return f"no run of {scene.experiment} has finished"
    chosen = " with the parameters of spec.select" if resource.spec.select.params else ""
    return f"no finished run of {scene.experiment}{chosen}" + (f" has logged `{metric}`" if metric else " is there")


def _others(decision: Decision, champion: Judged) -> str:
    others = [each for each in decision.walked if each.number != champion.number]
    return f"nor does {told(others[0])} pass: {others[0].why}" if others else "there is no other run"


def _approval(decision: Decision, judged: Judged) -> str:
    return f'{told(judged)}{_value(decision, judged)} passes; a reviewed commit lets it through: `approved: "{judged.number}"` in its spec'


def _value(decision: Decision, judged: Judged) -> str:
    return f" ({decision.metric} {number(judged.value)})" if decision.metric and judged.value is not None else ""
