"""Writes docs/reference/ from the code: the command line from --help, the kinds and the JSON Schemas from the schemas, the metrics, the
REST API.

`python -m docs.generate` writes; `--check` writes nothing and fails, naming the files, when one is stale."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reconciler.registry import discover
from reconciler.schema import Field, any_schema, fields, kind_schema, walk
from reconciler.schemadocuments import DOCUMENTS
from reconciler.telemetry.catalogue import ALL, MOST_PROJECTS, OTHERS
from schemas.base import KindInfo

REFERENCE = Path(__file__).parent / "reference"
WIDTH = 100
"""Columns of the help texts, whatever the terminal of whoever generates them."""
NOTE = "<!-- Written by `python -m docs.generate` from the code; edit the code. -->\n\n"
HEADER = "# yaml-language-server: $schema={path}"


def main(arguments: list[str]) -> int:
    """Write what is stale, or with `--check` only name it; 1 when something was stale then."""
    wanted = files()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    stray = [path for path in generated() if path not in wanted]
    if "--check" in arguments:
        for path in (*stale, *stray):
            print(f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path} is stale: run `make docs`")
        return 1 if stale or stray else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path}")
    for path in stray:
        path.unlink()
        print(f"removed {path}")
    return 0


def generated() -> Iterator[Path]:
    """What an earlier run wrote."""
    yield from (REFERENCE / "kinds").glob("*.md")
    yield from (REFERENCE / "schema").glob("*.schema.json")


def files() -> Mapping[Path, str]:
    """Every generated file with its content."""
    kinds = discover().kinds
    return {
        REFERENCE / "cli.md": cli_page(),
        REFERENCE / "metrics.md": metrics_page(),
        REFERENCE / "openapi.json": _json(api()),
        REFERENCE / "kinds" / "README.md": kinds_page(kinds),
        REFERENCE / "schema" / "manifest.schema.json": _json(any_schema(kinds.values())),
        **{REFERENCE / "schema" / f"{name}.schema.json": _json(of(kinds.values())) for name, of in DOCUMENTS.items()},
        **{REFERENCE / "kinds" / f"{name.lower()}.md": kind_page(info) for name, info in kinds.items()},
        **{REFERENCE / "schema" / f"{name.lower()}.schema.json": _json(kind_schema(info)) for name, info in kinds.items()},
    }


def api() -> Mapping[str, Any]:
    """The description of the REST API, as it is served below /api/v1/openapi.json."""
    from reconciler.api.v1.app import framework

    return framework().openapi()


def _json(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


# --- the command line ----------------------------------------------------------------------------------------------


def cli_page() -> str:
    """Every command's --help."""
    from reconciler.cli.app import build

    # Colours, widths and completion's shell would otherwise come from whoever runs this.
    for name in ("COLUMNS", "FORCE_COLOR", "TERMINAL_WIDTH", "_TYPER_FORCE_DISABLE_TERMINAL"):
        os.environ.pop(name, None)
    parts = [f"# Command line\n\n{NOTE}"]
    for path, text in _helps(build(), ("reconcile",)):
        parts.append(f"## {' '.join(path)}\n\n```text\n{text}\n```\n\n")
    return "".join(parts).rstrip("\n") + "\n"


def _helps(command: Any, path: tuple[str, ...], parent: Any = None) -> Iterator[tuple[tuple[str, ...], str]]:
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = command.context_class(command, info_name=path[-1], parent=parent, **settings)
    yield path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    for name, below in getattr(command, "commands", {}).items():
        yield from _helps(below, (*path, name), context)


# --- metrics -------------------------------------------------------------------------------------------------------


def metrics_page() -> str:
    """Every metric of `/metrics`."""
    parts = [
        f"# Metrics\n\n{NOTE}What `reconcile watch --listen PORT` tells at `/metrics`; [metrics.md](../metrics.md) says more.\n\n",
        "| metric | type | labels | meaning |\n|---|---|---|---|\n",
    ]
    for each in ALL:
        name = each.series[0] if each.type == "counter" else each.family
        labels = ", ".join(f"`{label}`" for label in each.labels)
        bounds = f" Bounds: {', '.join(f'{bound:g}' for bound in each.buckets)}." if each.buckets else ""
        parts.append(f"| `{name}` | {each.type} | {labels} | {each.help.replace('|', '&#124;')}{bounds} |\n")
    others = f"Of more than {MOST_PROJECTS} projects the largest are told, and the rest together as `{OTHERS}`."
    parts.append(f"\n{others} On Linux `process_*` (CPU, memory, open files) come with them.\n")
    return "".join(parts)


# --- kinds ---------------------------------------------------------------------------------------------------------


def kinds_page(kinds: Mapping[str, KindInfo]) -> str:
    """The list of kinds."""
    rows = "\n".join(
        f"| [{name}]({name.lower()}.md) | {info.scope} | `{info.prune}` | {info.summary} |" for name, info in sorted(kinds.items())
    )
    return (
        f"# Kinds\n\n{NOTE}"
        "One YAML document declares one resource. `reconcile explain KIND` tells the same in the terminal.\n\n"
        f"| kind | belongs to | `lifecycle.prune` when unset | what it is |\n|---|---|---|---|\n{rows}\n\n"
        "In an editor with yaml-language-server, this first line of a manifest completes and checks it:\n\n"
        f"```yaml\n{HEADER.format(path='docs/reference/schema/manifest.schema.json')}\n```\n\n"
        "`reconcile schema > manifest.schema.json` writes that file anywhere, third-party kinds included.\n"
    )


def kind_page(info: KindInfo) -> str:
    """One kind with all its fields."""
    metadata, lifecycle, spec = fields(info)
    parts = [f"# {info.name}\n\n{NOTE}{info.summary}\n\n"]
    parts.append(f"Belongs to: {info.scope}. When its manifest is gone: `lifecycle.prune`, by default `{info.prune}`.\n\n")
    if info.root_only:
        parts.append("Accepted from the root source only.\n\n")
    parts.append(f"Schema: [{info.name.lower()}.schema.json](../schema/{info.name.lower()}.schema.json).\n\n")
    for title, part in (("spec", spec), ("metadata", metadata), ("lifecycle", lifecycle)):
        parts.append(f"## {title}\n\n| field | type | default | meaning |\n|---|---|---|---|\n")
        parts += [_row(each, title) for each in walk(part.fields)]
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def _row(each: Field, below: str) -> str:
    name = f"`{each.path.removeprefix(f'{below}.')}`"
    default = "**required**" if each.required else f"`{each.default}`" if each.default else ""
    meaning = " ".join([each.description, *(f"*{mark}.*" for mark in each.markers)]).strip()
    kind = each.type.replace("|", "\\|")
    return f"| {name} | {kind} | {default} | {meaning.replace('|', '&#124;')} |\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
