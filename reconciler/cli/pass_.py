"""The bare command: a dry run, or one pass (with --wait as many as it takes)."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from reconciler.cli.exit import Exit, of_proposal, of_report
from reconciler.cli.options import Globals, PlanFormat, width
from reconciler.cli.output import say, tell
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.events import Listener
    from reconciler.house import House
    from reconciler.loop import Proposal, Report


@dataclass(frozen=True)
class Pass:
    """What was asked for on the command line."""

    dry_run: bool = False
    wait: bool = False
    timeout: str = "300s"
    confirm: tuple[str, ...] = ()
    whole_tree: bool = False
    switch_env: bool = False
    detailed: bool = False
    output: PlanFormat = PlanFormat.TEXT
    all_: bool = False
    wire_log: Path | None = None
    out: Path | None = None
    base: str | None = None


def run_pass(asked: Pass, given: Globals) -> Exit:
    """Propose, and unless it is a dry run carry it out; write the result; the exit code says how it went."""
    from reconciler.alerting.courier import tell_once
    from reconciler.cli.refs import must_select
    from reconciler.cli.telemetry import telemetry
    from reconciler.converge import converge
    from reconciler.house import open_house
    from reconciler.loop import against, propose
    from reconciler.platform.attend import Attendant
    from reconciler.replay import replay
    from reconciler.report.progress import progress

    if asked.out is not None and not asked.dry_run:
        raise UsageError("--out keeps a plan for later", hint="write `reconcile --dry-run --out FILE`")
    if asked.base is not None and not asked.dry_run:
        raise UsageError("--base is about what a change would do", hint="write `reconcile --dry-run --base REV`")
    began, seconds = time.monotonic(), timeout_seconds(asked.timeout)
    settings = given.settings()
    given.refuse_nowhere(settings)
    with progress(sys.stderr, quiet=asked.output is PlanFormat.JSON, color=given.color(sys.stderr)) as listen:
        house = open_house(settings, read_only=asked.dry_run, on_event=listen, wire_log=asked.wire_log, verbose=given.verbose)
        selection = given.selection(settings, house.kinds, confirmed=asked.confirm, whole=asked.whole_tree, switch=asked.switch_env)
        if asked.dry_run:
            with telemetry(house, selection.env) as telling, telling.around():
                proposal = propose(selection, telling.house)
            must_select(proposal)
            proposal = replay(against(asked.base, proposal, house) if asked.base is not None else proposal, house)
        else:
            with stop_on_signal() as stop:
                since = house.now()
                with telemetry(house, selection.env) as telling, telling.around():
                    report = converge(
                        selection, telling.house, wait=asked.wait, timeout=seconds, stop=stop, on_proposal=must_select, fetch=True
                    )
                    telling.report(report)
                if not stop.is_set():
                    tell_once(house, since)
            with suppress(OSError):  # the next pass tries again
                Attendant(settings.state, settings.log_size, settings.log_files).bound()
            report = replace(report, seconds=time.monotonic() - began)  # of all passes, and of the services coming up
    if asked.dry_run:
        say(proposal_in(asked.output, proposal, given, all_=asked.all_))
        if asked.out is not None:
            save(asked.out, proposal, house)
        return of_proposal(proposal, detailed=asked.detailed)
    say(report_in(asked.output, report, given, all_=asked.all_))
    return of_report(report, wait=asked.wait, detailed=asked.detailed)


def save(path: Path, proposal: Proposal, house: House) -> None:
    """Keep the plan. Raises UsageError when the file cannot be written."""
    from uuid import uuid4

    from reconciler.files import write_private
    from reconciler.house import STORE_ID
    from reconciler.report.saved import saved_line, saved_text

    text = saved_text(proposal, plan_id=uuid4().hex, store=house.store.meta(STORE_ID) or "", at=house.now())
    try:
        write_private(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="name another file with --out") from None
    tell(saved_line(proposal, path))


def proposal_in(output: PlanFormat, proposal: Proposal, given: Globals, *, all_: bool) -> str:
    """The proposal in the chosen format."""
    match output:
        case PlanFormat.JSON:
            from reconciler.report.json import plan_json

            return plan_json(proposal, all_=all_, at=datetime.now(UTC))
        case PlanFormat.MARKDOWN:
            from reconciler.report.markdown import plan_markdown

            return plan_markdown(proposal, all_=all_, link_base=link_base())
        case PlanFormat.TEXT:
            from reconciler.report.text import plan_text

            return plan_text(proposal, color=given.color(), width=width(), all_=all_)


def report_in(output: PlanFormat, report: Report, given: Globals, *, all_: bool = False) -> str:
    """The report in the chosen format; Markdown shows the text in a block."""
    if output is PlanFormat.JSON:
        from reconciler.report.json import report_json

        return report_json(report, all_=all_, at=datetime.now(UTC))
    from reconciler.report.done import report_text

    if output is PlanFormat.MARKDOWN:
        from reconciler.report.markdown import block

        return block(report_text(report, width=100, all_=all_))
    return report_text(report, color=given.color(), width=width(), all_=all_)


def link_base() -> str:
    """Where `file#Lline` links start in a pull request: from what GitHub's and GitLab's runners set; elsewhere links are relative."""
    env = os.environ
    if env.get("GITHUB_REPOSITORY") and env.get("GITHUB_SHA"):
        return f"{env.get('GITHUB_SERVER_URL', 'https://github.com')}/{env['GITHUB_REPOSITORY']}/blob/{env['GITHUB_SHA']}/"
    if env.get("CI_PROJECT_URL") and env.get("CI_COMMIT_SHA"):
        return f"{env['CI_PROJECT_URL']}/-/blob/{env['CI_COMMIT_SHA']}/"
    return ""


def timeout_seconds(text: str) -> float:
    """Seconds of a duration such as 300s or 5m. Raises UsageError when it is not one."""
    from schemas.base import duration_value

    try:
        return duration_value(text).total_seconds()
    except ValueError as error:
        raise UsageError(str(error), hint="for --timeout") from None


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C (or SIGTERM) sets: what is being written is finished. The second one ends the process at once;
    the journal tells the next pass what was under way."""
    stop = threading.Event()

    def heard(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        tell("\nStopping after what is being written now. Once more to stop at once.")

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_for(given: Globals, *, read_only: bool, listen: Listener | None = None) -> House:
    """The house of this call."""
    from reconciler.events import silent
    from reconciler.house import open_house

    settings = given.settings()
    (given.refuse_below if read_only else given.refuse_nowhere)(settings)
    return open_house(settings, read_only=read_only, on_event=listen or silent, verbose=given.verbose)
