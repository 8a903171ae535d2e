"""A plan's actions as uniform rows: what text, JSON and Markdown all read. Pure."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, assert_never

from reconciler.model import (
    Action,
    Adopt,
    Blocked,
    Create,
    Delete,
    Diff,
    Glyph,
    Keep,
    Location,
    Move,
    Ref,
    Replace,
    Update,
    canonical,
    digest_of,
)
from schemas.base import PrunePolicy
from schemas.platform import PlatformSpec

if TYPE_CHECKING:
    from reconciler.impact import Impact
    from reconciler.loop import Proposal

Verb = Literal["create", "update", "replace", "delete", "adopt", "move", "blocked", "unknown", "keep"]
WORDS: Mapping[Verb, str] = {
    "create": "to create",
    "update": "to change",
    "replace": "to replace",
    "delete": "to delete",
    "adopt": "to adopt",
    "move": "to move",
    "blocked": "blocked",
    "unknown": "unknown",
    "keep": "unchanged",
}
"""How totals name each verb, in the order in which they are told."""
DONE: Mapping[Verb, str] = {
    "create": "created",
    "update": "changed",
    "replace": "replaced",
    "delete": "deleted",
    "adopt": "adopted",
    "move": "moved",
    "blocked": "blocked",
    "unknown": "unknown",
    "keep": "unchanged",
}
VERBS: Mapping[Verb, str] = {verb: verb for verb in WORDS}
HELD: Mapping[str, str] = {
    "Suspended": "suspended",
    "ObserveOnly": "observed",
    "Drifted": "drifted",
    "OutsideWindow": "outside of its window",
    "AwaitingApproval": "waiting for approval",
}
"""Reason -> how totals name what is not written because somebody wants it so: nothing is in its way."""
RELEASED: Mapping[str, str] = {"to delete": "to let go", "deleted": "let go", "delete": "release"}
"""How a deletion is called, and the letting go of a run that is kept in the tool."""
WAITING = "waiting for room"
"""How totals name what admission holds."""
CONFIRMABLE = ("ConfirmDelete", "SourceSuspect", "ImmutableField")
"""Reasons that a yes takes away."""
IGNORED = "ignored:"
"""How the `why` of something begins whose difference a manifest tells to overlook; such a row is always shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """One action, whatever its class."""

    verb: Verb
    glyph: str
    ref: Ref
    location: Location
    changes: Diff = ()
    why: str = ""
    reason: str = ""
    """CamelCase; only where something is blocked or unknown."""
    next: str = ""
    wanted: Verb | None = None
    """What a blocked action would have done."""
    prune: PrunePolicy = "confirm"
    """Of what is deleted or replaced."""
    held: bool = False
    """It waits for room and starts by itself."""
    notes: tuple[str, ...] = ()
    """When it would start, behind whom, and whom it delays."""
    patches: tuple[Location, ...] = ()
    """Documents of the environment that are applied over the manifest in `location`; the one with the last word stands last."""

    @property
    def irreversible(self) -> bool:
        """It removes something that cannot be brought back from the manifests alone: all but what may go without a question."""
        return self.verb in ("delete", "replace") and self.prune != "auto"

    @property
    def shown(self) -> bool:
        """Told although nobody asked for what is unchanged."""
        return self.verb != "keep" or self.why.startswith(IGNORED)

    @property
    def in_the_way(self) -> bool:
        """Blocked by something that somebody should look at, not by somebody's wish."""
        return self.verb == "blocked" and self.reason not in HELD and not self.held

    @property
    def confirmable(self) -> bool:
        """A deletion or replacement that waits for a yes."""
        return self.verb == "blocked" and self.reason in CONFIRMABLE and self.wanted in ("delete", "replace")

    def word(self, words: Mapping[Verb, str]) -> str:
        """How totals name it."""
        if self.held:
            return WAITING
        if self.verb == "delete" and self.ref.key:  # what it made stays: no reader should fear for it
            return RELEASED[words["delete"]]
        return words[self.verb] if self.verb != "blocked" else HELD.get(self.reason, words["blocked"])


def row(action: Action) -> Row:
    """The uniform view of one action."""
    match action:
        case Create(resource, changes, why):
            return Row("create", Glyph.CREATE, resource.ref, resource.location, changes, why)
        case Update(resource, _, changes, why):
            return Row("update", Glyph.UPDATE, resource.ref, resource.location, changes, why)
        case Replace(resource, _, changes, why):
            return Row("replace", Glyph.REPLACE, resource.ref, resource.location, changes, why, prune=resource.prune)
        case Adopt(resource, _, changes, why):
            return Row("adopt", Glyph.ADOPT, resource.ref, resource.location, changes, why)
        case Move(resource, _, changes, _, why):
            return Row("move", Glyph.MOVE, resource.ref, resource.location, changes, why)
        case Delete(owned, why):
            return Row("delete", Glyph.DELETE, owned.ref, owned.location, (), why, prune=owned.prune)
        case Keep(ref, why):
            return Row("keep", Glyph.KEEP, ref, Location(""), (), why)
        case Blocked():
            return _blocked(action)
        case _:
            assert_never(action)


def _blocked(action: Blocked) -> Row:
    inner = row(action.wanted) if action.wanted is not None else None
    location = action.location if action.location.file or inner is None else inner.location
    return Row(
        "unknown" if action.unknown else "blocked",
        Glyph.UNKNOWN if action.unknown else Glyph.BLOCKED,
        action.ref,
        location,
        inner.changes if inner is not None and inner.verb != "create" and not action.held else (),
        action.why,
        action.reason,
        action.next,
        inner.verb if inner is not None else None,
        held=action.held,
    )


def rows(proposal: Proposal) -> tuple[Row, ...]:
    """Every action of the plan, in the plan's order, with the place of its manifest where one is known."""
    told = _admission_notes(proposal) | _quota_notes(proposal)
    found = (_placed(replace(row(each), notes=told.get(each.ref, ())), proposal) for each in proposal.plan.actions)
    return tuple(found if proposal.impact is None else (_caused(each, proposal.impact) for each in found))


def _caused(each: Row, impact: Impact) -> Row:
    """With why it is in the plan, where its own fields do not say it; of what could not be read, with what its manifest changes."""
    cause = impact.causes.get(each.ref)
    if cause is None or each.verb == "keep":
        return each
    told = cause.by == "files" or (cause.by == "upstream" and not each.ref.key)
    notes = (cause.why, *each.notes) if told else each.notes
    return replace(each, notes=notes, changes=each.changes or (cause.changes if each.verb in ("unknown", "blocked") else ()))


def _admission_notes(proposal: Proposal) -> dict[Ref, tuple[str, ...]]:
    """When what needs room would start: below each single resource, and below the last of several children of one."""
    admission = proposal.admission
    if admission is None or not admission.demands:
        return {}
    from reconciler.report.admission import admission_lines, delay_lines, family_lines, reused_text

    families: dict[Ref, list[Ref]] = {}
    order = [each.ref for each in proposal.plan.actions if isinstance(each, Create | Update | Replace) and each.ref in admission.verdicts]
    for ref in order:
        families.setdefault(replace(ref, key=""), []).append(ref)
    now, notes, kept = admission.snapshot.now, dict[Ref, tuple[str, ...]](), reused(proposal)
    for family in families.values():
        found = [admission.verdicts[ref] for ref in family]
        lines = admission_lines(family[0], found[0], now) if len(family) == 1 else family_lines(found, now)
        stand = kept.get(replace(family[0], key=""), 0)
        notes[family[-1]] = (*lines, *([reused_text(stand)] if stand else []))
    if order and admission.delays:
        notes[order[-1]] += tuple(delay_lines(admission.delays))
    return notes


def reused(proposal: Proposal) -> Mapping[Ref, int]:
    """Experiment -> its runs that stand as they were trained, where others are to be started beside them."""
    runs = [each for each in proposal.plan.actions if each.ref.kind == "Experiment" and each.ref.key]
    growing = {replace(each.ref, key="") for each in runs if not isinstance(each, Keep)}
    return Counter(parent for each in runs if isinstance(each, Keep) and (parent := replace(each.ref, key="")) in growing)


def _quota_notes(proposal: Proposal) -> dict[Ref, tuple[str, ...]]:
    """Who gains and who loses, below the last quota of the plan."""
    quotas = [each.ref for each in proposal.plan.actions if each.ref.kind == "ResourceQuota" and not isinstance(each, Keep)]
    if proposal.replay is None or not quotas:
        return {}
    from reconciler.report.replay import replay_lines

    return {quotas[-1]: tuple(replay_lines(proposal.replay))}


def _placed(found: Row, proposal: Proposal) -> Row:
    resource = proposal.resources.get(found.ref)
    if resource is None:
        return found
    patches = tuple(each.location for each in resource.patches)
    return replace(found, location=found.location if found.location.file else resource.location, patches=patches)


def totals(found: Iterable[Row]) -> dict[Verb, int]:
    """How many of each verb; every verb is there, in the order of WORDS."""
    counted: dict[Verb, int] = dict.fromkeys(WORDS, 0)
    for each in found:
        counted[each.verb] += 1
    return counted


def totals_text(found: Iterable[Row]) -> str:
    """`2 to create, 1 to change, 1 suspended, 55 unchanged`; what is zero is left out."""
    return ", ".join(counted_words(Counter(each.word(WORDS) for each in found), WORDS)) or "nothing to do"


def counted_words(counted: Mapping[str, int], words: Mapping[Verb, str]) -> list[str]:
    """`2 created`, `1 suspended`... in the order of `words`; what is held on purpose comes after what is blocked."""
    more = {words["blocked"]: (WAITING, *HELD.values()), words["delete"]: (RELEASED[words["delete"]],)}
    order = [each for word in words.values() for each in (word, *more.get(word, ()))]
    return [f"{counted[word]:,} {word}" for word in order if counted.get(word)]


def command(proposal: Proposal, *more: str, done: bool = False) -> str:
    """The command that carries out this plan: with the filters that it was made with, and the yeses that it needs.

    `done`: it was carried out, so that only what is still held needs its yes again."""
    asked = proposal.selection
    words = [word for name in sorted(asked.projects) for word in ("--project", name)]
    words += [word for name in sorted(asked.kinds) for word in ("--kind", name)]
    words += [word for key, value in sorted(asked.labels.items()) for word in ("--selector", f"{key}={value}")]
    if [str(each) for each in asked.paths] != ["manifests"]:
        words += [word for path in asked.paths for word in ("-f", str(path))]
    words += ["--env", asked.env] if asked.env else []
    words += ["--switch-env"] if asked.switch and not done else []
    words += ["--whole-tree"] if asked.whole else []
    words += [word for each in _yeses(proposal, done) for word in ("--confirm", each)]
    return shlex.join(["reconcile", *words, *more])


def _yeses(proposal: Proposal, done: bool) -> list[str]:
    confirmed = sorted(proposal.selection.confirmed)
    if not done and any(isinstance(each, Delete | Replace) for each in proposal.plan.writes):
        return confirmed
    held = {str(each.ref) for each in proposal.plan.actions if isinstance(each, Blocked)}
    return [each for each in confirmed if each in held]


def confirm_step(proposal: Proposal, *, done: bool = False) -> str:
    """What to say yes with, and what exactly that does; empty when nothing waits for it. `done`: the plan was carried out."""
    waits = [each for each in rows(proposal) if each.confirmable]
    if not waits or not proposal.plan.confirmation:
        return ""
    counted = Counter(each.wanted for each in waits)
    nouns: list[tuple[Verb, str]] = [("delete", "deletion"), ("replace", "replacement")]
    told = [f"the {f'{counted[verb]:,} {noun}s' if counted[verb] > 1 else noun}" for verb, noun in nouns if counted[verb]]
    alone = str(waits[0].ref) if len(waits) == 1 and f"--confirm {waits[0].ref}" in waits[0].next else ""  # as its own line says
    does = "does exactly" if done or not proposal.plan.writes else "does this and exactly"
    yes = command(proposal, "--confirm", alone or proposal.plan.confirmation, done=done)
    return f"`{yes}` {does} {' and '.join(told)} that {'waits' if len(waits) == 1 else 'wait'} above"


def quiet(proposal: Proposal) -> bool:
    """Everything is as desired, and everything could be read."""
    return (
        not proposal.diagnostics
        and not proposal.orphans
        and all(isinstance(each, Keep) for each in proposal.plan.actions)
        and all(said == "ok" for said in proposal.tools.values())
        and all(each.complete for each in proposal.sources)
    )


def errors(proposal: Proposal) -> int:
    """How many errors the manifests and sources have."""
    return sum(each.severity == "error" for each in proposal.diagnostics)


def empty_source(proposal: Proposal) -> bool:
    """Whether there is a source without a single manifest: most often the wrong folder."""
    return any(each.reason == "EmptySource" for each in proposal.diagnostics)


def installation(proposal: Proposal) -> str:
    """The installation's id from the Platform manifest, else from what was applied last; empty when there is none."""
    specs = (each.spec for each in proposal.resources.values())
    known = proposal.context.installation if proposal.context else ""
    return next((spec.installation for spec in specs if isinstance(spec, PlatformSpec)), known)


def revision(proposal: Proposal) -> str:
    """Revision of the first source that has one."""
    return next((each.revision for each in proposal.sources if each.revision), "")


def plan_digest(proposal: Proposal) -> str:
    """Names exactly this plan: its actions with their changes, and the revision of every source. 64 hex digits.

    A secret enters only as the fact that it changes."""
    return digest_of(
        {
            "actions": [_essence(each) for each in rows(proposal) if each.verb != "keep"],
            "sources": [[each.name, each.revision, each.complete] for each in proposal.sources],
        }
    )


def _essence(each: Row) -> list[object]:
    changes = [[c.path, None if c.secret else canonical(c.have), None if c.secret else canonical(c.want)] for c in each.changes]
    return [each.verb, str(each.ref), each.reason, changes]
