"""Loads a model as it would be served, asks it, and writes what that showed: `python -m reconciler.serving.trial SPEC.json`, where the file
holds a TrialSpec. The result is a TrialResult.

Exit code 0 also when the model is bad: the result says why. Another one means that the trial itself could not be made. It runs the model's
own code, in a process of its own and under a lease; MLOPS_MEMORY_LIMIT holds what that grants."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from reconciler.errors import Terminal
from reconciler.files import write_private
from reconciler.model.content import digest_of_files
from reconciler.model.descriptor import validator
from reconciler.model.packaging import TrialSpec
from reconciler.model.runtimes import PACKAGE, Machine, Needs, choose
from reconciler.model.serving import Descriptor, TrialResult
from reconciler.model.values import JSON
from reconciler.serving import evaluation
from reconciler.serving.content import files
from reconciler.serving.descriptor import read
from reconciler.serving.metrics import quantile
from reconciler.serving.runtimes import Predict, load

T = TypeVar("T")
FEWEST = 10
"""Predictions whose time is taken at least, however slow they are."""
ASKING_SECONDS = 60.0
"""After so long there are enough of them."""


class Bad(Exception):
    """The model does not do what it must; the message says what."""


class Moved(Exception):
    """The evaluation data is not what the trial was to be made on: no verdict. A new version of the data brings a new trial."""


def trial(spec: TrialSpec) -> TrialResult:
    """What loading and asking shows. Never raises for what the model does; raises Moved when it was shown other data than it should be."""
    result = TrialResult(digest="", runtime=spec.runtime, data=spec.data, python=platform.python_version())
    try:
        result = replace(result, digest=digest_of_files(files(Path(spec.model))))
        if result.digest != spec.digest:
            raise Bad(f"the model's files are not those of its version: their digest is {result.digest[:12]}, not {spec.digest[:12]}")
        described = read(Path(spec.model))
        result = replace(result, packages=versions(described), runtime=chosen(spec.runtime, described))
        asked = described.example or _data(spec, described).instances[:FEWEST]
        began = time.perf_counter()
        predict = _guarded("does not load", lambda: _loaded(spec, described, result.runtime))
        result = replace(result, load_seconds=time.perf_counter() - began, packages=versions(described, result.runtime))
        seconds = _asked(predict, described, asked, spec.requests)
        result = replace(result, p50=quantile(seconds, 0.5), p95=quantile(seconds, 0.95), memory=peak_memory())
        if spec.evaluation:  # read now: what the data takes is not what serving takes
            table = _data(spec, described)
            metrics = _guarded("fails on the evaluation data", lambda: evaluation.score(table, spec.target, predict))
            result = replace(result, rows=len(table.truth), metrics=dict(metrics))
    except (Bad, Terminal) as error:
        result = replace(result, why=str(error))
    return replace(result, memory=result.memory or peak_memory())


def chosen(wanted: str, described: Descriptor) -> str:
    """The runtime, as this interpreter can run it. Raises Terminal when it can run none."""
    needs = Needs(made_with=described.packages)
    machine = Machine(platform.system(), platform.machine(), platform.python_version(), _installed(needs.asks_of()))
    return choose(wanted, tuple(described.runtimes), machine, needs).runtime


def versions(described: Descriptor, runtime: str = "") -> Mapping[str, str]:
    """Of the packages that the model was made with, and the runtime's own, as they are here."""
    return _installed([*described.packages, *([PACKAGE[runtime]] if runtime in PACKAGE else [])])


def peak_memory() -> int:
    """Bytes that this process had at most. On a Mac, what MLX holds in unified memory is counted beside it."""
    with suppress(OSError), open("/proc/self/status", encoding="utf-8") as file:  # noqa: PTH123 - no file of ours
        # getrusage(2) of a Linux process begins with the peak of the one that forked it
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:"))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    mlx = sys.modules.get("mlx.core")
    return used + (mlx.get_peak_memory() if mlx is not None and sys.platform == "darwin" else 0)


def _installed(names: Collection[str]) -> dict[str, str]:
    found = {}
    for name in sorted(set(names)):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _loaded(spec: TrialSpec, described: Descriptor, runtime: str) -> Predict:
    return load(Path(spec.model), runtime, described.runtimes[runtime], tuple(described.input.get("properties", {})))


def _data(spec: TrialSpec, described: Descriptor) -> evaluation.Table:
    """Raises Terminal for data that does not fit; Moved, whether it fits or not, when it is not the data that was asked for."""
    if not spec.evaluation:
        return evaluation.Table()
    path = Path(spec.evaluation)
    try:
        return evaluation.read(path, spec.target, described)
    finally:
        if spec.data and not path.is_dir():  # a folder is no table: that is what reading it says
            _must_be(spec.data, path)


def _must_be(digest: str, path: Path) -> None:
    """A verdict belongs to the bytes that it was given on: those of the dataset's version (DVC: MD5 of a file). Raises Moved."""
    if not path.exists():
        raise Moved(f"{path.name} is not there any more")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != digest:
        raise Moved(f"{path.name} was changed since its version {digest[:8]} was saved: it is {found[:8]} now")


def _asked(predict: Predict, described: Descriptor, instances: Sequence[JSON], requests: int) -> Sequence[float]:
    """Checks the answers to these instances; then the seconds that single predictions take. Raises Bad."""
    if not instances:
        raise Bad("it has nothing to be asked: give `example` in mlops.json, or evaluation data")
    fits = validator(described.output)
    answers = _guarded("does not answer its example", lambda: predict(list(instances)))
    for place, each in enumerate(answers):
        if why := fits(each):
            raise Bad(f"its answer to example[{place}] is not as `output` has it: {why.replace('data', repr(each)[:80], 1)}")
    return _guarded("does not answer", lambda: _timed(predict, instances, requests))


def _timed(predict: Predict, instances: Sequence[JSON], requests: int) -> list[float]:
    found: list[float] = []
    began = time.perf_counter()
    for instance in itertools.islice(itertools.cycle(instances), max(FEWEST, requests)):
        start = time.perf_counter()
        predict([instance])
        found.append(time.perf_counter() - start)
        if len(found) >= FEWEST and time.perf_counter() - began > ASKING_SECONDS:
            break
    return found


def _guarded(what: str, call: Callable[[], T]) -> T:
    """The answer of the model's own code; whatever leaves it is the model's fault."""
    try:
        return call()
    except Terminal:
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:300]
        raise Bad(f"it {what}: {type(error).__name__}{f': {text}' if text else ''}") from error


def _surround() -> None:
    """What a replica's process holds beside the model, so that the memory is that of a process that serves: 175 MiB with Ray 2.60."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0"}
    for name in ("ray.serve", "bentoml", "uvicorn"):
        with suppress(ImportError):
            importlib.import_module(name)


def main(argv: Sequence[str]) -> int:
    raw = json.loads(Path(argv[0]).read_bytes())
    spec = TrialSpec(**{each.name: raw[each.name] for each in fields(TrialSpec) if each.name in raw})
    _surround()
    try:
        result = trial(spec)
    except Moved as moved:
        print(moved, file=sys.stderr)  # noqa: T201 - into the job's log
        return 1
    target = Path(spec.result)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(target, json.dumps(asdict(result)))
    print(result.why or f"{result.runtime}: p95 {result.p95 * 1000:.1f} ms, {result.metrics}")  # noqa: T201 - into the job's log
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
