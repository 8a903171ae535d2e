"""Proposals made by hand: one for each thing that a plan must be able to tell. Written out beside this file in every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reconciler.approval import Asked, Want, with_rules
from reconciler.guard.values import Finding, GuardRule, Ruled
from reconciler.loop import Proposal
from reconciler.model import (
    KNOWN_AFTER_APPLY,
    Action,
    Adopt,
    Blocked,
    Change,
    Create,
    Delete,
    Diagnostic,
    Keep,
    Location,
    Owned,
    Plan,
    Present,
    Ref,
    Replace,
    Resource,
    Source,
    Update,
)
from reconciler.policy import Policy
from reconciler.selection import Selection
from schemas.base import Lifecycle
from schemas.experiment import ExperimentSpec
from schemas.platform import PlatformSpec

FOLDER = Path(__file__).parent
PLATFORM = Ref("Platform", None, "toolkit")
SECRET = "hunter2-canary"
"""Stands on both sides of a secret change: must be in no output."""


def ref(text: str) -> Ref:
    """`experiment/p/name#key` -> Ref."""
    body, _, key = text.partition("#")
    kind, *rest = body.split("/")
    return Ref(kind.capitalize(), rest[0] if len(rest) == 2 else None, rest[-1], key or None)


def resource(text: str, at: str = "manifests/p.yaml:3", **more: Any) -> Resource[Any]:
    """A resource of which only name and place matter."""
    file, line = at.rsplit(":", 1)
    spec: Any = PlatformSpec.model_validate({"installation": "toolkit"}) if text.startswith("platform") else ExperimentSpec()
    made = Resource(ref(text), spec, Lifecycle(), {}, Location(file, int(line)), "root", "d" * 64, "confirm")
    return replace(made, **more)


def owned(text: str, at: str = "manifests/p.yaml:3") -> Owned:
    file, line = at.rsplit(":", 1)
    return Owned(ref(text), "7", "root", "d" * 64, {}, "confirm", location=Location(file, int(line)))


def proposal(actions: tuple[Action, ...], **more: Any) -> Proposal:
    """A proposal with these actions over an installation called toolkit."""
    confirmation = more.pop("confirmation", "")
    made = Proposal(
        plan=Plan(actions, more.pop("after", {}), confirmation),
        resources={PLATFORM: resource("platform/toolkit")},
        observations={},
        inventory={},
        sources=(Source("root", "3f9c2e1", True, 9, 61),),
        diagnostics=(),
        orphans=(),
        tools={"mlflow": "ok", "dvc": "ok"},
        seconds=0.6,
        calls=4,
        applied_revision="3f9c2e1",
        context=None,
        selection=Selection(),
    )
    return replace(made, **more)


SEEN = Present("7", {})
KEPT = tuple(Keep(ref(f"experiment/vision/kept-{number}")) for number in range(55))
DATA = "manifests/projects/lora-finetuning/data.yaml:3"

MIXED = proposal(
    (
        Update(
            resource("dataset/lora-finetuning/support-tickets", DATA),
            SEEN,
            (
                Change(
                    "spec.version",
                    "8f2e1c9a40d3b7e6f5a4938271605f41",
                    KNOWN_AFTER_APPLY,
                    note="tickets.parquet changed on disk: +1,204 rows, schema same (append)",
                ),
            ),
        ),
        Create(
            resource("experiment/lora-finetuning/rank-sweep", "manifests/projects/lora-finetuning/experiments.yaml:3"),
            (Change("spec.description", None, "Which rank is enough?"), Change("spec.tags.stage", None, "exploration")),
            "it was deleted outside the reconciler",
        ),
        Update(
            resource("experiment/clip-finetuning/search", "manifests/projects/clip-finetuning/experiments.yaml:21"),
            SEEN,
            (
                Change("spec.description", None, "Search by text"),
                Change("spec.tags.owner", "ann", None),
                Change("spec.techniques", ["clip"], ["clip", "lora"]),
            ),
        ),
        Replace(
            resource("experiment/vision/moved", "manifests/projects/vision/experiments.yaml:9"),
            SEEN,
            (Change("spec.artifactLocation", "s3://old/place", "s3://new/place", forces_replace=True),),
            "spec.artifactLocation cannot change in place",
        ),
        Adopt(resource("experiment/vision/legacy", "manifests/projects/vision/experiments.yaml:30"), SEEN, (), "lifecycle.adopt is set"),
        Blocked(
            ref("experiment/stable-diffusion/base"),
            "NotOurs",
            "someone else's: an existing experiment of this name does not carry this installation's mark",
            "to take it over: lifecycle.adopt: true",
            Adopt(resource("experiment/stable-diffusion/base", "manifests/projects/stable-diffusion/experiments.yaml:3"), SEEN, ()),
        ),
        Delete(owned("experiment/cpu-compression/old-probe"), "no manifest names it any more"),
        *KEPT,
    ),
    after={ref("experiment/lora-finetuning/rank-sweep"): (ref("dataset/lora-finetuning/support-tickets"),)},
    applied_revision="8b1d770",
)

SUSPECT_WHY = "12 of 61 resources of the installation would be deleted; more than 3 at once looks like a broken source"
SUSPECT = proposal(
    (
        *(
            Blocked(
                ref(f"dataset/vision/old-{number:02}"),
                "SourceSuspect",
                SUSPECT_WHY,
                "if it is meant: reconcile --confirm 5a12be77",
                Delete(owned(f"dataset/vision/old-{number:02}")),
                Location("manifests/vision.yaml", number * 7 + 1),
            )
            for number in range(12)
        ),
        Keep(ref("project/vision")),
    ),
    confirmation="5a12be77",
)

DOWN_WHY = "no answer from http://127.0.0.1:5000 within 5 s"
DOWN = proposal(
    (
        Blocked(ref("experiment/vision/one"), "ToolUnreachable", DOWN_WHY, "fix the tool, then reconcile again"),
        Blocked(ref("experiment/vision/two"), "ToolUnreachable", DOWN_WHY, "fix the tool, then reconcile again"),
        Keep(ref("dataset/vision/digits")),
    ),
    tools={"mlflow": DOWN_WHY, "dvc": "ok"},
    orphans=(ref("experiment/vision/forgotten"),),
)

MISTAKES = proposal(
    (Keep(ref("dataset/vision/digits")), Create(resource("experiment/vision/fine"))),
    sources=(Source("root", "3f9c2e1+dirty", False, 9, 61, "manifests/projects/clip/runs.yaml has errors"),),
    diagnostics=(
        Diagnostic(
            Location("manifests/projects/clip/serve.yaml", 8, 5),
            "unknown field",
            "spec.replcas",
            ref("experiment/clip/search"),
            "Did you mean `replicas`?",
        ),
        Diagnostic(
            Location("manifests/projects/clip/runs.yaml", 14, 9),
            "'2 gigs' is not a quantity",
            "spec.runs.resources.memory",
            ref("experiment/clip/probe"),
            "expected a number with Ki, Mi, Gi, Ti (2Gi) or k, M, G, T",
        ),
        Diagnostic(Location("manifests/projects/clip/runs.yaml", 2, 1), "a label is empty", severity="warning"),
    ),
)

CHANGED = (Change("spec.tags.owner", "somebody-else", "ann"),)
HELD = proposal(
    (
        Blocked(
            ref("experiment/vision/paused"),
            "Suspended",
            "labels are corrected by hand",
            "reconcile resume experiment/vision/paused",
            Update(resource("experiment/vision/paused"), SEEN, CHANGED),
        ),
        Blocked(
            ref("experiment/vision/watched"),
            "ObserveOnly",
            "lifecycle.mode is observe: differences are reported, never written",
            "",
            Update(resource("experiment/vision/watched", "manifests/p.yaml:9"), SEEN, CHANGED),
        ),
        Keep(ref("experiment/vision/released"), "ignored: spec.tags.stage (set by the release script)"),
        Keep(ref("experiment/vision/fine")),
    ),
)
YES = proposal(
    (
        Blocked(
            ref("experiment/vision/moved"),
            "ImmutableField",
            "spec.artifactLocation cannot change in place",
            "to delete it and create it again: reconcile --confirm experiment/vision/moved",
            Replace(resource("experiment/vision/moved"), SEEN, (Change("spec.artifactLocation", "s3://a", "s3://b", forces_replace=True),)),
        ),
        Delete(replace(owned("resourcequota/vision/share"), prune="auto"), "no manifest names it any more"),
        Delete(owned("dataset/vision/old"), "no manifest names it any more", confirmed=True),
        Keep(ref("project/vision")),
    ),
    confirmation="77c0ffee",
    selection=Selection(confirmed=frozenset({"0badcafe"})),
)

SHARE = GuardRule("unpinned-production-dataset", Location("shipped.yaml", 56), "warn", "true", "`spec.pin` holds one version", shipped=True)
REPLICAS = GuardRule("few-replicas", Location("policies/serving.yaml", 3), "deny", "true", "more than eight replicas")
FACES = GuardRule("faces", Location("policies/data.yaml", 9), "requireApproval", "true", "pictures of people", owners=("ada",))
CUT = GuardRule("cut", Location("policies/data.yaml", 14), "deny", "true", "never told")
SEARCH, PEOPLE, DIGITS = (ref(each) for each in ("experiment/clip/search", "dataset/vision/people", "dataset/vision/digits"))
RULED = Ruled.of(
    (
        Finding(REPLICAS, SEARCH),
        Finding(FACES, PEOPLE),
        Finding(CUT, ref("experiment/clip/probe"), 'Key not found in map : "lables"'),
        Finding(SHARE, PEOPLE),
        Finding(SHARE, DIGITS),
    )
)
WANTS = with_rules(Asked(), {PEOPLE: Want("d" * 64, str(Finding(FACES, PEOPLE)), frozenset({"ada"}))}, part=False)


def _held(action: Create | Update, at: Ruled | Asked) -> Blocked:
    found = at.hold(action, action.ref) if isinstance(at, Ruled) else at.hold(action, action.ref, ours=True)
    assert found is not None
    return found


POLICIES = proposal(
    (
        _held(Update(resource("experiment/clip/search"), SEEN, (Change("spec.replicas.max", 2, 12),)), RULED),
        _held(Create(resource("experiment/clip/probe", "manifests/p.yaml:9")), RULED),
        _held(Create(resource("dataset/vision/people", "manifests/v.yaml:3")), WANTS),
        Update(resource("dataset/vision/digits", "manifests/v.yaml:9"), SEEN, (Change("spec.push", False, True),)),
        Keep(ref("project/vision")),
    ),
    policy=Policy("toolkit", datetime(2026, 3, 1, tzinfo=UTC), (), asked=WANTS, ruled=RULED),
)

NASTY = "</details><script>alert(1)</script> | `x` @everyone [a](http://b) \x1b[31mred\x1b[0m \u202egnp.exe\r\n# head"
HOSTILE = proposal(
    (
        Update(
            resource("experiment/vision/odd", "manifests/o dd|`).yaml:3"),
            SEEN,
            (
                Change("spec.tags.a|b", NASTY, "``` end"),
                Change("spec.password", SECRET, SECRET, secret=True),
                Change("spec.description", "one long text " * 40, "one long text " * 20 + "CHANGED HERE " + "one long text " * 19),
            ),
            NASTY,
        ),
        Blocked(ref("experiment/vision/worse"), "NotOurs", NASTY, NASTY),
    ),
    tools={"mlflow": NASTY},
    applied_revision=NASTY,
    diagnostics=(Diagnostic(Location("manifests/x.yaml", 1, 1), "```` broken \x1b]0;title\x07", hint="<b>"),),
)

CASES: Mapping[str, Proposal] = {
    "nothing": proposal(KEPT),
    "mixed": MIXED,
    "suspect": SUSPECT,
    "tool-down": DOWN,
    "mistakes": MISTAKES,
    "hostile": HOSTILE,
    "held": HELD,
    "yes": YES,
    "policies": POLICIES,
}
