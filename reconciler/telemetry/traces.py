"""A span for each pass, each phase of it and each call to a tool, sent to a collector of OpenTelemetry beside the work.

What is sent is queued, bounded, and sent by a thread of the SDK's: a collector that is slow, full or away costs spans and nothing else.
Attributes are those of OpenTelemetry's semantic conventions where there is one, else below `mlops_reconciler.`."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import unquote

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from reconciler.breaker import SILENT
from reconciler.errors import StalePlan
from reconciler.report.watch import acted
from reconciler.secret import hidden, hide
from reconciler.telemetry.seen import is_whole, outcome, refused

if TYPE_CHECKING:
    from reconciler.controller import Call
    from reconciler.events import Event
    from reconciler.log import Log
    from reconciler.loop import Report

NAME, OURS = "mlops-reconciler", "mlops_reconciler"
LAST_SECONDS = 1.0
"""How long the end of a pass, or of the loop, waits for a collector to take the last spans."""
HTTP = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
LONGEST = 512
"""Characters of one attribute."""
_COUNT = re.compile(r" at \d.*")
"""What differs from time to time in the name of a phase."""


class Traces:
    """Listens to the loop. Passes follow each other; calls to tools come from many threads."""

    def __init__(self, provider: TracerProvider, log: Log) -> None:
        self._provider, self._log = provider, log
        self._tracer: Tracer = provider.get_tracer(NAME, version(NAME))
        self._pass: Span | None = None
        self._phase: Span | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Around each turn of the loop, or a single pass: what began in it ends with it."""
        try:
            yield
        except StalePlan:
            self._set({f"{OURS}.pass.outcome": "stale"})
            raise
        except Exception as error:
            self._set({f"{OURS}.pass.outcome": "not_made", "error.type": type(error).__name__})
            if self._pass is not None:
                self._pass.set_status(Status(StatusCode.ERROR, _text(str(error))))
            raise
        finally:
            self._end()

    def event(self, event: Event) -> None:
        """A phase begins; what goes wrong with a single resource is noted on it."""
        if event.kind == "phase":
            self._begin(_COUNT.sub("", event.text))
        elif event.kind in ("failed", "retry", "wait") and self._phase is not None:
            about = {f"{OURS}.ref": str(event.ref)} if event.ref is not None else {}
            self._phase.add_event(event.kind, {**about, f"{OURS}.message": _text(event.text)})

    def call(self, call: Call) -> None:
        """A call to a tool has ended."""
        end = time.time_ns()
        parent = self._phase or self._pass
        span = self._tracer.start_span(
            f"{call.method} {call.tool}",
            context=set_span_in_context(parent) if parent is not None else None,
            kind=SpanKind.CLIENT,
            attributes=_about(call),
            start_time=end - int(call.seconds * 1e9),
        )
        if _failed(call):
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def report(self, report: Report) -> None:
        """What came of the pass that goes on."""
        self._set(
            {
                f"{OURS}.pass.scope": "whole" if is_whole(report) else "part",
                f"{OURS}.pass.outcome": outcome(report),
                f"{OURS}.pass.resources": len(report.statuses),
                f"{OURS}.pass.actions": sum(map(acted, report.results)),
                "vcs.ref.head.revision": next((each.revision for each in report.proposal.sources if each.revision), ""),
            }
        )

    def trouble(self, error: Exception) -> None:
        """The pass could not be made: `turn` has noted it."""

    def close(self) -> None:
        """Send what is left, for a moment."""
        self._end()
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(LAST_SECONDS)

    def _begin(self, phase: str) -> None:
        if self._phase is not None:
            self._phase.end()
        if self._pass is None:
            self._pass = self._tracer.start_span("pass")
            self._set({f"{OURS}.pass.id": self._log.pass_id})
        self._phase = self._tracer.start_span(phase, context=set_span_in_context(self._pass))

    def _set(self, attributes: Mapping[str, str | int]) -> None:
        if self._pass is not None:
            self._pass.set_attributes({key: value for key, value in attributes.items() if value != ""})

    def _end(self) -> None:
        for span in (self._phase, self._pass):
            if span is not None:
                span.end()
        self._phase = self._pass = None


def open_traces(log: Log, environment: Mapping[str, str], **about: str) -> Traces:
    """Traces that go where the environment says. `about` tells of the installation, as attributes of the resource."""
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
    logging.getLogger("opentelemetry").propagate = False  # it would repeat itself on stderr for as long as a collector is away
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        for each in environment.get(name, "").split(","):
            value = unquote(each.partition("=")[2]).strip()
            for secret in (value, value.rpartition(" ")[2]):  # `Bearer TOKEN`, and the token by itself
                hide(secret)
    mine: dict[str, AttributeValue] = {"service.name": NAME, "service.version": version(NAME), "process.pid": os.getpid(), **about}
    resource = Resource.create({**mine, **OTELResourceDetector().detect().attributes})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # the end of the process waits for no collector
    provider.add_span_processor(BatchSpanProcessor(_Told(OTLPSpanExporter(), log)))
    return Traces(provider, log)


@dataclass
class _Told(SpanExporter):
    """Says once that a collector does not take spans, and once that it takes them again."""

    inner: SpanExporter
    log: Log
    failing: bool = field(default=False)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self.inner.export(spans)
        except Exception as error:  # of an address that is none, say: it is one more collector that does not take spans
            result, why = SpanExportResult.FAILURE, type(error).__name__
        else:
            why = "the collector does not take them"
        failed = result is not SpanExportResult.SUCCESS
        if failed != self.failing:
            self.failing = failed
            if failed:
                self.log.aside.warning("traces_lost", why=why, next="they are dropped until it does; see OTEL_EXPORTER_OTLP_ENDPOINT")
            else:
                self.log.aside.info("traces_arrive")
        return result

    def shutdown(self) -> None:
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self.inner.force_flush(timeout_millis)


def _about(call: Call) -> dict[str, str | int | bool]:
    """`http.*` where it is a request, else the reconciler's own words. Query strings are left out, and so is what an address may hold."""
    found: dict[str, str | int | bool] = {"service.peer.name": call.tool, "peer.service": call.tool, f"{OURS}.call.write": call.write}
    target = _text(call.target.partition("?")[0])
    if call.method in HTTP:
        found |= {"http.request.method": call.method}
        found |= {"url.full": target} if "://" in target else {"url.path": f"/{target.removeprefix('/')}"}
        if len(call.status) == 3 and call.status.isdecimal():
            found["http.response.status_code"] = int(call.status)
    else:
        found |= {f"{OURS}.call.method": call.method, f"{OURS}.call.target": target}
    return found | ({"error.type": call.status.replace(" ", "_")} if _failed(call) else {})


def _failed(call: Call) -> bool:
    return call.status in SILENT or refused(call.status)


def _text(text: str) -> str:
    return hidden(text)[:LONGEST]
