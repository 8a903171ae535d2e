"""Which revision a manifest and a model lead to, and what makes it another one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from controllers.serving.revision import MIB, WORKER_MIB, Wanted, found, kept, read, wanted
from reconciler.model import KNOWN_AFTER_APPLY, Amounts, Ref, Resource
from reconciler.model.runtimes import Machine
from reconciler.model.serving import Target
from reconciler.testing import make_resource
from schemas.deployment import KIND

MODEL = Ref("Model", "demo", "tree")
MACHINE = Machine(packages={"scikit-learn": "1.9.1", "mlx": "0.32.4"})
FACTS = {
    "run": "r3",
    "digest": "d3",
    "source": "1/r3/artifacts/model",
    "signature": "",
    "publicKey": "",
    "datasets": '{"digits": "abc"}',
    "memory": str(400 * MIB),
    "runtimes": '["sklearn"]',
    "needs": '{"madeWith": {"scikit-learn": "1.9.0"}, "python": "", "packages": {}, "metal": "preferred"}',
}
GIVEN = {"alias": "champion", "version": "3", "versions": "{}", **FACTS}


def resource(spec: dict[str, Any] | None = None, given: dict[str, str] | None = None) -> Resource[Any]:
    made = make_resource(KIND, "search", {"model": "tree@champion", **(spec or {})}, references=[MODEL])
    return replace(made, inputs={MODEL: GIVEN if given is None else given})


def aim(spec: dict[str, Any] | None = None, given: dict[str, str] | None = None, code: str = "", machine: Machine = MACHINE) -> Wanted:
    return wanted(resource(spec, given), code, "", machine)


def test_it_holds_all_that_is_needed_to_make_it_again() -> None:
    revision = aim().revision
    assert revision is not None
    assert (revision.model, revision.version, revision.run, revision.content) == ("demo/tree", "3", "r3", "d3")
    assert (revision.runtime, revision.datasets) == ("sklearn", {"digits": "abc"})
    assert revision.amounts == Amounts((500 + WORKER_MIB) * MIB, 100)  # a quarter more than the trial was measured to need
    assert read(json.loads(json.dumps(kept(revision)))) == revision


@pytest.mark.parametrize(
    ("spec", "given", "code", "same"),
    [
        ({}, {"run": "r4", "version": "4"}, "", True),  # the same files, registered once more
        ({"replicas": {"min": 3}, "auth": "none"}, {}, "", True),
        ({"limits": {"timeout": "3s"}, "rollout": {"gates": {"latency": "50ms"}}}, {}, "", True),
        ({}, {"digest": "other"}, "", False),
        ({}, {}, "other", False),
        ({"env": {"A": "1"}}, {}, "", False),
        ({"resources": {"memory": "1Gi"}}, {}, "", False),
        ({}, {"memory": str(600 * MIB)}, "", False),
        ({}, {"runtimes": '["sklearn", "mlx"]'}, "", False),  # MLX goes first
    ],
)
def test_what_makes_it_another_one(spec: dict[str, Any], given: dict[str, str], code: str, same: bool) -> None:
    assert (aim(spec, {**GIVEN, **given}, code).digest == aim().digest) is same


@pytest.mark.parametrize(
    ("model", "given", "reason", "said"),
    [
        ("tree@champion", {"*": KNOWN_AFTER_APPLY}, "NotKnownYet", "is not known yet"),
        ("tree@champion", {"version": ""}, "WaitingForModel", "has no version that holds its alias yet"),
        ("tree@best", {}, "CannotServe", "has the alias `champion`, not `best`: write `@champion`"),
        ("tree@7", {"versions": '{"2": {}, "10": {}}'}, "WaitingForModel", "has no version 7; it has 2, 10"),
        ("tree@2", {"versions": '{"2": {"quarantined": "bad labels"}}'}, "WaitingForModel", "version 2 into quarantine: bad labels"),
        ("tree", {"runtimes": '["torch"]'}, "CannotServe", "`torch` needs torch"),
        ("tree", {"needs": '{"metal": "required"}'}, "CannotServe", "needs Metal"),
    ],
)
def test_why_there_is_none(model: str, given: dict[str, str], reason: str, said: str) -> None:
    told = aim({"model": model}, {**GIVEN, **given} if "*" not in given else given)
    assert (told.digest, told.reason) == ("", reason)
    assert said in told.why
    assert told.final is (reason == "CannotServe")


def test_a_version_by_number_is_that_version_whoever_has_the_alias() -> None:
    older = {**FACTS, "run": "r2", "digest": "d2", "verdict": "pass", "quarantined": ""}
    revision = aim({"model": "tree@2"}, {**GIVEN, "versions": json.dumps({"2": older})}).revision
    assert revision is not None
    assert (revision.version, revision.run, revision.content) == ("2", "r2", "d2")


def test_an_own_service_needs_no_runtime_of_the_model() -> None:
    service = {"class": "service:Search", "code": ["service.py"]}
    revision = aim({"service": service}, {**GIVEN, "runtimes": '["torch"]'}, "c0de").revision
    assert revision is not None
    package = revision.package(Ref("Deployment", "demo", "search"), "/files", "/code", "here")
    assert (package.runtime, package.service, package.root, package.code) == ("bento", "service:Search", "/code", ("service.py",))
    assert wanted(resource({"service": service}), "", "there is no service.py", MACHINE).why == "there is no service.py"


def test_what_a_route_and_an_application_tell_is_enough_to_go_on() -> None:
    target = Target("app", 100, "stable", "3", "demo/tree", "r3", "d" * 64, "sklearn")
    revision = found(target, {"bento": "demo.search:dddd", "memory": 5, "cpu": 100, "model_digest": "d3"})
    assert (revision.digest, revision.bento, revision.amounts, revision.content) == ("d" * 64, "demo.search:dddd", Amounts(5, 100), "d3")
