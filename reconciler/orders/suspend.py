"""Leaving a resource alone, and ending that."""

from __future__ import annotations

from reconciler.house import House
from reconciler.model import Ref
from reconciler.state import AuditEntry
from reconciler.wake import wake


def suspend(house: House, ref: Ref, reason: str, actor: str) -> None:
    """From now on `ref` is looked at and never written. Safe to repeat; the newest reason counts."""
    house.store.suspend(ref, reason, actor)
    house.store.audit([AuditEntry(at=house.now(), actor=actor, ref=ref, action="suspend", detail={"reason": reason})])
    wake(house.settings.state)


def resume(house: House, ref: Ref, actor: str) -> bool:
    """End the suspension of `ref`; False = it was not suspended."""
    suspended = house.store.suspensions()
    if ref not in suspended:
        return False
    house.store.resume(ref)
    house.store.audit([AuditEntry(at=house.now(), actor=actor, ref=ref, action="resume", detail={"was": suspended[ref].reason})])
    wake(house.settings.state)
    return True
