"""Golden scenarios: successive states of manifests, reconciled against the real MLflow and DVC, and all that can be seen of each pass.

A folder of `tests/golden/cases` is one scenario; a number is a step:

* `0.yaml` (optional) is the state to start from; nothing of it is recorded. `1.yaml`, `2.yaml`... are the states after it.
* `N/` holds files that are laid over the installation's root before step N.
* `hand.json` tells what people do before a step, or with it: `{"N": {"mlflow": [...], "remove": [...], "confirm": true}}`:
  requests to MLflow's REST API, files to remove, and a yes to what the plan of the step before asked for. A step may be that alone.

Recorded for each step: `N.plan.txt`, `N.plan.json`, `N.plan.md` (a dry run), `N.done.txt` (what the pass told, and the code that it ended
with) and `N.wire.log` (every call to a tool in that pass, in order). `UPDATE_GOLDEN=1` writes them anew.

Names carry `xxxxxx`, which each run replaces by letters of its own, for the server is shared; ids, times and digests are made alike.
Every step also shows that its dry run wrote nothing, and that a second pass writes nothing."""

from __future__ import annotations

import difflib
import json
import os
import random
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from reconciler.cli.exit import of_report
from reconciler.converge import converge
from reconciler.house import open_house
from reconciler.loop import Proposal, Report, propose
from reconciler.report.done import report_text
from reconciler.report.json import plan_json
from reconciler.report.markdown import plan_markdown
from reconciler.report.text import plan_text
from reconciler.selection import Selection
from reconciler.settings import Settings
from tests.e2e.installation import REPOSITORY

pytestmark = pytest.mark.xdist_group("mlflow")
CASES = REPOSITORY / "tests" / "golden" / "cases"
TAG = "xxxxxx"
PLATFORM = """apiVersion: reconciler.mlops/v1
kind: Platform
metadata: {{name: golden}}
spec:
  installation: golden-{tag}
  mlflow: {{managed: false, endpoint: "{url}"}}
"""


@dataclass
class Scenario:
    """One case under way, in a root of its own."""

    case: Path
    root: Path
    url: str
    tag: str = field(default_factory=lambda: "".join(random.choices("ghjkmnpqrstuvwyz", k=len(TAG))))
    asked: str = ""
    """What the plan of the step before wants a yes to."""

    @property
    def hand(self) -> Mapping[str, Any]:
        path = self.case / "hand.json"
        return json.loads(self._ours(path.read_text())) if path.exists() else {}

    @property
    def steps(self) -> list[int]:
        return sorted({int(path.stem) for path in self.case.glob("*.yaml")} | {int(each) for each in self.hand})

    def prepare(self, step: int) -> None:
        """Everything that happens before the step: manifests, files, and what people do."""
        manifest = self.case / f"{step}.yaml"
        if manifest.exists():
            target = self.root / "manifests" / "all.yaml"
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_text(self._ours(manifest.read_text()))
            (target.parent / "platform.yaml").write_text(PLATFORM.format(tag=self.tag, url=self.url))
            for each in yaml.safe_load_all(target.read_text()):
                if each["kind"] == "Project":
                    (self.root / each["spec"]["path"]).mkdir(parents=True, exist_ok=True)
        for path in sorted(each for each in (self.case / str(step)).rglob("*") if each.is_file()):
            target = self.root / path.relative_to(self.case / str(step))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copyfile(path, target)
        done = self.hand.get(str(step), {})
        for name in done.get("remove", []):
            (self.root / name).unlink()
        for each in done.get("mlflow", []):
            self._by_hand(each["call"], each.get("experiment"), each.get("body", {}))

    def _by_hand(self, call: str, experiment: str | None, body: Mapping[str, Any]) -> None:
        base = f"{self.url}/api/2.0/mlflow/experiments"
        if experiment is not None:
            found = httpx.get(f"{base}/get-by-name", params={"experiment_name": experiment}, trust_env=False).raise_for_status()
            body = {"experiment_id": found.json()["experiment"]["experiment_id"], **body}
        httpx.post(f"{base}/{call}", json=body, trust_env=False).raise_for_status()

    def recorded(self, step: int) -> dict[str, str]:
        """Carry the step out; what a person would see of it, by the file's name."""
        self.prepare(step)
        confirmed = frozenset({self.asked}) if self.hand.get(str(step), {}).get("confirm") else frozenset()
        proposal, calls = self._dry_run(confirmed)
        self.asked = proposal.plan.confirmation
        assert calls == [], "a dry run wrote"
        report, log = self._pass(confirmed)
        told = {
            "plan.txt": plan_text(proposal, width=120) + "\n",
            "plan.json": plan_json(proposal) + "\n",
            "plan.md": plan_markdown(proposal),
            "done.txt": f"{report_text(report, width=120)}\nexit {int(of_report(report, wait=False, detailed=False))}\n",
            "wire.log": "".join(f"{line}\n" for line in log),
        }
        _, again = self._pass(frozenset())
        assert [line for line in again if " write" in line] == [], "a second pass wrote"
        return {f"{step}.{name}": self._alike(text) for name, text in told.items()}

    def _dry_run(self, confirmed: frozenset[str]) -> tuple[Proposal, list[str]]:
        log = self.root / "dry-run.jsonl"
        house = open_house(self._settings, read_only=True, wire_log=log)
        return propose(self._selection(confirmed), house), [line for line in _calls(log) if " write" in line]

    def _pass(self, confirmed: frozenset[str]) -> tuple[Report, list[str]]:
        log = self.root / "pass.jsonl"
        house = open_house(self._settings, wire_log=log, actor="golden")
        return converge(self._selection(confirmed), house), _calls(log)

    @property
    def _settings(self) -> Settings:
        return Settings(root=self.root, parallelism=1)  # one call at a time, so that their order is always the same

    def _selection(self, confirmed: frozenset[str]) -> Selection:
        return Selection(paths=(self.root / "manifests",), confirmed=confirmed)

    def _ours(self, text: str) -> str:
        return text.replace(TAG, self.tag)

    def _alike(self, text: str) -> str:
        """The text without what differs from run to run, in the same width."""
        port = self.url.rpartition(":")[2]
        text = text.replace(self.tag, TAG).replace(f":{port}", ":" + "0" * len(port)).replace(str(self.root), "ROOT")
        text = re.sub(r"\b\d+(\.\d+)? m?s\b", "0.0 s", text)
        text = re.sub(r"between \d{4}-\d\d-\d\d \d\d:\d\d:\d\d and ([\d-]+ )?\d\d:\d\d:\d\d UTC", "between TIME and TIME UTC", text)
        text = re.sub(r'("seconds": )[\d.]+', r"\g<1>0.0", text)
        text = re.sub(r"\b[0-9a-f]{64}\b", "0" * 64, text)
        text = re.sub(r"(--confirm |\"confirmation\": \")[0-9a-f]{8}\b", r"\g<1>00000000", text)
        return re.sub(r"(@replaced-|\bid |artifacts:/)\d+\b", r"\g<1>0", text)


def _calls(log: Path) -> list[str]:
    """One line for each call: tool, method, target, `write`, and how it ended unless well. Empties the log."""
    calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return [_call(each) for each in calls]


def _call(each: Mapping[str, Any]) -> str:
    ended = "" if each["status"] in ("200", "ok", "0") else f" -> {each['status']}"
    return f"{each['tool']} {each['method']} {each['target']}{' write' if each['write'] else ''}{ended}"


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir() if path.is_dir()))
def test_case(case: str, tmp_path: Path, mlflow_url: str) -> None:
    scenario = Scenario(CASES / case, tmp_path, mlflow_url)
    found: dict[str, str] = {}
    for step in scenario.steps:
        told = scenario.recorded(step)
        found |= told if step else {}
    kept = {path.name: path for path in scenario.case.iterdir() if re.fullmatch(r"\d+\.(plan\.\w+|done\.txt|wire\.log)", path.name)}
    if os.environ.get("UPDATE_GOLDEN"):
        for name in kept.keys() - found.keys():
            kept[name].unlink()
        for name, text in found.items():
            (scenario.case / name).write_text(text, encoding="utf-8")
        return
    before = {name: path.read_text(encoding="utf-8") for name, path in kept.items()}
    differing = [name for name in sorted({*before, *found}) if before.get(name) != found.get(name)]
    if differing:
        pytest.fail("\n".join(_difference(name, before.get(name, ""), found.get(name, "")) for name in differing), pytrace=False)


def _difference(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"{name} (kept)", f"{name} (found)", lineterm="", n=1)
    return "\n".join(lines)


def test_there_are_cases() -> None:
    assert len([path for path in CASES.iterdir() if path.is_dir()]) >= 10
