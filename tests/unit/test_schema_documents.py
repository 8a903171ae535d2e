"""The schemas for editors: they take what is right and refuse what is wrong, as far as one document tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from reconciler.registry import discover
from reconciler.schemadocuments import patch_schema, policy_schema
from tests.docs.walkthrough import steps
from tests.unit.test_cli import reconcile

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
KINDS = discover().kinds
POLICY = jsonschema.Draft7Validator(policy_schema(KINDS.values()))
PATCH = jsonschema.Draft7Validator(patch_schema(KINDS.values()))
HEAD = {"apiVersion": "reconciler.mlops/v1"}


def wrong(check: jsonschema.Draft7Validator, document: Any) -> list[str]:
    return [f"{each.json_path}: {each.message}" for each in check.iter_errors(document)]


def documents(text: str) -> list[Any]:
    return [each for each in yaml.safe_load_all(text) if each is not None]


def shown(page: str, folder: str) -> list[str]:
    """The files below `folder` that a page of the docs writes."""
    return [each.text for each in steps((DOCS / page).read_text()) if each.file.startswith(folder)]


def named(given: Path | str) -> str:
    return given.stem if isinstance(given, Path) else "shown"


def patch(kind: str, spec: dict[str, Any] | None = None, name: str = "a", project: str = "p", **more: Any) -> dict[str, Any]:
    scope = {"project": project} if KINDS[kind].scope == "project" else {}
    return {**HEAD, "kind": kind, "metadata": {"name": name, **scope}, **({} if spec is None else {"spec": spec}), **more}


def test_both_are_schemas_and_the_command_writes_them(tmp_path: Path) -> None:
    for check, name in ((POLICY, "policy"), (PATCH, "Patch")):
        jsonschema.Draft7Validator.check_schema(check.schema)
        said = reconcile("schema", name, cwd=tmp_path)
        assert json.loads(said.stdout) == check.schema, said.stderr


RULES = [
    ROOT / "reconciler/guard/shipped.yaml",
    *(each for page in ("policy.md", "policy-commands.md") for each in shown(page, "policies/")),
]


@pytest.mark.parametrize("given", RULES, ids=named)
def test_files_of_rules_that_work_are_taken(given: Path | str) -> None:
    [document] = documents(given.read_text() if isinstance(given, Path) else given)
    assert not wrong(POLICY, document)


RULE = {"name": "small", "kinds": ["Dataset"], "deny": "true", "message": "no"}


@pytest.mark.parametrize(
    "rule",
    [
        {**RULE, "warn": "true"},
        {key: each for key, each in RULE.items() if key != "deny"},
        {key: each for key, each in RULE.items() if key != "message"},
        {**RULE, "deny": None},
        {**RULE, "deny": True},
        {**RULE, "owners": ["ada"]},
        {**RULE, "kinds": ["Datasets"]},
        {**RULE, "verbs": ["run"]},
        {**RULE, "name": "Small"},
        {**RULE, "wen": "true"},
    ],
    ids=json.dumps,
)
def test_a_rule_that_is_wrong_is_refused(rule: dict[str, Any]) -> None:
    assert not wrong(POLICY, {"rules": [RULE]})
    assert wrong(POLICY, {"rules": [rule]})


def test_what_is_no_file_of_rules_is_refused() -> None:
    test = {"name": "t", "actions": [{"ref": "dataset/p/a", "verb": "start", "by": "ada"}], "expect": {"dataset/p/a": ["deny small"]}}
    assert not wrong(POLICY, {"rules": [], "tests": [test]})
    for document in ([], {}, {"rules": {}}, {"rules": [], "test": []}, {"rules": [], "tests": [{**test, "expect": {"Dataset a": "deny"}}]}):
        assert wrong(POLICY, document), document


PATCHES = [
    ROOT / "manifests/overlays/workstation/all.yaml",
    *(each for name in ("dev", "prod") for each in shown("environments.md", f"manifests/overlays/{name}/all")),
]


@pytest.mark.parametrize("given", PATCHES, ids=named)
def test_overlays_that_work_are_taken(given: Path | str) -> None:
    found = documents(given.read_text() if isinstance(given, Path) else given)
    assert found
    assert not [one for each in found for one in wrong(PATCH, each)]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_manifest_says_a_patch_may_say_and_no_more(kind: str) -> None:
    assert not wrong(PATCH, patch(kind))
    for file in sorted((ROOT / "manifests/kinds" / kind.lower()).glob("*.yaml")):
        for document in documents(file.read_text()):
            assert not wrong(PATCH, document), file
            for name in document["spec"]:
                assert not wrong(PATCH, patch(document["kind"], {name: document["spec"][name]}))
            assert wrong(PATCH, patch(kind, {"speling": 1}))


UNSEEN = {"key-written-twice", "missing-part", "not-allowed", "patches-nothing", "patches-nothing-but-nearly", "reference-to-nothing"}
UNSEEN |= {"said-twice", "wide-patches-nothing"}
"""What only the manifests tell."""
GOLDEN = sorted(each for each in (ROOT / "tests/golden/overlays").glob("*.yaml") if each.stem != "not-yaml")


@pytest.mark.parametrize("file", GOLDEN, ids=lambda each: str(each.stem))
def test_patches_that_are_wrong_are_refused(file: Path) -> None:
    found = [one for each in documents(file.read_text()) for one in wrong(PATCH, each)]
    assert bool(found) is (file.stem not in UNSEEN)


@pytest.mark.parametrize(
    ("document", "fine"),
    [
        (patch("Dataset", {"versions": None}), True),
        (patch("Dataset", {"path": None}), False),
        (patch("Dataset", {"versions": 0}), False),
        (patch("Dataset", None, "*", "*", selector={"tier": "gold"}), True),
        (patch("Dataset", None, "*", "*", selector={"tier": 1}), False),
        (patch("Dataset", None, "a", "*", selector={"tier": "gold"}), False),
        (patch("Dataset", None, "A"), False),
        (patch("Platform", {"installation": "here", "policy": {"shipped": {"public-bind": "warn", "mass-deletion": None}}}), True),
        (patch("Platform", {"policy": {"shipped": {"public": "warn"}}}), False),
        (patch("ResourceQuota", {"nominal": {"memory": None, "cpu": 2}}), True),
        (patch("Experiment", {"runs": {"params": {"rank": [1, 2]}}}), True),
        (patch("Experiment", {"runs": {"resources": {"memory": "1 gig"}}}), False),
        (patch("Experiment", {"runs": None}, lifecycle=None), True),
        (patch("Workflow", {"tasks": [{"name": "a"}]}), True),
        (patch("Workflow", {"tasks": [{"command": "python a.py"}]}), False),
        (patch("AlertPolicy", {"receivers": [{"name": "w", "webhook": {"secret": {"fromEnv": "A"}}}]}), False),
        (patch("Platform", {"database": {"url": {"fromFile": "/run/dsn", "fromEnv": None}}}), True),
        ({**HEAD, "kind": "*", "metadata": {"name": "*", "project": "*"}, "spec": {"anything": 1}}, True),
        ({**HEAD, "kind": "*", "metadata": {"project": "*"}}, False),
    ],
    ids=json.dumps,
)
def test_a_patch_removes_and_names_and_leaves_lists_whole(document: dict[str, Any], fine: bool) -> None:
    found = wrong(PATCH, document)
    assert (not found) is fine, found
