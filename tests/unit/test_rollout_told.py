"""What a plan and a status say of a deployment, and what is worked out from all that is known of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from controllers.serving import replicas, telling
from controllers.serving.gates import Baseline
from controllers.serving.revision import wanted
from controllers.serving.rollout import App, Facts, State
from controllers.serving.scaling import Fewer
from controllers.serving.scene import Notes, Refused, Scene, follow, noted, written
from reconciler.model import Health, Limits, Resource
from reconciler.model.serving import BOUNDS, AppStats, RouteStats
from tests.unit.test_rollout_revision import GIVEN, MACHINE, resource

NOW = 1000.0
GIB = 1 << 30
CANARY = {
    "strategy": "canary",
    "steps": [{"weight": 10, "hold": "5m"}, {"weight": 50}],
    "gates": {"errorRate": 0.02, "latency": "50ms"},
}


def facts(**apps: App) -> Facts:
    return Facts(NOW, "g1", 7, {}, apps)


def carried(of: Resource[Any], scene: Scene) -> Scene:
    """As it is after what follows was carried out."""
    then = follow(of, scene)
    packaged = {digest: replace(each, bento=each.bento or f"b:{digest[:8]}") for digest, each in then.revisions.items()}
    state = replace(then.state, retiring={digest: at or 99 for digest, at in then.state.retiring.items()})
    return replace(scene, notes=replace(scene.notes, state=state, revisions=packaged, replicas=then.replicas), route=then.route)


def blank() -> Scene:
    return Scene(facts(), machine=MACHINE)


def version(number: str, spec: dict[str, Any] | None = None) -> Resource[Any]:
    return resource(spec, {**GIVEN, "version": number, "digest": f"files{number}"})


def digest(of: Resource[Any]) -> str:
    return wanted(of, "", "", MACHINE).digest


def serving(of: Resource[Any]) -> Scene:
    """One replica of it, up and as desired."""
    scene = carried(of, blank())
    scene = replace(scene, facts=facts(**{digest(of): App(ready=1, declared=1, running=1, begun=1.0)}), stats=RouteStats())
    return carried(of, scene)


def said(of: Resource[Any], scene: Scene) -> list[tuple[str, Any, Any]]:
    return [(each.path, each.have, each.want) for each in telling.changes(scene, follow(of, scene))]


def health(of: Resource[Any], scene: Scene) -> tuple[Health, str, str]:
    told = telling.health(of, scene, follow(of, scene))
    return told.health, told.reason, told.message


def test_the_notebook_survives_being_written() -> None:
    scene = carried(version("2", {"rollout": CANARY}), serving(version("1")))
    notes = replace(
        scene.notes,
        fewer=Fewer(3.0, 1),
        refused=Refused("x", "tampered", 2.0),
        begun={"a": 1.5},
        state=replace(
            scene.notes.state, baseline=Baseline.of("g1", AppStats(requests=3)), retiring={"y": 4}, good=("z",), quarantined={"q": "bad"}
        ),
    )
    assert noted(json.loads(json.dumps(written(notes)))) == notes
    assert noted({}) == Notes()


def test_what_is_as_desired_says_nothing() -> None:
    one = version("1")
    assert said(one, serving(one)) == []
    assert health(one, serving(one)) == (Health.HEALTHY, "", "v1 on 1 replica (sklearn), 100 %")


def test_a_first_version_starts_and_answers() -> None:
    one = version("1")
    assert said(one, blank()) == [("version", None, "1")]
    scene = carried(one, blank())
    assert [each.ref.key for each in replicas.children(one, scene, follow(one, scene))] == [f"{digest(one)[:8]}-0"]
    assert health(one, scene)[:2] == (Health.PROGRESSING, "Starting")
    up = replace(scene, facts=facts(**{digest(one): App(ready=1, declared=1)}))
    assert said(one, up) == [("rollout", "starting", "100 %")]


def test_a_canary_is_told_step_by_step() -> None:
    one, two = version("1"), version("2", {"rollout": CANARY})
    old, new = digest(one), digest(two)
    scene = serving(one)
    assert ("version", "1", "2") in said(two, scene)
    scene = carried(two, scene)
    assert health(two, scene)[2] == "v2 starts beside v1: 0 of 1 replicas ready"
    up = {old: App(ready=1, declared=1, running=1), new: App(ready=1, declared=1, running=1)}
    scene = replace(scene, facts=facts(**up))
    assert said(two, scene) == [("rollout", "0 %", "10 %")]
    scene = carried(two, scene)
    latency = tuple(100 if each == BOUNDS.index(0.05) else 0 for each in range(len(BOUNDS) + 1))
    up[new] = replace(up[new], stats=AppStats(requests=100, latency=latency))
    scene = replace(scene, facts=replace(facts(**up), now=NOW + 60))
    assert said(two, scene) == []
    assert health(two, scene) == (
        Health.PROGRESSING,
        "RollingOut",
        "canary at 10 %, hold 4 min left, errors 0.0 % (limit 2 %), p95 49 ms (limit 50)",
    )
    up[new] = replace(up[new], stats=AppStats(requests=100, errors=12, latency=latency))
    scene = replace(scene, facts=facts(**up))
    assert said(two, scene) == [("rollout", "10 %", "0 %")]
    scene = carried(two, scene)
    assert health(two, scene) == (Health.DEGRADED, "RolledBack", "v2 was taken back: errors 12.0 % (limit 2 %); v1 serves")
    assert said(two, scene) == []


def test_no_room_for_both_is_told_with_the_downtime_and_one_that_never_fits_unloads_nothing() -> None:
    one, two = version("1"), version("2")
    scene = replace(serving(one), room=Limits(memory=700 << 20), margin=0.15)
    [change] = telling.changes(scene, follow(two, scene))
    assert "v1 ends first: no answers until v2 is up" in change.note
    assert follow(two, scene).route.wakes
    assert [each.spec.revision for each in replicas.children(two, scene, follow(two, scene))] == [digest(one), digest(two)]
    packaged = carried(two, scene)
    assert [each.spec.revision for each in replicas.children(two, packaged, follow(two, packaged))] == [digest(two)]
    tight = replace(scene, room=Limits(memory=400 << 20))
    assert not follow(two, tight).terms.unloads
    roomy = replace(scene, room=Limits(memory=4 * GIB))
    assert not follow(two, roomy).terms.unloads
    assert follow(version("2", {"rollout": {"surge": "never"}}), roomy).terms.unloads
    assert not follow(version("2", {"rollout": {"surge": "always"}}), scene).terms.unloads


def test_what_could_not_be_packaged_is_left_alone_for_a_while_and_then_tried_again() -> None:
    one, two = version("1"), version("2")
    scene = serving(one)
    scene = replace(scene, notes=replace(scene.notes, refused=Refused(digest(two), "model.py was changed", NOW)))
    assert said(two, scene) == []
    assert health(two, scene) == (Health.DEGRADED, "Refused", "v2 is refused: model.py was changed; v1 serves")
    later = replace(scene, facts=replace(scene.facts, now=NOW + 601))
    assert ("version", "1", "2") in said(two, later)


def test_settings_and_drift_are_told_by_name() -> None:
    one = version("1")
    scene = serving(one)
    other = version("1", {"limits": {"batch": 5}, "auth": "none"})
    assert said(other, scene) == [("spec.auth", "key", "none"), ("spec.limits.batch", 1000, 5)]
    assert scene.route is not None
    by_hand = replace(scene, route=replace(scene.route, targets=(replace(scene.route.targets[0], weight=5),)))
    assert [path for path, _, _ in said(one, by_hand)] == ["weights"]
    assert [path for path, _, _ in said(one, replace(scene, route=None))] == ["route"]
    assert [path for path, _, _ in said(one, replace(scene, gone=frozenset({digest(one)})))] == ["package"]


def test_the_same_files_under_another_number_are_no_new_revision() -> None:
    one = version("1")
    again = resource(None, {**GIVEN, "version": "9", "digest": "files1", "run": "r9"})
    assert said(again, serving(one)) == [("version", "1", "9")]
    assert follow(again, serving(one)).state == serving(one).notes.state


def test_load_changes_the_number_of_replicas_and_a_quiet_one_goes_to_zero() -> None:
    busy = version("1", {"replicas": {"min": 0, "max": 3, "targetOngoing": 2}})
    scene = replace(serving(busy), stats=RouteStats(load=5.0, ongoing=5))
    assert ("replicas", 1, 3) in said(busy, scene)
    assert len(replicas.children(busy, scene, follow(busy, scene))) == 3
    assert follow(busy, scene).route.wakes, "who woke it waits for the replica that is on its way"
    assert follow(busy, scene).route.wakes_above == 0.0
    assert follow(busy, serving(busy)).route.wakes_above == 2.0
    quiet = carried(busy, replace(serving(busy), stats=RouteStats(idle=900.0)))
    assert replicas.children(busy, quiet, follow(busy, quiet)) == []
    assert quiet.route is not None
    assert quiet.route.wakes
    assert health(busy, quiet)[2] == "v1 (sklearn) at zero replicas; the next request starts one"


def test_an_inactive_project_runs_nothing_and_keeps_its_route() -> None:
    one = version("1")
    scene = replace(serving(one), inactive="project demo is not active")
    assert [path for path, _, _ in said(one, scene)] == ["spec.off"]
    assert replicas.children(one, scene, follow(one, scene)) == []
    assert follow(one, scene).route.targets
    assert health(one, scene)[:2] == (Health.SUSPENDED, "ProjectInactive")


def test_one_that_serve_has_given_up_is_started_once_more_after_a_while() -> None:
    one = version("1")
    dead = App(declared=1, failed="out of memory", given_up=True, begun=NOW - 30)
    scene = replace(serving(one), facts=facts(**{digest(one): dead}))
    [child] = replicas.children(one, scene, follow(one, scene))
    assert child.spec.restart == ""
    assert health(one, scene) == (Health.DEGRADED, "ReplicasFailed", "v1: out of memory")
    scene = replace(scene, facts=replace(scene.facts, now=NOW + 60))
    [child] = replicas.children(one, scene, follow(one, scene))
    assert child.spec.restart == "out of memory"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"version": ""}, (Health.PROGRESSING, "WaitingForModel")),
        ({"runtimes": '["torch"]'}, (Health.DEGRADED, "CannotServe")),
    ],
)
def test_without_a_version_there_is_a_route_and_a_reason(given: dict[str, str], expected: tuple[Health, str]) -> None:
    none = resource(None, {**GIVEN, **given})
    scene = carried(none, blank())
    assert scene.route is not None
    assert scene.notes.state == State()
    assert said(none, scene) == []
    assert health(none, scene)[:2] == expected
