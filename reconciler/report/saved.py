"""A plan as a file, to be reviewed now and carried out later exactly as it is, once.

What is compared is the work: each action with its changes, the meaning of the manifest that asks for it and the object that it is about.
Commits are told and not compared, so that what was approved in a pull request is applied after its merge without a second look, as long
as it is the same work. Nothing that the file says is ever done because it says so: the plan is made again, and held against it. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.errors import StalePlan, UsageError
from reconciler.model import Adopt, Create, Delete, Move, Replace, Update, canonical, digest_of
from reconciler.report.json import FORMAT_VERSION, plan_value
from reconciler.report.rows import DONE, Row, installation, row, rows
from reconciler.report.show import clean, count, pair
from reconciler.selection import Selection

if TYPE_CHECKING:
    from reconciler.loop import Proposal

KIND = "savedPlan"
_PAST: Mapping[str, str] = {str(verb): word for verb, word in DONE.items()}
MOST_BYTES = 64 << 20
MOST_TOLD = 12
"""Differences that a refusal names one by one."""


@dataclass(frozen=True)
class Work:
    """One action as it is compared. `changes` maps a field to its two sides, which are hidden of a secret."""

    action: str
    manifest: str
    """Digest of the meaning of the manifest that asks for it; empty = there is none."""
    object: str
    """Id of what it is about in its tool; empty = there is none yet."""
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def value(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "action": self.action,
            "manifest": self.manifest,
            "object": self.object,
            "changes": {k: list(v) for k, v in self.changes.items()},
        }


@dataclass(frozen=True)
class SavedPlan:
    """What was read from a file. `plan` is the plan as `--dry-run -o json` writes it."""

    id: str
    installation: str
    store: str
    at: str
    selection: Selection
    work: Mapping[str, Work]
    """By Ref."""
    plan: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return digest_of({ref: each.value() for ref, each in self.work.items()})


def work_of(proposal: Proposal) -> dict[str, Work]:
    """What a plan does, by Ref; what only waits for room is a part of it, for nobody but admission has to agree to that."""
    found: dict[str, Work] = {}
    for action, told in zip(proposal.plan.actions, rows(proposal), strict=True):
        wanted = getattr(action, "wanted", None) if told.held else action
        if isinstance(wanted, Create | Update | Replace | Delete | Adopt | Move):
            found[str(told.ref)] = _work(wanted, row(wanted), proposal)
    return found


def work_digest(proposal: Proposal) -> str:
    """64 hex digits that name exactly this work, whatever commit asks for it and whenever it is planned."""
    return digest_of({ref: each.value() for ref, each in work_of(proposal).items()})


def _work(action: Create | Update | Replace | Delete | Adopt | Move, told: Row, proposal: Proposal) -> Work:
    resource = proposal.resources.get(told.ref)
    manifest = resource.digest if resource is not None and not isinstance(action, Delete) else ""
    match action:
        case Create():
            target = ""
        case Delete(owned=owned):
            target = owned.external_id
        case _:
            target = action.seen.external_id
    changes = {each.path: ("", "") if each.secret else (canonical(each.have), canonical(each.want)) for each in told.changes}
    return Work(told.verb, manifest, target, changes)


def saved_text(proposal: Proposal, *, plan_id: str, store: str, at: datetime) -> str:
    """The file. `plan_id` is its own and no other's; `store` names the Store that it was made beside (empty = there was none)."""
    asked = proposal.selection
    work = {ref: each.value() for ref, each in sorted(work_of(proposal).items())}
    body = {
        "formatVersion": FORMAT_VERSION,
        "kind": KIND,
        "id": plan_id,
        "installation": installation(proposal),
        "store": store,
        "workDigest": digest_of(work),
        "selection": {
            "paths": [str(each) for each in asked.paths],
            "projects": sorted(asked.projects),
            "kinds": sorted(asked.kinds),
            "labels": dict(sorted(asked.labels.items())),
            "confirmed": sorted(asked.confirmed),
            "whole": asked.whole,
            "env": asked.env,
        },
        "work": work,
        "plan": plan_value(proposal, all_=False, at=at),
    }
    return json.dumps({**body, "checksum": _checksum(body)}, indent=2) + "\n"


def read_saved(path: Path) -> SavedPlan:
    """The plan in a file. Raises UsageError when it is none, of another version, or not as it was written."""
    body = _body(path)
    checksum = body.pop("checksum", "")
    try:
        asked = body["selection"]
        selection = Selection(
            paths=tuple(Path(each) for each in asked["paths"]),
            projects=frozenset(asked["projects"]),
            kinds=frozenset(asked["kinds"]),
            labels=dict(asked["labels"]),
            confirmed=frozenset(asked["confirmed"]),
            whole=bool(asked["whole"]),
            env=str(asked["env"]),
        )
        work = {str(ref): _read_work(each) for ref, each in body["work"].items()}
        found = SavedPlan(
            str(body["id"]), str(body["installation"]), str(body["store"]), str(body["plan"]["at"]), selection, work, body["plan"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is not a saved plan: {type(error).__name__} {error}", hint=_AGAIN) from None
    if checksum != _checksum(body) or body["workDigest"] != found.digest:
        raise UsageError(f"{path} is not as it was written: somebody changed or cut it", hint=_AGAIN)
    return found


_AGAIN = "`reconcile --dry-run --out plan.json` keeps a new one"


def _body(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{path} is larger than any plan ({MOST_BYTES >> 20} MiB)", hint=_AGAIN)
        body = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not JSON'}", hint=_AGAIN) from None
    if not isinstance(body, dict) or body.get("kind") != KIND:
        kind = f", but `{body['kind']}`" if isinstance(body, dict) and isinstance(body.get("kind"), str) else ""
        raise UsageError(
            f"{path} is not a saved plan{clean(kind)}", hint="`reconcile --dry-run --out FILE` writes one; -o json is for reading"
        )
    if body.get("formatVersion") != FORMAT_VERSION:
        raise UsageError(f"{path} has format {clean(str(body.get('formatVersion')))}; this program knows {FORMAT_VERSION}", hint=_AGAIN)
    return body


def _read_work(value: Mapping[str, Any]) -> Work:
    changes = {str(path): (str(sides[0]), str(sides[1])) for path, sides in value["changes"].items()}
    return Work(str(value["action"]), str(value["manifest"]), str(value["object"]), changes)


def _checksum(body: Mapping[str, Any]) -> str:
    return digest_of(json.loads(json.dumps(body)))


def must_match(saved: SavedPlan, proposal: Proposal, done: Collection[str] = ()) -> None:
    """Raise StalePlan, with every reason, unless the work is what was saved, less what is `done`, and nothing else."""
    found = list(differences(saved.work, work_of(proposal), done))
    if not found:
        return
    told = "\n".join(f"  {each}" for each in found[:MOST_TOLD])
    more = f"\n  and {len(found) - MOST_TOLD:,} more" if len(found) > MOST_TOLD else ""
    raise StalePlan(f"the plan of {saved.at} is not what would be done now; nothing was done\n{told}{more}", hint=_AGAIN)


def differences(saved: Mapping[str, Work], now: Mapping[str, Work], done: Collection[str] = ()) -> Iterator[str]:
    """How what would be done now differs from what was saved, one line for each action."""
    for ref in sorted(saved.keys() | now.keys()):
        before, after = saved.get(ref), now.get(ref)
        if before is None and after is not None:
            yield f"{ref}: would be {_PAST.get(after.action, after.action)} now, and is not in the plan"
        elif after is None and before is not None and ref not in done:
            yield f"{ref}: the plan would {before.action} it, and now that is not to be done any more"
        elif before is not None and after is not None and before != after:
            yield from (f"{ref}: {each}" for each in _differences(before, after))


def _differences(before: Work, after: Work) -> Iterator[str]:
    if before.action != after.action:
        yield f"the plan would {before.action} it, and now it would be {_PAST.get(after.action, after.action)}"
    elif before.object != after.object:
        yield f"it is another object in its tool now ({clean(after.object) or 'none'}, was {clean(before.object) or 'none'})"
    told = False
    for path in sorted(before.changes.keys() | after.changes.keys()):
        one, other = before.changes.get(path), after.changes.get(path)
        if one != other:
            told = True
            yield f"{path}: the plan has {_sides(one)}, and now it is {_sides(other)}"
    if not told and before.manifest != after.manifest:
        yield "its manifest means something else now"


def _sides(sides: tuple[str, str] | None) -> str:
    if sides is None:
        return "no change"
    if sides == ("", ""):
        return "(a secret)"
    have, want = pair(json.loads(sides[0]), json.loads(sides[1]), 60)
    return f"{have} -> {want}"


def saved_line(proposal: Proposal, path: Path) -> str:
    """What is told of a file that was written."""
    kept = f"{count(len(work_of(proposal)), 'action')}, work {work_digest(proposal)[:12]}"
    return f"Saved to {path}: {kept}. `reconcile apply {path}` does exactly this, once."
