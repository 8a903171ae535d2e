"""What the shell offers after TAB: kinds and the resources of the Store. Says nothing when anything is amiss."""

from __future__ import annotations


def kinds(incomplete: str) -> list[str]:
    """Names of kinds, from the entry points alone."""
    from importlib.metadata import entry_points

    from reconciler.registry import GROUP

    names = {each.name for each in entry_points(group=GROUP)}
    spelled = (
        names if incomplete[:1].isupper() else {each.lower() for each in names}
    )  # both are understood; the shell compares letter by letter
    return sorted(each for each in spelled if each.startswith(incomplete))


def schemas(incomplete: str) -> list[str]:
    """What `reconcile schema` knows."""
    return [*kinds(incomplete), *(each for each in ("patch", "policy") if each.startswith(incomplete))]


def refs(incomplete: str) -> list[str]:
    """Resources that were reconciled, spelled in full."""
    return [name for name in _known() if name.startswith(incomplete.lower())]


def projects(incomplete: str) -> list[str]:
    """Names of projects that were reconciled."""
    return [name for each in _known() if each.startswith("project/") and (name := each.split("/")[1]).startswith(incomplete)]


def services(incomplete: str) -> list[str]:
    """Shared services."""
    from reconciler.platform.recipes import RECIPES

    return sorted(name for name in RECIPES if name.startswith(incomplete))


def _known() -> list[str]:
    from reconciler.errors import ReconcilerError
    from reconciler.settings import Settings
    from reconciler.state import open_store

    settings = Settings()
    try:
        store = open_store(settings.store or settings.state / "store.db", read_only=True)
        return sorted(str(ref) for ref in {*store.inventory(), *store.statuses()})
    except (ReconcilerError, OSError):
        return []
