"""What rules say, as text, Markdown and JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.guard.values import Finding, GuardRule
from reconciler.report.json import FORMAT_VERSION, location_value
from reconciler.report.show import clean, count, paint, wrap

if TYPE_CHECKING:
    from reconciler.guard.cases import Outcome
    from reconciler.loop import Proposal

COLORS = {"deny": "red", "warn": "yellow", "requireApproval": "cyan"}


def findings_of(proposal: Proposal) -> tuple[Finding, ...]:
    """What the rules in force said of this plan."""
    return proposal.policy.ruled.findings if proposal.policy is not None else ()


def policies_line(found: Sequence[Finding], waiting: int) -> str:
    """`policies: 2 denied, 1 warning`; empty where the rules say nothing."""
    denied, warned = len({each.ref for each in found if each.denies}), sum(each.verdict == "warn" for each in found)
    told = [f"{denied} denied"] if denied else []
    told += [f"{waiting} waiting for approval"] if waiting else []
    told += [count(warned, "warning")] if warned else []
    return f"policies: {', '.join(told)}" if told else ""


def waiting_of(proposal: Proposal) -> int:
    """How many actions wait for the yes of a rule."""
    asked = proposal.policy.asked if proposal.policy is not None else None
    return sum(ref in asked.waiting for ref in asked.wants) if asked is not None else 0


def policy_notes(proposal: Proposal, width: int) -> list[str]:
    """The line of totals, and each warning: what is denied or waits is told by its own row."""
    found = findings_of(proposal)
    line = policies_line(found, waiting_of(proposal))
    if not line:
        return []
    lines = wrap(f"{line[0].upper()}{line[1:]}.", width, "")
    for text in warnings(found):
        lines += wrap(f"warning  {clean(text)}", width, "  ")
    return lines


def warnings(found: Sequence[Finding]) -> list[str]:
    """One sentence for each rule that warns, with what it is about."""
    about: dict[str, list[str]] = {}
    for each in found:
        if each.verdict == "warn":
            about.setdefault(str(each), []).append(str(each.ref))
    return [f"{_some(refs)}: {said}" for said, refs in about.items()]


def _some(refs: Sequence[str], most: int = 3) -> str:
    return ", ".join(refs[:most]) + (f" and {len(refs) - most} more" if len(refs) > most else "")


def findings_value(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as plain values."""
    return [
        {
            "rule": each.rule.name,
            "verdict": each.verdict,
            "ref": str(each.ref),
            "message": each.message,
            "broken": bool(each.broken),
            "shipped": each.rule.shipped,
            "location": location_value(each.rule.at),
        }
        for each in found
    ]


def check_text(found: Sequence[Finding], waiting: Mapping[str, str], looked: int, rules: int, *, color: bool, width: int) -> str:
    """The verdicts; `waiting` says of whom a yes is missing, by Ref, `looked` how many actions were looked at."""
    told = policies_line(found, len(waiting)).removeprefix("policies: ") or "nothing against it"
    lines = [f"{count(looked, 'action')} under {count(rules, 'rule')}: {told}."]
    for each in found:
        verdict = each.verdict
        if verdict == "requireApproval" and str(each.ref) not in waiting:
            verdict_text, style = "approved", "green"
        else:
            verdict_text, style = {"requireApproval": "approve"}.get(verdict, verdict), COLORS[verdict]
        lines.append(f"  {paint(f'{verdict_text:<9}', style, color)}{clean(str(each.ref))}")
        lines += wrap(clean(f"{each}"), width, "           ")
    if waiting:
        lines.append("Next: `reconcile approve PROJECT` says yes to what waits.")
    elif any(each.denies for each in found):
        lines.append("Next: change what the manifests ask for, or the rules; `reconcile policy list` tells where they are.")
    return "\n".join(lines)


def check_json(found: Sequence[Finding], waiting: Mapping[str, str], looked: int) -> str:
    """The same for programs."""
    totals = {
        "actions": looked,
        "denied": len({each.ref for each in found if each.denies}),
        "waiting": len(waiting),
        "warnings": sum(each.verdict == "warn" for each in found),
    }
    return _text("policyCheck", {"totals": totals, "policies": findings_value(found)})


def list_text(rules: Sequence[GuardRule], off: Sequence[str], wrong: Mapping[str, str], *, color: bool, width: int) -> str:
    """The rules in force, with their places; `wrong`: place of a rule -> why it cannot be judged."""
    name, effect = (max([len(text) for text in texts], default=0) for texts in ([each.name for each in rules], ["requireApproval"]))
    lines = [f"{count(len(rules), 'rule')} in force" + (f", {count(len(wrong), 'broken rule')} among them." if wrong else ".")]
    for each in rules:
        about = ", ".join(each.kinds) or "every kind"
        verbs = ", ".join(each.verbs)
        where = clean(str(each.at))
        head = f"  {paint(f'{each.effect:<{effect}}', COLORS[each.effect], color)}  {clean(each.name):<{name}}  {where}"
        lines.append(head)
        why, stops = wrong.get(str(each.at), ""), "" if each.effect == "warn" else ", so that it lets nothing through"
        told = f"cannot be judged{stops}: {why}" if why else f"{each.message} ({about}; {verbs})"
        lines += wrap(clean(told), width, "      ")
    if off:
        lines.append(f"Off: {', '.join(off)}.")
    if wrong:
        lines.append("Next: correct the broken rules; `reconcile policy test` tries them.")
    return "\n".join(lines)


def list_json(rules: Sequence[GuardRule], off: Sequence[str], wrong: Mapping[str, str]) -> str:
    """The same for programs."""
    listed = [
        {
            "name": each.name,
            "effect": each.effect,
            "kinds": list(each.kinds),
            "verbs": list(each.verbs),
            "over": "plan" if each.plan_wide else "action",
            "when": each.when,
            "condition": each.condition,
            "message": each.message,
            "owners": list(each.owners),
            "shipped": each.shipped,
            "location": location_value(each.at),
            "broken": wrong.get(str(each.at), ""),
        }
        for each in rules
    ]
    return _text("policies", {"rules": listed, "off": list(off)})


def tests_text(books: Sequence[tuple[str, Sequence[Outcome], Sequence[str]]], *, color: bool, width: int) -> str:
    """As a test runner tells it: (file, outcomes, rules that no test expects anything of) for each file."""
    lines: list[str] = []
    for file, outcomes, untested in books:
        lines.append(clean(file))
        for each in outcomes:
            word, style = ("FAIL", "red") if each.failures else ("ok", "green")
            where = f"  {each.at}" if each.failures else ""
            lines.append(f"  {paint(f'{word:<5}', style, color)} {clean(each.name)}{clean(where)}")
            for failure in each.failures:
                lines += wrap(clean(failure), width, "          ")
        lines += [f"  {paint('-    ', 'yellow', color)} no test expects anything of the rule {clean(name)}" for name in untested]
    total, failed = sum(len(outcomes) for _, outcomes, _ in books), _failed(books)
    lines.append(f"{count(total, 'test')}, {failed} failed." if failed else f"{count(total, 'test')} passed.")
    return "\n".join(lines)


def tests_json(books: Sequence[tuple[str, Sequence[Outcome], Sequence[str]]]) -> str:
    """The same for programs."""
    files = [
        {
            "file": file,
            "tests": [{"name": each.name, "location": location_value(each.at), "failures": list(each.failures)} for each in outcomes],
            "untested": list(untested),
        }
        for file, outcomes, untested in books
    ]
    return _text("policyTests", {"failed": _failed(books), "files": files})


def _failed(books: Sequence[tuple[str, Sequence[Outcome], Sequence[str]]]) -> int:
    return sum(bool(each.failures) for _, outcomes, _ in books for each in outcomes)


def _text(kind: str, body: Mapping[str, Any]) -> str:
    return json.dumps({"formatVersion": FORMAT_VERSION, "kind": kind, **body}, indent=2, ensure_ascii=True, default=str)
