"""A recorded queue as a scenario: JSON lines, one piece of work each, checked like a manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from reconciler.admission.simulate.plant import PlantSpec
from reconciler.admission.simulate.scenario import Scenario, Work
from reconciler.admission.values import Quota, Rules
from reconciler.errors import InvalidManifest
from reconciler.model import Diagnostic, Location
from reconciler.model.demand import Amounts, Limits, amounts_of, units
from schemas.base import DnsLabel, Quantity, Strict

MOST_LINES = 200_000
"""More are refused: a simulation of so many takes longer than anyone waits."""
LONGEST = 14 * 24.0
"""Hours after the last submission at which a replay ends although work is left."""
LATEST = 366 * 86400.0
"""Seconds: a trace is at most a year long."""
DEFAULT_PRIORITY = 5


class Line(Strict):
    """One piece of work of a trace."""

    at: Annotated[float, Field(ge=0, le=LATEST, allow_inf_nan=False)]
    """Seconds from the beginning at which it was submitted."""
    project: DnsLabel
    seconds: Annotated[float, Field(gt=0, le=LATEST, allow_inf_nan=False)]
    """How long it ran, or would run on a machine that is neither throttled nor swapping."""
    memory: Quantity = "0"
    """What it asked for, without the margin."""
    cpu: Quantity = "1"
    gpu: Quantity = "0"
    watts: Quantity = "0"
    priority: Annotated[int, Field(ge=1, le=10)] | None = None
    """Unset = its project's under the first of the quotas that are compared."""
    expected_seconds: Annotated[float, Field(gt=0, le=LATEST, allow_inf_nan=False)] | None = None
    """What was expected when it was submitted; unset = exactly `seconds`."""
    peak_memory: Quantity | None = None
    """What was measured; unset = as asked for."""
    mean_watts: Quantity | None = None
    """What was measured; unset = as asked for."""


def read_trace(path: Path) -> tuple[Line, ...]:
    """The work of a trace, by time of submission. Raises InvalidManifest with the place of every wrong line, at most twenty."""
    found: list[Line] = []
    wrong: list[Diagnostic] = []
    for number, text in enumerate(_lines(path), 1):
        if number > MOST_LINES:
            wrong.append(Diagnostic(Location(str(path), number), f"has more than {MOST_LINES:,} lines", hint="cut the trace"))
            break
        if text.strip() and not text.lstrip().startswith("#"):
            each = _line(text, Location(str(path), number))
            if isinstance(each, Line):
                found.append(each)
            else:
                wrong += each
        if len(wrong) >= 20:
            break
    if not found and not wrong:
        wrong.append(
            Diagnostic(
                Location(str(path)),
                "holds no work",
                hint='a line is such as {"at": 0, "project": "vision", "memory": "4Gi", "seconds": 600}',
            )
        )
    if wrong:
        raise InvalidManifest(wrong)
    return tuple(sorted(found, key=lambda each: each.at))


def scenario_of(
    lines: Iterable[Line],
    quotas: Mapping[str, Quota],
    *,
    name: str,
    capacity: Limits,
    reserve: Amounts,
    margin: float = 0.15,
    rules: Rules | None = None,
    cooling: float | None = None,
    hours: float | None = None,
    seed: int = 0,
) -> Scenario:
    """The trace on a machine of this capacity. `cooling` is the watts that it can give off for ever; None = heat is not simulated."""
    work = tuple(_work(each, quotas) for each in lines)
    memory = capacity.memory or 0
    plant = PlantSpec(memory=memory, cores=(capacity.cpu or 0) / 1000, system=reserve.memory)
    if cooling is not None:
        plant = PlantSpec(memory=memory, cores=plant.cores, system=reserve.memory, sustained=cooling, idle=min(plant.idle, cooling / 10))
    return Scenario(
        name=name,
        hours=hours if hours is not None else work[-1].at / 3600 + LONGEST,
        plant=plant,
        quotas=quotas,
        work=work,
        heat=cooling is not None,
        rules=rules or Rules(),
        seed=seed,
        watts=None if capacity.watts is None else capacity.watts / 1000,
        gpus=(capacity.gpu or 0) / 1000,
        reserve=reserve,
        margin=margin,
        drain=hours is None,
    )


def _work(line: Line, quotas: Mapping[str, Quota]) -> Work:
    quota = quotas.get(line.project)
    priority = line.priority if line.priority is not None else quota.priority if quota else DEFAULT_PRIORITY
    return Work(
        project=line.project,
        at=line.at,
        amounts=amounts_of({"memory": line.memory, "cpu": line.cpu, "gpu": line.gpu, "watts": line.watts}),
        priority=priority,
        seconds=line.seconds,
        declared_seconds=line.expected_seconds if line.expected_seconds is not None else line.seconds,
        memory=None if line.peak_memory is None else float(units("memory", line.peak_memory)),
        watts=None if line.mean_watts is None else units("watts", line.mean_watts) / 1000,
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InvalidManifest(
            [Diagnostic(Location(str(path)), f"cannot be read: {error.strerror}", hint="check what --trace names")]
        ) from None
    except UnicodeDecodeError:
        raise InvalidManifest(
            [Diagnostic(Location(str(path)), "is not UTF-8 text", hint="a trace holds one JSON object per line")]
        ) from None


def _line(text: str, location: Location) -> Line | list[Diagnostic]:
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        return [Diagnostic(location, f"is not JSON: {error}", hint="a trace holds one JSON object per line")]
    try:
        return Line.model_validate(found)
    except ValidationError as error:
        return [_diagnostic(each, location) for each in error.errors(include_url=False)]


def _diagnostic(error: Any, location: Location) -> Diagnostic:
    field = ".".join(str(each) for each in error["loc"])
    allowed = ", ".join(info.alias or name for name, info in Line.model_fields.items())
    said = str(error["msg"]).removeprefix("Value error, ")
    return Diagnostic(location, said, path=field, hint=f"fields are {allowed}")
