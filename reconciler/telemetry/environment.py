"""Whether the environment asks for traces: OpenTelemetry's own variables, read without OpenTelemetry. Pure.

Names and defaults: opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables and .../protocol/exporter."""

from __future__ import annotations

from collections.abc import Mapping

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"
"""The protocol that is spoken, OpenTelemetry's default."""


def endpoint(environment: Mapping[str, str]) -> str:
    """Where traces are to go; empty = nobody asks for any, or they are switched off."""
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporters = {each.strip() for each in (environment.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")}
    return "" if off or "otlp" not in exporters else _first(environment, ENDPOINTS)


def other_protocol(environment: Mapping[str, str]) -> str:
    """A protocol that is asked for and not spoken here; empty = none."""
    found = _first(environment, PROTOCOLS) or SPOKEN
    return "" if found == SPOKEN else found


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((found for name in names if (found := environment.get(name, "").strip())), "")
