"""Of which installation and revision the statuses are, and how the shared services are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.report.status import Overview


def overview(house: House, tools: Mapping[str, str] | None = None) -> Overview:
    """Of what the statuses are, and how the services are: as `tools` says, or None = they are asked now."""
    from reconciler.environment import standing
    from reconciler.looks import bounds, looks
    from reconciler.report.status import Overview
    from reconciler.source.follow import standings

    last = house.store.last_change()
    platform = next((each.applied for ref, each in house.store.inventory().items() if ref.kind == "Platform"), {})
    return Overview(
        installation=str(platform.get("installation", "")),
        environment=standing(house.store, {}) or "",
        revision=house.store.meta("applied_revision") or "",
        applied_at=last.at if last else None,
        applied_by=last.actor if last else "",
        tools=service_words(house) if tools is None else tools,
        sources=tuple(standings(house.settings.state).values()),
        quarantined=house.store.rulings.quarantined(),
        looked=looks(house.store),
        every=bounds(house.store),
        watched=house.store.current_leader() is not None,
    )


def service_words(house: House) -> dict[str, str]:
    """Service -> `ok` or its state, for the last line of the status table; never raises, and is safe beside a pass."""
    from reconciler.house import platform_in
    from reconciler.platform.shared import Shared
    from reconciler.secret import secret

    try:
        inventory = house.store.inventory()
        if (spec := platform_in({}, inventory)) is None:
            return {}
        report = Shared(spec, house.settings.state, secret).report()
    except (ReconcilerError, OSError) as error:
        return {"services": f"not known ({error})"}
    kinds = {ref.kind for ref in inventory} & house.kinds.controllers.keys()
    wanted = {name for kind in kinds for name in house.kinds.controller(kind).services}
    words = {name: "ok" if each["state"] in ("running", "external") else str(each["state"]) for name, each in report.items()}
    return {name: word for name, word in words.items() if word != "stopped" or name in wanted}  # what nothing needs may be stopped
