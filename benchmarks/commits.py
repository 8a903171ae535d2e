"""From a push to the tools: how soon a commit is what MLflow shows, with the forge's webhook as the wake-up."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.site import Site

SECRET = "bench"
"""That pushes are signed with; it protects nothing here."""
FOLLOW = "{remote: origin, revision: main, every: 1h, webhook: {fromEnv: BENCH_HOOK}}"
"""Polled so rarely that the webhook alone tells of a push."""


@dataclass(frozen=True)
class Forge:
    """A bare repository, an engineer's clone of it, and the address that is told of pushes."""

    origin: Path
    clone: Path
    hook: str = ""

    def push(self, name: str, file: Path, value: str) -> None:
        """Change the owner of one experiment, commit, push, and tell of it as a forge does."""
        import httpx

        path = self.clone / file
        head, found, rest = path.read_text(encoding="utf-8").partition(f"name: {name},")
        path.write_text(head + found + re.sub(r"owner: [^,}]+", f"owner: {value}", rest, count=1), encoding="utf-8")
        git(self.clone, "commit", "-qam", f"{name} belongs to {value}")
        git(self.clone, "push", "-q", "origin", "main")
        body = b'{"ref": "refs/heads/main"}'
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        httpx.post(self.hook, content=body, headers={"X-Hub-Signature-256": f"sha256={signature}"}, trust_env=False).raise_for_status()


def forge(site: Site) -> Forge:
    """Put the installation under git, so that it follows a repository of its own."""
    origin, clone = site.root.with_name(f"{site.root.name}.git"), site.root.with_name(f"{site.root.name}-clone")
    manifest = site.root / "manifests" / "platform.yaml"
    manifest.write_text(manifest.read_text().replace("installation: bench", f"installation: bench, follow: {FOLLOW}"))
    (site.root / ".gitignore").write_text(".mlops/\ncode/\n")
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(origin)], check=True)
    git(site.root, "init", "-q", "-b", "main")
    git(site.root, "add", "-A")
    git(site.root, "commit", "-qm", "the estate")
    git(site.root, "remote", "add", "origin", str(origin))
    git(site.root, "push", "-qu", "origin", "main")
    subprocess.run(["git", "clone", "-q", str(origin), str(clone)], check=True)
    return Forge(origin, clone)


def git(where: Path, *arguments: str) -> None:
    """git as an engineer whose configuration nobody knows."""
    who = ["-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=where, check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull})


def hook_of(site: Site, since: int, patience: float = 60.0) -> str:
    """The address that the loop said it answers at; `since` = bytes of the log before it was started."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        found = re.findall(r"Answering at (http://\S+):", site.log.read_bytes()[since:].decode(errors="replace"))
        if found:
            return f"{found[-1]}/hooks/git/root"
        time.sleep(0.1)
    raise SystemExit("the loop did not say where it answers")
