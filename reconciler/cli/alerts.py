"""Alerts: what fires and who was told, reports, a test of a receiver, and silence for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import alert_policies, reasons, receivers, reports, silences
from reconciler.cli.complete import refs as complete_refs
from reconciler.cli.options import Format, Globals, Output, given, width

if TYPE_CHECKING:
    from datetime import timedelta

    from reconciler.alerting.values import Alert, Delivery
    from reconciler.errors import UsageError
    from reconciler.house import House
    from reconciler.state import AuditEntry
    from schemas.alertpolicy import AlertPolicySpec

app = typer.Typer(
    help="""What fires now, since when, why, who was told, and when reports come.

\b
Examples:
  reconcile alerts
  reconcile alerts --project vision
  reconcile alerts --all -o json
  reconcile alerts test ops --receiver chat
  reconcile alerts test ops --report daily
""",
    rich_markup_mode=None,
    invoke_without_command=True,
)
Ref = Annotated[
    str | None,
    typer.Argument(metavar="REF", help="kind/project/name, or a name alone; or a pattern with `*`.", autocompletion=complete_refs),
]


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(app, name="alerts")
    root.command()(silence)
    root.command()(unsilence)


@app.callback()
def alerts(
    ctx: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="What is over, and every message, too; for the last 30 days.")] = False,
    output: Output = Format.TEXT,
) -> None:
    if ctx.invoked_subcommand is not None:
        return
    from datetime import UTC, datetime, timedelta

    from reconciler.cli.options import kind_named
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.report.alerts import Overview, alerts_json, alerts_text
    from reconciler.views.alerts import scheduled, silences

    asked, now = given(ctx), datetime.now(UTC)
    house = open_for(asked, read_only=True)
    kinds = {kind_named(each, house.kinds) for each in asked.kind}
    month = now - timedelta(days=30)
    found = [each for each in house.store.alerts.listed(month if all_ else None) if _is_asked(each, asked, kinds)]
    seen = Overview(
        alerts=found,
        deliveries=_about(house.store.deliveries.listed(month), found, whole=not (asked.project or kinds)),
        silences=silences(house, now),
        policies=len(house.store.alerts.policies()),
        now=now,
        reports=scheduled(house, now),
    )
    say(alerts_json(seen, all_=all_) if output is Format.JSON else alerts_text(seen, all_=all_, color=asked.color(), width=width()))


@app.command("test")
def try_receivers(
    ctx: typer.Context,
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="Name of an AlertPolicy.", autocompletion=alert_policies)],
    receiver: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this receiver. [default: all of them]", autocompletion=receivers)
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="NAME", help="This report as it would be now, to its receivers.", autocompletion=reports)
    ] = None,
) -> None:
    """Send a message now that says that it is a test, or a report.

    As the manifest declares it, else as it was applied. Exit code 1 when it does not arrive.

    \b
    Examples:
      reconcile alerts test ops
      reconcile alerts test ops --receiver chat
      reconcile alerts test ops --report daily
    """
    from reconciler.alerting.courier import try_out
    from reconciler.cli.exit import Exit
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for

    asked = given(ctx)
    house = open_for(asked, read_only=False)
    spec = _spec(policy, house, asked)
    scheduled = next((each for each in spec.reports if each.name == report), None)
    if report is not None and scheduled is None:
        raise _no_such(f"the AlertPolicy '{policy}' has no report '{report}'", report, [each.name for each in spec.reports])
    usual = [each for each in spec.receivers if scheduled is None or each.name in scheduled.receivers]
    chosen = [each for each in spec.receivers if each.name == receiver] if receiver is not None else usual
    if not chosen:
        raise _no_such(f"the AlertPolicy '{policy}' has no receiver '{receiver}'", str(receiver), [each.name for each in spec.receivers])
    failed = False
    for each in chosen:
        trouble = try_out(policy, spec, each, house, scheduled)
        failed = failed or bool(trouble)
        say(f"{each.name}: {trouble or 'arrived'}")
    raise typer.Exit(Exit.ERROR if failed else Exit.OK)


def silence(
    ctx: typer.Context,
    why: Annotated[str, typer.Option(help="Why; shown by `reconcile alerts`.")],
    ref: Ref = None,
    for_: Annotated[str, typer.Option("--for", metavar="DURATION", help="How long, such as 2h.")] = "1h",
    reason: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only alerts with this reason; repeatable.", autocompletion=reasons)
    ] = None,
) -> None:
    """Send nothing about something for a while.

    It is recorded all the same, and what still fires at the end is sent then. Runs, replicas and tasks of a resource go with it.

    \b
    Examples:
      reconcile silence deployment/vision/search --for 2h --why "a new disk is put in"
      reconcile silence --project vision --for 1d --why "moving the data"
    """
    import secrets

    from reconciler.alerting.values import Silence
    from reconciler.cli.options import kind_named
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.errors import UsageError
    from reconciler.report.alerts import covered

    asked = given(ctx)
    house = open_for(asked, read_only=False)
    kinds = tuple(kind_named(each, house.kinds) for each in asked.kind)
    if not (ref or asked.project or kinds or reason):
        raise UsageError("nothing says what to be silent about", hint="name a REF, --project, --kind or --reason")
    named = () if ref is None else (ref,) if "*" in ref else (_find(ref, house, asked),)
    start, about = house.now(), (kinds, asked.project, tuple(reason or ()), named)
    made = Silence(secrets.token_hex(3), start, start + _span(for_), why, house.actor, *about)
    house.store.alerts.silence(made, audit=_line(house, "silence", {"about": covered(made), "why": why, "for": for_}))
    say(f"Silent about {covered(made)} for {for_} ({made.id}).\nNext: `reconcile unsilence {made.id}` ends this.")


def unsilence(
    ctx: typer.Context,
    what: Annotated[str | None, typer.Argument(metavar="ID|REF", help="As `reconcile alerts` shows it.", autocompletion=silences)] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every silence that a person made.")] = False,
) -> None:
    """End a silence before its time.

    What a manifest declares ends there.

    \b
    Examples:
      reconcile unsilence 3f9c2e
      reconcile unsilence --project vision
    """
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.errors import UsageError
    from reconciler.report.alerts import covered

    asked = given(ctx)
    house = open_for(asked, read_only=False)
    held = house.store.alerts.silences()
    if not (what or all_ or asked.project):
        raise UsageError("nothing says which silence to end", hint="name its id, its REF, --project or --all")
    named = {what} if what is None or "*" in what or any(what == each.id for each in held) else {what, _find(what, house, asked)}
    chosen = [each for each in held if all_ or named & {each.id, *each.refs} or set(asked.project) & set(each.projects)]
    if not chosen:
        raise UsageError("there is no such silence", hint=f"there are: {', '.join(each.id for each in held) or 'none'}")
    lines = [_line(house, "unsilence", {"about": covered(each)}) for each in chosen]
    house.store.alerts.unsilence([each.id for each in chosen], audit=lines)
    say("\n".join(f"No longer silent about {covered(each)}." for each in chosen))


def _span(text: str) -> timedelta:
    """Raises UsageError when it is not a duration to be silent for."""
    from reconciler.errors import UsageError
    from schemas.base import duration_value

    try:
        span = duration_value(text)
    except ValueError as error:
        raise UsageError(str(error), hint="for --for") from None
    if not 0 < span.total_seconds() <= 366 * 86400:
        raise UsageError(f"'{text}' is no time to be silent for", hint="between 1s and 366d")
    return span


def _line(house: House, action: str, detail: dict[str, str]) -> AuditEntry:
    from reconciler.state import AuditEntry

    return AuditEntry(at=house.now(), actor=house.actor, ref=None, action=action, detail=dict(detail))


def _find(text: str, house: House, asked: Globals) -> str:
    from reconciler.cli.inspect import find

    return str(find(text, house, asked))


def _is_asked(each: Alert, asked: Globals, kinds: set[str]) -> bool:
    return (not asked.project or each.ref.owner in asked.project) and (not kinds or each.ref.kind in kinds)


def _about(deliveries: list[Delivery], alerts: list[Alert], *, whole: bool) -> list[Delivery]:
    known = {each.id for each in alerts}
    return [each for each in deliveries if whole or any(part.subject in known for part in each.parts)]


def _spec(name: str, house: House, asked: Globals) -> AlertPolicySpec:
    """As its manifest declares it, else as it was applied. Raises UsageError."""
    from reconciler.source.read import read
    from schemas.alertpolicy import AlertPolicySpec

    known = house.store.alerts.policies()
    if (selection := asked.as_applied(house)) is not None:
        resources = read(selection, house.kinds, house.settings, house.store.inventory()).graph.resources
        known |= {ref.name: each.spec for ref, each in resources.items() if isinstance(each.spec, AlertPolicySpec)}
    name = name.removeprefix("alertpolicy/")
    if name not in known:
        raise _no_such(f"there is no AlertPolicy '{name}'", name, list(known))
    return known[name]


def _no_such(message: str, name: str, known: list[str]) -> UsageError:
    from difflib import get_close_matches

    from reconciler.errors import UsageError

    close = get_close_matches(name, known, n=1)
    return UsageError(message, hint=f"did you mean {close[0]}?" if close else f"there are: {', '.join(sorted(known)) or 'none'}")
