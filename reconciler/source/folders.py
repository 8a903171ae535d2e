"""Where the folders of projects really are: a link in the way leads to another place than the manifest says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reconciler.model import Ref, Resource
from reconciler.rules import Folder
from reconciler.source.follow import place_of
from schemas.platform import PlatformSpec
from schemas.project import ProjectSpec


def folders(resources: Iterable[Resource[Any]], platform: PlatformSpec | None, root: Path, state_dir: Path) -> Mapping[Ref, Folder]:
    """For every Project whose folder is there."""
    clones = {each.name: place_of(each, root, state_dir) for each in platform.sources if each.git is not None} if platform else {}
    found: dict[Ref, Folder] = {}
    for each in resources:
        if isinstance(each.spec, ProjectSpec) and (path := root / each.spec.path).exists():
            real = Path(os.path.realpath(path))
            within = next((name for name, place in clones.items() if path.is_relative_to(place)), "")
            left = within if within and not real.is_relative_to(os.path.realpath(clones[within])) else ""
            linked = real != Path(os.path.realpath(root)) / os.path.normpath(each.spec.path)
            private = not within and linked and real.is_relative_to(os.path.realpath(state_dir))
            found[each.ref] = Folder(str(real), left, linked, private)
    return found
