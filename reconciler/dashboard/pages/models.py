"""The registered models of all projects: which version has the alias, what the gate said of the others, how they compare."""

from __future__ import annotations

from collections import Counter
from typing import Any

from markupsafe import Markup

from reconciler.dashboard import marks, parts
from reconciler.dashboard.frame import View, heading

PAGE, TOP = 20, 200
"""Models on a page; runs of each experiment that versions are looked for among."""
EMPTY = (
    "No model is registered yet: commit a manifest of kind Model (`reconcile explain model`); its best run that passes becomes a version."
)


async def draw(view: View) -> None:
    """As the last pass saw them."""
    path = view.of_project("/models", limit=PAGE, after=view.query.get("after"))

    def listed(value: dict[str, Any]) -> Markup:
        return models(value) + parts.following("/models", value, view.query, project=view.project)

    await view.part(listed, path)
    heading("Versions")
    await view.part(versions, path)
    heading("How versions compare")
    await view.part(comparison, path, view.of_project("/leaderboards", top=TOP), every=30.0)


def models(value: dict[str, Any]) -> Markup:
    """One line for each."""
    rows = [
        (
            marks.resource(each["ref"], parts.ref_path(each["ref"])),
            marks.health(each["health"]) if each["health"] else marks.NOTHING,
            Markup("{} {}").format(
                marks.badge(each["alias"] or "no alias"), f"version {each['version']}" if each["version"] else "none passed yet"
            ),
            parts.short(each["run"]),
            parts.datasets(each["datasets"]),
            counted(each["versions"]),
            each["message"],
            parts.links(each["links"]),
        )
        for each in parts.worst_first(value["items"])
    ]
    heads = ("Model", "State", "Served as", "Run", "Trained on", "The gate", "Why", "In its tool")
    return marks.table("Models", heads, rows, EMPTY)


def counted(found: list[dict[str, Any]]) -> marks.Cell:
    """Verdicts, each with how many versions have it."""
    counts = Counter(_verdict(each) for each in found)
    order = ("fail", "quarantined", "hold", "pass")
    words = [parts.unbroken(Markup("{} {}").format(f"{counts[each]:,}", parts.verdict(each))) for each in order if counts[each]]
    return marks.joined(words) if words else marks.NOTHING


def _verdict(version: dict[str, Any]) -> str:
    return "quarantined" if version["quarantined"] else str(version["verdict"])


def versions(value: dict[str, Any]) -> Markup:
    """All that are known of each model, the newest first."""
    told = Markup("")
    for model in value["items"]:
        rows = [
            (
                Markup("{} {}").format(each["version"], marks.badge(each["alias"], "good") if each["alias"] else ""),
                Markup("{} {}").format(parts.verdict(_verdict(each)), each["quarantined"] or ""),
                parts.short(each["run"]),
                parts.datasets(each["datasets"]),
                ", ".join(map(str, each["runtimes"])) or marks.NOTHING,
                marks.size(each["memoryBytes"]),
                "yes" if each["signed"] else "no",
            )
            for each in model["versions"]
        ]
        heads = ("Version", "The gate", "Run", "Trained on", "Runtimes", "Memory when served", "Signed")
        told += marks.tag("h3", parts.ref_path(model["ref"]))
        told += marks.table(
            f"Versions of {model['ref']}",
            heads,
            rows,
            "It has no version yet: one is registered when a run of its experiment has finished.",
        )
    return told or marks.nothing(EMPTY)


def comparison(value: dict[str, Any], boards: dict[str, Any]) -> Markup:
    """What the runs behind the versions have reached and taken, held against the version that has the alias."""
    if boards["trouble"]:
        return marks.trouble(f"What tools know of runs cannot be had: {boards['trouble']}")
    runs = {each["id"]: (board, each) for board in boards["items"] for each in board["runs"] if each["id"]}
    told = Markup("")
    for model in value["items"]:
        known = [(each, *runs[each["run"]]) for each in model["versions"] if each["run"] in runs]
        if not known:
            continue
        best = next((run for version, _, run in known if version["alias"]), None)
        rows = [
            (
                Markup("{} {}").format(version["version"], marks.badge(version["alias"], "good") if version["alias"] else ""),
                Markup("{} {}").format(
                    marks.number(run["value"]), _change(run["value"], best["value"] if best and run is not best else None)
                ),
                Markup("{} {}").format(
                    marks.span(run["seconds"]), _change(run["seconds"], best["seconds"] if best and run is not best else None)
                ),
                marks.size(run["peakMemoryBytes"]),
                marks.number(run["joules"], "J"),
                marks.away(run["url"], run["label"]) if run.get("url") else run["label"],
            )
            for version, _, run in known
        ]
        told += marks.tag("h3", parts.ref_path(model["ref"]))
        heads = ("Version", known[0][1]["metric"] or "Value", "Training time", "Peak memory", "Energy", "Run")
        told += marks.table(f"Versions of {model['ref']} compared", heads, rows)
    return told or marks.nothing("No finished run stands behind a version that is known here; its experiment's runs fill this.")


def _change(value: float | None, before: float | None) -> Markup:
    """Relative to the version that has the alias."""
    if value is None or not before or value == before:
        return Markup("")
    return Markup('<span class="small">{}</span>').format(f"{100 * (value - before) / abs(before):+.3g} %")
