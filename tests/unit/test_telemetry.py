"""What is imported when, what the environment asks for, and what becomes of a call in a trace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from reconciler.controller import Call
from reconciler.errors import StalePlan
from reconciler.events import Event
from reconciler.log import Log
from reconciler.secret import hide
from reconciler.telemetry import catalogue
from reconciler.telemetry.environment import endpoint, other_protocol
from reconciler.telemetry.traces import Traces

HERE = "OTEL_EXPORTER_OTLP_ENDPOINT"
URL = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, ""),
        ({HERE: ""}, ""),
        ({HERE: URL}, URL),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/v1/traces", HERE: URL}, "http://t/v1/traces"),
        ({HERE: URL, "OTEL_SDK_DISABLED": "True"}, ""),
        ({HERE: URL, "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({HERE: URL, "OTEL_TRACES_EXPORTER": "console, otlp"}, URL),
    ],
)
def test_traces_are_sent_where_the_environment_says_and_nowhere_else(environment: Mapping[str, str], found: str) -> None:
    assert endpoint(environment) == found


def test_a_protocol_that_is_not_spoken_is_named() -> None:
    assert other_protocol({}) == ""
    assert other_protocol({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}) == ""
    assert other_protocol({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) == "grpc"
    assert other_protocol({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}) == ""


# --- what is imported ----------------------------------------------------------------------------------------------

OPENED = """
import sys
{before}
from pathlib import Path
from reconciler.cli.telemetry import telemetry
from reconciler.house import open_house
from reconciler.pulse import Pulse
from reconciler.settings import Settings
house = open_house(Settings(root=Path({root!r})))
with telemetry(house, "", Pulse(1.0) if {listens} else None) as found:
    print(found.metrics is not None, found.house is not house, "prometheus_client" in sys.modules, "opentelemetry" in sys.modules)
"""


def opened(root: Path, *, listens: bool, before: str = "", **environment: str) -> tuple[str, str]:
    program = OPENED.format(root=str(root), listens=listens, before=before)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr


def test_nothing_is_imported_that_nobody_asked_for(tmp_path: Path) -> None:
    assert opened(tmp_path, listens=False) == ("False False False False", "")
    assert opened(tmp_path, listens=True) == ("True False True False", "")
    assert opened(tmp_path, listens=False, **{HERE: "http://127.0.0.1:9"})[0] == "False True False True"


def test_what_is_not_installed_is_told_and_costs_nothing_else(tmp_path: Path) -> None:
    told, said = opened(tmp_path, listens=True, before="sys.modules['prometheus_client'] = None")
    assert (told.split()[:2], said) == (["False", "False"], "")
    told, said = opened(tmp_path, listens=True, before="sys.modules['opentelemetry.sdk.trace'] = None", **{HERE: URL})
    assert told.split()[:2] == ["True", "False"]
    assert "install mlops-reconciler[traces]" in said
    told, said = opened(tmp_path, listens=False, **{HERE: URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert told.split()[:2] == ["False", "False"]
    assert "grpc" in said


def test_a_collector_that_is_away_delays_the_end_by_a_moment(tmp_path: Path) -> None:
    slow = "import time; began = time.monotonic(); import atexit; atexit.register(lambda: print(time.monotonic() - began))"
    told, _ = opened(tmp_path, listens=False, before=slow, **{HERE: "http://127.0.0.1:9"})
    assert float(told.splitlines()[-1]) < 20


# --- spans ---------------------------------------------------------------------------------------------------------


class Spans:
    def __init__(self) -> None:
        self.kept = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.kept))
        self.traces = Traces(provider, Log())

    def turn(self, phase: str, error: Exception) -> None:
        """One that ends with `error` in its phase."""

        def body() -> None:
            with self.traces.turn():
                self.traces.event(Event("phase", phase))
                raise error

        with pytest.raises(type(error)):
            body()

    def named(self) -> list[str]:
        return [each.name for each in self.kept.get_finished_spans()]


@pytest.fixture
def spans() -> Spans:
    return Spans()


def test_a_call_shows_no_query_no_password_and_no_secret(spans: Spans) -> None:
    hide("s3cret-of-a-tool")
    spans.traces.call(Call("serve", "GET", "http://ann:pass-word@host/api?token=abcdef", False, "200", 0.5))
    spans.traces.call(Call("dvc", "push", "s3://key:other-pass@bucket/s3cret-of-a-tool", True, "ok", 0.5))
    http, push = spans.kept.get_finished_spans()
    told = f"{http.to_json()} {push.to_json()}"
    assert not any(each in told for each in ("pass-word", "other-pass", "abcdef", "s3cret-of-a-tool"))
    assert http.name == "GET serve"
    assert http.attributes is not None
    assert http.attributes["url.full"] == "http://***@host/api"
    assert push.name == "push dvc"
    assert push.attributes is not None
    assert push.attributes["mlops_reconciler.call.target"] == "s3://***@bucket/***"
    assert http.start_time is not None
    assert http.end_time is not None
    assert http.end_time - http.start_time == 500_000_000


@pytest.mark.parametrize(("status", "kind"), [("no answer", "no_answer"), ("failed", "failed"), ("503", "503"), ("404", "404")])
def test_a_call_without_a_good_answer_is_an_error(spans: Spans, status: str, kind: str) -> None:
    spans.traces.call(Call("mlflow", "GET", "experiments/get", False, status, 0.1))
    [span] = spans.kept.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["error.type"] == kind
    assert not span.status.is_ok


def test_a_pass_that_was_overtaken_is_no_error_and_ends_with_its_turn(spans: Spans) -> None:
    spans.turn("reading manifests", StalePlan("somebody wrote"))
    assert spans.named() == ["reading manifests", "pass"]
    [_, whole] = spans.kept.get_finished_spans()
    assert whole.attributes is not None
    assert whole.attributes["mlops_reconciler.pass.outcome"] == "stale"
    assert whole.status.is_unset


def test_a_pass_that_could_not_be_made_is_an_error_without_secrets(spans: Spans) -> None:
    spans.turn("looking again at 12 widgets", ValueError("no answer from http://ann:pass-word@host"))
    phase, whole = spans.kept.get_finished_spans()
    assert phase.name == "looking again"
    assert whole.attributes is not None
    assert whole.attributes["error.type"] == "ValueError"
    assert not whole.status.is_ok
    assert "pass-word" not in whole.to_json()


def test_a_turn_in_which_nothing_is_done_makes_no_span(spans: Spans) -> None:
    with spans.traces.turn():
        spans.traces.event(Event("wait", "waiting"))
    assert spans.named() == []


# --- names ---------------------------------------------------------------------------------------------------------


def test_names_follow_the_conventions() -> None:
    assert len(catalogue.BY_NAME) == sum(len(each.series) for each in catalogue.ALL), "each name is there once"
    for each in catalogue.ALL:
        assert each.family.replace("_", "").isalnum()
        assert each.family.islower()
        assert not each.name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert (each.type == "histogram") == bool(each.buckets)
        assert list(each.buckets) == sorted(each.buckets)
        assert not {"ref", "name", "resource_name", "message"} & set(each.labels)
        assert each.help.endswith((".", "`.")), each
