"""What is told of an installation beside its resources: who applied what last, the services, the repositories, how old the picture is."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.environment import standing
from reconciler.errors import ReconcilerError
from reconciler.house import House, platform_in
from reconciler.looks import bounds, looks
from reconciler.model import Owned, Ref
from reconciler.report.status import Overview
from reconciler.source.follow import standings


def overview(house: House) -> Overview:
    """Of what the statuses are, and how the services are now. Raises StoreError."""
    last = house.store.last_change()
    inventory = house.store.inventory()
    platform = next((each.applied for ref, each in inventory.items() if ref.kind == "Platform"), {})
    return Overview(
        installation=str(platform.get("installation", "")),
        environment=standing(house.store, {}) or "",
        revision=house.store.meta("applied_revision") or "",
        applied_at=last.at if last else None,
        applied_by=last.actor if last else "",
        tools=_services(house, inventory),
        sources=tuple(standings(house.settings.state).values()),
        quarantined=house.store.rulings.quarantined(),
        looked=looks(house.store),
        every=bounds(house.store),
        watched=house.store.current_leader() is not None,
    )


def _services(house: House, inventory: Mapping[Ref, Owned]) -> dict[str, str]:
    """Service -> `ok` or its state; never raises."""
    from reconciler.platform.shared import Shared
    from reconciler.secret import secret

    try:
        if (spec := platform_in({}, inventory)) is None:
            return {}
        report = Shared(spec, house.settings.state, secret).report()
    except (ReconcilerError, OSError) as error:
        return {"services": f"not known ({error})"}
    kinds = {ref.kind for ref in inventory} & house.kinds.controllers.keys()
    wanted = {name for kind in kinds for name in house.kinds.controller(kind).services}
    words = {name: "ok" if each["state"] in ("running", "external") else str(each["state"]) for name, each in report.items()}
    return {name: word for name, word in words.items() if word != "stopped" or name in wanted}  # what nothing needs may be stopped
