"""Which runtime serves a model on which machine. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from reconciler.errors import Terminal

RUNTIMES = ("mlx", "torch", "sklearn", "pyfunc", "bento")
PACKAGE = {"mlx": "mlx", "torch": "torch", "sklearn": "scikit-learn", "pyfunc": "mlflow"}
"""Runtime -> package that it cannot do without."""
PICKLED = {"sklearn": ("scikit-learn",), "pyfunc": ("scikit-learn",)}
"""Runtime -> packages whose models are pickles: what one minor version wrote, another one need not read, or reads wrongly (scikit-learn,
Model persistence, Security and maintainability limitations)."""
_ON_CPU = ("sklearn", "torch", "pyfunc")


@dataclass(frozen=True, slots=True)
class Machine:
    """What can run here, as the interpreter that serves models sees it."""

    system: str = "Linux"
    """`Linux` or `Darwin`."""
    architecture: str = "x86_64"
    python: str = "3.11.0"
    packages: Mapping[str, str] = field(default_factory=dict)
    """Installed packages that were asked for -> version."""

    @property
    def metal(self) -> bool:
        """True on a Mac with Apple's own chip."""
        return (self.system, self.architecture) == ("Darwin", "arm64")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model asks of the machine that serves it."""

    made_with: Mapping[str, str] = field(default_factory=dict)
    """Package -> version that it was made with (Descriptor.packages)."""
    python: str = ""
    """Version specifiers, such as `>=3.11`; empty = any."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Package -> version specifiers."""
    metal: Literal["required", "preferred", "unused"] = "preferred"

    def asks_of(self) -> Collection[str]:
        """Every package whose version decides something."""
        return {*PACKAGE.values(), *self.packages, *self.made_with}


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime, and why this one, as a sentence's end: `MLX with Metal`."""

    runtime: str
    why: str


def choose(wanted: str, offered: Collection[str], machine: Machine, needs: Needs = Needs()) -> Choice:
    """The runtime that serves. `wanted` is one of RUNTIMES or `auto`; `offered` are the model's own.

    `auto` is the first that runs here of: MLX, torch where it has Metal (MPS), and what runs on the CPU (scikit-learn, torch, pyfunc).
    `bento` is not chosen among those offered: an own service class loads the files itself. Raises Terminal with the reason of every
    runtime that was looked at."""
    _check_machine(machine, needs)
    if wanted == "bento":
        return Choice("bento", "an own service class")
    if wanted != "auto":
        if wanted not in offered:
            raise Terminal(f"the model does not offer the runtime `{wanted}`", hint=f"it offers {_listed(offered)}")
        if why := _cannot(wanted, machine, needs):
            raise Terminal(why)
        return Choice(wanted, "as the manifest says")
    refused = []
    for runtime in _order(machine, needs):
        if runtime not in offered:
            continue
        if not (why := _cannot(runtime, machine, needs)):
            return Choice(runtime, _where(runtime, machine))
        refused.append(why)
    raise Terminal("; ".join(refused) or f"the model offers no runtime that is known here: {_listed(offered)}")


def _order(machine: Machine, needs: Needs) -> tuple[str, ...]:
    if needs.metal == "unused":
        return (*_ON_CPU, "mlx")
    return ("mlx", "torch", "sklearn", "pyfunc") if machine.metal else ("mlx", *_ON_CPU)


def _where(runtime: str, machine: Machine) -> str:
    if runtime == "mlx":
        return "MLX with Metal" if machine.metal else "MLX on the CPU"
    if runtime == "torch":
        return "torch with MPS" if machine.metal else "torch on the CPU"
    return {"sklearn": "scikit-learn on the CPU", "pyfunc": "MLflow's pyfunc on the CPU"}[runtime]


def _check_machine(machine: Machine, needs: Needs) -> None:
    """Raises Terminal when nothing of this model can be served here."""
    if needs.metal == "required" and not machine.metal:
        raise Terminal(
            f"the model needs Metal, and this is {machine.system} on {machine.architecture}", hint="spec.compatibility.metal of its Model"
        )
    if needs.python and not _within(machine.python, needs.python):
        raise Terminal(f"the model needs Python {needs.python}, and what serves models here is {machine.python}")
    for package, wanted in sorted(needs.packages.items()):
        have = machine.packages.get(package)
        if have is None:
            raise Terminal(f"the model needs {package} {wanted}, which is not installed where models are served")
        if not _within(have, wanted):
            raise Terminal(f"the model needs {package} {wanted}, and {have} is installed where models are served")


def _cannot(runtime: str, machine: Machine, needs: Needs) -> str:
    """Why this runtime cannot serve here; empty when it can."""
    package = PACKAGE.get(runtime, "")
    if package not in machine.packages:
        return f"`{runtime}` needs {package}, which is not installed where models are served"
    for pickled in PICKLED.get(runtime, ()):
        made, have = needs.made_with.get(pickled), machine.packages.get(pickled)
        if made and have and _minor(made) != _minor(have):
            return f"`{runtime}`: the model was made with {pickled} {made}, and {have} would load it; only the same minor version may"
        if made and not have:
            return f"`{runtime}`: the model was made with {pickled} {made}, which is not installed where models are served"
    return ""


def _within(version: str, specifiers: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(specifiers).contains(version, prereleases=True)
    except InvalidSpecifier as error:
        raise Terminal(f"not a version specifier: `{specifiers}`", hint="for example `>=1.7,<1.10`") from error
    except InvalidVersion:
        return False


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"`{each}`" for each in sorted(names)) or "none"
