"""`reconcile envs`: which environments there are, what each has differently, and what differs between two. Needs no tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.complete import environments_or_base
from reconciler.cli.options import Format, Globals, Output, given, width

if TYPE_CHECKING:
    from reconciler.model import Ref, Resource
    from reconciler.report.environments import Environment, Says
    from reconciler.source.read import Desired
    from reconciler.state import Store

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME...]",
        help="One environment, or two to compare. `base`: the manifests without patches.",
        autocompletion=environments_or_base,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(envs)


def envs(ctx: typer.Context, names: Names = None, output: Output = Format.TEXT) -> None:
    """What environments have differently, and what differs between two of them.

    An environment is a folder overlays/NAME with patches over the manifests. With two names: what a change meets on its way from the one
    to the other, as a plan, field by field. Reads manifests only.

    \b
    Examples:
      reconcile envs
      reconcile envs dev
      reconcile envs dev prod --project vision
      reconcile envs base prod -o json
    """
    from reconciler.cli.output import say
    from reconciler.errors import UsageError
    from reconciler.report import environments as report

    asked, chosen = given(ctx), names or []
    if len(chosen) > 2:
        raise UsageError("two environments are compared at a time", hint=f"for example `reconcile envs {chosen[0]} {chosen[1]}`")
    look = _Look(asked)
    color = asked.color()
    if len(chosen) == 2:
        (one, have), (other, want) = (look.at(each) for each in chosen)
        rows = report.differing(*look.both(have, want), look.says, (chosen[0], chosen[1]))
        resources = len(set().union(*look.both(have, want)))
        as_json = output is Format.JSON
        say(
            report.promotion_json(one, other, rows)
            if as_json
            else report.promotion_text(one, other, rows, resources, color=color, width=width())
        )
        raise typer.Exit(1 if one.errors or other.errors else 0)
    found = [look.at(each)[0] for each in chosen or sorted(look.base.environments)]
    wrong = sum(each.severity == "error" for each in look.base.diagnostics)
    say(
        report.environments_json(found)
        if output is Format.JSON
        else report.environments_text(found, wrong=wrong, color=color, width=width())
    )
    raise typer.Exit(1 if wrong or any(each.errors for each in found) else 0)


class _Look:
    """The manifests as they are, and as environments have them."""

    def __init__(self, asked: Globals) -> None:
        from reconciler.environment import standing
        from reconciler.registry import discover
        from reconciler.source.place import Places
        from reconciler.state import open_store

        self.asked, self.settings, self.kinds = asked, asked.settings(), discover()
        self.store: Store = open_store(self.settings.store or self.settings.state / "store.db", read_only=True)
        self.places = Places(self.settings.root)
        self.inventory = self.store.inventory()
        self.current = standing(self.store, self.inventory)
        self.base = self._read("")

    def at(self, name: str) -> tuple[Environment, Desired]:
        """An environment beside the manifests without patches, and what is declared in it. Raises UsageError where there is none."""
        from reconciler.environment import BASE, must_have
        from reconciler.report.environments import Environment, differing

        is_base = name == BASE and name not in self.base.environments
        must_have("" if is_base else name, self.base.environments)
        found = self.base if is_base else self._read(name)
        known = () if is_base else self.base.diagnostics
        rows = differing(*self.both(self.base, found), self.says)
        wrong = tuple(each for each in found.diagnostics if each not in known)
        return Environment(name, rows, wrong, self.current == ("" if is_base else name)), found

    def both(self, one: Desired, other: Desired) -> tuple[dict[Ref, Resource[Any]], dict[Ref, Resource[Any]]]:
        """What the filters let through of two readings, less what is wrong in one of them: of that nothing is known."""
        wrong = one.graph.refused | other.graph.refused
        first, second = (
            {ref: each for ref, each in some.graph.resources.items() if ref not in wrong and some.selection.holds(each)}
            for some in (one, other)
        )
        return first, second

    @property
    def says(self) -> Says:
        """Where a document says what stands at a path."""

        def place(resource: Resource[Any], path: str) -> str:
            from reconciler.validate import steps_to

            steps = steps_to(path, {"spec": resource.spec.model_dump(mode="json"), "metadata": {"labels": dict(resource.labels)}})
            at, _ = self.places.both(resource.location, resource.patches, steps)
            return f"{at.file}:{at.line}"

        return place

    def _read(self, env: str) -> Desired:
        from dataclasses import replace

        from reconciler.source.read import read

        selection = replace(self.asked.selection(self.settings, self.kinds), env=env)
        return read(selection, self.kinds, self.settings, self.inventory, self.store.meta("root_paths") or "")
