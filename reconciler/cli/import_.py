"""From tools to manifests: one object to stdout, or everything that is there into a tree of files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import kinds as complete_kinds
from reconciler.cli.complete import names_of_kind
from reconciler.cli.complete import tools as complete_tools
from reconciler.cli.options import Format, Globals, Output, given, width

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from reconciler.controller import Context
    from reconciler.house import House
    from reconciler.model import Ref
    from reconciler.registry import Kinds

OURS = "store"
"""What `--tool` calls the installation's own Store, where the kinds live that belong to no tool."""


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("import")(import_)


def import_(
    ctx: typer.Context,
    kind: Annotated[str | None, typer.Argument(metavar="KIND", autocompletion=complete_kinds)] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="As the tool shows it: its name there, or its id.", autocompletion=names_of_kind)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything that is there and has no manifest.")] = False,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="With --all: where the files go. Overwrites nothing.")] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="With --all: only what is in this tool; repeatable.", autocompletion=complete_tools),
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Write manifests for what is in the tools.

    Of one object to stdout, so that it can be looked at before it is committed. With --all a tree of files that plans to
    no changes; what does not carry this installation's mark is taken over. What cannot be said by a manifest is named.
    With --all -o json and without --to nothing is written: it tells what would be.

    \b
    Examples:
      reconcile import experiment vision/probe > manifests/projects/vision/probe.yaml
      reconcile import dataset vision/digits
      reconcile import --all --to imported
      reconcile import --all --tool mlflow --project vision --to imported
      reconcile import --all -o json
    """
    from reconciler.cli.output import say
    from reconciler.errors import UsageError

    asked, as_json = given(ctx), output is Format.JSON
    if all_:
        if kind is not None or (to is None and not as_json):
            raise UsageError("--all writes a tree of files", hint="reconcile import --all --to DIR; --kind and --project narrow it down")
        if asked.selector:
            raise UsageError("--selector does not narrow an import down", hint="use --project, --kind or --tool")
        raise typer.Exit(_everything(asked, to, tool or [], as_json))
    if kind is None or name is None or to is not None or tool:
        raise UsageError(
            "what is to be imported?", hint="name one (`reconcile import KIND NAME`), or all (`reconcile import --all --to DIR`)"
        )
    say(_one(asked, kind, name, as_json))


def _one(asked: Globals, kind: str, name: str, as_json: bool) -> str:
    from reconciler.cli.explain import kind_named
    from reconciler.cli.pass_ import open_for
    from reconciler.errors import UsageError
    from reconciler.importing import Imported, exported
    from reconciler.report.imported import imported_json
    from reconciler.tidy import as_yaml

    house, found = open_for(asked, read_only=True), kind_named(kind).name
    able = tools_of(house.kinds)
    if found not in able:
        raise UsageError(f"{found} cannot be imported", hint=f"these can: {', '.join(sorted(able)) or 'none'}")
    ref, manifest = exported(found, name, _look(asked, house)[0], house)
    return imported_json(Imported({ref: manifest}), in_tree=False) if as_json else as_yaml(manifest, width())


def _everything(asked: Globals, to: Path | None, tools: list[str], as_json: bool) -> int:
    from reconciler.cli.exit import Exit
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.importing import everything, keep_valid
    from reconciler.report.imported import imported_json, imported_text

    house = open_for(asked, read_only=True)
    kinds = _chosen(tools_of(house.kinds), asked, tools, house.kinds)
    ctx, declared = _look(asked, house)
    found = everything(kinds, asked.project, declared, ctx, house)
    files = keep_valid(found, [path for path in asked.paths(house.settings) if path.exists()], house)
    if to is not None:
        _write(to, files)
    if to is None or as_json:
        say(imported_json(found, folder=to))
    else:
        say(imported_text(found, files, to, color=asked.color(), width=width()))
    return Exit.HELD if found.unread else Exit.OK


def tools_of(kinds: Kinds) -> Mapping[str, str]:
    """Kinds that can be imported, and the tool of each."""
    from reconciler.controller import Exports

    return {name: each.tool or OURS for name, each in kinds.controllers.items() if isinstance(each, Exports)}


def _chosen(able: Mapping[str, str], asked: Globals, tools: list[str], kinds: Kinds) -> set[str]:
    """Those of `--tool` and `--kind`. Raises UsageError for what is not one."""
    from reconciler.cli.options import kind_named
    from reconciler.errors import UsageError

    for each in tools:
        if each not in able.values():
            raise UsageError(f"there is no tool '{each}' to import from", hint=f"there are: {', '.join(sorted(set(able.values())))}")
    named = {kind_named(each, kinds) for each in asked.kind}
    return {name for name, tool in able.items() if (not tools or tool in tools) and (not named or name in named)}


def _look(asked: Globals, house: House) -> tuple[Context, Collection[Ref]]:
    """What controllers see, and what has a manifest, right or wrong."""
    from dataclasses import replace

    from reconciler.errors import UsageError
    from reconciler.house import context
    from reconciler.source.read import read

    selection, inventory = asked.as_applied(house), house.store.inventory()
    if asked.manifests:
        asked.selection(house.settings, house.kinds)  # raises for what is not there: all would seem to have no manifest
    graph = read(selection, house.kinds, house.settings, inventory).graph if selection is not None else None
    found = context(house, graph.resources if graph else {}, inventory)
    if found is None:
        raise UsageError(
            "no Platform manifest says where the tools are", hint="name the manifests with -f, or begin with `reconcile init DIR`"
        )
    said = house.store.manifests()
    owned = {ref: replace(each, declared=said.get(ref, {})) for ref, each in inventory.items()}
    return replace(found, owned=owned), {*graph.resources, *graph.refused} if graph else set()


def _write(to: Path, files: Mapping[str, str]) -> None:
    """All of them, or none: nothing that is there is overwritten."""
    from reconciler.errors import UsageError
    from reconciler.report.show import listed

    if taken := [to / name for name in files if (to / name).exists()]:
        raise UsageError(f"{listed(taken, 3)} would be overwritten; nothing was written", hint="name an empty folder with --to")
    try:
        for name, text in files.items():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            with (to / name).open("x", encoding="utf-8") as out:
                out.write(text)
    except OSError as error:
        raise UsageError(f"{error.filename or to} cannot be written: {error.strerror}", hint="name another folder with --to") from None
