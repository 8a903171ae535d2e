"""What this machine is and what its sensors say, as text and JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from reconciler.admission.values import Level
from reconciler.hardware.probe import Look
from reconciler.hardware.values import Machine, Sample
from reconciler.report.show import clean, paint, rfc3339, wrap

_STYLE = {Level.UNKNOWN: "yellow", Level.NOMINAL: "green", Level.FAIR: "green", Level.SERIOUS: "red", Level.CRITICAL: "red"}
_GIB = float(1 << 30)


def hardware_text(machine: Machine, sample: Sample, looks: Sequence[Look], *, color: bool = False, width: int = 100, note: str = "") -> str:
    """The verdict, the machine, then one line for each sensor. `note` is said below the verdict, such as which trace is being played."""
    facts = list(_facts(machine, sample))
    column = max(len(name) for name, _ in facts)
    lines = [*wrap(_verdict(sample, looks), width, ""), *(wrap(clean(note), width, "") if note else []), "", f"{clean(machine.name)}:"]
    for name, found in facts:
        lines += _hanging(f"  {name:<{column}}  ", found, width)
    lines += ["", "Sensors:" if looks else "Sensors: none are asked."]
    names = max((len(name) for look in looks for name in _names(look)), default=0)
    for look in looks:
        lines += _look_lines(look, names, color, width)
    return "\n".join([*lines, "", f"Next: {_next(sample, looks)}."])


def _hanging(first: str, text: str, width: int) -> list[str]:
    """`text` after `first`; further lines stand below its beginning."""
    begun, *rest = wrap(text, width, " " * len(first)) or [""]
    return [f"{first}{begun.strip()}".rstrip(), *rest]


def _verdict(sample: Sample, looks: Sequence[Look]) -> str:
    memory = f"Memory pressure is {sample.memory_level}."
    if sample.heat.level is not Level.UNKNOWN:
        return f"Heat is {sample.heat.level} ({clean(sample.heat.source)}). {memory}"
    heat = [each for each in looks if not any(reading.what == "memory" for reading in each.readings)]
    why = next((f": {clean(each.silent)}" for each in heat if each.silent), "")
    return f"Heat is unknown{why}. Admission looks at quotas and memory only. {memory}"


def _facts(machine: Machine, sample: Sample) -> Iterator[tuple[str, str]]:
    yield "chip", clean(f"{machine.chip}, {machine.system}")
    kinds = (
        f" ({machine.performance_cores} performance, {machine.efficiency_cores} efficiency)"
        if machine.performance_cores is not None
        else ""
    )
    yield "cores", f"{machine.cores:g}{kinds}, {sample.load:.1f} in use"
    swap = f", {_gib(sample.swap_used)} of swap in use" if sample.swap_used else ""
    yield "memory", f"{_gib(machine.memory)}, {_gib(sample.memory_available)} free for new work{swap}"
    for each in machine.accelerators:
        size = "shares the memory" if each.unified else _gib(each.memory)
        yield "accelerator", clean(f"{each.name}{f', {each.cores} cores' if each.cores else ''}, {size}")
    if not machine.accelerators:
        yield "accelerator", "none"
    yield "Metal", _yes(machine.metal)
    yield "Neural Engine", _yes(machine.neural_engine)
    yield "MLX", _mlx(machine)
    yield "power", ", ".join(_power(machine, sample))


def _mlx(machine: Machine) -> str:
    if not machine.mlx:
        return "not installed"
    limits = [
        "" if machine.working_set is None else f"recommended working set {_gib(machine.working_set)}",
        "" if machine.largest_buffer is None else f"largest array {_gib(machine.largest_buffer)}",
    ]
    return ", ".join(filter(None, [clean(machine.mlx), *limits]))


def _power(machine: Machine, sample: Sample) -> Iterator[str]:
    yield "not measured" if sample.watts is None else f"{sample.watts:.1f} W now"
    if machine.low_power is not None:
        yield f"low-power mode {'on' if machine.low_power else 'off'}"
    if machine.on_battery is not None:
        yield "on battery" if machine.on_battery else "on mains"


def _names(look: Look) -> tuple[str, ...]:
    return tuple(each.source for each in look.readings) or (look.probe,)


def _look_lines(look: Look, column: int, color: bool, width: int) -> Iterator[str]:
    """One line for each reading; a silent probe says why, and what to do."""
    if look.readings and not look.silent:
        for each in look.readings:
            level = paint(f"{each.level!s:<8}", _STYLE[each.level], color)
            used = "" if each.used is None else f", {each.used:.0%} of the headroom used"
            head = f"  {clean(each.source):<{column}}  {each.what:<6}  {each.level!s:<8}  "
            first, *rest = _hanging(head, clean(f"{each.detail}{used}"), width)
            yield first.replace(f"{each.level!s:<8}", level, 1) if color else first
            yield from rest
        return
    if look.energy:
        told = ", ".join(clean(each.source) for each in look.energy)
        yield f"  {clean(look.probe):<{column}}  power   speaks    {told}"
        return
    why = clean(look.silent or "it said nothing")
    yield from _hanging(f"  {clean(look.probe):<{column}}  {paint('silent', 'dim', color)}            ", why, width + (8 if color else 0))
    if look.hint:
        yield from wrap(clean(look.hint), width, " " * (column + 22))


def _next(sample: Sample, looks: Sequence[Look]) -> str:
    if sample.heat.level in (Level.SERIOUS, Level.CRITICAL):
        return "let it cool down; `reconcile queue` says what waits for that"
    if sample.heat.level is Level.UNKNOWN and any(each.hint for each in looks):
        return "see the hints above, or play a trace: `reconcile explain platform.admission.sensors`"
    return "`reconcile top`"


def _yes(found: bool) -> str:
    return "yes" if found else "no"


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"


def hardware_json(machine: Machine, sample: Sample, looks: Sequence[Look], *, note: str = "") -> str:
    """The same for programs; amounts in bytes, watts and joules, levels by name."""
    told = hardware_value(machine, sample, note=note)
    return json.dumps({"formatVersion": 1, "kind": "hardware", **told, "probes": [_look_json(each) for each in looks]}, indent=2)


def hardware_value(machine: Machine, sample: Sample, *, note: str = "") -> dict[str, Any]:
    """The machine and one sample as plain values."""
    heat = sample.heat
    return {
        "note": note,
        "machine": asdict(machine),
        "heat": {"level": str(heat.level), "used": heat.used, "since": rfc3339(heat.since), "source": heat.source},
        "memory": {
            "level": str(sample.memory_level),
            "total": sample.memory_total,
            "available": sample.memory_available,
            "swapUsed": sample.swap_used,
        },
        "load": sample.load,
        "watts": sample.watts,
        "joules": sample.joules,
        "at": rfc3339(sample.at),
    }


def _look_json(look: Look) -> dict[str, Any]:
    return {
        "name": look.probe,
        "silent": look.silent,
        "hint": look.hint,
        "readings": [{**asdict(each), "level": str(each.level)} for each in look.readings],
        "energy": [asdict(each) for each in look.energy],
    }
