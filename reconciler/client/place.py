"""Where a project's code is: the installation, its state folder, the project, and the addresses of the tools."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.client.errors import NotConfigured
from reconciler.client.manifests import Document, documents
from reconciler.client.marks import LABEL, MANIFESTS, STATE


@dataclass(frozen=True)
class Place:
    """What is known of one project before any tool is asked."""

    project: str
    root: Path
    """The installation's root: project paths start here."""
    state: Path
    """Its private folder."""
    folder: Path
    """The project's code."""
    installation: str
    """Marks what is made in a tool."""
    platform: Mapping[str, Any] = field(default_factory=dict)
    """`spec` of the Platform, as the manifest has it; what the API tells of it, where there is no checkout."""
    checkout: bool = True
    """Whether the installation's manifests are here. Without them its API is asked, and nothing is declared or versioned."""

    @property
    def manifests(self) -> Path:
        return self.root / MANIFESTS

    def need_checkout(self, what: str) -> None:
        """Raise NotConfigured where `what` cannot be done without the installation's manifests."""
        if not self.checkout:
            hint = "do it in a clone of the installation's repository"
            raise NotConfigured(f"{what} takes the installation's manifests, and they are not here", hint=hint)

    def service(self, name: str) -> Mapping[str, Any]:
        """What the Platform says of one tool: `mlflow`, `dvc`, `gateway`."""
        found = self.platform.get(name)
        return found if isinstance(found, Mapping) else {}

    def endpoint(self, name: str) -> str:
        """Base URL of a service: of the one that the Platform names, or of ours on this machine, which keeps its port.

        Raises NotConfigured when it is ours and was never started here."""
        if told := self.service(name).get("endpoint"):
            return str(told).rstrip("/")
        if not self.checkout:
            raise NotConfigured(f"the API knows no address of {name}", hint="reconcile platform up, where the installation is")
        try:
            port = int((self.state / "services" / name / "port").read_text(encoding="ascii"))
        except (OSError, ValueError):
            raise NotConfigured(f"{name} was never started in {self.root}", hint="reconcile platform up") from None
        return f"http://127.0.0.1:{port}"

    def mlflow(self) -> str:
        """Address of MLflow: what the environment says, as in a run that the reconciler started, before what the manifests say."""
        return os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/") or self.endpoint("mlflow")

    def credentials(self) -> tuple[str, str] | None:
        """User and password for MLflow, None = it asks for none: MLFLOW_TRACKING_USERNAME and _PASSWORD, or what the Platform refers to.

        Raises NotConfigured, which names the reference and never a value, when a secret is not there."""
        spec = self.service("mlflow")
        user = os.environ.get("MLFLOW_TRACKING_USERNAME") or spec.get("username")
        if not user:
            return None
        given = os.environ.get("MLFLOW_TRACKING_PASSWORD")
        return str(user), given if given is not None else secret(spec.get("password"))


def secret(reference: Any) -> str:
    """The value behind `{fromEnv: NAME}` or `{fromFile: path}`. Raises NotConfigured, which never shows it."""
    match reference:
        case {"fromEnv": str(name)}:
            if name not in os.environ:
                raise NotConfigured(f"the environment variable {name} is not set", hint="it holds a secret that a manifest refers to")
            return os.environ[name]
        case {"fromFile": str(path)}:
            try:
                return Path(path).expanduser().read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise NotConfigured(f"the secret file {path} cannot be read") from None
    raise NotConfigured("a secret is missing", hint="give it as {fromEnv: NAME} or {fromFile: path} in the Platform's manifest")


def find(name: str | None, root: str | Path | None) -> Place:
    """The project `name` of the installation at `root`.

    Without a root: MLOPS_ROOT, else the nearest folder from here upwards that holds an installation, else what the API at MLOPS_API tells.
    Without a name: MLOPS_PROJECT, else the project whose folder this is. Raises NotConfigured."""
    top = Path(root).resolve() if root is not None else _installation()
    if top is None:
        from reconciler.client.remote import configured

        return configured(name or os.environ.get("MLOPS_PROJECT") or "")
    found = list(documents(top / MANIFESTS, "Platform", "Project"))
    platform = next((each for each in found if each.kind == "Platform"), None)
    if platform is None:
        raise NotConfigured(f"{top / MANIFESTS} holds no Platform", hint="name the installation's root: from_project(NAME, root=DIR)")
    projects = {each.named("name"): each for each in found if each.kind == "Project"}
    chosen = name or os.environ.get("MLOPS_PROJECT") or _around(projects, top)
    if chosen not in projects:
        _unknown(chosen, projects, top)
    return Place(
        project=chosen,
        root=top,
        state=state_folder(top),
        folder=top / str(projects[chosen].spec.get("path", "")),
        installation=str(platform.spec.get("installation", "")),
        platform=platform.spec,
    )


def state_folder(root: Path) -> Path:
    """The private folder: MLOPS_STATE_DIR, else `.mlops` in the root."""
    told = os.environ.get("MLOPS_STATE_DIR")
    return Path(told).resolve() if told else root / STATE


def elsewhere(installation: str) -> Path:
    """Where the client keeps what waits for delivery when there is no checkout: below the user's own state folder (XDG)."""
    told = os.environ.get("MLOPS_STATE_DIR")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(told).resolve() if told else Path(base) / "mlops-reconciler" / installation


def _installation() -> Path | None:
    """None = there is none here, and the API says more."""
    told = os.environ.get("MLOPS_ROOT")
    if told:
        return Path(told).resolve()
    here = Path.cwd()
    for each in (here, *here.parents):
        if (each / MANIFESTS).is_dir() and any(documents(each / MANIFESTS, "Platform")):
            return each.resolve()
    if os.environ.get("MLOPS_API"):
        return None
    raise NotConfigured(
        f"no installation at or above {here}: a folder `{MANIFESTS}` with a Platform",
        hint="name its root: from_project(NAME, root=DIR), or set MLOPS_ROOT, or MLOPS_API where it answers",
    )


def _around(projects: Mapping[str, Document], root: Path) -> str:
    """The project whose folder the working directory is in, the innermost; empty when it is in none."""
    here = Path.cwd().resolve()
    folders = {name: (root / str(each.spec.get("path", name))).resolve() for name, each in projects.items()}
    inside = [name for name, folder in folders.items() if here.is_relative_to(folder)]
    return max(inside, key=lambda name: len(folders[name].parts), default="")


def _unknown(name: str, projects: Mapping[str, Document], root: Path) -> None:
    import difflib

    if not name:
        raise NotConfigured("which project is meant is not said", hint=f"from_project(NAME); {root} has: {', '.join(sorted(projects))}")
    if not re.fullmatch(LABEL, name):
        raise NotConfigured(f"'{name}' is not the name of a project", hint="lower-case letters, digits and `-`")
    near = difflib.get_close_matches(name, list(projects), 1)
    hint = f"did you mean '{near[0]}'?" if near else f"it has: {', '.join(sorted(projects)) or 'none'}"
    raise NotConfigured(f"{root / MANIFESTS} has no project '{name}'", hint=hint)
