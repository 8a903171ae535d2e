"""A plan that `reconcile --dry-run -o json` wrote, as rules see it: what it says of the actions, and the manifests of now for the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

from reconciler.errors import UsageError
from reconciler.guard.facts import FORESEEN, Deed, Scene, declared_by, given_change, projects_of
from reconciler.model import Owned, Ref, Resource
from schemas.policy import Verb

VERBS = frozenset(get_args(Verb))
MOST = 64 << 20
"""Bytes of such a file."""


def scene_of(
    path: Path,
    resources: Mapping[Ref, Resource[Any]],
    inventory: Mapping[Ref, Owned],
    before: Mapping[Ref, Mapping[str, Any]],
    kinds: frozenset[str],
) -> Scene:
    """The scene of a plan in a file. Raises UsageError for a file that holds none."""
    plan = _plan(path)
    deeds = tuple(_deeds(plan, resources, inventory, kinds))
    total = sum(each for each in plan["totals"].values() if isinstance(each, int))
    return Scene(deeds, declared_by(resources, {each.ref for each in deeds}), projects_of(resources), before, total)


def _plan(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MOST:
            raise UsageError(f"{path} is too large for a plan", hint=f"{MOST >> 20} MiB at most")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} is not JSON", hint="`reconcile --dry-run -o json` writes one") from None
    plan = found.get("plan") if isinstance(found, dict) and found.get("kind") == "report" else found
    if not isinstance(plan, dict) or not isinstance(plan.get("actions"), list) or not isinstance(plan.get("totals"), dict):
        raise UsageError(f"{path} holds no plan", hint="`reconcile --dry-run -o json` writes one")
    return plan


def _deeds(
    plan: Mapping[str, Any], resources: Mapping[Ref, Resource[Any]], inventory: Mapping[Ref, Owned], kinds: frozenset[str]
) -> Iterator[Deed]:
    for each in plan["actions"]:
        verb = each.get("action")
        if verb == "blocked" and each.get("reason") in FORESEEN | {"PolicyDenied", "PolicyBroken"}:
            verb = each.get("wanted")
        ref = Ref.parse(str(each.get("ref", "")), kinds)
        if verb not in VERBS or ref is None:
            continue
        parent = replace(ref, key="")
        changes = tuple(
            given_change(str(one.get("path", "")), one.get("have"), one.get("want"), bool(one.get("secret")))
            for one in each.get("changes", ())
            if isinstance(one, dict)
        )
        owned, resource = inventory.get(parent), resources.get(parent)
        changed = resource is not None and (owned is None or owned.digest != resource.digest)
        yield Deed(cast("Verb", verb), ref, changes, str(each.get("why", "")), bool(each.get("irreversible")), changed)
