"""What makes a run the run that it is, and what it is called. Pure."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reconciler.model import JSON, KNOWN_AFTER_APPLY, Ref, Resource, digest_of, output
from schemas.grid import argument, combinations
from schemas.run import Runs, RunSpec, Scalar

LONGEST = 60
"""Characters of a label."""
_STRANGE = re.compile(r"[^A-Za-z0-9.]+")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One run of a grid with its name in the experiment."""

    label: str
    params: Mapping[str, Scalar]
    seed: int


def labelled(runs: Runs) -> Iterator[Labelled]:
    """Every run with a name that is unique among them: all parameters in sorted order and the seed, `rank8-rate0.004-s1`.

    A long name is cut, and one that two runs would share is told apart, by six digits of a digest over parameters and seed."""
    found = [(_plain(params, seed), params, seed) for params, seed in combinations(runs)]
    shared = Counter(name for name, _, _ in found)
    for name, params, seed in found:
        told_apart = name if len(name) <= LONGEST and shared[name] == 1 else f"{name[: LONGEST - 7].rstrip('-.')}-{_six(params, seed)}"
        yield Labelled(told_apart, params, seed)


def _plain(params: Mapping[str, Scalar], seed: int) -> str:
    named = [
        f"{_safe(name)}{'-' if argument(value).startswith('-') else ''}{_safe(argument(value))}" for name, value in sorted(params.items())
    ]
    return "-".join([*named, f"s{seed}"])


def _safe(text: str) -> str:
    return _STRANGE.sub("-", text).strip("-")


def _six(params: Mapping[str, Scalar], seed: int) -> str:
    return hashlib.sha256(repr((sorted((name, argument(value)) for name, value in params.items()), seed)).encode()).hexdigest()[:6]


def parts(child: Resource[RunSpec]) -> Mapping[str, JSON]:
    """All that enters a run's identity, by name. A dataset's digest may be KNOWN_AFTER_APPLY.

    Values are the texts that the program gets, so that what it cannot tell apart is the same run. Defaults of the program and of
    the schema do not enter, nor does what only says how to run it: memory, priority, retries, backend, environment variables."""
    spec, datasets = child.spec, versions(child)
    found: dict[str, JSON] = {
        "entrypoint": spec.runs.entrypoint,
        "params": {name: argument(value) for name, value in spec.params.items()},
        "seed": str(spec.seed),
        "code": spec.code,
        "datasets": datasets,
    }
    if datasets:
        found["data"] = next(iter(datasets))  # the one that the program gets as `--data`
    if spec.lock:
        found["lock"] = spec.lock
    return found


def key(child: Resource[RunSpec]) -> str:
    """The digest over `parts`: equal for equal runs, wherever they ran. Empty as long as an input is not known, or it cannot start."""
    found = parts(child)
    digests = found["datasets"].values()
    return "" if child.spec.trouble or KNOWN_AFTER_APPLY in digests or "" in digests else digest_of(found)


def versions(child: Resource[Any]) -> dict[str, str]:
    """Digest of each dataset that the run reads, by its name in the run's identity; the first one first."""
    return {name: output(child.inputs.get(ref, {}), "digest") for ref, name in _known_as(child).items()}


def datasets(child: Resource[Any]) -> dict[str, Ref]:
    """Each dataset that the run reads, by the name that its manifest uses; the first one first."""
    return {short(ref, child.ref): ref for ref in child.references if ref.kind == "Dataset"}


def _known_as(child: Resource[Any]) -> dict[Ref, str]:
    """The name of each dataset in a run's identity: the first that it had, so that a rename makes no other run of what was trained.

    Its name of now where another one of them had or has that name."""
    now = {ref: name for name, ref in datasets(child).items()}
    first = {ref: output(child.inputs.get(ref, {}), "formerly") for ref in now}
    names = {ref: now[ref] if each in ("", KNOWN_AFTER_APPLY) else short(replace(ref, name=each), child.ref) for ref, each in first.items()}
    used = {ref: {found[other] for found in (now, names) for other in now if other != ref} for ref in now}
    return {ref: now[ref] if name in used[ref] else name for ref, name in names.items()}


def short(ref: Ref, of: Ref) -> str:
    """The name that a manifest of `of`'s project has for `ref`."""
    return ref.name if ref.project == of.project else ref.path
