"""One installation in a git repository of its own, driven as a person would: through the `reconcile` program."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.forked import RECONCILE as RECONCILE
from tests.forked import reconcile

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Installation:
    """A root folder with `manifests/`, under git."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def write(self, files: Mapping[str, str]) -> None:
        """Write files below the root, folders included."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def run(self, *arguments: str, timeout: float = 240, cwd: Path | None = None) -> Ran:
        """Run `reconcile` with these arguments in the root."""
        done = reconcile(*arguments, cwd=cwd or self.root, env=self.environment, timeout=timeout)
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, timeout: float = 240) -> Ran:
        """Run, and fail with everything that was printed unless it ends with 0."""
        ran = self.run(*arguments, timeout=timeout)
        assert ran.code == 0, f"reconcile {' '.join(arguments)} ended with {ran.code}\n{ran.text}"
        return ran

    @property
    def environment(self) -> dict[str, str]:
        base = {key: value for key, value in os.environ.items() if not key.startswith(("MLOPS_", "MLFLOW_", "PYTHONDONTWRITE"))}
        return {**base, "NO_COLOR": "1", "COLUMNS": "160", **self.env}

    def git(self, *arguments: str) -> str:
        """Run git in the root."""
        named = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *named, *arguments], cwd=self.root, capture_output=True, text=True, check=True).stdout

    def commit(self, message: str) -> None:
        """Commit everything below the root."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def status(self) -> dict[str, Any]:
        """`reconcile status --all -o json`, by Ref."""
        told = json.loads(self.run("status", "--all", "-o", "json").out)
        return {each["ref"]: each for each in told["resources"]}

    def plan(self, *arguments: str) -> dict[str, Any]:
        """`reconcile --dry-run -o json`."""
        found: dict[str, Any] = json.loads(self.run("--dry-run", "-o", "json", *arguments).out)
        return found

    def wire(self, *arguments: str) -> tuple[Ran, list[dict[str, Any]]]:
        """Run `reconcile` and return every call to a tool that it made."""
        log = self.root / ".mlops" / "wire.jsonl"
        log.unlink(missing_ok=True)
        ran = self.run("--wire-log", str(log), *arguments)
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return ran, calls

    @property
    def cache(self) -> list[str]:
        """Names of all objects in the shared DVC cache."""
        objects = self.root / ".mlops" / "dvc" / "cache" / "files" / "md5"
        return sorted(str(each.relative_to(objects)) for each in objects.rglob("*") if each.is_file())


def start(root: Path, mlflow_url: str | None, installation: str) -> Installation:
    """A git repository with a Platform: on an MLflow server that runs already, or (None) one of its own."""
    root.mkdir(parents=True, exist_ok=True)
    here = Installation(root)
    server = f"  mlflow: {{managed: false, endpoint: '{mlflow_url}'}}\n" if mlflow_url else ""
    platform = f"apiVersion: reconciler.mlops/v1\nkind: Platform\nmetadata: {{name: test}}\nspec:\n  installation: {installation}\n{server}"
    here.write({"manifests/platform.yaml": platform, ".gitignore": ".mlops/\n"})
    here.git("init", "-q", "-b", "main")
    return here


def project(name: str, extra: str = "") -> str:
    """A Project manifest."""
    return f"apiVersion: reconciler.mlops/v1\nkind: Project\nmetadata: {{name: {name}}}\nspec:\n  path: code/{name}\n{extra}"


def experiment(name: str, of: str, spec: str = "  description: test\n") -> str:
    """An Experiment manifest; `spec` is indented by two."""
    return f"apiVersion: reconciler.mlops/v1\nkind: Experiment\nmetadata: {{name: {name}, project: {of}}}\nspec:\n{spec}"


def dataset(name: str, of: str, path: str, extra: str = "") -> str:
    """A Dataset manifest that becomes a version at once."""
    head = f"apiVersion: reconciler.mlops/v1\nkind: Dataset\nmetadata: {{name: {name}, project: {of}}}\n"
    return f"{head}spec:\n  path: {path}\n  settle: 0s\n{extra}"
