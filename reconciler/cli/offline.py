"""Commands that need no tool: validate, explain, schema, init, doctor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import fields as complete_fields
from reconciler.cli.complete import schemas as complete_schemas
from reconciler.cli.options import Format, Output, given, width

if TYPE_CHECKING:
    from reconciler.model import Diagnostic
    from reconciler.source.read import Desired


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (validate, explain, schema, init, doctor):
        app.command()(command)


def validate(ctx: typer.Context, output: Output = Format.TEXT) -> None:
    """Check the manifests without any tool.

    Syntax, fields, references, what projects share and may use.

    \b
    Examples:
      reconcile validate
      reconcile validate --env prod
      reconcile validate -f manifests/projects/vision -o json
    """
    from reconciler.cli.output import say
    from reconciler.registry import discover
    from reconciler.report.json import diagnostics_json
    from reconciler.report.show import count
    from reconciler.report.text import diagnostics_text
    from reconciler.source.read import read
    from reconciler.state import open_store

    asked = given(ctx)
    settings, kinds = asked.settings(), discover()
    store = open_store(settings.store or settings.state / "store.db", read_only=True)
    desired = read(asked.selection(settings, kinds), kinds, settings, store.inventory(), store.meta("root_paths") or "")
    found = (*desired.diagnostics, *_rules(desired, settings.root.absolute()))
    resources, sources = len(desired.graph.resources), desired.graph.sources
    if output is Format.JSON:
        say(diagnostics_json(found, resources=resources, sources=sources, env=desired.selection.env))
    elif found:
        named = {each.ref for each in found if each.severity == "error"}
        unaffected = len(desired.graph.resources.keys() - desired.graph.blocked.keys() - named)
        say(diagnostics_text(found, color=asked.color(), planned=unaffected))
    else:
        env = f" in environment {desired.selection.env}" if desired.selection.env else ""
        say(f"Valid: {count(resources, 'resource')}{env} in {count(sum(each.files for each in sources), 'file')}.")
    if any(each.severity == "error" for each in found):
        raise typer.Exit(1)


def _rules(desired: Desired, root: Path) -> Iterator[Diagnostic]:
    """What is wrong with the files of rules that the Platform names."""
    from reconciler.guard.cel import evaluate
    from reconciler.guard.judge import mistakes
    from reconciler.guard.rules import in_force
    from reconciler.house import platform_in
    from reconciler.model import Diagnostic

    platform = platform_in(desired.graph.resources, {})
    if platform is None or not platform.policy.rules:
        return
    for rule, why in mistakes([each for each in in_force(platform.policy, root) if not each.shipped], evaluate):
        hint = "a rule that cannot be judged lets nothing through" if rule.effect != "warn" else ""
        yield Diagnostic(rule.at, f"rule {rule.name} cannot be judged: {why}", hint=hint, reason="PolicyBroken")


def explain(
    field: Annotated[str, typer.Argument(metavar="KIND[.FIELD]", autocompletion=complete_fields)],
    output: Output = Format.TEXT,
) -> None:
    """What a kind or a field means.

    Its type, its default, what is special about it.

    \b
    Examples:
      reconcile explain experiment
      reconcile explain experiment.runs.params
      reconcile explain dataset.lifecycle.prune
    """
    from reconciler.cli.explain import explain_json, explain_text
    from reconciler.cli.output import say

    say(explain_json(field) if output is Format.JSON else explain_text(field, width()))


def schema(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="A kind, `policy` or `patch`. [default: any manifest]", autocompletion=complete_schemas),
    ] = None,
) -> None:
    """JSON Schema for editors: of one kind, of any manifest, of a file of rules, of a patch in an overlay.

    \b
    Examples:
      reconcile schema > manifest.schema.json
      reconcile schema dataset
      reconcile schema policy > policy.schema.json
      reconcile schema patch > patch.schema.json
    In the first line of a file, for editors with yaml-language-server:
      # yaml-language-server: $schema=manifest.schema.json
    """
    import json

    from reconciler.cli.explain import kind_named
    from reconciler.cli.output import say
    from reconciler.registry import discover
    from reconciler.schema import any_schema, kind_schema
    from reconciler.schemadocuments import DOCUMENTS

    if kind is not None and (document := DOCUMENTS.get(kind.lower())) is not None:
        found = document(discover().kinds.values())
    else:
        found = any_schema(discover().kinds.values()) if kind is None else kind_schema(kind_named(kind))
    say(json.dumps(found, indent=2, ensure_ascii=False))


def init(folder: Annotated[Path, typer.Argument(metavar="DIR")] = Path()) -> None:
    """Write a small working tree to start from.

    A platform, and one project with data and an experiment. Overwrites nothing.

    \b
    Example:
      reconcile init hello && cd hello && reconcile --wait
    """
    from reconciler.cli.init import write_tree
    from reconciler.cli.output import say

    written = write_tree(folder)
    where = "" if folder == Path() else f"cd {folder} && "
    say("\n".join([f"Wrote {len(written)} files:", *(f"  {each}" for each in written), f"Next: {where}reconcile --dry-run"]))


def doctor(
    ctx: typer.Context,
    output: Output = Format.TEXT,
    hardware: Annotated[bool, typer.Option("--hardware", help="This machine and what its sensors say now.")] = False,
) -> None:
    """What is missing on this machine, and how to get it.

    \b
    Examples:
      reconcile doctor
      reconcile doctor --hardware
    """
    from reconciler.cli.doctor import examine
    from reconciler.cli.output import say
    from reconciler.report.doctor import doctor_json, doctor_text

    asked = given(ctx)
    if hardware:
        from reconciler.cli.hardware import hardware as look

        say(look(asked, as_json=output is Format.JSON, width=width()))
        return
    checks = examine(asked)
    say(doctor_json(checks) if output is Format.JSON else doctor_text(checks, color=asked.color(), width=width()))
    if any(each.state == "missing" for each in checks):
        raise typer.Exit(1)
