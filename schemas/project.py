"""Project: the registration of a code base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from schemas.base import DnsLabel, KindInfo, RelativePath, Spec, Strict
from schemas.resourcequota import Window, windows_trouble

Shared = Annotated[
    str,
    StringConstraints(
        pattern=r"^((dataset|experiment|model|deployment)/([a-z0-9]([-a-z0-9]*[a-z0-9])?|\*)|code/([A-Za-z0-9_][A-Za-z0-9_./-]*|\*))$"
    ),
]
"""`dataset/digits`, or `dataset/*` for all; `code/train.py`: other projects' workflows may run that file here."""
_REQUIREMENT = r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._, -]+\])?\s*[^\n]*$"


def _no_option(found: str) -> str:
    if found.lstrip().startswith("-") or "://" in found or "@" in found:
        raise ValueError("expected a PEP 508 requirement such as `numpy>=2`; options, URLs and paths are not allowed here")
    return found


class Allow(Strict):
    """What the project's manifests may use; unset = everything that the platform offers."""

    kinds: tuple[str, ...] | None = None
    """Kinds that may be declared for this project."""
    remotes: tuple[DnsLabel, ...] | None = None
    """DVC remotes that its datasets may name."""
    hosts: tuple[str, ...] = ()
    """Hosts (and `s3://bucket`) that data may be fetched from. Deny by default."""


class Sync(Strict):
    """When the project's resources may be changed, and by whose leave."""

    approval: Literal["automatic", "required"] = "automatic"
    """`required`: what its manifests newly ask for (create, change, replace, delete) waits until somebody says yes to exactly that:
    `reconcile approve project/NAME`. What was approved is kept as it is without another question."""

    windows: tuple[Window, ...] = ()
    """Unset = always. Outside of every `allow` window, and within a `deny` window, changes wait, drift by hand included; what is under way
    goes on."""


class ProjectSpec(Spec):
    """A code base with its owners, its requirements and what it shares."""

    path: RelativePath
    """Folder of the code, relative to the installation's root."""
    level: Literal["easy", "intermediate", "advanced"] = "easy"
    owners: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    active: bool = True
    """False: scaled down, nothing new starts; nothing is deleted."""
    requirements: tuple[Annotated[str, StringConstraints(pattern=_REQUIREMENT), AfterValidator(_no_option)], ...] = ()
    """Python packages (PEP 508) of the project's own environment."""
    shares: tuple[Shared, ...] = ()
    """What other projects may reference."""
    allow: Allow = Allow()
    sync: Sync = Sync()


def check(spec: ProjectSpec) -> Iterator[tuple[str, str]]:
    """Times that no calendar has."""
    yield from ((f"sync.{field}", why) for field, why in windows_trouble(spec.sync.windows))


KIND = KindInfo(
    name="Project",
    spec=ProjectSpec,
    scope="installation",
    prune="confirm",
    summary="A code base that gets a namespace in every tool, isolated from the other projects.",
    root_only=True,
    check=check,
)
