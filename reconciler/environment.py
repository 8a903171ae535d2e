"""Which environment an installation is of. It is of one at a time, so that nobody applies one over another by forgetting to name it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING

from reconciler.errors import UsageError
from reconciler.model import Diagnostic, Location, Owned, Ref

if TYPE_CHECKING:
    from reconciler.selection import Selection
    from reconciler.state import Store

KEY = "environment"
"""In the Store: the environment that was applied last; empty = the manifests without patches."""


BASE = "base"
"""How the manifests without patches are called where an environment could be."""


OTHER = "OtherEnvironment"
"""Reason of the warning that a plan is of another environment than the installation."""


def standing(store: Store, inventory: Mapping[Ref, Owned]) -> str | None:
    """The environment that an installation is of; empty = the manifests without patches, None = nothing was applied yet."""
    known = store.meta(KEY)
    return known if known is not None else "" if inventory else None


def must_have(env: str, known: Collection[str]) -> None:
    """Raise UsageError for an environment (empty = none is asked for) that is not among those `known`."""
    if not env or env in known:
        return
    close = get_close_matches(env, known, n=1)
    there = f"there are: {', '.join(sorted(known))}" if known else "there is none yet: patches go into manifests/overlays/NAME/"
    raise UsageError(f"there is no environment '{env}'", hint=f"did you mean {close[0]}?" if close else there)


def refuse_other(selection: Selection, store: Store, inventory: Mapping[Ref, Owned]) -> None:
    """Raise UsageError when the installation is of another environment than the one that is to be applied, unless that was said."""
    was = standing(store, inventory)
    if was is not None and was != selection.env and not selection.switch:
        raise UsageError(f"{_differ(was, selection.env)}: nothing was done", hint=_way_out(was, selection.env))


def warned(selection: Selection, store: Store, inventory: Mapping[Ref, Owned]) -> Iterator[Diagnostic]:
    """The same for a plan, as a warning: it shows what would be done if it were let."""
    was = standing(store, inventory)
    if was is not None and was != selection.env and not selection.switch:
        said, hint = f"{_differ(was, selection.env)}: as it is, this plan is refused", _way_out(was, selection.env)
        yield Diagnostic(Location("--env"), said, hint=hint, severity="warning", reason=OTHER)


def enter(selection: Selection, store: Store, inventory: Mapping[Ref, Owned], actor: str, now: datetime) -> None:
    """Note what the installation is of, before anything is written. Raises UsageError as `refuse_other`."""
    from reconciler.state import AuditEntry

    refuse_other(selection, store, inventory)
    if store.meta(KEY) == selection.env:
        return
    was = standing(store, inventory)
    store.set_meta(KEY, selection.env)
    if was not in (None, selection.env):
        detail = {"from": was or BASE, "to": selection.env or BASE}
        store.audit([AuditEntry(now, actor, None, "switch", detail=detail)])


def _differ(was: str, asked: str) -> str:
    asks = f"environment {asked} is asked for" if asked else "no environment is named"
    return f"{asks}, and this installation is of {f'environment {was}' if was else 'none'}"


def _way_out(was: str, asked: str) -> str:
    stay = f"`--env {was}`, or MLOPS_ENV={was}, goes on with it" if was else "leave out --env and MLOPS_ENV to go on with it"
    differ = f"`reconcile envs {was or BASE} {asked or BASE}` shows what differs"
    return f"{stay}; {differ}; --switch-env makes it of {asked or 'none'} from now on; --state-dir keeps both apart"
