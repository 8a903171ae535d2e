"""`reconcile simulate`: a queue played against quotas and a machine, in seconds instead of days."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.options import Format, Globals, Output, given

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.admission.simulate.compare import Case
    from reconciler.admission.simulate.replay import Line
    from reconciler.admission.simulate.scenario import Scenario
    from reconciler.admission.values import Quota
    from reconciler.model import Resource
    from schemas.platform import Admission

PRESENT, RECORDED = "present quotas", "the recorded queue"


class Builtin(StrEnum):
    """Scenarios that need no file."""

    FAIRNESS = "fairness"
    THERMAL = "thermal"
    OVERLOAD = "overload"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(simulate)


def simulate(
    ctx: typer.Context,
    quota: Annotated[
        list[Path] | None,
        typer.Option("--quota", metavar="FILE", help="ResourceQuota manifests to try; repeatable. [default: the present ones]"),
    ] = None,
    trace: Annotated[Path | None, typer.Option(metavar="FILE", help="Recorded queue, as JSON lines.")] = None,
    recorded: Annotated[bool, typer.Option("--recorded", help="The queue of the last seven days, as it was recorded here.")] = False,
    generate: Annotated[Builtin | None, typer.Option(help="A built-in queue instead of a trace.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything that is random; the same gives the same.")] = 0,
    hours: Annotated[
        float | None, typer.Option(metavar="H", min=0.01, max=1000, help="Simulated time. [default: until all is done]")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="QUANTITY", help="Of the machine. [default: the Platform's, else this one's]")
    ] = None,
    cpu: Annotated[str | None, typer.Option(metavar="QUANTITY", help="Cores of the machine. [default: as for memory]")] = None,
    cooling: Annotated[
        float | None, typer.Option(metavar="WATTS", min=1, help="What the machine can give off for ever; heat is simulated then.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="DIR", help="Write a picture (PNG) and a page (HTML) there.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Play a queue against quotas: waits, fairness, heat.

    Nothing is started and nothing is written, but for --plot. The decisions are those of the
    real admission; the machine is a model (docs/simulation.md).

    \b
    Examples:
      reconcile simulate --generate thermal --plot plots
      reconcile simulate --generate fairness --seed 7
      reconcile simulate --recorded --quota proposed.yaml
      reconcile simulate --trace week.jsonl --quota proposed.yaml
      reconcile simulate --trace week.jsonl --memory 64Gi --cpu 12 --cooling 40 -o json
    """
    from reconciler.admission.simulate.compare import goals, play
    from reconciler.cli.output import say, tell
    from reconciler.report.simulate import simulation_json, simulation_text

    asked = given(ctx)
    cases = _cases(asked, tuple(quota or ()), trace, recorded, generate, seed, hours, memory, cpu, cooling)

    def told(case: Case) -> None:
        if output is Format.TEXT:
            tell(f"simulating {case.label}{f', power {case.power}' if case.power else ''} ...")

    played = play(cases, told)
    found = goals(played) if generate and not quota else ()
    written: Sequence[Path] = ()
    if plot is not None:
        from reconciler.admission.simulate.plots import write_plots

        written = write_plots(played, plot)
    if output is Format.JSON:
        say(simulation_json(played, found, [str(each) for each in written]))
        return
    say(simulation_text(played, found, next_=_next(written, generate, quota), color=asked.color()))


def _cases(
    asked: Globals,
    quota: tuple[Path, ...],
    trace: Path | None,
    recorded: bool,
    generate: Builtin | None,
    seed: int,
    hours: float | None,
    memory: str | None,
    cpu: str | None,
    cooling: float | None,
) -> tuple[Case, ...]:
    from reconciler.admission.simulate.compare import policies
    from reconciler.admission.simulate.compare import quotas as under
    from reconciler.admission.simulate.scenario import HOURS, SCENARIOS
    from reconciler.errors import UsageError

    if (trace is not None) + recorded + (generate is not None) != 1:
        raise UsageError(
            "simulate needs one queue", hint="--recorded, --trace FILE, or a built-in one with --generate fairness|thermal|overload"
        )
    proposed = {", ".join(each.name for each in quota): _quotas(asked, quota, must=True)} if quota else {}
    if generate is not None:
        if memory or cpu or cooling:
            raise UsageError("--memory, --cpu and --cooling go with --trace and --recorded", hint="a built-in scenario brings its machine")
        scenario = SCENARIOS[generate](seed, hours if hours is not None else HOURS[generate])
        return under(scenario, {"built-in quotas": scenario.quotas, **proposed}) if proposed else policies(scenario)
    present = _quotas(asked, None, must=False)
    if not present and not proposed:
        raise UsageError(
            "there are no quotas to play the queue under", hint="name ResourceQuota manifests with --quota FILE, or a tree with -f"
        )
    sets = {**({PRESENT: present} if present else {}), **proposed}
    scenario = _replayed(asked, trace, next(iter(sets.values())), seed, hours, memory, cpu, cooling)
    return under(scenario, sets)


def _replayed(
    asked: Globals,
    trace: Path | None,
    quotas: Mapping[str, Quota],
    seed: int,
    hours: float | None,
    memory: str | None,
    cpu: str | None,
    cooling: float | None,
) -> Scenario:
    from reconciler.admission.scene import capacity_of, reserve_of, rules_of
    from reconciler.admission.simulate.replay import read_trace, scenario_of
    from reconciler.hardware.detector import detect
    from schemas.platform import PlatformSpec

    platform = next((each.spec for each in _resources(asked, None) if isinstance(each.spec, PlatformSpec)), None)
    admission = _admission(platform.admission if platform else None, memory, cpu)
    machine = detect()
    capacity, reserve = capacity_of(machine, admission), reserve_of(machine, admission)
    return scenario_of(
        read_trace(trace) if trace is not None else _recorded(asked),
        quotas,
        name=trace.name if trace is not None else RECORDED,
        capacity=capacity,
        reserve=reserve,
        margin=admission.margin if trace is not None else 0.0,  # what was charged has it already
        rules=rules_of(admission),
        cooling=cooling,
        hours=hours,
        seed=seed,
    )


def _recorded(asked: Globals) -> tuple[Line, ...]:
    from reconciler.cli.pass_ import open_for
    from reconciler.errors import UsageError
    from reconciler.replay import recent

    found = recent(open_for(asked, read_only=True))
    if not found:
        raise UsageError("no queue is recorded here yet", hint="once work was admitted there is one; until then `--generate fairness`")
    return found


def _admission(found: Admission | None, memory: str | None, cpu: str | None) -> Admission:
    """The Platform's, with the machine of the command line."""
    from pydantic import ValidationError

    from reconciler.errors import UsageError
    from schemas.platform import Admission

    written = found.model_dump(exclude_unset=True) if found else {}
    given = {name: each for name, each in (("memory", memory), ("cpu", cpu)) if each is not None}
    try:
        return Admission.model_validate({**written, "capacity": {**(written.get("capacity") or {}), **given}} if given else written)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        raise UsageError(f"--{wrong['loc'][-1]}: {str(wrong['msg']).removeprefix('Value error, ')}") from None


def _quotas(asked: Globals, paths: tuple[Path, ...] | None, *, must: bool) -> dict[str, Quota]:
    from reconciler.admission.scene import quotas_of
    from reconciler.errors import UsageError

    found = quotas_of(_resources(asked, paths), {})
    if must and not found:
        raise UsageError(
            f"there is no ResourceQuota in {', '.join(map(str, paths or ()))}", hint="`reconcile explain resourcequota` shows one"
        )
    return found


def _resources(asked: Globals, paths: tuple[Path, ...] | None) -> Sequence[Resource[Any]]:
    """What the files say, checked by the kinds' own schemas. None = the manifests in use, whose mistakes are not looked at here."""
    from reconciler.errors import InvalidManifest, UsageError
    from reconciler.registry import discover
    from reconciler.source.load import load
    from reconciler.validate import validate

    settings = asked.settings()
    root = settings.root.absolute()
    chosen = [each.absolute() for each in (paths or asked.paths(settings)) if paths or each.exists()]
    if missing := [each for each in chosen if not each.exists()]:
        raise UsageError(f"there is nothing at {missing[0]}", hint="check what --quota names")
    checked = validate(load(chosen, root=root), discover(), root=root)
    wrong = [each for each in checked.diagnostics if each.severity == "error"]
    if paths and wrong:
        raise InvalidManifest(wrong)
    return checked.resources


def _next(written: Sequence[Path], generate: Builtin | None, quota: list[Path] | None) -> str:
    if written:
        return f"look at {', '.join(map(str, written))}"
    if generate is not None:
        return "add `--plot DIR` for pictures, another `--seed` to see how much is chance"
    return "add `--plot DIR` for pictures" if quota else "add `--quota FILE` to compare with other quotas"
