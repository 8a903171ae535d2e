"""docs/writing-a-kind.md does what it says: a third-party package with an entry point, loaded by the program itself."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

from tests.docs.walkthrough import Step, Walk, environment, rewritten, steps

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "writing-a-kind.md"


def _install(site: Path, pyproject: str) -> None:
    """What `pip install --editable` leaves: metadata with the entry points, in a folder of sys.path."""
    project = tomllib.loads(pyproject)["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"].items()
    groups = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in each.items()) for group, each in points]
    (info / "entry_points.txt").write_text("".join(groups))


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    env = environment(Path(sys.executable).parent) | {"PYTHONPATH": f"{site}{os.pathsep}{here}"}
    walk = Walk(here, env, {"/home/ada": str(tmp_path)}, forked=False)
    update, differing = bool(os.environ.get("UPDATE_GOLDEN")), list[Step]()
    for step in steps(page):
        try:
            walk.go(step)
        except AssertionError:
            if not update:
                raise
            differing.append(step)
        if step.file.endswith("pyproject.toml"):
            _install(site, step.text)
    if differing:
        PAGE.write_text(rewritten(page, differing, walk.printed), encoding="utf-8")
