"""Every kind's examples made real: applied, Ready, left alone by a second pass, and deleted again when their manifest is gone."""

from __future__ import annotations

import re
import shutil
import socket
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.registry import discover
from reconciler.source.load import load
from reconciler.validate import validate
from tests.e2e.installation import REPOSITORY, Installation
from tests.e2e.workflows import address, bundle, theirs

EXAMPLES = REPOSITORY / "manifests" / "kinds"
SIZES = ("minimal", "full")
BESIDE = sorted(discover().kinds.keys() - {"Platform"})
"""Kinds whose examples stand beside the playground; a Platform example takes the place of the playground's own."""
SERVED = ("Deployment", "Monitor")
HEAVY = (("Model",), SERVED, ("Workflow",))
"""Those that train, serve, or bring services of their own; the others share one installation, for time's sake."""
KINDS = {kind.lower(): kind for kind in BESIDE}
LIGHT = tuple(kind for kind in BESIDE if kind not in sum(HEAVY, ()))
STANDS_ON = {
    "Model": {"Experiment"},
    "Deployment": {"Experiment", "Model"},
    "Monitor": {"Experiment", "Model", "Deployment"},
    "Workflow": {"Experiment", "Model"},
}
"""What of the playground a kind's examples need beside its Platform, Project and Dataset; the rest is left out, for time's sake."""


def _furnished(root: Path, kinds: Collection[str]) -> Installation:
    """An installation with the folder of the examples where their paths expect it, and a playground for the kinds to stand on.

    The installation's and the playground's names get a tag, for the server is shared with other tests."""
    here, tag = Installation(root), uuid.uuid4().hex[:6]
    shutil.copytree(EXAMPLES, root / "manifests" / "kinds")
    here.env = {"TAG": tag, "PLAYGROUND": f"playground-{tag}", "OPS_WEBHOOK_SECRET": "s", "CHAT_ADDRESS": "json://127.0.0.1:9/"}
    needed = {"Platform", "Project", "Dataset"}.union(*(STANDS_ON.get(kind, set()) for kind in kinds))
    parts = [each for each in (EXAMPLES / "playground.yaml").read_text().split("---\n") if yaml.safe_load(each)["kind"] in needed]
    here.write({"manifests/playground.yaml": _tagged(here, "---\n".join(parts))})
    return here


def _tagged(here: Installation, text: str) -> str:
    name = here.env["PLAYGROUND"]
    text = text.replace("metadata: {name: playground}\nspec:\n  path:", f"metadata: {{name: {name}}}\nspec:\n  path:")
    text = text.replace("project: playground", f"project: {name}").replace("{name: minimal}", f"{{name: minimal-{here.env['TAG']}}}")
    return text.replace("name: full\n", f"name: full-{here.env['TAG']}\n")


def _example(here: Installation, kind: str, size: str) -> tuple[Path, list[str]]:
    """Put the example into the tree; its file, and the Refs that it declares."""
    text = _tagged(here, (EXAMPLES / kind.lower() / f"{size}.yaml").read_text())
    path = here.root / "manifests" / f"{kind.lower()}-{size}.yaml"
    path.write_text(text)
    parts = [(each["kind"].lower(), each["metadata"].get("project"), each["metadata"]["name"]) for each in yaml.safe_load_all(text)]
    return path, ["/".join(part for part in each if part) for each in parts]


@pytest.fixture
def here(tmp_path: Path, mlflow_url: str, kinds: tuple[str, ...], request: pytest.FixtureRequest) -> Iterator[Installation]:
    """The playground alone, made real on the shared servers."""
    found = _furnished(tmp_path / "root", kinds)
    playground = found.root / "manifests" / "playground.yaml"
    server = f"installation: examples-{found.env['TAG']}\n  mlflow: {{managed: false, endpoint: '{mlflow_url}'}}"
    if "Workflow" in kinds:
        flows = request.getfixturevalue("flows")
        found.env["THEIRS"] = address(flows)[1]
        server += f"\n  airflow: {{{theirs(flows)}, {bundle(flows)}}}"
    playground.write_text(playground.read_text().replace("installation: playground", server))
    try:
        found.ok("--wait")
        yield found
    finally:
        if {"Deployment", "Monitor"} & set(kinds):
            found.run("platform", "down")


def _settled(here: Installation, refs: Collection[str]) -> None:
    """Ready, and neither a second pass nor a dry run finds anything to do."""
    told = here.status()
    assert {ref: told[ref]["health"] for ref in refs if not told[ref]["ready"]} == {}
    ran, calls = here.wire()
    assert ran.code == 0, ran.text
    assert "No changes" in ran.out
    assert [each for each in calls if each["write"]] == []
    assert here.run("--dry-run", "--detailed-exitcode").code == 0


def _imported(here: Installation) -> None:
    """With every manifest lost, an import writes trees that say the same and plan to nothing.

    The servers are shared with other tests, so that it asks for its own projects only."""
    lost = here.root / "lost"
    lost.mkdir()
    files = list((here.root / "manifests").glob("*.yaml"))
    for each in files:
        each.rename(lost / each.name)
    try:
        parts = [each.split("/") for each in here.status()]
        projects = sorted({part[1] for part in parts if len(part) == 3 or part[0] == "project"})
        here.ok("import", "--all", "--tool", "store", "--to", "ours")
        here.ok("-f", "ours", "import", "--all", *(word for each in projects for word in ("--project", each)), "--to", "theirs")
        here.ok("validate", "-f", "ours", "-f", "theirs")
        assert _said(here, "ours", "theirs") == _said(here, "lost")
        ran = here.ok("--dry-run", "--detailed-exitcode", "-f", "ours", "-f", "theirs")
        assert "No changes" in ran.out
        nothing = here.ok("-f", "ours", "-f", "theirs", "import", "--all", "--tool", "dvc", "--tool", "store", "--to", "again")
        assert nothing.out.startswith("Nothing to import: "), nothing.out
        if "THEIRS" in here.env:  # this Airflow has DAGs of another installation
            told = here.ok("-f", "ours", "-f", "theirs", "import", "--all", "--tool", "airflow", "--to", "again").out
            assert "not made by this installation" in " ".join(told.split())
    finally:
        for each in files:
            (lost / each.name).rename(each)


def _said(here: Installation, *folders: str) -> dict[str, tuple[Any, Any, Any]]:
    """What each manifest of these folders means."""
    loaded = load([here.root / each for each in folders], root=here.root)
    found = validate(loaded, discover(), root=here.root)
    assert not [each for each in found.diagnostics if each.severity == "error"]
    return {str(each.ref): (each.spec, each.lifecycle, each.labels) for each in found.resources}


def _case(kinds: tuple[str, ...], sizes: tuple[str, ...] = SIZES, *marks: pytest.MarkDecorator) -> Any:
    group = pytest.mark.xdist_group("airflow" if "Workflow" in kinds else "mlflow")
    return pytest.param(kinds, sizes, id="-".join([*kinds, *(sizes if sizes != SIZES else ())]), marks=[group, *marks])


CASES = [
    *(_case(each) for each in (LIGHT, *HEAVY) if each != SERVED),
    _case(SERVED, ("full",)),
    _case(SERVED, ("minimal",), pytest.mark.full),  # the defaults; docs/serving.md and docs/monitors.md serve and watch with them, too
]


@pytest.mark.parametrize(("kinds", "sizes"), CASES)
def test_examples_are_made_real_and_go_again(here: Installation, kinds: tuple[str, ...], sizes: tuple[str, ...]) -> None:
    """All at once, for time's sake; that each stands on its own is shown without tools."""
    examples = [_example(here, kind, size) for kind in kinds for size in sizes]
    refs = {ref for _, declared in examples for ref in declared}
    here.ok("--wait")
    _settled(here, refs)
    _imported(here)

    for path, _ in examples:
        path.unlink()
    ran = here.run()
    if any(discover().kinds[kind].prune == "confirm" for kind in kinds):
        assert ran.code == 3, ran.text
        assert here.status().keys() >= {ref for ref in refs if discover().kinds[KINDS[ref.split("/")[0]]].prune == "confirm"}
    while (asked := re.findall(r"--confirm ([\w/-]+)", ran.out)) and ran.code == 3:  # each, then the set, if it is a large one
        ran = here.run(*(part for each in asked for part in ("--confirm", each)))
    assert ran.code == 0, ran.text
    assert not here.status().keys() & refs
    assert "No changes" in here.ok().out


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Installation]:
    """The playground's project with an experiment, and no Platform yet: its example brings it, with services of its own."""
    found = _furnished(tmp_path / "root", ())
    playground = found.root / "manifests" / "playground.yaml"
    _, rest = playground.read_text().split("---\n", 1)
    experiment = _tagged(found, (EXAMPLES / "experiment" / "minimal.yaml").read_text())
    playground.write_text(f"{rest}---\n{experiment}")
    try:
        yield found
    finally:
        found.run("platform", "down")


@pytest.mark.xdist_group("mlflow")
@pytest.mark.parametrize("size", [pytest.param("minimal", marks=pytest.mark.full), "full"])
def test_platform_example_starts_its_services_and_keeps_them(alone: Installation, size: str) -> None:
    """Nothing but a Platform says where the tools are, so taking its manifest away is told as a mistake, and harms nothing."""
    path, refs = _example(alone, "Platform", size)
    text = path.read_text()
    for port in ("25432", "25000"):  # the example's ports may be in use on this machine
        text = text.replace(f"port: {port}", f"port: {_free_port()}")
    path.write_text(text)
    alone.ok("--wait")
    everything = alone.status()
    assert everything.keys() > set(refs)
    _settled(alone, everything)
    assert alone.run("platform", "status").out.startswith("2 of 2 services work.")

    path.unlink()
    for arguments in ([], ["--confirm", *refs]):
        ran, calls = alone.wire(*arguments)
        assert ran.code == 1
        assert "no Platform manifest was read" in ran.text
        assert [each for each in calls if each["write"]] == []
    assert alone.status().keys() == everything.keys()
    assert alone.run("platform", "status").out.startswith("2 of 2 services work.")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
