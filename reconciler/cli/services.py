"""The shared services of this call: from the manifests, else from what was applied last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.options import Globals
    from reconciler.controller import Context
    from reconciler.house import House
    from reconciler.model import Owned, Ref, Resource
    from reconciler.platform.services import Services
    from reconciler.platform.shared import Shared
    from reconciler.platform.spec import ServiceStatus
    from schemas.platform import PlatformSpec


def platform_of(house: House, asked: Globals) -> PlatformSpec | None:
    """What the Platform manifest asks for; what was applied last where there are no manifests; None where there is neither."""
    from reconciler.house import platform_in

    return platform_in(*_known(house, asked))


def shared(house: House, asked: Globals) -> Shared:
    """The services that the Platform asks for. Raises UsageError when there is no Platform."""
    from reconciler.platform.shared import Shared
    from reconciler.secret import secret

    spec = platform_of(house, asked)
    if spec is None:
        raise UsageError("no Platform manifest says which services there are", hint="`reconcile init DIR` writes one")
    return Shared(spec, house.settings.state, secret)


def wanted(house: House, asked: Globals, services: Shared) -> list[str]:
    """What is started when nobody names services: all that are always up, and those that some resource needs."""
    found = _context(house, asked)
    needed = found.wanted if found else ()
    return [name for name in services.managed.names if name in services.usual or name in needed]


def _context(house: House, asked: Globals) -> Context | None:
    from reconciler.house import context

    return context(house, *_known(house, asked))


def _known(house: House, asked: Globals) -> tuple[Mapping[Ref, Resource[Any]], Mapping[Ref, Owned]]:
    """What the manifests declare, nothing where there are none, and what was applied."""
    from reconciler.source.read import read

    selection, inventory = asked.as_applied(house), house.store.inventory()
    if selection is None:
        return {}, inventory
    return read(selection, house.kinds, house.settings, inventory).graph.resources, inventory


def everything(house: House) -> Services:
    """Every service that could run here, whatever the manifests say now: to stop it, or to read its log."""
    from reconciler.platform.recipes import RECIPES
    from reconciler.platform.services import Services
    from reconciler.platform.spec import ServiceSpec

    return Services(house.settings.state, [ServiceSpec(name) for name in RECIPES])


def told(statuses: Mapping[str, ServiceStatus]) -> dict[str, dict[str, object]]:
    """The same shape as `reconciler.controller.Services.report`."""
    return {
        name: {"state": each.state, "url": each.url, "pid": each.pid, "version": each.version, "message": each.message}
        for name, each in statuses.items()
    }
