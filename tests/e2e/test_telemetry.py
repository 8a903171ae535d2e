"""What `reconcile watch` tells of itself, over real MLflow and DVC: metrics as Prometheus reads them, and traces in a collector."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

from reconciler.telemetry import catalogue
from reconciler.telemetry.catalogue import Metric
from tests.e2e.git_story import looping
from tests.e2e.installation import Installation, dataset, experiment, project, start
from tests.e2e.otlp import Collector, Span, collecting
from tests.e2e.training import lab, small, sweep, until

pytestmark = pytest.mark.xdist_group("mlflow")
SECRET = "t0p-secret-of-the-collector"
CLIENT, INTERNAL = 3, 1


@dataclass
class Told:
    """A loop, what it says, where it listens, and where its traces go."""

    here: Installation
    log: Path
    collector: Collector

    @property
    def url(self) -> str:
        found = re.search(r"http://127\.0\.0\.1:\d+", self.log.read_text())
        assert found is not None, self.log.read_text()
        return found[0]

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        time.sleep(2.1)  # what was told before is told again for two seconds
        answer = httpx.get(f"{self.url}/metrics", headers={"Accept": "application/openmetrics-text"}, trust_env=False)
        assert answer.status_code == 200
        return {(one.name, frozenset(one.labels.items())): one.value for each in parse(answer.text) for one in each.samples}

    def ready(self, ref: str) -> None:
        until(lambda: self.here.status().get(ref, {}).get("ready") is True, 120, self.log)


def at(found: dict[tuple[str, frozenset[tuple[str, str]]], float], metric: Metric, series: int = 0, **labels: str) -> float:
    return found[metric.series[series], frozenset(labels.items())]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("telemetry")
    here = start(folder / "root", mlflow_url, f"telemetry-{uuid.uuid4().hex[:6]}")
    here.write(
        {
            "manifests/p.yaml": project("watched"),
            "manifests/base.yaml": experiment("base", "watched"),
            "manifests/d.yaml": dataset("d", "watched", "d.csv"),
            "code/watched/d.csv": "a,b\n1,2\n",
        }
    )
    with collecting() as collector:
        here.env |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {SECRET}",
            "OTEL_RESOURCE_ATTRIBUTES": "team=platform",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        found = Told(here, folder / "watch.txt", collector)
        with looping(here, found.log, "--listen", "0"):
            found.ready("experiment/watched/base")
            found.ready("dataset/watched/d")
            yield found


def test_a_change_is_seen_in_the_next_scrape(told: Told) -> None:
    before = told.scrape()
    assert at(before, catalogue.ACTIONS, kind="Experiment", verb="create", result="done") == 1
    assert at(before, catalogue.RESOURCES, kind="Experiment", health="Healthy") == 1
    assert {tool: at(before, catalogue.TOOL_UP, tool=tool) for tool in ("mlflow", "dvc")} == {"mlflow": 1, "dvc": 1}
    told.here.write({"manifests/next.yaml": experiment("next", "watched")})
    told.ready("experiment/watched/next")
    after = told.scrape()
    assert at(after, catalogue.ACTIONS, kind="Experiment", verb="create", result="done") == 2
    assert at(after, catalogue.RESOURCES, kind="Experiment", health="Healthy") == 2
    calls = [at(each, catalogue.CALLS, tool="mlflow", result="answered") for each in (before, after)]
    assert calls[1] > calls[0] > 0
    assert at(after, catalogue.CALL_SECONDS, 1, tool="mlflow") >= calls[1]
    assert 0 <= at(after, catalogue.WHOLE_AGE) < 300
    passes = [sum(value for (name, _), value in each.items() if name == catalogue.PASSES.series[0]) for each in (before, after)]
    assert passes[1] > passes[0] >= 1
    assert at(after, catalogue.LEADER) == 1


def test_the_scrape_holds_what_the_catalogue_says_and_no_resource_s_name(told: Told) -> None:
    for name, labels in told.scrape():
        if not name.startswith("process_"):
            assert {key for key, _ in labels} - {"le"} == set(catalogue.BY_NAME[name].labels)
        assert not any(value in ("base", "next", "d") or "/" in value for _, value in labels)


def test_a_pass_is_a_trace_with_its_phases_and_calls(told: Told) -> None:
    collector = told.collector
    until(lambda: any(each.attributes.get("mlops_reconciler.pass.scope") == "whole" for each in collector.named("pass")), 30, told.log)
    whole = next(each for each in collector.named("pass") if each.attributes.get("mlops_reconciler.pass.scope") == "whole")
    assert (whole.parent, whole.kind, whole.failed) == ("", INTERNAL, False)
    assert whole.attributes["mlops_reconciler.pass.outcome"] == "ok"
    assert whole.attributes["mlops_reconciler.pass.resources"] == 4
    phases = collector.below(whole)
    assert [each.name for each in phases][:3] == ["reading manifests", "looking at the tools", "applying"]
    calls = [each for phase in phases for each in collector.below(phase)]
    mlflow = [each for each in calls if each.attributes["service.peer.name"] == "mlflow"]
    assert "POST mlflow" in {each.name for each in mlflow}, "an experiment was created"
    for each in mlflow:
        assert each.kind == CLIENT
        assert each.attributes["http.response.status_code"] < 500
        assert each.attributes["url.path"].startswith("/")
        assert each.attributes["http.request.method"] in ("GET", "POST", "PATCH", "DELETE")
    assert any(each.attributes["service.peer.name"] == "dvc" and "mlops_reconciler.call.method" in each.attributes for each in calls)
    for each in (whole, *phases, *calls):
        assert each.trace == whole.trace
        assert whole.start <= each.start + 50_000_000
        assert each.start <= each.end <= whole.end + 50_000_000


def test_the_trace_says_whose_it_is_and_finds_its_lines_in_the_log(told: Told) -> None:
    [pass_, *_] = told.collector.named("pass")
    assert pass_.resource["service.name"] == "mlops-reconciler"
    assert pass_.resource["team"] == "platform"
    assert pass_.resource["service.version"]
    lines = [json.loads(line) for line in (told.here.root / ".mlops/logs/watch.jsonl").read_text().splitlines()]
    assert pass_.attributes["mlops_reconciler.pass.id"] in {each.get("pass") for each in lines}


def test_a_call_that_is_refused_is_an_error_with_its_type(told: Told) -> None:
    """MLflow answers 404 to who asks for an experiment that is not there yet."""

    def refused() -> list[Span]:
        return [each for each in list(told.collector.spans) if each.failed and each.kind == CLIENT]

    until(lambda: bool(refused()), 60, told.log)
    assert {each.attributes["error.type"] for each in refused()} == {"404"}
    assert {each.attributes["http.response.status_code"] for each in refused()} == {404}
    assert at(told.scrape(), catalogue.CALLS, tool="mlflow", result="refused") >= 1


def test_no_secret_is_in_what_is_sent(told: Told) -> None:
    assert told.collector.headers[0]["authorization"] == f"Bearer {SECRET}", "the collector gets it, as it must"
    everything = b"".join(told.collector.raw) + told.log.read_bytes() + (told.here.root / ".mlops/logs/watch.jsonl").read_bytes()
    assert SECRET.encode() not in everything
    assert not re.search(rb"://[^/\s]*@", everything)


def test_a_collector_that_refuses_costs_spans_and_nothing_else(told: Told) -> None:
    told.collector.status = 400
    told.here.write({"manifests/last.yaml": experiment("last", "watched")})
    told.ready("experiment/watched/last")
    until(lambda: "traces_lost" in told.log.read_text(), 30, told.log)
    assert told.log.read_text().count("traces_lost") == 1
    told.collector.status = 200
    before = len(told.collector.spans)
    told.here.write({"manifests/last.yaml": experiment("last", "watched", "  description: again\n")})
    until(lambda: len(told.collector.spans) > before, 60, told.log)


def test_a_single_pass_is_traced_too_and_a_dry_run(told: Told) -> None:
    def passes() -> list[Span]:
        return [each for each in told.collector.named("pass") if "mlops_reconciler.pass.id" not in each.attributes]

    assert passes() == []
    told.here.run("--dry-run")
    until(lambda: len(passes()) == 1, 10, told.log)
    assert [each.name for each in told.collector.below(passes()[0])] == ["reading manifests", "looking at the tools"]
    told.here.ok()
    until(lambda: len(passes()) == 2, 10, told.log)
    assert passes()[1].attributes["mlops_reconciler.pass.outcome"] == "ok"


def test_a_collector_that_is_away_costs_a_pass_a_moment(told: Told) -> None:
    away = Installation(told.here.root, {**told.here.env, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    began = time.monotonic()
    ran = away.ok("--dry-run")
    assert time.monotonic() - began < 60
    assert "No changes" in ran.out


def test_runs_show_in_queue_leases_waits_forecasts_and_hardware(tmp_path: Path, mlflow_url: str) -> None:
    heat = {"at": 0, "level": "fair", "used": 0.4, "watts": 17}
    here = lab(tmp_path / "root", mlflow_url, "  admission: {sensors: {trace: heat.jsonl}}\n", "nominal: {memory: 2Gi, cpu: 100m}")
    here.write({"heat.jsonl": json.dumps(heat) + "\n"})
    sweep(here, "long", f"params: {{rank: [1, 2, 3], seconds: 6}}, {small(6)}")
    told, project_ = Told(here, tmp_path / "watch.txt", Collector()), here.env["NAME"]
    with looping(here, told.log, "--listen", "0"):
        until(lambda: "/metrics" in told.log.read_text(), 60, told.log)
        until(lambda: (catalogue.LEASES.family, frozenset({("project", project_)})) in told.scrape(), 120, told.log)
        found = told.scrape()
        waiting = {labels: value for (name, labels), value in found.items() if name == catalogue.QUEUE.family}
        assert waiting == {frozenset({("project", project_), ("reason", "WaitingForQuota")}): 2}
        assert at(found, catalogue.LEASES, project=project_) == 1
        assert at(found, catalogue.QUOTA_USED, project=project_, resource="cpu") == 0.1
        assert at(found, catalogue.QUOTA, project=project_, resource="cpu") == 0.1
        assert at(found, catalogue.QUOTA_USED, project=project_, resource="memory") >= 64 << 20
        [node] = {dict(labels)["node"] for name, labels in found if name == catalogue.NODE_LEVEL.family}
        assert at(found, catalogue.NODE_LEVEL, node=node) == 1
        assert at(found, catalogue.NODE_HEAT, node=node) == 0.4
        assert at(found, catalogue.NODE_WATTS, node=node) == 17
        assert at(found, catalogue.NODE_MEMORY, node=node, state="total") > at(found, catalogue.NODE_MEMORY, node=node, state="available")
        told.ready(f"experiment/{project_}/long")
        after = told.scrape()
    assert at(after, catalogue.WAIT, 1, kind="Experiment") == 3
    assert at(after, catalogue.WAIT, 2, kind="Experiment") >= 6, "one waited for the one before it"
    assert at(after, catalogue.JUDGED, figure="memory") == 2
    assert 0 <= at(after, catalogue.HELD, figure="memory") <= 1
    assert at(after, catalogue.CHILDREN, kind="Experiment", health="Healthy") in (0, 3), "a settled experiment has no children"
    assert not any(name == catalogue.LEASES.family for name, _ in after)
