"""What every command understands: where the manifests are, filters, colour. They may stand before or after the command's name."""

from __future__ import annotations

import copy
import os
import re
import shutil
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from typer._click import Command, Context, Parameter

    from reconciler.house import House
    from reconciler.registry import Kinds
    from reconciler.selection import Selection
    from reconciler.settings import Settings

GLOBAL = ("manifests", "project", "kind", "selector", "root", "state_dir", "env", "no_color", "verbose")
"""Parameters of the bare command that every sub-command takes too."""
DEFAULT_MANIFESTS = "manifests"
_SHARED = "global_"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Format(StrEnum):
    """How a result is written."""

    TEXT = "text"
    JSON = "json"


class PlanFormat(StrEnum):
    """How a plan is written; `markdown` fits a comment of a pull request."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class StatusFormat(StrEnum):
    """How a status is written; `markdown` and `html` are reports for a wiki or a mail."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


All = Annotated[bool, typer.Option("--all", help="Show what is unchanged or Ready too.")]
Output = Annotated[Format, typer.Option("-o", "--output", help="How the result is written.")]
Detailed = Annotated[
    bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there are changes, so that scripts can tell them from none.")
]


@dataclass(frozen=True)
class Globals:
    """The global options of this call."""

    manifests: tuple[Path, ...] = ()
    project: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    selector: tuple[str, ...] = ()
    root: Path | None = None
    state_dir: Path | None = None
    no_color: bool = False
    verbose: bool = False
    env: str = ""

    def settings(self) -> Settings:
        """From these options, then the environment (`MLOPS_*`), then the defaults."""
        from pydantic import ValidationError

        from reconciler.errors import UsageError
        from reconciler.settings import Settings

        given = {"root": self.root, "state_dir": self.state_dir, "env": self.env or None}
        try:
            found = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        except ValidationError as error:
            wrong = error.errors(include_input=False)[0]
            name = "_".join(map(str, wrong["loc"])).upper()
            hint = "correct the environment variable, or unset it"
            raise UsageError(f"MLOPS_{name} cannot be used: {wrong['msg'].lower()}", hint=hint) from None
        if found.env and not _LABEL.fullmatch(found.env):
            where = "--env" if self.env else "MLOPS_ENV"
            hint = f"lower-case letters, digits and `-`, as the folder is called that {where} means: manifests/overlays/NAME"
            raise UsageError(f"'{found.env}' is not the name of an environment", hint=hint)
        return found

    def paths(self, settings: Settings) -> tuple[Path, ...]:
        """The manifests to read: what -f names, else `manifests` in the root."""
        return self.manifests or (settings.root / DEFAULT_MANIFESTS,)

    def refuse_nowhere(self, settings: Settings) -> None:
        """Raise UsageError where there is neither a manifest nor an installation, before anything is made in the wrong folder."""
        if not settings.state.is_dir():
            _must_exist(self.paths(settings), given=bool(self.manifests))

    def refuse_below(self, settings: Settings) -> None:
        """Raise UsageError in a folder of somebody's tree: "nothing here" would be true and of no help."""
        nowhere = not settings.store and not settings.state.is_dir() and not self.manifests
        if nowhere and not settings.root.is_absolute() and _tree_above() is not None:
            _must_exist(self.paths(settings), given=False)

    def selection(
        self,
        settings: Settings,
        kinds: Kinds,
        *,
        confirmed: tuple[str, ...] = (),
        whole: bool = False,
        before: str = "",
        switch: bool = False,
    ) -> Selection:
        """What to look at; `whole` makes -f the whole tree, and `switch` --env the environment, from now on. Raises UsageError for a path,
        kind or selector that is not one.

        `before` are the paths of the last whole pass, for who goes on with them: a commit that took them away may be followed by one that
        brings them back."""
        from reconciler.selection import Selection

        paths = self.paths(settings)
        if Selection(paths=paths).root_paths != before:
            _must_exist(paths, given=bool(self.manifests))
        return Selection(
            paths=paths,
            projects=frozenset(self.project),
            kinds=frozenset(kind_named(text, kinds) for text in self.kind),
            labels=dict(label(text) for text in self.selector),
            whole=whole,
            confirmed=frozenset(confirmed),
            env=settings.env,
            switch=switch,
        )

    def as_applied(self, house: House) -> Selection | None:
        """All that is declared, to look something up: in the environment that is named, else in the one that was applied last. None where
        there are no manifests."""
        from reconciler.environment import standing
        from reconciler.selection import Selection

        paths = self.paths(house.settings)
        if not all(path.exists() for path in paths):
            return None
        if house.settings.env:
            return Selection(paths=paths, env=house.settings.env)
        return Selection(
            paths=paths, env=standing(house.store, {}) or "", part=True
        )  # its overlay may be gone: no reason to look nothing up

    def color(self, stream: Any = None) -> bool:
        """Whether to colour: a terminal, and neither NO_COLOR nor --no-color; FORCE_COLOR overrules the terminal."""
        if self.no_color or os.environ.get("NO_COLOR"):
            return False
        return bool(os.environ.get("FORCE_COLOR")) or ((stream or sys.stdout).isatty() and os.environ.get("TERM") != "dumb")


def width() -> int:
    """Columns to write in: the terminal's, or 120 for files and pipes; never below 40."""
    return max(40, shutil.get_terminal_size((120, 24)).columns)


def given(ctx: typer.Context) -> Globals:
    """The global options, wherever they stood."""
    found = ctx.find_root().obj
    return found if isinstance(found, Globals) else Globals()


def share(group: Command) -> None:
    """Give the bare command's global options to every command below it."""
    shared = [each for each in group.params if each.name in GLOBAL]
    _share_with(group, [_copy(each) for each in shared])


def _share_with(group: Any, shared: list[Parameter]) -> None:
    for command in getattr(group, "commands", {}).values():
        taken = {name for each in command.params for name in each.opts}
        command.params += [each for each in shared if taken.isdisjoint(each.opts)]
        _share_with(command, shared)


def _copy(option: Parameter) -> Parameter:
    """The same option for a sub-command: its value joins the globals instead of becoming an argument."""
    copied: Any = copy.copy(option)
    copied.name = f"{_SHARED}{option.name}"  # a sub-command may have an argument of the same name
    copied.expose_value, copied.hidden, copied.callback = False, True, _remember
    return copied  # type: ignore[no-any-return]


def _remember(ctx: Context, option: Parameter, value: Any) -> Any:
    root, name = ctx.find_root(), str(option.name).removeprefix(_SHARED)
    if value and isinstance(root.obj, Globals):
        before = getattr(root.obj, name)
        if isinstance(before, tuple):
            value = before + tuple(Path(each) if name == "manifests" else each for each in value)
        elif name in ("root", "state_dir"):
            value = Path(value)
        root.obj = replace(root.obj, **{name: value})
    return value


def _must_exist(paths: tuple[Path, ...], *, given: bool) -> None:
    from reconciler.errors import UsageError

    for path in paths:
        if not path.exists():
            looked = "" if path.is_absolute() else f" (looked for {path.absolute()})"
            raise UsageError(f"there are no manifests at {path}{looked}", hint="check what -f names" if given else _elsewhere())


def _elsewhere() -> str:
    """Where the manifests may be instead: at the top of the tree that we are in."""
    tree = _tree_above()
    if tree is None:
        return "name the tree with --root DIR or its manifests with -f PATH, or begin a new tree with `reconcile init DIR`"
    up = os.path.relpath(tree)
    return f"{tree} has some: go there, or say `reconcile --root {up}`; -f PATH names manifests anywhere else"


def _tree_above() -> Path | None:
    """The nearest folder above this one that holds manifests."""
    return next((each for each in Path.cwd().parents if (each / DEFAULT_MANIFESTS).is_dir()), None)


def kind_named(text: str, kinds: Kinds) -> str:
    """The kind that `text` means. Raises UsageError with the likely one."""
    from reconciler.errors import UsageError

    found = kinds.canonical(text)
    if found is None:
        near = kinds.nearest(text)
        hint = f"did you mean {near}?" if near else f"kinds are: {', '.join(sorted(kinds.kinds))}"
        raise UsageError(f"there is no kind '{text}'", hint=hint)
    return found


def label(text: str) -> tuple[str, str]:
    """Key and value of a `--selector`. Raises UsageError when it is not one."""
    from reconciler.errors import UsageError

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"'{text}' is not a label selector", hint="write --selector team=nlp; repeat it to ask for several labels")
    return key, value
