"""What the machine offers to those who serve models, as the interpreter that serves them sees it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Collection, Mapping
from importlib import metadata

from controllers.tools.bentoml import interpreter
from reconciler.controller import Context
from reconciler.errors import Terminal
from reconciler.model.runtimes import Machine, Needs

SECONDS = 30.0
_ASK = """
import json, platform, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps([platform.python_version(), found]))
"""


class Probe:
    """Asks the interpreter once in a pass for each package. Metadata only: importing MLX would wake the GPU."""

    def __init__(self, ctx: Context) -> None:
        self._interpreter = interpreter(ctx)
        self._python = platform.python_version() if self._interpreter == sys.executable else ""
        self._known: dict[str, str | None] = {}

    def machine(self, needs: Collection[Needs] = ()) -> Machine:
        """This machine, with the versions of all packages that these needs and the runtimes speak of.

        Raises Terminal when the interpreter does not start."""
        names = {name for each in (Needs(), *needs) for name in each.asks_of()}
        if late := sorted(names - self._known.keys()):
            found = self._ask(late)
            self._known.update({name: found.get(name) for name in late})
        packages = {name: version for name in names if (version := self._known[name]) is not None}
        return Machine(platform.system(), platform.machine(), self._python, packages)

    def _ask(self, names: Collection[str]) -> Mapping[str, str]:
        if self._interpreter == sys.executable:
            return {name: version for name in names if (version := _version(name)) is not None}
        try:
            done = subprocess.run(
                [self._interpreter, "-I", "-c", _ASK, *names], capture_output=True, text=True, timeout=SECONDS, check=True, env={}
            )
            self._python, found = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise Terminal(
                f"the interpreter that serves models does not start: {self._interpreter}", hint="spec.ray.interpreter of the Platform"
            ) from error
        return {str(name): str(version) for name, version in found.items()}


def probe(ctx: Context) -> Probe:
    """The pass's one probe."""
    return ctx.client(Probe, Probe)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except (metadata.PackageNotFoundError, ValueError):  # ValueError: an empty name
        return None
