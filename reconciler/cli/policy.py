"""`reconcile policy`: the rules in force, what they say of a plan, and their tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.exit import Exit
from reconciler.cli.options import Format, Globals, Output, given, width

if TYPE_CHECKING:
    from reconciler.guard.facts import Scene
    from reconciler.guard.rules import RuleBook
    from reconciler.guard.values import Finding
    from reconciler.model import Diagnostic
    from reconciler.registry import Kinds
    from reconciler.settings import Settings
    from reconciler.source.read import Desired
    from reconciler.state import Store
    from schemas.policy import Policy

app = typer.Typer(
    help="Rules over what a pass would do: those in force, what they say, their tests.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.command("list")
def list_(ctx: typer.Context, output: Output = Format.TEXT) -> None:
    """The rules in force, with the place of each.

    Exits with 1 when one of them cannot be judged.

    \b
    Examples:
      reconcile policy list
      reconcile policy list -o json
    """
    from reconciler.cli.output import say
    from reconciler.guard.cel import evaluate
    from reconciler.guard.judge import mistakes
    from reconciler.guard.rules import DEFAULTS, in_force
    from reconciler.report.policy import list_json, list_text

    asked = given(ctx)
    policy, settings = _policy(asked)
    rules = in_force(policy, settings.root.absolute())
    wrong = {str(rule.at): why for rule, why in mistakes(rules, evaluate)}
    off = [name for name in DEFAULTS if name not in {each.name for each in rules if each.shipped}]
    if output is Format.JSON:
        say(list_json(rules, off, wrong))
    else:
        say(list_text(rules, off, wrong, color=asked.color(), width=width()))
    raise typer.Exit(Exit.ERROR if wrong else Exit.OK)


@app.command()
def check(
    ctx: typer.Context,
    plan: Annotated[
        Path | None,
        typer.Argument(metavar="[PLAN]", help="A plan as `reconcile --dry-run -o json` wrote it; no tool is read. [default: of now]"),
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """What the rules in force say of a plan. Writes nothing.

    Exits with 1 when something is denied, with 3 when something waits for approval.

    \b
    Examples:
      reconcile policy check
      reconcile policy check plan.json -o json
    """
    from reconciler.cli.output import say
    from reconciler.report.policy import check_json, check_text

    asked = given(ctx)
    found, waiting, looked, rules = _of_now(asked) if plan is None else _of_file(asked, plan)
    if output is Format.JSON:
        say(check_json(found, waiting, looked))
    else:
        say(check_text(found, waiting, looked, rules, color=asked.color(), width=width()))
    raise typer.Exit(Exit.ERROR if any(each.denies for each in found) else Exit.HELD if waiting else Exit.OK)


@app.command("test")
def run_tests_(
    ctx: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="Files of rules. [default: the shipped one, and the Platform's]")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Run the tests that files of rules carry, each over the rules of its file. Reads no tool.

    Exits with 1 when a test fails or a rule is broken.

    \b
    Examples:
      reconcile policy test
      reconcile policy test policies/serving.yaml
    """
    from reconciler.cli.output import say
    from reconciler.guard.cases import Outcome, run_tests
    from reconciler.guard.cel import evaluate
    from reconciler.guard.judge import mistakes
    from reconciler.registry import discover
    from reconciler.report.policy import tests_json, tests_text

    asked, kinds = given(ctx), discover()
    done = []
    for book in _books(asked, files or []):
        plans = _PlansBeside(asked, kinds, book.file)
        outcomes, untested = run_tests(book, kinds.kinds, evaluate, plans)
        wrong = [Outcome(f"rule {rule.name}", rule.at, (f"cannot be judged: {why}",)) for rule, why in mistakes(book.rules, evaluate)]
        done.append((book.file, (*wrong, *outcomes), untested))
    if output is Format.JSON:
        say(tests_json(done))
    else:
        say(tests_text(done, color=asked.color(), width=width()))
    raise typer.Exit(Exit.ERROR if any(each.failures for _, outcomes, _ in done for each in outcomes) else Exit.OK)


class _PlansBeside:
    """Plans in files beside one file of rules, under the manifests of now."""

    def __init__(self, asked: Globals, kinds: Kinds, file: str) -> None:
        self.asked, self.kinds, self.folder = asked, kinds, Path(file).parent

    def __call__(self, name: str) -> Scene:
        from reconciler.guard.offline import scene_of

        desired, store, _ = _read(self.asked)
        return scene_of(self.folder / name, desired.graph.resources, store.inventory(), {}, frozenset(self.kinds.kinds))


def _of_now(asked: Globals) -> tuple[Sequence[Finding], dict[str, str], int, int]:
    """Findings, what waits, how many actions were looked at, and how many rules there are: of the plan that a dry run would show."""
    from reconciler.cli.pass_ import open_for
    from reconciler.cli.refs import must_select
    from reconciler.guard.facts import foreseen
    from reconciler.guard.rules import in_force
    from reconciler.loop import propose

    house = open_for(asked, read_only=True)
    proposal = propose(asked.selection(house.settings, house.kinds), house)
    must_select(proposal)
    rules = in_force(proposal.context.platform.policy, proposal.context.root) if proposal.context is not None else ()
    if proposal.policy is None:
        return (), {}, 0, len(rules)
    policy = proposal.policy
    looked = {each.ref for each in foreseen(proposal.plan, proposal.resources, proposal.observations, proposal.inventory)}
    looked |= policy.ruled.denied.keys() | policy.asked.wants.keys() | {each.ref for each in policy.ruled.findings}
    waiting = {str(ref): want.told for ref, want in policy.asked.wants.items() if ref in policy.asked.waiting}
    return policy.ruled.findings, waiting, len(looked), len(rules)


def _of_file(asked: Globals, plan: Path) -> tuple[Sequence[Finding], dict[str, str], int, int]:
    """The same of a plan in a file: nobody has said yes to it yet."""
    from reconciler.guard.cel import evaluate
    from reconciler.guard.judge import judge
    from reconciler.guard.offline import scene_of
    from reconciler.guard.remember import before
    from reconciler.guard.rules import in_force
    from reconciler.house import Memos

    desired, store, kinds = _read(asked)
    known = before(desired.graph.resources.keys(), Memos(store.memos()))
    policy, settings = _policy(asked)
    rules = in_force(policy, settings.root.absolute())
    scene = scene_of(plan, desired.graph.resources, store.inventory(), known, frozenset(kinds.kinds))
    found = judge(rules, scene, evaluate)
    waiting = {str(each.ref): each.message for each in found if each.waits}
    return found, waiting, len(scene.deeds), len(rules)


def _policy(asked: Globals) -> tuple[Policy, Settings]:
    """What the Platform says of rules. Raises UsageError where none is declared or was applied."""
    from reconciler.errors import UsageError
    from reconciler.house import platform_in

    desired, store, _ = _read(asked)
    platform = platform_in(desired.graph.resources, store.inventory())
    if platform is None:
        hint = "`reconcile validate` tells what is wrong with it" if _wrong(desired.diagnostics) else "rules are named in its spec.policy"
        raise UsageError("there is no Platform here", hint=hint)
    return platform.policy, asked.settings()


def _wrong(found: Sequence[Diagnostic]) -> bool:
    return any(each.severity == "error" for each in found)


def _read(asked: Globals) -> tuple[Desired, Store, Kinds]:
    """The manifests and the Store, without any tool."""
    from reconciler.registry import discover
    from reconciler.source.read import read
    from reconciler.state import open_store

    settings, kinds = asked.settings(), discover()
    store = open_store(settings.store or settings.state / "store.db", read_only=True)
    desired = read(asked.selection(settings, kinds), kinds, settings, store.inventory(), store.meta("root_paths") or "")
    return desired, store, kinds


def _books(asked: Globals, files: Sequence[Path]) -> list[RuleBook]:
    """The files that are meant. Raises UsageError for one that is not there."""
    from reconciler.errors import UsageError
    from reconciler.guard.rules import books_at, read_book, shipped_book

    root = asked.settings().root.absolute()
    if not files:
        policy, _ = _policy(asked)
        return [shipped_book(), *(book for path in policy.rules for book in books_at(path, root))]
    if missing := [each for each in files if not each.is_file()]:
        raise UsageError(f"there is no file {missing[0]}", hint="name a file of rules; without one, those of the Platform are tested")
    return [read_book(str(each), Path.cwd(), confined=False) for each in files]
