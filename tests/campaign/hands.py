"""What people do in the tools, past the reconciler: over MLflow's REST API, and with an editor in DVC's files."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from tests.campaign.checks import NOTE, Object, experiments, models
from tests.campaign.site import Site

if TYPE_CHECKING:
    from tests.campaign.faults import Round

FIGHT = 2
"""Edits of one field within an hour after which the reconciler would leave the next to whoever makes it (`Fight`)."""


def touch(site: Site, rng: random.Random) -> None:
    """A burst of events that mean nothing, and files that are no manifests."""
    files = sorted((site.root / "manifests").glob("*.yaml"))
    for each in rng.sample(files, min(len(files), rng.randint(1, 12))) * rng.randint(1, 3):
        with suppress(FileNotFoundError):
            each.touch()


def _touch(here: Round) -> None:
    touch(here.site, here.rng)


def _one(here: Round, kind: str) -> Object | None:
    """An object of a resource that is declared and was not edited in this round."""
    with suppress(httpx.HTTPError):
        found = [each for each in (experiments if kind == "Experiment" else models)(here.site) if each.stage == "active"]
        free = [each for each in found if each.ref in here.world.things and each.ref not in here.touched]
        if free:
            chosen = here.rng.choice(free)
            here.touched.add(chosen.ref)
            return chosen
    return None


def _may(here: Round, ref: str, field: str) -> bool:
    """Whether one more edit of this field stays one that is put back."""
    edits = here.judge.edits
    edits[ref, field] = edits.get((ref, field), 0) + 1
    return edits[ref, field] <= FIGHT


def _post(here: Round, method: str, path: str, **body: Any) -> None:
    with suppress(httpx.HTTPError):
        here.site.rest(method, path, json=body)


def _declared(here: Round, found: Object) -> list[str]:
    return sorted(here.world.things[found.ref].spec.get("tags", {}))


def _retag(here: Round) -> None:
    if (found := _one(here, "Experiment")) is not None:
        key = here.rng.choice((*_declared(here, found), "invented"))
        if _may(here, found.ref, key):
            _post(here, "POST", "experiments/set-experiment-tag", experiment_id=found.id, key=key, value=f"by hand {here.rng.random()}")
            if key == "invented":  # never declared, so nobody's but theirs: it stays until they take it away
                here.later(1.0, lambda: _post(here, "POST", "experiments/delete-experiment-tag", experiment_id=found.id, key=key))


def _describe(here: Round) -> None:
    if (found := _one(here, "Experiment")) is not None and _may(here, found.ref, NOTE):
        _post(here, "POST", "experiments/set-experiment-tag", experiment_id=found.id, key=NOTE, value="what I think of it")


def _rename(here: Round) -> None:
    if (found := _one(here, "Experiment")) is not None:
        _post(here, "POST", "experiments/update", experiment_id=found.id, new_name=f"{found.name}-mine-{here.rng.randint(0, 10**6)}")


def _delete(here: Round) -> None:
    if (found := _one(here, "Experiment")) is not None:
        _post(here, "POST", "experiments/delete", experiment_id=found.id)


def _unmark(here: Round) -> None:
    """One of our tags goes: which makes it, by what is left, half ours."""
    if (found := _one(here, "Experiment")) is not None:
        key = here.rng.choice(("mlops.ref", "mlops.digest"))
        _post(here, "POST", "experiments/delete-experiment-tag", experiment_id=found.id, key=key)


def _retag_model(here: Round) -> None:
    """A tag that is declared: what never was is not ours, and stays."""
    if (found := _one(here, "Model")) is not None and (keys := _declared(here, found)):
        key = here.rng.choice(keys)
        if _may(here, found.ref, key):
            _post(here, "POST", "registered-models/set-tag", name=found.name, key=key, value="by hand")


def _describe_model(here: Round) -> None:
    if (found := _one(here, "Model")) is not None and _may(here, found.ref, NOTE):
        _post(here, "PATCH", "registered-models/update", name=found.name, description="what I think of it")


def _rename_model(here: Round) -> None:
    if (found := _one(here, "Model")) is not None:
        _post(here, "POST", "registered-models/rename", name=found.name, new_name=f"mine-{here.rng.randint(0, 10**6)}")


def _delete_model(here: Round) -> None:
    if (found := _one(here, "Model")) is not None:
        here.judge.remade.add(found.ref)
        _post(here, "DELETE", "registered-models/delete", name=found.name)


def _dvc_file(here: Round, change: Callable[[str], str | None]) -> None:
    """Edit the `.dvc` file of a dataset; None removes it."""
    free = [each for each in here.world.of("Dataset") if each.ref not in here.touched]
    if not free:
        return
    chosen = here.rng.choice(free)
    here.touched.add(chosen.ref)
    for file in (here.site.root / ".mlops" / "dvc" / "projects" / chosen.project / chosen.name).glob("*.dvc"):
        with suppress(OSError):
            text = change(file.read_text())
            if text is None:
                file.unlink()
            else:
                file.write_text(text)


def _dvc_removed(here: Round) -> None:
    _dvc_file(here, lambda text: None)


def _dvc_unmarked(here: Round) -> None:
    """The notes go, as a `dvc add` typed there would leave it."""

    def without(text: str) -> str:
        told = yaml.safe_load(text)
        told.pop("meta", None)
        return yaml.safe_dump(told, sort_keys=False)

    _dvc_file(here, without)


def _dvc_other_stat(here: Round) -> None:
    """The stat that is noted is wrong: the bytes have to be read again."""

    def other(text: str) -> str:
        told = yaml.safe_load(text)
        notes = json.loads(told["meta"]["mlops"])
        told["meta"]["mlops"] = json.dumps({**notes, "stat": "f:1:1:1:1"})
        return yaml.safe_dump(told, sort_keys=False)

    _dvc_file(here, other)


def _dvc_half(here: Round) -> None:
    """A file cut short, which nobody may guess at: whoever did it removes it, as the message says."""
    cut: list[str] = []

    def half(text: str) -> str:
        cut.append(text)
        return text[: len(text) // 2]

    before = set(here.touched)
    _dvc_file(here, half)
    (ref,) = here.touched - before or {""}
    if ref:
        _, project, name = ref.split("/")
        folder = here.site.root / ".mlops" / "dvc" / "projects" / project / name
        here.later(1.5, lambda: [each.unlink(missing_ok=True) for each in folder.glob("*.dvc")])


def _data_removed(here: Round) -> None:
    """Data that no repository has is deleted: it comes back from the cache."""
    loose = [each for each in here.world.of("Dataset") if not each.tracked and each.ref not in here.touched]
    if loose:
        chosen = here.rng.choice(loose)
        here.touched.add(chosen.ref)
        entry = here.site.root / ".mlops" / "dvc" / "projects" / chosen.project / chosen.name
        if here.judge.holds(chosen) and entry.exists():
            (here.site.root / chosen.data_file).unlink(missing_ok=True)


def _cache_damaged(here: Round) -> None:
    """An object of the cache is overwritten; the data itself is still there to mend it from."""
    found = [each for each in here.world.of("Dataset") if each.ref not in here.touched and here.judge.holds(each)]
    if found:
        chosen = here.rng.choice(found)
        here.touched.add(chosen.ref)
        path = here.judge.kept(chosen)
        with suppress(OSError):
            path.chmod(0o600)
            path.write_bytes(b"rubbish")


def _namespace_removed(here: Round) -> None:
    """Somebody tidies up: a project's whole folder in DVC's area goes; the cache and the data are left."""
    chosen = here.rng.choice(here.world.of("Project"))
    own = {each.ref for each in here.world.of("Dataset") if each.project == chosen.name}
    if not own & here.touched:
        here.touched |= own
        shutil.rmtree(here.site.root / ".mlops" / "dvc" / "projects" / chosen.name, ignore_errors=True)


KINDS: Mapping[str, tuple[Callable[[Round], None], int]] = {
    "files touched in a burst": (_touch, 5),
    "experiment retagged": (_retag, 4),
    "experiment described": (_describe, 3),
    "experiment renamed": (_rename, 4),
    "experiment deleted": (_delete, 4),
    "experiment loses a mark": (_unmark, 3),
    "model retagged": (_retag_model, 2),
    "model described": (_describe_model, 2),
    "model renamed": (_rename_model, 2),
    "model deleted": (_delete_model, 2),
    ".dvc file removed": (_dvc_removed, 3),
    ".dvc file without its notes": (_dvc_unmarked, 3),
    ".dvc file with another stat": (_dvc_other_stat, 2),
    ".dvc file cut in half": (_dvc_half, 2),
    "data removed": (_data_removed, 3),
    "cache damaged": (_cache_damaged, 2),
    "namespace removed": (_namespace_removed, 1),
}
