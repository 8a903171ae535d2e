"""Policies: rules over what a plan would do, as files of rules are written, and which of them are in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from schemas.base import DnsLabel, RelativePath, Strict

MOST_RULES = 200
"""Of one file, and of one installation."""
Expression = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
"""CEL that gives true or false."""
Verb = Literal["create", "update", "replace", "adopt", "move", "delete", "start", "rollback"]
Effect = Literal["deny", "warn", "requireApproval"]
Shipped = Literal[
    "mass-deletion", "quota-increase", "gate-loosened-with-promotion", "secret-literal", "public-bind", "unpinned-production-dataset"
]
RefText = Annotated[str, StringConstraints(pattern=r"^[a-z]+(/[-a-z0-9]+){1,2}(#.+)?$")]


def _off(found: Any) -> Any:
    return "off" if found is False else found  # YAML 1.1 reads a bare `off` as false


Strength = Annotated[
    Literal["off", "warn", "deny", "requireApproval"],
    BeforeValidator(_off),
    WithJsonSchema({"enum": ["off", "warn", "deny", "requireApproval", False]}),
]


class Policy(Strict):
    """Rules over what a pass would do: what they deny is not done, whoever asks for it. See docs/policy.md."""

    rules: tuple[RelativePath, ...] = ()
    """Files of rules, relative to the installation's root; `*` stands for any file name: `policies/*.yaml`."""
    shipped: dict[Shipped, Strength] = Field(default_factory=dict)
    """How strong the rules are that come with the reconciler: `off`, `warn`, `deny` or `requireApproval`; those that are not named keep
    their own default. `reconcile policy list` shows them."""


class Rule(Strict):
    """One rule. It is judged for each action of its kinds and verbs for which `when` holds."""

    name: DnsLabel
    kinds: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$")], ...] = ()
    """Unset = every kind. Children (`experiment/p/name#key`) are of their parent's kind."""
    verbs: tuple[Verb, ...] = ("create", "update", "replace", "adopt", "move")
    """What it is about. Deletions only when they are named: there is no manifest any more that a rule could look at. So are `start`
    (`reconcile run`) and `rollback`, whoever asks for them: somebody, or a Monitor for a breach."""
    over: Literal["action", "plan"] = "action"
    """`plan`: the condition is about the whole plan and judged once; when it holds, it holds for every action that the rule is about."""
    when: Expression | None = None
    """Over one action: the rule is only about those for which this is true."""
    deny: Expression | None = None
    """True: the action is not done."""
    warn: Expression | None = None
    """True: the plan says so, and the action is done."""
    require_approval: Expression | None = None
    """True: the action waits until one of `owners` said yes to exactly that (`reconcile approve`)."""
    message: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    """What is wrong, for who reads the plan."""
    owners: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = ()
    """Who may say yes, by login; `project` stands for the owners of the action's Project. Unset = anybody who may approve."""

    @property
    def effect(self) -> Effect:
        """Which of the three conditions it has; the first, where there is more than one."""
        return "deny" if self.deny is not None else "warn" if self.warn is not None else "requireApproval"

    @property
    def condition(self) -> str:
        """The condition itself; empty where none is written."""
        return self.deny or self.warn or self.require_approval or ""


class GivenAction(Strict):
    """An action that a test makes up. What is left out is as the kind's schema says, and otherwise empty."""

    ref: RefText
    verb: Verb = "update"
    labels: dict[str, str] = Field(default_factory=dict)
    spec: dict[str, Any] = Field(default_factory=dict)
    """As in a manifest; laid over the defaults of the kind."""
    before: dict[str, Any] | None = None
    """The spec that was carried out last; unset = not known."""
    changes: tuple[dict[str, Any], ...] = ()
    """`{path, have, want}` each."""
    manifest_changed: bool = True
    why: str = ""
    by: str = ""
    """Of `start` and `rollback`: who asks, a login or the Ref of a Monitor."""
    conf: dict[str, Any] = Field(default_factory=dict)
    """Of `start`: what the run is given."""


class GivenProject(Strict):
    """A Project that a test makes up."""

    owners: tuple[str, ...] = ()
    level: Literal["easy", "intermediate", "advanced"] = "easy"
    labels: dict[str, str] = Field(default_factory=dict)


class RuleTest(Strict):
    """Actions, and what the rules of the file are to say of them."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    actions: tuple[GivenAction, ...] = ()
    plan: RelativePath | None = None
    """In place of `actions`: a plan as `reconcile --dry-run -o json` wrote it, relative to this file; the specs are the manifests'."""
    projects: dict[DnsLabel, GivenProject] = Field(default_factory=dict)
    resources: int | None = None
    """How many the installation has; unset = as many as there are actions."""
    expect: dict[RefText, str | tuple[str, ...]] = Field(default_factory=dict)
    """Ref to `deny RULE`, `warn RULE`, `requireApproval RULE`, or a list of these. Refs that are not named: nothing is said of them."""


def check(rule: Rule) -> Iterator[tuple[str, str]]:
    """Conditions that span fields of a rule."""
    given = [each for each in (rule.deny, rule.warn, rule.require_approval) if each is not None]
    if len(given) != 1:
        yield "", f"expected exactly one of deny, warn, requireApproval; found {len(given)}"
    if rule.owners and rule.require_approval is None:
        yield "owners", "has a meaning with `requireApproval` only"
    if not rule.kinds and looks_back(rule):
        yield "kinds", "a rule that looks at `resource.changes` names its kinds: what was carried out last is remembered of those only"


def looks_back(rule: Rule) -> bool:
    """Whether the rule asks what has changed since the manifest was carried out last."""
    return any("resource.changes" in each for each in (rule.when or "", rule.condition))
