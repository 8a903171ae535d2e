"""uv as a resolver: can these requirements be installed together?

Nothing is installed, and nothing is built (a build would run foreign code)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from reconciler.controller import Call, Context
from reconciler.errors import Terminal, Transient

SECONDS = 60
_CUT_OFF = "network was disabled"
"""uv with UV_OFFLINE set: "No solution found" then says nothing of the requirements."""
_OFFLINE = ("dns error", "failed to fetch", "error sending request", "network", "connection", "offline", "timed out")


@dataclass(frozen=True)
class Clash:
    """Two projects (or one with itself: both names equal) whose requirements no environment can hold together."""

    first: str
    second: str
    why: str


class Resolver:
    """Answers are kept for the pass: every project of one pass asks the same question."""

    def __init__(self, ctx: Context) -> None:
        self._wire = ctx.wire
        self._answers: dict[str, tuple[Clash, ...]] = {}

    def clashes(self, requirements: Mapping[str, Sequence[str]]) -> tuple[Clash, ...]:
        """Which projects' requirements exclude each other. Empty = one environment could hold them all.

        Raises Transient when the package index cannot be reached, Terminal when uv is not installed."""
        key = repr(sorted((name, tuple(each)) for name, each in requirements.items()))
        if key not in self._answers:
            self._answers[key] = self._ask(requirements)
        return self._answers[key]

    def _ask(self, requirements: Mapping[str, Sequence[str]]) -> tuple[Clash, ...]:
        wanted = {name: each for name, each in sorted(requirements.items()) if each}
        if self._conflict([line for each in wanted.values() for line in each]) is None:
            return ()
        alone = {name: why for name, each in wanted.items() if (why := self._conflict(each))}
        found = [Clash(name, name, why) for name, why in alone.items()]
        for first, second in combinations([name for name in wanted if name not in alone], 2):
            if why := self._conflict([*wanted[first], *wanted[second]]):
                found.append(Clash(first, second, why))
        return tuple(found)

    def _conflict(self, lines: Sequence[str]) -> str | None:
        """Why no set of versions fits; None when one does."""
        if not lines:
            return None
        began = time.monotonic()
        argv = [
            _program(),
            "pip",
            "compile",
            "--no-config",
            "--quiet",
            "--no-header",
            "--no-annotate",
            "--no-build",
            "--color",
            "never",
            "-",
        ]
        try:
            done = subprocess.run(
                argv, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=SECONDS, check=False, env=_environment()
            )
        except subprocess.TimeoutExpired as error:
            raise Transient(f"uv did not answer within {SECONDS} s") from error
        self._wire(Call("uv", "resolve", f"{len(lines)} requirements", False, str(done.returncode), time.monotonic() - began))
        if done.returncode == 0:
            return None
        text = " ".join(done.stderr.replace("╰─▶", "").replace("×", "").split())
        if "No solution found" in text and _CUT_OFF not in text:
            because = text.find("Because")
            return text[max(because, 0) :][:600]
        if _CUT_OFF in text or any(word in text.lower() for word in _OFFLINE):
            raise Transient("the package index cannot be reached, so requirements were not checked against each other")
        raise Terminal(f"uv could not read the requirements: {text[:300]}")


def connect(ctx: Context) -> Resolver:
    """The pass's one resolver."""
    return ctx.client(Resolver, Resolver)


def _program() -> str:
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise Terminal("uv is not installed", hint="pip install uv") from error


def _environment() -> dict[str, str]:
    """The user's index settings and nothing secret of ours."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "XDG_CACHE_HOME")
    return {key: value for key, value in os.environ.items() if key in kept or key.startswith("UV_")}
