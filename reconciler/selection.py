"""Which manifests a command looks at, and what somebody said yes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from reconciler.errors import UsageError
from reconciler.model import Ref, Resource
from reconciler.shard import Shard


@dataclass(frozen=True)
class Selection:
    """Paths to read and filters over what was read. Anything narrower than the whole tree never prunes."""

    paths: tuple[Path, ...] = (Path("manifests"),)
    projects: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    refs: frozenset[Ref] = frozenset()
    part: bool = False
    """`-f` named something else than the whole tree; of what is only looked up: it need not be all there."""
    whole: bool = False
    """These paths are the whole tree from now on, whatever was the tree before."""
    confirmed: frozenset[str] = frozenset()
    """Digests of deletion sets, or Refs, from `--confirm`."""
    shard: Shard | None = None
    """The projects that this loop looks after, as a whole; None = all."""
    env: str = ""
    """The environment whose overlays are applied; empty = none."""
    switch: bool = False
    """The installation is of this environment from now on, whatever it was of before."""

    mirror: Path | None = None
    """A copy of the root that its manifests are read from, for a plan over files that are not there yet; None = the root itself."""

    @property
    def filtered(self) -> bool:
        return bool(self.projects or self.kinds or self.labels or self.refs)

    @property
    def partial(self) -> bool:
        """True: not everything is looked at, so the pass says nothing about the rest."""
        return self.part or self.filtered or self.shard is not None

    @property
    def prunes(self) -> bool:
        """Whether what this pass is about is looked at as a whole: only then may something be deleted for being missing."""
        return not self.part and not self.filtered

    def whole_of(self, ref: Ref) -> bool:
        """Whether the pass looks at everything that this belongs to."""
        return self.prunes and self.covers(ref)

    def covers(self, ref: Ref) -> bool:
        """Whether this pass is about it, if it is about the whole of something."""
        return self.shard is None or self.shard.holds(ref)

    @property
    def root_paths(self) -> str:
        """The paths as one text, to know the whole tree again."""
        return "\n".join(sorted(str(each) for each in self.paths))

    def holds(self, resource: Resource[Any]) -> bool:
        """Whether the filters let this resource through."""
        ref = resource.ref
        return (
            (not self.projects or ref.owner in self.projects)
            and (not self.kinds or ref.kind in self.kinds)
            and (not self.refs or ref in self.refs)
            and self.covers(ref)
            and all(resource.labels.get(key) == value for key, value in self.labels.items())
        )


def must_know(projects: Iterable[str], known: Iterable[Ref]) -> None:
    """Raise UsageError for a `--project` that names none of the projects of `known`: a misspelt one would say that all is well."""
    names = sorted({ref.owner for ref in known} - {""})
    for each in sorted(projects):
        if each not in names:
            close = get_close_matches(each, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(names) or 'none yet'}"
            raise UsageError(f"there is no project '{each}'", hint=hint)
