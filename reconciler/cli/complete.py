"""What the shell offers after TAB: kinds, environments, and what the Store knows. Says nothing when anything is amiss.

`--root`, `--state-dir`, `-f` and `--env` count where they stand on the line already. No tool is asked, and no manifest is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from reconciler.cli.options import Globals
    from reconciler.settings import Settings
    from reconciler.state import Store

Offers = Callable[[typer.Context, str], list[str]]
GIT_SECONDS = 2.0
"""For one look at the names of revisions."""


def _offering(found: Callable[[typer.Context, str], Iterable[str]]) -> Offers:
    """Those of `found` that go on from what is typed, each once and sorted; nothing where they cannot be found out."""

    @wraps(found)
    def offers(ctx: typer.Context, incomplete: str) -> list[str]:
        from reconciler.errors import ReconcilerError

        try:
            return sorted({each for each in found(ctx, incomplete) if each.startswith(incomplete)})
        except (ReconcilerError, OSError):
            return []

    return offers


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


def services(incomplete: str) -> list[str]:
    """Shared services."""
    from reconciler.platform.recipes import RECIPES

    return sorted(name for name in RECIPES if name.startswith(incomplete))


@_offering
def fields(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """A kind, and after a dot its fields, level by level."""
    kind, dot, path = incomplete.partition(".")
    if not dot:
        return kinds(incomplete)
    from reconciler.cli.explain import kind_named
    from reconciler.schema import fields as fields_of
    from reconciler.schema import walk

    depth = path.count(".") + 1
    told = {"." + each.path for each in walk(fields_of(kind_named(kind)))}
    told |= {each.removeprefix(".spec") for each in told if each.startswith(".spec.")}
    return (f"{kind}{each}" for each in told if each.count(".") == depth)


@_offering
def refs(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Resources that were reconciled, spelled in full."""
    return _known(ctx)


@_offering
def resumable(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """What is suspended, and revisions that are quarantined."""
    from reconciler.cli.revisions import PREFIX

    store = _store(ctx)
    return [*map(str, store.suspensions()), *(f"{PREFIX}{each.revision[:12]}" for each in store.rulings.quarantined())]


@_offering
def projects(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Names of projects that were reconciled."""
    return _named("project", ctx)


@_offering
def alert_policies(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Names of AlertPolicies that were reconciled."""
    return _named("alertpolicy", ctx)


@_offering
def environments(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Folders in `overlays/`, of the manifests and beside them."""
    return _environments(ctx)


@_offering
def environments_or_base(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """The same, and how the manifests without patches are called."""
    from reconciler.environment import BASE

    return (BASE, *_environments(ctx))


@_offering
def labels(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Labels of what was reconciled."""
    manifests = _store(ctx).manifests().values()
    return (f"{key}={value}" for each in manifests for key, value in (each.get("labels") or {}).items())


@_offering
def sources(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Repositories of the Platform that was applied."""
    from reconciler.house import platform_in

    platform = platform_in({}, _store(ctx).inventory())
    return [each.name for each in platform.sources if each.git is not None] if platform is not None else []


@_offering
def good_revisions(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Revisions at which everything was Ready."""
    from reconciler.good import good_revisions as good

    return good(_store(ctx))


@_offering
def branches(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Branches and tags of the repository that the root lies in."""
    import subprocess

    command = [
        "git",
        "-C",
        str(_settings(ctx).root),
        "for-each-ref",
        "--format=%(refname:short)",
        "refs/heads",
        "refs/remotes",
        "refs/tags",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return []
    return done.stdout.split()


@_offering
def forges(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Forges that `reconcile review` can tell."""
    from typing import get_args

    from reconciler.review.values import ForgeName

    return get_args(ForgeName)


@_offering
def tools(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """What can be imported from."""
    from reconciler.cli.import_ import tools_of
    from reconciler.registry import discover

    return tools_of(discover()).values()


@_offering
def names_of_kind(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Of the kind that stands before: `project/name` of what is ours."""
    kind = str(ctx.params.get("kind") or "").lower()
    return (each.path for each in _store(ctx).inventory() if each.kind.lower() == kind)


@_offering
def receivers(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Receivers of the AlertPolicy that stands before."""
    before = ctx.params.get("policy") or next(iter(ctx.args), "")  # an option without its value ends the parsing
    name = str(before).removeprefix("alertpolicy/")
    policy = _store(ctx).alerts.policies().get(name)
    return [each.name for each in policy.receivers] if policy is not None else []


@_offering
def reports(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Reports of the AlertPolicy that stands before."""
    before = ctx.params.get("policy") or next(iter(ctx.args), "")
    policy = _store(ctx).alerts.policies().get(str(before).removeprefix("alertpolicy/"))
    return [each.name for each in policy.reports] if policy is not None else []


@_offering
def reasons(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Reasons of alerts that fire."""
    return (each.reason for each in _store(ctx).alerts.listed(None))


@_offering
def silences(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Silences that people made, by id and by what they cover."""
    return (name for each in _store(ctx).alerts.silences() for name in (each.id, *each.refs))


@_offering
def nodes(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Machines that were registered here."""
    from reconciler.runs.nodes import names

    return names(_settings(ctx).state)


@_offering
def keys(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Ids of keys that are good now."""
    import time

    from reconciler.gateway.keys import listing

    return (each.id for each in listing(_settings(ctx).state) if each.good(time.time()))


@_offering
def applies(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Numbers of the newest applies."""
    from reconciler.applied import numbers

    return map(str, numbers(_store(ctx)))


@_offering
def tokens(ctx: typer.Context, incomplete: str) -> Iterable[str]:
    """Ids of tokens that are good now."""
    from datetime import UTC, datetime

    return (each.id for each in _store(ctx).doors.tokens() if each.good(datetime.now(UTC)))


def _named(kind: str, ctx: typer.Context) -> Iterator[str]:
    return (each.split("/")[1] for each in _known(ctx) if each.startswith(f"{kind}/"))


def _known(ctx: typer.Context) -> list[str]:
    store = _store(ctx)
    return [str(ref) for ref in {*store.inventory(), *store.statuses()}]


def _environments(ctx: typer.Context) -> Iterator[str]:
    from reconciler.source.load import IGNORE, OVERLAYS, overlay_folders

    settings = _settings(ctx)
    for path in _given(ctx).paths(settings):
        found = [each for each in overlay_folders(path, settings.root) if each.is_dir()]
        for at, below, files in os.walk(path):
            found += [Path(at) / each for each in below if each == OVERLAYS]
            ours = IGNORE not in files or Path(at) == path
            below[:] = [each for each in below if ours and each != OVERLAYS and not each.startswith(".")]
        yield from (each.name for folder in found for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def _store(ctx: typer.Context) -> Store:
    from reconciler.state import open_store

    settings = _settings(ctx)
    return open_store(settings.store or settings.state / "store.db", read_only=True)


def _settings(ctx: typer.Context) -> Settings:
    return _given(ctx).settings()


def _given(ctx: typer.Context) -> Globals:
    """The global options of a line that is not finished: those before the command's name, then those behind it."""
    from dataclasses import replace

    from reconciler.cli.options import given

    before, behind = ctx.find_root().params, given(ctx)
    return replace(
        behind,
        manifests=(*(before.get("manifests") or ()), *behind.manifests),
        root=behind.root or before.get("root"),
        state_dir=behind.state_dir or before.get("state_dir"),
    )
