"""Deployments: what each serves, how requests are split between versions, replicas, latency and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reconciler.dashboard import marks, parts
from reconciler.dashboard.frame import View, heading

PAGE = 50
EMPTY = "Nothing is deployed yet: commit a manifest of kind Deployment (`reconcile explain deployment`)."
NO_VERSION = "It has no version to serve yet: its model's gate lets one through, or its manifest names one."
IDLE = "No deployment has a route yet: the gateway gets one when a replica of its first version is to start."


async def draw(view: View) -> None:
    """Traffic is what the gateway counts, two seconds old at most."""
    path = view.of_project("/deployments", limit=PAGE, after=view.query.get("after"))

    def listed(value: dict[str, Any]) -> Markup:
        return deployments(value) + parts.following("/deployments", value, view.query, project=view.project)

    await view.part(listed, path)
    heading("Versions and traffic")
    await view.part(traffic, view.of_project("/serving"), every=2.0)


def deployments(value: dict[str, Any]) -> Markup:
    """One line for each."""
    rows = [
        (
            marks.resource(each["ref"], parts.ref_path(each["ref"])),
            marks.health(each["health"]),
            f"version {each['outputs']['version']}" if each["outputs"].get("version") else marks.NOTHING,
            marks.totals(each["below"]["totals"]) if each["below"]["total"] else "none",
            each["message"],
            parts.links(each["links"]),
        )
        for each in parts.worst_first(value["items"])
    ]
    heads = ("Deployment", "State", "Serves", "Replicas by state", "Why", "In its tool")
    return marks.table("Deployments", heads, rows, EMPTY)


def traffic(value: dict[str, Any]) -> Markup:
    """A section for each deployment that has a route."""
    told = marks.trouble(value["trouble"]) if value["trouble"] else Markup("")
    for each in value["items"]:
        told += marks.tag("h3", marks.resource(each["ref"], parts.ref_path(each["ref"])))
        if each["off"]:
            told += marks.tag("p", marks.badge("off", "warn"), " ", each["off"])
        if not each["targets"]:
            told += Markup("") if each["off"] else marks.nothing(NO_VERSION)
            continue
        told += marks.tag("p", parts.split([(label(one), one["weight"] or 0) for one in each["targets"]]))
        if (now := each["traffic"]) is not None:
            told += marks.tag("p", in_hand(now), class_="small")
        told += targets(each)
    return told if value["items"] or value["trouble"] else marks.nothing(IDLE)


def label(target: Mapping[str, Any]) -> str:
    """A version with its part in a rollout."""
    return f"v{target['version'] or '?'} ({target['role'] or 'no role'})"


def in_hand(now: Mapping[str, Any]) -> str:
    """What the gateway has to do at this moment."""
    idle = now["idleSeconds"]
    last = f"; the last request came {marks.span(idle)} ago" if idle is not None else ""
    return f"{now['ongoing']:,} requests in hand, {now['waiting']:,} wait for a replica, load {now['load']:.2g}{last}"


def targets(each: Mapping[str, Any]) -> Markup:
    """One line for each version; counts are since the gateway started."""
    rows = [
        (
            label(one),
            f"{one['weight'] or 0} %",
            marks.number(one["ready"]),
            marks.number(one["requests"]),
            failed(one),
            _milliseconds(one["p50Seconds"]),
            _milliseconds(one["p95Seconds"]),
            Markup("{} of {}").format(marks.share(one["right"]), f"{one['labels']:,} labels") if one["labels"] else marks.NOTHING,
            one["runtime"] or marks.NOTHING,
            parts.short(one["run"]),
        )
        for one in each["targets"]
    ]
    heads = ("Version", "Of requests", "Replicas ready", "Answered", "Errors", "Median", "95th per cent", "Right", "Runtime", "Run")
    return marks.table(f"Versions of {each['ref']}", heads, rows, NO_VERSION)


def failed(target: Mapping[str, Any]) -> marks.Cell:
    """Errors with their share; one is never hidden by rounding."""
    errors, requests = target["errors"], target["requests"]
    if errors is None:
        return marks.NOTHING
    if not errors:
        return "none"
    share = errors / max(1, requests or 0)
    return Markup('<span class="{}">{} ({})</span>').format("bad" if share >= 0.01 else "warn", f"{errors:,}", marks.share(share))


def _milliseconds(seconds: float | None) -> marks.Cell:
    return marks.NOTHING if seconds is None else f"{1000 * seconds:.3g} ms"
