"""A repository with a history of pull requests: the comment of each is kept, and what it foretold is what its merge then did.

`UPDATE_GOLDEN=1` writes the comments anew."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.installation import Installation, dataset, experiment, project, start

pytestmark = pytest.mark.xdist_group("mlflow")
GOLDEN = Path(__file__).parents[1] / "golden" / "reviews"
RUNS = """  metric: {name: accuracy}
  datasets: [rows]
  runs:
    entrypoint: train.py
    params: {rank: %s}
    resources: {memory: 128Mi, cpu: 1, duration: 5s}
"""
QUOTA = (
    "apiVersion: reconciler.mlops/v1\nkind: ResourceQuota\nmetadata: {name: share, project: %s}\nspec:\n  nominal: {memory: %s, cpu: 2}\n"
)
MODEL = """apiVersion: reconciler.mlops/v1
kind: Model
metadata: {name: best, project: %s}
spec:
  experiment: sweep
  gates: {minimum: {accuracy: %s}}
"""
POLICY = """apiVersion: reconciler.mlops/v1
kind: AlertPolicy
metadata: {name: ops}
spec:
  receivers: [{name: desk, webhook: {url: "http://127.0.0.1:9/hook", secret: {fromEnv: DESK}}}]
  routes: [{receivers: [desk]}]
"""


@dataclass(frozen=True)
class Change:
    """One pull request. `files` maps a path to its text, None = removed; `N` stands for the project. `yes`: its deletions are confirmed."""

    title: str
    files: Callable[[str], dict[str, str | None]]
    yes: bool = False
    by_hand: bool = False
    """Somebody edits an experiment in MLflow before it is reviewed."""


def _train(accuracy: str) -> str:
    """A program that takes whatever it is given and says how well it did."""
    head = "import argparse, json, pathlib\nasked = argparse.ArgumentParser()\nasked.add_argument('--out', type=pathlib.Path)\n"
    return f"{head}asked.parse_known_args()[0].out.joinpath('metrics.json').write_text(json.dumps({{'accuracy': {accuracy}}}))\n"


def _sweep(name: str, ranks: str = "[1, 2]", tags: str = "") -> str:
    return experiment("sweep", name, f"{tags}{RUNS % ranks}")


def _first(name: str) -> dict[str, str | None]:
    return {
        "manifests/project.yaml": project(name),
        "manifests/rows.yaml": dataset("rows", name, "rows.csv", ""),
        "manifests/sweep.yaml": _sweep(name),
        "manifests/old.yaml": experiment("old", name),
        "manifests/plain.yaml": experiment("plain", name, "  tags: {owner: one}\n"),
        f"code/{name}/rows.csv": "id,value\n1,2\n",
        f"code/{name}/train.py": _train("0.7"),
    }


CHANGES = (
    Change("a first project", _first),
    Change(
        "tags and a description",
        lambda n: {"manifests/plain.yaml": experiment("plain", n, "  description: plain\n  tags: {owner: two, stage: dev}\n")},
    ),
    Change("rows appended", lambda n: {f"code/{n}/rows.csv": "id,value\n1,2\n3,4\n5,6\n"}),
    Change("a column more", lambda n: {f"code/{n}/rows.csv": "id,value,note\n1,2,a\n3,4,b\n5,6,c\n"}),
    Change("labels corrected", lambda n: {f"code/{n}/rows.csv": "id,value,note\n1,9,a\n3,4,b\n5,6,c\n"}),
    Change("a wider grid", lambda n: {"manifests/sweep.yaml": _sweep(n, "[1, 2, 4]")}),
    Change("the code of the runs", lambda n: {f"code/{n}/train.py": _train("0.8")}),
    Change("a quota", lambda n: {"manifests/quota.yaml": QUOTA % (n, "1Gi")}),
    Change("a larger quota", lambda n: {"manifests/quota.yaml": QUOTA % (n, "2Gi")}),
    Change("a model with a gate", lambda n: {"manifests/model.yaml": MODEL % (n, "0.6")}),
    Change("a gate loosened", lambda n: {"manifests/model.yaml": MODEL % (n, "0.5")}),
    Change("an experiment goes, without a yes", lambda n: {"manifests/old.yaml": None}),
    Change("and with one", lambda n: {f"code/{n}/notes.md": "gone\n"}, yes=True),
    Change(
        "protected from now on",
        lambda n: {
            "manifests/plain.yaml": experiment("plain", n, "  tags: {owner: two}\n").replace("spec:", "lifecycle: {prune: never}\nspec:")
        },
    ),
    Change("beside drift", lambda n: {"manifests/new.yaml": experiment("new", n)}, by_hand=True),
    Change("alerts", lambda n: {"manifests/ops.yaml": POLICY}),
    Change(
        "a mistake",
        lambda n: {
            "manifests/wrong.yaml": experiment("wrong", n, "  metrik: {name: accuracy}\n"),
            "manifests/more.yaml": experiment("more", n),
        },
    ),
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> Installation:
    name = f"pulls-{uuid.uuid4().hex[:6]}"
    found = start(tmp_path_factory.mktemp("pulls") / "root", mlflow_url, name)
    found.env = {"NAME": name, "DESK": "canary-of-the-desk"}
    found.commit("a platform")
    found.ok("--wait")
    return found


def test_each_comment_is_as_it_was_and_foretells_what_the_merge_does(here: Installation, mlflow_url: str) -> None:
    name = here.env["NAME"]
    foretold = done = 0
    for number, change in enumerate(CHANGES, 1):
        here.git("checkout", "-q", "-b", f"change-{number}", "main")
        _write(here, change.files(name))
        here.commit(change.title)
        if change.by_hand:
            _edit(mlflow_url, f"{name}/plain")
        yes = ("--confirm", here.plan()["confirmation"]) if change.yes else ()
        told = here.run("review", "--base", "main", "--dry-run")
        assert "canary" not in told.text
        _compare(GOLDEN / f"{number:02d}-{change.title.replace(' ', '-').replace(',', '')}.md", _plain(told.out, here))

        plan = json.loads(here.run("--dry-run", "--base", "main", "-o", "json", "--out", ".mlops/plan.json", *yes).out)
        work = {ref: each["action"] for ref, each in json.loads((here.root / ".mlops/plan.json").read_text())["work"].items()}
        _agree(here, plan, yes)

        here.git("checkout", "-q", "main")
        here.git("merge", "-q", "--no-ff", "-m", f"merge {number}", f"change-{number}")
        before = len(_entries(here))
        ran = here.run("apply", ".mlops/plan.json")
        assert ran.code in (0, 1, 3), ran.text
        assert "Traceback" not in ran.text
        actual = _done(here, before)
        waits = {each["ref"] for each in plan["actions"] if not each.get("admission", {"admitted": True})["admitted"]}
        assert actual == {ref: action for ref, action in work.items() if ref in actual or ref not in waits}, (
            f"{change.title}: foretold and done"
        )
        here.run("--wait", "--timeout", "60s")
        later = _done(here, before)
        assert {ref: later.get(ref) for ref in work} == work, f"{change.title}: what had to wait for room was done too"
        foretold += len(work)
        done += sum(later.get(ref) == action for ref, action in work.items())
    print(f"{len(CHANGES)} pull requests, {foretold} actions foretold, {done} done as foretold")
    assert foretold >= 30


ACTIONS = ("create", "update", "replace", "delete", "adopt")


def _done(here: Installation, before: int) -> dict[str, str]:
    """What was done since the log had so many lines, the first of each resource."""
    found: dict[str, str] = {}
    for each in _entries(here)[before:]:
        action = each["action"].removesuffix("-confirmed")
        if each["ref"] and action in ACTIONS:
            found.setdefault(each["ref"], action)
    return found


def _entries(here: Installation) -> list[dict[str, str]]:
    """The audit log, the oldest first."""
    found = json.loads(here.ok("history", "-o", "json", "--limit", "1000").out)["entries"]
    return list(reversed(found))


def _write(here: Installation, files: dict[str, str | None]) -> None:
    here.write({path: text for path, text in files.items() if text is not None})
    for path in (path for path, text in files.items() if text is None):
        (here.root / path).unlink()


def _edit(url: str, name: str) -> None:
    api = f"{url}/api/2.0/mlflow/experiments"
    found = httpx.get(f"{api}/get-by-name", params={"experiment_name": name}, trust_env=False).json()
    edit = {"experiment_id": found["experiment"]["experiment_id"], "key": "owner", "value": "by hand"}
    httpx.post(f"{api}/set-experiment-tag", json=edit, trust_env=False).raise_for_status()


def _agree(here: Installation, plan: dict[str, object], yes: tuple[str, ...]) -> None:
    """Text, Markdown and JSON name the same resources with the same signs."""
    signs = {"create": "+", "update": "~", "replace": "±", "delete": "-", "adopt": "»", "blocked": "!", "unknown": "?"}
    wanted = {f"{signs[each['action']]} {each['ref']}" for each in plan["actions"] if each["action"] in signs}  # type: ignore[attr-defined]
    text = here.run("--dry-run", "--base", "main", *yes).out
    comment = here.run("--dry-run", "--base", "main", "-o", "markdown", *yes).out
    assert set(re.findall(r"^  ([+~±\-»!?] [a-z]+/\S+)", text, re.M)) == wanted
    table = re.findall(r"^\| <code>([^<]*)</code> [a-z][^|]*\| <code>([^<]*)</code>", comment, re.M)
    assert {f"{_decoded(sign)} {_decoded(ref)}" for sign, ref in table} == wanted


def _decoded(text: str) -> str:
    return re.sub(r"&#(\d+);", lambda match: chr(int(match[1])), text)


def _plain(text: str, here: Installation) -> str:
    """Without what is another one each time: names, digests, commits, durations."""
    text = text.replace(here.env["NAME"], "N")
    for pattern, word in (
        (r"[0-9a-f]{8}…[0-9a-f]{4}", "DIGEST"),
        (r"\b[0-9a-f]{64}\b", "DIGEST"),
        (r"\b[0-9a-f]{12}\b", "DIGEST"),
        (r"--confirm [0-9a-f]{8}\b", "--confirm DIGEST"),
        (r"<code>[0-9a-f]{7}(\+dirty)?</code>", "<code>COMMIT</code>"),
        (r"\(([0-9a-f]{7}), ", "(COMMIT, "),
        (r"\d{4}-\d\d-\d\d [0-9:]{8} and [0-9:]{8} UTC", "TWO MOMENTS"),
        (r"[0-9.]+ (s|min|h) \([0-9.]+ (s|min|h) to [0-9.]+ (s|min|h)\)", "SOME TIME"),
        (r"about [0-9.]+ (ms|s|min)", "about SOME TIME"),
        (r"measured on [0-9,]+ earlier runs?", "measured on earlier runs"),
        (r"\(known only by what the manifest says\)|\(declared\)", "(declared)"),
    ):
        text = re.sub(pattern, word, text)
    return text


def _compare(path: Path, text: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is not there; UPDATE_GOLDEN=1 writes it"
    assert text == path.read_text(encoding="utf-8")


@pytest.fixture(autouse=True, scope="module")
def _nothing_left() -> Iterator[None]:
    """No comment without its change."""
    yield
    known = {f"{number:02d}-{each.title.replace(' ', '-').replace(',', '')}.md" for number, each in enumerate(CHANGES, 1)}
    assert {path.name for path in GOLDEN.glob("*.md")} == known
