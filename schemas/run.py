"""Runs: what an Experiment says of the trainings that must exist, and one of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import Duration, Quantity, RelativePath, Spec, Strict

Scalar = str | int | float | bool
ParamName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.\-]{0,99}$")]
"""A parameter `rate` reaches the program as `--rate VALUE`."""
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Resources(Strict):
    """What one run asks of the machine; goes through admission."""

    memory: Quantity | None = None
    """Peak memory. Unset = estimated: from the model's size, later from what earlier runs were measured to need."""
    cpu: Quantity | None = None
    """Cores; unset = 1."""
    gpu: Quantity | None = None
    """Share of the GPU."""
    watts: Quantity | None = None
    """Electrical power while it runs; unset = measured from earlier runs where the machine tells."""
    duration: Duration | None = None
    """How long one run is expected to take; unset = from earlier runs."""


class Runs(Strict):
    """The runs that must exist: every combination of the parameters, for every seed."""

    entrypoint: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^-/\\][^\\\x00]*$")]
    """Script of the project, for example `train.py`, or `-m`-style module as `package.train`. It is called with
    `--data PATH` (the first dataset), `--seed N`, `--out DIR` and one `--name value` for each parameter."""
    code: tuple[RelativePath, ...] = ("*.py",)
    """Globs of the files whose content belongs to a run's identity; the script that is the entrypoint always does."""
    params: dict[ParamName, Scalar | tuple[Scalar, ...]] | tuple[dict[ParamName, Scalar], ...] = Field(default_factory=dict)
    """A grid (name to value or list of values), or a list of complete parameter sets."""
    seeds: tuple[int, ...] = (0,)
    """One run for each."""
    env: dict[EnvName, str] = Field(default_factory=dict)
    """The environment that a run receives; nothing else is inherited."""
    environment: Literal["project", "pinned"] = "project"
    """`pinned` installs the project's `requirements.lock`, hashes checked, and makes it part of a run's identity."""
    resources: Resources = Resources()
    priority: Annotated[int, Field(ge=1, le=10)] | None = None
    """1 to 10; none = the project's."""
    retries: Annotated[int, Field(ge=0, le=20)] = 0
    """How often a failed run is tried again, after a growing pause."""
    timeout: Duration | None = None
    """A run that takes longer is stopped and counts as failed."""
    backend: Literal["local", "ray"] = "local"
    """`local`: a process of this machine. `ray`: a job of the platform's Ray."""
    rerun: str | None = None
    """Change this text to launch failed or deleted runs again."""


class ModelFacts(Strict):
    """Size of the trained model, for the memory estimate."""

    parameters: Annotated[int, Field(ge=1)] | None = None
    bits: Literal[4, 8, 16, 32] | None = None
    optimizer: str | None = None


class RunSpec(Spec):
    """One run as it must exist: what `Runs` expands to. Not written in manifests."""

    label: str
    """The key of its Ref: `rank8-s1`."""
    params: dict[str, Scalar] = Field(default_factory=dict)
    """Those that the manifest gives; the program's own defaults are not among them."""
    seed: int = 0
    runs: Runs
    """All that it shares with its sisters."""
    model: ModelFacts | None = None
    metric: str | None = None
    goal: Literal["maximize", "minimize"] = "maximize"
    code: str = ""
    """Digest of the contents of the code globs."""
    lock: str = ""
    """Digest of the project's `requirements.lock` where the environment is pinned."""
    trouble: str = ""
    """Why it can never start as it stands (no such entrypoint, no lock): told in the plan."""
