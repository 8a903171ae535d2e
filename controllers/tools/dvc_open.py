"""The installation's DVC client, as the Platform configures it; shared by the kinds that keep something in DVC."""

from __future__ import annotations

from controllers.tools.dvc import Dvc, Remote
from reconciler.controller import Context
from schemas.platform import Remote as RemoteSpec


def open_dvc(ctx: Context) -> Dvc:
    """The pass's client, as the Platform configures it."""
    dvc = ctx.platform.dvc
    cache = ctx.root / dvc.cache_dir if dvc.cache_dir else None
    remotes = [_remote(each, ctx) for each in dvc.remotes]
    return Dvc(ctx.state_dir / "dvc", wire=ctx.wire, remotes=remotes, cache_dir=cache, links=dvc.cache_types)


def _remote(spec: RemoteSpec, ctx: Context) -> Remote:
    def keys() -> tuple[str | None, str | None]:
        found = [ctx.secret(each) if each is not None else None for each in (spec.access_key_id, spec.secret_access_key)]
        return found[0], found[1]

    url = spec.url if "://" in spec.url else str((ctx.root / spec.url).absolute())
    return Remote(spec.name, url, spec.endpoint_url, spec.region, keys)
