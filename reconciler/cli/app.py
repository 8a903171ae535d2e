"""The command tree: global options, the bare command, and where each sub-command lives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import (
    alerts,
    apply,
    approve,
    backup,
    compare,
    day_two,
    environments,
    fits,
    forecasts,
    import_,
    inspect,
    keys,
    leaderboard,
    models,
    offline,
    platform,
    policy,
    queue,
    review,
    rollback,
    run,
    service,
    serving,
    simulate,
    tokens,
    undo,
    watch,
    worker,
)
from reconciler.cli.complete import branches, kinds, labels, projects, refs
from reconciler.cli.complete import environments as environments_named
from reconciler.cli.options import All, Detailed, Globals, PlanFormat, share

if TYPE_CHECKING:
    from typer._click import Command

HELP = """Make the ML tools what the manifests say.

Without a command: one pass. Reads the manifests and the tools, shows what differs, does it, looks again.

\b
Examples:
  reconcile --dry-run                     show what a pass would do; writes nothing
  reconcile --wait                        do it, and wait until everything is Ready
  reconcile --project lora-finetuning     only one project; filters never delete anything
  reconcile --dry-run -o markdown         the plan as a comment for a pull request
  reconcile --dry-run --base origin/main  what this change brings about, and what waits anyway
  reconcile --dry-run --out plan.json     keep it; `reconcile apply plan.json` does exactly that
  reconcile status                        what is not Ready, and why

\b
Exit codes: 0 done or nothing to do; 1 something failed, or a manifest or the
command line is wrong; 2 changes are pending (--detailed-exitcode only);
3 nothing failed, but something is held, blocked or could not be read;
130 interrupted.

\b
Global options (-f, --project, --kind, --selector, --root, --state-dir, --env,
--no-color, -v) may stand before or after a command. Environment: MLOPS_ROOT,
MLOPS_STATE_DIR, MLOPS_ENV, MLOPS_STORE, MLOPS_PARALLELISM, NO_COLOR.
"""

app = typer.Typer(
    name="reconcile",
    help=HELP,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "obj": Globals()},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"reconcile {version('mlops-reconciler')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def reconcile(
    ctx: typer.Context,
    manifests: Annotated[
        list[Path] | None,
        typer.Option("-f", "--manifests", metavar="PATH", help="File or folder; repeatable. [default: manifests]"),
    ] = None,
    project: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this project; repeatable.", autocompletion=projects)
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(metavar="KIND", help="Only this kind; repeatable.", autocompletion=kinds)] = None,
    selector: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only what carries this label; repeatable.", autocompletion=labels)
    ] = None,
    root: Annotated[Path | None, typer.Option(metavar="DIR", help="Where project paths start. [default: the current folder]")] = None,
    state_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Private folder. [default: ROOT/.mlops]")] = None,
    env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Apply the patches in overlays/NAME over the manifests. [default: none]", autocompletion=environments_named
        ),
    ] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR does the same.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more when something goes wrong.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done. Writes nothing, anywhere.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Go on until everything is Ready.")] = False,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long --wait may take.")] = "300s",
    confirm: Annotated[
        list[str] | None,
        typer.Option(metavar="DIGEST|REF", help="Yes to the deletions that a plan named so; repeatable.", autocompletion=refs),
    ] = None,
    whole_tree: Annotated[bool, typer.Option("--whole-tree", help="What -f names is the whole tree from now on: the rest may go.")] = False,
    switch_env: Annotated[
        bool, typer.Option("--switch-env", help="The installation is of --env from now on, whatever it was of before.")
    ] = False,
    detailed_exitcode: Detailed = False,
    output: Annotated[PlanFormat, typer.Option("-o", "--output", help="How plan and result are written.")] = PlanFormat.TEXT,
    all_: All = False,
    wire_log: Annotated[Path | None, typer.Option(metavar="FILE", help="Append every call to a tool to this file, as JSON lines.")] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REV",
            help="With --dry-run: tell what the change since this git revision brings about, and what not.",
            autocompletion=branches,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --dry-run: keep the plan; `reconcile apply FILE` does exactly that.")
    ] = None,
) -> None:
    several = (tuple(manifests or ()), tuple(project or ()), tuple(kind or ()), tuple(selector or ()))
    ctx.obj = Globals(*several, root, state_dir, no_color, verbose, env or "")
    if ctx.invoked_subcommand is not None:
        _refuse_misplaced(ctx)
        return
    from reconciler.cli.pass_ import Pass, run_pass

    asked = Pass(dry_run, wait, timeout, tuple(confirm or ()), whole_tree, switch_env, detailed_exitcode, output, all_, wire_log, out, base)
    raise typer.Exit(run_pass(asked, ctx.obj))


_OF_A_PASS = (
    "dry_run",
    "wait",
    "timeout",
    "confirm",
    "whole_tree",
    "switch_env",
    "detailed_exitcode",
    "output",
    "all_",
    "wire_log",
    "out",
    "base",
)


def _refuse_misplaced(ctx: typer.Context) -> None:
    """`reconcile --dry-run delete X` must not delete: options of the bare command do not reach a sub-command."""
    from reconciler.errors import UsageError

    for name in _OF_A_PASS:
        if (source := ctx.get_parameter_source(name)) is not None and source.name == "COMMANDLINE":
            flag = f"--{name.strip('_').replace('_', '-')}"
            hint = f"if `reconcile {ctx.invoked_subcommand}` has it, write it after the command"
            raise UsageError(f"{flag} before `{ctx.invoked_subcommand}` would do nothing", hint=hint)


_LOOKING = (inspect, queue, fits, simulate, leaderboard, compare, forecasts, models, serving, alerts, offline, environments)
for module in (*_LOOKING, day_two, import_, apply, undo, review, approve, rollback, run, watch, worker):
    module.register(app)
backup.register(platform.app)
app.add_typer(platform.app, name="platform")
app.add_typer(keys.app, name="keys")
app.add_typer(tokens.app, name="token")
app.add_typer(policy.app, name="policy")
app.add_typer(service.app, name="service")


def build() -> Command:
    """The finished command tree."""
    group = typer.main.get_command(app)
    share(group)
    return group
