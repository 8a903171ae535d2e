"""`deploy/`: each metric, label and function that dashboards and rules name exists in what a real loop tells. Prometheus' own `promtool`
looks at the rules too, where it is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from controllers.resourcequota import ResourceQuotaController
from reconciler.admission.values import Item, Lease
from reconciler.errors import ReconcilerError
from reconciler.model import Amounts, Learned, Ref
from reconciler.registry import Kinds
from reconciler.state import Queued
from reconciler.telemetry import catalogue
from schemas.platform import PlatformSpec
from tests.contract.crash_child import house_in, tool_in
from tests.contract.metrics_lab import FRESH, declared, enlarge, looping
from tests.contract.promql import parsed

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
RULES = DEPLOY / "prometheus" / "alerts.yaml"
SENSORS = '{"at": 0, "level": "fair", "used": 0.4, "watts": 17, "memory": 0.5}\n'
ADDED = frozenset({"instance", "job"})
"""Labels that Prometheus adds to what it scrapes."""
PANELS = frozenset({"stat", "timeseries", "bargauge", "heatmap", "row"})
Told = Mapping[str, frozenset[str]]
"""Names of samples, with the labels that they have in a scrape."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A scrape of a loop that has seen a bit of everything."""
    root = declared(tmp_path_factory.mktemp("told"))
    (root / "trace.jsonl").write_text(SENSORS)
    platform = root / "manifests/platform.yaml"
    platform.write_text(
        platform.read_text().replace("{installation: here}", "{installation: here, admission: {sensors: {trace: trace.jsonl}}}")
    )
    quota = "apiVersion: reconciler.mlops/v1\nkind: ResourceQuota\nmetadata: {name: q, project: p}\nspec: {nominal: {memory: 1Gi}}\n"
    (root / "manifests/quota.yaml").write_text(quota)
    tool = tool_in(root)
    house = house_in(root, tool)
    house = replace(house, kinds=Kinds({**house.kinds.controllers, "ResourceQuota": ResourceQuotaController()}))
    with looping(house, tool) as site:
        site.until(lambda: site.value(catalogue.PASSES, scope="whole", outcome="ok") not in (None, 0))
        enlarge(tool)
        site.until(lambda: site.value(catalogue.PUT_BACK, kind="Widget") is not None)
        house.store.suspend(Ref("Widget", "p", "a"), "hands off", "ann")
        enlarge(tool)
        site.until(lambda: site.value(catalogue.DRIFTED, kind="Widget") is not None)
        site.metrics.meters.trouble(ReconcilerError("no"))
        site.end()
        _filled(site.house)
        time.sleep(FRESH)  # an answer from before is given until then
        found = site.scraped()
    return {name: frozenset(key for key, _ in labels) for name, labels in found}


def _filled(house: Any) -> None:
    """What widgets do not bring: work that waits and runs, what was learned, a sample."""
    work, now = house.store.work, house.now()
    runs = [Ref("Widget", "p", "a", str(number)) for number in range(3)]
    since = now - timedelta(seconds=50)
    work.put_queue([Queued(Item(each, "p", Amounts(2**30, 500), 5, since), detail={"reason": "WaitingForMemory"}) for each in runs])
    work.grant([Lease(each, "p", "local", Amounts(2**30, 500), 5, now, since) for each in runs[:2]])
    work.release(runs[:1], learned={"t": Learned(runs=4, peaks=(10, 11, 10, 12), lengths=(10.0, 11.0, 10.5, 10.2))})
    [owned] = [each for ref, each in house.store.inventory().items() if ref.kind == "Platform"]
    house.sensors(PlatformSpec.model_validate(owned.applied)).sample()
    statuses = house.store.statuses()
    child = next(each for ref, each in statuses.items() if ref.kind == "Widget")
    house.store.put_statuses([replace(child, ref=runs[0])])


def test_the_scrape_holds_every_metric_with_its_labels(told: Told) -> None:
    declared_ = {name: frozenset(each.labels) for name, each in catalogue.BY_NAME.items()}
    ours = {name: labels - {"le"} for name, labels in told.items() if name.startswith(catalogue.PREFIX)}
    assert ours == declared_


# --- Prometheus ----------------------------------------------------------------------------------------------------


def rules() -> list[Mapping[str, Any]]:
    found = yaml.safe_load(RULES.read_text())
    assert found.keys() == {"groups"}
    return [rule for group in found["groups"] for rule in group["rules"]]


def checked(expression: str, told: Told) -> None:
    query = parsed(expression)
    labels: set[str] = set(ADDED)
    for name, matched in query.selectors:
        assert name in told, f"{name} is in no scrape: {expression}"
        own = told[name]
        assert matched <= own | ADDED, f"{name} has no {sorted(matched - own)}: {expression}"
        labels |= own
    assert query.labels <= labels, f"nothing has {sorted(query.labels - labels)}: {expression}"


def test_rules_are_rules_over_metrics_that_exist(told: Told) -> None:
    found = rules()
    assert len(found) == len({each["alert"] for each in found}) > 10
    for each in found:
        assert each.keys() <= {"alert", "expr", "for", "labels", "annotations"}, each
        assert re.fullmatch(r"MlopsReconciler[A-Z]\w+", each["alert"])
        assert each["labels"]["severity"] in ("info", "warning", "critical")
        assert re.fullmatch(r"\d+[smh]", each.get("for", "1m"))
        assert each["annotations"].keys() == {"summary", "description"}
        checked(each["expr"], told)
        grouped = parsed(each["expr"]).labels
        for text in each["annotations"].values():
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= grouped, f"{each['alert']} shows a label that its result has not"
            assert set(re.findall(r"\| *(\w+)", text)) <= {"humanizeDuration", "humanizePercentage"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed; the test above looks at the rules without it")
def test_rules_fire_when_they_should(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yaml"
    cases.write_text((Path(__file__).parents[1] / "fixtures/alerts_test.yaml").read_text().replace("RULES", str(RULES)))
    for words in (["check", "rules", str(RULES)], ["test", "rules", str(cases)]):
        done = subprocess.run(["promtool", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        "sum(rate(mlops_reconciler_passes_total[5m])",
        "summ(mlops_reconciler_leader)",
        "rate(mlops_reconciler_passes_total[five])",
        "max by (mlops_reconciler_leader)",
        "mlops_reconciler_passes_total{scope=whole}",
        "sum by kind (mlops_reconciler_resources)",
        "1 + 1",
    ],
)
def test_what_is_no_query_is_found(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(wrong)


def test_what_does_not_exist_is_found(told: Told) -> None:
    for wrong in (
        "mlops_reconciler_passes",
        'mlops_reconciler_leader{project="p"}',
        "sum by (project) (mlops_reconciler_resources)",
        "mlops_reconciler_pass_duration_seconds",
    ):
        with pytest.raises(AssertionError):
            checked(wrong, told)


# --- Grafana -------------------------------------------------------------------------------------------------------


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for each in dashboard["panels"]:
        yield each
        yield from each.get("panels", ())


def test_there_are_dashboards_with_names_of_their_own() -> None:
    found = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert {path.stem for path in DASHBOARDS} == {"overview", "admission", "tools"}
    assert len({each["uid"] for each in found}) == len({each["title"] for each in found}) == len(found)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_one_by_grafanas_model(path: Path) -> None:
    """grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model."""
    found = json.loads(path.read_text())
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", found["uid"]), "Grafana takes 40 characters"
    assert found.get("id") is None, "an id belongs to one Grafana; this file goes to many"
    assert isinstance(found["schemaVersion"], int)
    assert found["title"]
    assert found["time"].keys() == {"from", "to"}
    variables = {each["name"]: each for each in found["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    ids = [each["id"] for each in panels(found)]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(found))) - {"__rate_interval"}
    assert used <= variables.keys()
    for each in panels(found):
        assert each["type"] in PANELS
        assert each["title"]
        if each["type"] == "row":
            continue
        assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert each["fieldConfig"].keys() == {"defaults", "overrides"}
        references = [target["refId"] for target in each["targets"]]
        assert references
        assert len(references) == len(set(references))
        assert all(target["datasource"] == each["datasource"] for target in each["targets"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_lie_beside_each_other(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for each in panels(json.loads(path.read_text())):
        place = each["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not taken & cells, each["title"]
        taken |= cells


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_for_metrics_that_exist(path: Path, told: Told) -> None:
    found = json.loads(path.read_text())
    for each in panels(found):
        for target in each.get("targets", ()):
            checked(target["expr"], told)
            grouped = parsed(target["expr"]).labels | {"le"}
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert shown <= grouped | ADDED, f"{each['title']} shows {sorted(shown - grouped)}"
    for variable in found["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert asked is not None
            assert asked[2] in told[asked[1]]


def test_every_metric_of_ours_is_shown_or_watched() -> None:
    text = "".join(path.read_text() for path in (*DASHBOARDS, RULES))
    unseen = {each.family for each in catalogue.ALL if not any(re.search(rf"\b{name}\b", text) for name in each.series)}
    assert unseen <= {catalogue.BUILD.family, catalogue.SUSPENDED.family}, "a metric that nobody looks at is one too many"
