"""Mistakes and blocked actions at the lines that they are about: for GitHub's and Gitea's log, and as SARIF for code scanning. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from reconciler.report.rows import rows
from reconciler.report.show import clean

if TYPE_CHECKING:
    from reconciler.loop import Proposal

Level = Literal["error", "warning", "notice"]
MOST = 50
"""Annotations of one job that GitHub shows."""
_SARIF_LEVEL = {"error": "error", "warning": "warning", "notice": "note"}


@dataclass(frozen=True)
class Annotation:
    """One remark. `line` and `column` count from 1; 0 = the whole file."""

    level: Level
    file: str
    line: int
    column: int
    rule: str
    """CamelCase reason."""
    message: str


def remarks(proposal: Proposal) -> list[Annotation]:
    """The worst first: what is wrong in manifests, then what cannot be undone, then what is blocked."""
    found = [*_mistakes(proposal), *_actions(proposal)]
    return sorted(found, key=lambda each: (("error", "warning", "notice").index(each.level), each.file, each.line, each.column))


def _mistakes(proposal: Proposal) -> Iterator[Annotation]:
    for each in proposal.diagnostics:
        if each.location.file and each.location.line:
            told = ": ".join(filter(None, [each.path, each.message])) + (f" ({each.hint})" if each.hint else "")
            level: Level = "error" if each.severity == "error" else "warning"
            yield Annotation(level, each.location.file, each.location.line, each.location.column, each.reason, told)


def _actions(proposal: Proposal) -> Iterator[Annotation]:
    for each in rows(proposal):
        if not each.location.file or (proposal.impact is not None and not proposal.impact.by_this(each.ref)):
            continue
        if each.irreversible:
            why = f"{each.verb} of {each.ref}: what it holds cannot be brought back from the manifests"
            yield Annotation("warning", each.location.file, each.location.line, each.location.column, "Irreversible", why)
        elif each.in_the_way:
            told = f"{each.ref}: {each.why}" + (f" ({each.next})" if each.next else "")
            yield Annotation("warning", each.location.file, each.location.line, each.location.column, each.reason, told)


def commands(found: list[Annotation]) -> list[str]:
    """GitHub's and Gitea's workflow commands, one line each (docs.github.com "Workflow commands", escaping by the toolkit's command.ts)."""
    lines = []
    for each in found[:MOST]:
        place = {"file": each.file, "line": str(each.line or 1), "col": str(each.column or 1), "title": each.rule}
        properties = ",".join(f"{name}={_property(value)}" for name, value in place.items())
        lines.append(f"::{each.level} {properties}::{_data(clean(each.message))}")
    return lines


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(clean(text)).replace(":", "%3A").replace(",", "%2C")


def sarif(found: list[Annotation]) -> str:
    """SARIF 2.1.0 (OASIS), as GitHub's code scanning and GitLab's importers read it."""
    rules = sorted({each.rule or "Manifest" for each in found})
    driver = {
        "name": "mlops-reconciler",
        "version": version("mlops-reconciler"),
        "rules": [{"id": each, "shortDescription": {"text": each}} for each in rules],
    }
    body = {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{"tool": {"driver": driver}, "results": [_result(each) for each in found]}],
    }
    return json.dumps(body, indent=2) + "\n"


def _result(each: Annotation) -> dict[str, Any]:
    region = {"startLine": each.line or 1} | ({"startColumn": each.column} if each.column else {})
    place = {"artifactLocation": {"uri": each.file.replace("%", "%25").replace(" ", "%20")}, "region": region}
    return {
        "ruleId": each.rule or "Manifest",
        "level": _SARIF_LEVEL[each.level],
        "message": {"text": clean(each.message)},
        "locations": [{"physicalLocation": place}],
    }
