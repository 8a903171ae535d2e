"""The answer to the task that asked for a job: what it told, or why it failed and what the machine was like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.exchange import Answer, answer
from reconciler.model.jobs import Job
from reconciler.model.units import memory
from reconciler.runs.ending import RECEIPT
from reconciler.runs.folder import Ending, Folder, folders, is_held, read_job
from reconciler.runs.program import OUTPUTS, results

LARGEST = 1 << 20
"""Bytes of a file of outputs: Airflow keeps them in its database."""
PREEMPTED = "stopped: preempted"
"""How the end of a job begins that was stopped for somebody else (`reconciler.admission.ledger`)."""
BESIDE = 10
"""Other jobs that an answer names, at most."""


def reply(job: Job, folder: Folder, found: Ending) -> None:
    """Answer the request of this job. Safe to repeat. What made room for others has not failed: it asks again."""
    if found.why.startswith(PREEMPTED):
        return
    why, outputs = found.why, dict[str, Any]()
    if not why:
        why, outputs = told(results(job, folder) / OUTPUTS, job.outputs)
    facts = {} if not why else facts_of(found, beside(job, folder))
    answer(Path(job.answers), job.id, Answer(not why, why, outputs, found.tail if why else "", facts, found.ended))


def told(path: Path, wanted: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """(what is wrong with it, what a program wrote for later tasks)."""
    if not wanted:
        return "", {}
    try:
        if path.stat().st_size > LARGEST:
            return f"what it wrote to $MLOPS_OUTPUTS is larger than {memory(LARGEST)}", {}
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        return f"it ended well and wrote nothing to $MLOPS_OUTPUTS; its task declares {', '.join(wanted)}", {}
    except (OSError, ValueError) as error:
        return f"what it wrote to $MLOPS_OUTPUTS is not JSON: {error}", {}
    needed, names = [name for name in wanted if not name.endswith("?")], [name.rstrip("?") for name in wanted]
    if not isinstance(raw, dict) or (missing := [name for name in needed if raw.get(name) is None]):
        lacks = ", ".join(missing) if isinstance(raw, dict) else "an object"
        return f"what it wrote to $MLOPS_OUTPUTS lacks {lacks}", {}
    return "", {name: raw[name] for name in names if raw.get(name) is not None}


def facts_of(found: Ending, others: tuple[str, ...]) -> Mapping[str, Any]:
    """The machine when it failed, as far as it tells."""
    heat = found.tags.get(f"{RECEIPT}worst_heat", "")
    facts = {
        "exitCode": found.exit_code,
        "peakMemory": memory(found.peak) if found.peak else None,
        "memoryPressure": found.tags.get(f"{RECEIPT}worst_memory_pressure", "unknown"),
        "heat": heat or "unknown",
        # from level `serious` on a machine throttles, by what the level means (`reconciler.hardware.scale`)
        "throttled": heat in ("serious", "critical") if heat else None,
        "ranBeside": list(others),
        "machine": found.tags.get("mlops.context.machine", ""),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def beside(job: Job, folder: Folder) -> tuple[str, ...]:
    """What else runs now."""
    found = []
    for other in folders(folder.state_dir):
        if other.id != job.id and is_held(other.lock) and not other.result.exists() and (one := read_job(other)) is not None:
            found.append(one.ref)
    return tuple(sorted(found)[:BESIDE])
