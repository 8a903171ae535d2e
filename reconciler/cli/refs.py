"""A resource as it is written on the command line -> Ref."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from reconciler.errors import UsageError
from reconciler.model import Ref

if TYPE_CHECKING:
    from reconciler.loop import Proposal
    from reconciler.registry import Kinds

_PART = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def parse_ref(text: str, kinds: Kinds, known: Iterable[Ref], *, must_exist: bool = True) -> Ref:
    """`kind/project/name`, `kind/name`, `project/name` or a name alone where it is unique; a child with `#key`.

    `known` are the resources that exist. Raises UsageError when nothing or more than one fits, naming the candidates."""
    everything = sorted(set(known), key=str)
    fitting = [ref for ref in everything if _fits(text, ref, kinds)]
    if len(fitting) == 1:
        return fitting[0]
    if len(fitting) > 1:
        raise UsageError(f"'{text}' could be {len(fitting)} resources", hint=f"say which: {_some(fitting)}")
    spelled = written_out(text, kinds)
    if spelled is not None and not must_exist:
        return spelled
    names = {str(ref): ref for ref in everything} | {ref.name: ref for ref in everything}
    close = [names[each] for each in get_close_matches(text.lower(), names, n=3, cutoff=0.6)]
    hint = f"did you mean {_some(sorted(set(close), key=str))}?" if close else "`reconcile status --all` lists them"
    raise UsageError(f"there is no resource '{text}' here", hint=hint)


def must_select(proposal: Proposal) -> None:
    """Raise UsageError when `--selector` chose nothing: a misspelt label would say that all is well."""
    if proposal.selection.labels and not proposal.resources and not proposal.refused:
        raise no_label(proposal.selection.labels)


def no_label(labels: Mapping[str, str]) -> UsageError:
    """What to say when nothing carries `labels`."""
    told = " and ".join(f"{key}={value}" for key, value in labels.items())
    return UsageError(f"no resource that was asked for has the label {told}", hint="labels are in `metadata.labels` of the manifests")


def written_out(text: str, kinds: Kinds) -> Ref | None:
    """The Ref that `text` spells in full; None when it does not."""
    body, _, key = text.partition("#")
    kind, *rest = body.split("/")
    found = kinds.canonical(kind)
    if found is None or not all(_PART.fullmatch(each) for each in rest):
        return None
    scope = kinds.kinds[found].scope
    if scope == "project" and len(rest) == 2:
        return Ref(found, rest[0], rest[1], key)
    if scope == "installation" and len(rest) == 1:
        return Ref(found, None, rest[0], key)
    return None


def _fits(text: str, ref: Ref, kinds: Kinds) -> bool:
    body, _, key = text.partition("#")
    if key != ref.key:
        return False
    first, *rest = body.split("/")
    spoken = [first.lower(), *rest]
    forms: list[list[str]] = [[ref.name], [ref.kind.lower(), ref.name]]
    if ref.project is not None:
        forms += [[ref.project, ref.name], [ref.kind.lower(), ref.project, ref.name]]
    canonical = kinds.canonical(first)
    return spoken in forms or (canonical is not None and [canonical.lower(), *rest] in forms)


def _some(refs: list[Ref]) -> str:
    shown = ", ".join(str(each) for each in refs[:5])
    return shown if len(refs) <= 5 else f"{shown} and {len(refs) - 5} more"
