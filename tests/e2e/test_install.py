"""The wheel and the editable install work from a folder whose own `schemas/` and `controllers/` would shadow ours."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.installation import RECONCILE, REPOSITORY


@pytest.fixture
def decoy(tmp_path: Path) -> Path:
    """A user's folder with packages of the same names, which would break anything that imported them."""
    for name in ("schemas", "controllers", "reconciler"):
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text("raise ImportError('the decoy was imported')\n")
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "platform.yaml").write_text(
        "apiVersion: reconciler.mlops/v1\nkind: Platform\nmetadata: {name: x}\nspec: {installation: x}\n"
    )
    return tmp_path


def test_editable_install_beside_a_decoy(decoy: Path) -> None:
    done = subprocess.run([RECONCILE, "validate"], cwd=decoy, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_wheel_beside_a_decoy(decoy: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    room = tmp_path_factory.mktemp("wheel")
    source = room / "source"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in files:
        if name and (REPOSITORY / name).is_file() and name.split("/")[0] not in ("examples", "manifests", "tests"):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((REPOSITORY / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(room), str(source)]
    subprocess.run(build, capture_output=True, text=True, timeout=120, check=True)
    wheel = next(room.glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"reconciler", "schemas", "controllers"}
    assert "reconciler/guard/shipped.yaml" in names, "so do the shipped rules"
    assert any("migrations/" in name and name.endswith(".py") for name in names), "the Store's migrations travel with the wheel"

    # A second environment over the first one's packages, with our wheel in the place of the editable install.
    target = room / "site"
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(uv, capture_output=True, text=True, timeout=120, check=True)
    program = "import sys; sys.path[:] = [p for p in sys.path if p]; from reconciler.cli import main; sys.exit(main())"
    env = {**os.environ, "PYTHONPATH": str(target), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, "validate"], cwd=decoy, capture_output=True, text=True, timeout=60, check=False, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    where = subprocess.run(
        [sys.executable, "-c", "import schemas; print(schemas.__file__)"], cwd=decoy, capture_output=True, text=True, env=env, check=True
    )
    assert where.stdout.startswith(str(target))
