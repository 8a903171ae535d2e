"""What is remembered between two samples, also by the next process: a small file that may be lost without harm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.files import write_private
from reconciler.hardware import energy, filter
from reconciler.hardware.probe import Carry

FORMAT = 1


@dataclass(frozen=True, slots=True)
class State:
    """State of the filters and counters. Times are seconds since 1970, or of the playback."""

    heat: filter.Filtered = field(default_factory=filter.Filtered)
    memory: filter.Filtered = field(default_factory=filter.Filtered)
    energy: energy.Used = field(default_factory=energy.Used)
    busy: tuple[float, float] | None = None
    """When, and how many core-seconds had been used then."""
    carry: Mapping[str, Carry] = field(default_factory=dict)
    history: tuple[tuple[float, float | None, float | None], ...] = ()
    memory_used: tuple[tuple[float, int], ...] = ()
    """Seconds since 1970, and bytes in use; a point for each of `history` since this is kept."""
    source: str = ""
    """Whose state this is: of one boot, of one playback. That of another means nothing."""


def of(found: State, source: str) -> State:
    """`found` if it belongs to `source`, else an empty state of it."""
    return found if found.source == source else State(source=source)


def load(path: Path) -> State:
    """What was remembered; an empty state where there is nothing, or nothing that can be read."""
    try:
        found = json.loads(path.read_bytes())
        if found["format"] != FORMAT:
            return State()
        return State(
            heat=filter.from_json(found["heat"]),
            memory=filter.from_json(found["memory"]),
            energy=energy.from_json(found["energy"]),
            busy=None if found["busy"] is None else (float(found["busy"][0]), float(found["busy"][1])),
            carry={str(name): {str(key): float(value) for key, value in each.items()} for name, each in found["carry"].items()},
            history=tuple((float(at), _number(watts), _number(used)) for at, watts, used in found["history"]),
            memory_used=tuple((float(at), int(size)) for at, size in found.get("memoryUsed", ())),
            source=str(found["source"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return State()  # half a file, another version: the filter starts anew, which is what it does on a fresh machine


def save(path: Path, state: State) -> None:
    """Write it for the next process."""
    found = {
        "format": FORMAT,
        "source": state.source,
        "heat": filter.to_json(state.heat),
        "memory": filter.to_json(state.memory),
        "energy": energy.to_json(state.energy),
        "busy": state.busy,
        "carry": {name: dict(each) for name, each in state.carry.items()},
        "history": [[at, watts, used] for at, watts, used in state.history],
        "memoryUsed": [[at, size] for at, size in state.memory_used],
    }
    write_kept(path, found)


def write_kept(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON whole or not at all, readable for this user only. A disk that refuses is no reason to stop."""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, json.dumps(content, separators=(",", ":")), durable=False)


def this_boot() -> str:
    """What tells this boot of this machine from others: counters start again at each."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    import psutil

    return f"{psutil.boot_time():.0f}"


def _number(found: object) -> float | None:
    return None if found is None else float(found)  # type: ignore[arg-type]
