"""One installation's DVC area in a folder, for the tests of the DVC client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from controllers.tools.dvc import Dvc, Entry, Remote
from controllers.tools.dvc_files import Version
from reconciler.controller import Call


class House:
    """One installation in a folder, with the project `p`."""

    def __init__(self, base: Path, **more: Any) -> None:
        self.base, self.calls = base, list[Call]()
        self.root = base / "tree" / "p"
        self.root.mkdir(parents=True, exist_ok=True)
        more.setdefault("remotes", [Remote("store", str(base / "remote store"))])
        self.dvc = Dvc(base / "state" / "dvc", wire=self.calls.append, **more)

    def file(self, name: str, data: bytes | str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def keep(self, name: str, relative: str, at: str = "1", project: str = "p") -> Version:
        version, _ = self.dvc.add(project, self.root, relative)
        self.dvc.names.record(project, name, Entry(Path(relative).name, version, {"at": at, "path": relative}))
        return version

    def restore(self, name: str, relative: str, version: Version) -> None:
        self.dvc.restore("p", name, self.root, relative, version.md5, {"at": "now"})

    @property
    def writes(self) -> list[str]:
        return [each.method for each in self.calls if each.write]

    def cli(self, *words: str) -> str:
        env = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        program = str(Path(sys.executable).with_name("dvc"))
        done = subprocess.run([program, *words], cwd=self.dvc.names.path("p"), env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def folder(house: House, name: str = "pictures", files: int = 3) -> None:
    for number in range(files):
        house.file(f"{name}/sub {number}/{number}.txt", f"picture {number}\n")


def objects(house: House) -> set[str]:
    return {each.name for each in house.dvc.cache.objects.rglob("*") if each.is_file()}
