"""The Python package that a service is made of: whether it is there, whether what runs is what is installed, and how it finds ours."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping

from reconciler.errors import Terminal
from reconciler.ownpackages import linked
from reconciler.platform.spec import Probe, Site

EXTRAS = {"evidently": "monitoring"}
"""Package -> the extra that brings it, where that is not called the same."""


def require(site: Site, title: str, module: str = "") -> None:
    """Check that the service's interpreter can run it; `title` is the package's name for people, `module` its name where that is not the
    service's. Raises Terminal."""
    module = module or site.name
    if site.spec.interpreter is None and importlib.util.find_spec(module) is None:
        raise Terminal(f"{title} is not installed", hint=f"pip install 'mlops-reconciler[{EXTRAS.get(module, module)}]'")
    check_interpreter(site)


def check_interpreter(site: Site) -> None:
    """Raises Terminal when the service has an interpreter of its own that is none."""
    if site.spec.interpreter is not None and not os.access(site.spec.interpreter, os.X_OK):
        raise Terminal(f"the interpreter of {site.name} is not a program: {site.spec.interpreter}")


def import_path(site: Site) -> Mapping[str, str]:
    """Environment with which an interpreter of the service's own finds this program's packages, and nothing else that lies beside them:
    there are other versions of everything. Empty where the interpreter is ours, which finds them anyway."""
    if site.spec.interpreter is None:
        return {}
    return {"PYTHONPATH": str(linked(site.home / "code"))}


def compare(site: Site, version: str, package: str = "") -> Probe:
    """A good probe, with a remark where another version is installed by now than the one that runs. `package`: where not named as it.

    With an interpreter of its own there is nothing to compare with: that environment is not ours to look into."""
    if site.spec.interpreter is not None:
        return Probe(True, version=version)
    from importlib import metadata

    try:
        installed = metadata.version(package or site.name)
    except metadata.PackageNotFoundError:
        installed = version
    behind = "" if installed == version else f"runs version {version}, installed is {installed}: restart it (reconcile platform down, up)"
    return Probe(True, behind, version)
