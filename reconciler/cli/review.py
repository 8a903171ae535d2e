"""Telling a pull request what its merge would do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import branches, forges
from reconciler.cli.options import given

if TYPE_CHECKING:
    from reconciler.loop import Proposal
    from reconciler.review.values import Place, Review, State


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(review)


def review(
    ctx: typer.Context,
    base: Annotated[
        str | None,
        typer.Option(metavar="REV", help="The branch that it would be merged into. [default: the job's]", autocompletion=branches),
    ] = None,
    forge: Annotated[
        str | None, typer.Option(metavar="NAME", help="github, gitea or gitlab. [default: the job's]", autocompletion=forges)
    ] = None,
    api: Annotated[str | None, typer.Option(metavar="URL", help="Of the forge's REST interface. [default: the job's]")] = None,
    repository: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="[default: the job's]")] = None,
    number: Annotated[str | None, typer.Option(metavar="N", help="Of the pull request. [default: the job's]")] = None,
    commit: Annotated[str | None, typer.Option(metavar="ID", help="That is reviewed, in full. [default: the job's]")] = None,
    sarif: Annotated[Path | None, typer.Option(metavar="FILE", help="Write mistakes and blocked actions as SARIF too.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the plan too, for `reconcile apply` after the merge.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be published, and publish nothing.")] = False,
) -> None:
    """Tell a pull request what its merge would do.

    One comment, brought up to date in place; a status of the commit; annotations of the lines. In a job of GitHub Actions, Gitea Actions
    or GitLab CI nothing needs to be said; elsewhere name forge, API, repository, number and commit. The token comes from
    MLOPS_FORGE_TOKEN (or GITHUB_TOKEN, GITEA_TOKEN, GITLAB_TOKEN) and is never printed. Writes to no tool.

    Ends with 1 when a manifest is wrong, and with 3 when something is blocked or could not be read.

    \b
    Examples:
      reconcile review
      reconcile review --base origin/main --dry-run
    """
    from reconciler.cli.exit import Exit, of_proposal
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import link_base, open_for, save
    from reconciler.loop import against, propose
    from reconciler.replay import replay
    from reconciler.review.annotations import commands, remarks
    from reconciler.review.annotations import sarif as as_sarif

    asked = given(ctx)
    place = None if dry_run else _place(forge, api, repository, number, commit)
    house = open_for(asked, read_only=True)
    proposal = propose(asked.selection(house.settings, house.kinds), house)
    if revision := base or _job_base():
        proposal = against(revision, proposal, house)
    proposal = replay(proposal, house)
    said = _review(proposal, link_base())
    say(said.body)
    found = remarks(proposal)
    if os.environ.get("GITHUB_ACTIONS") or os.environ.get("GITEA_ACTIONS"):
        say("\n".join(commands(found)) or "no annotations")
    _write(sarif, as_sarif(found))
    _append(os.environ.get("GITHUB_STEP_SUMMARY"), said.body)
    if out is not None:
        save(out, proposal, house)
    code = of_proposal(proposal, detailed=False)
    raise typer.Exit(code if place is None or _published(place, said) else Exit.ERROR)


def _published(place: Place, said: Review) -> bool:
    """Whether the forge took it. The plan is printed, and in the summary; that nobody is told there is an error all the same."""
    from reconciler.cli.output import tell
    from reconciler.errors import ReconcilerError
    from reconciler.review.forge import publish

    try:
        tell(f"{place.repository} #{place.number}: {publish(place, said)}; status {said.state}.")
    except ReconcilerError as error:
        tell(f"error: nothing was published: {error}")
        return False
    return True


def _place(forge: str | None, api: str | None, repository: str | None, number: str | None, commit: str | None) -> Place:
    from reconciler.errors import UsageError
    from reconciler.review.values import checked, place_of, token_in

    given_ = (forge, api, repository, number, commit)
    if not any(given_):
        if (found := place_of()) is None:
            hint = "--dry-run prints what would be said; else --forge, --api, --repository, --number and --commit"
            raise UsageError("this is no job of a pull request, so there is nowhere to write", hint=hint)
        return found
    return checked(forge or "", api or "", repository or "", number or "", commit or "", token_in(os.environ))


def _job_base() -> str:
    """What the job's pull request is to be merged into."""
    env = os.environ
    branch = env.get("GITHUB_BASE_REF") or ""
    return env.get("CI_MERGE_REQUEST_DIFF_BASE_SHA") or (f"origin/{branch}" if branch else "")


def _review(proposal: Proposal, links: str) -> Review:
    from reconciler.report.against import totals_against
    from reconciler.report.markdown import LIMIT, plan_markdown
    from reconciler.report.rows import installation, rows, totals_text
    from reconciler.report.saved import work_digest
    from reconciler.report.show import clean
    from reconciler.review.values import Review

    of = "/".join(filter(None, [installation(proposal), proposal.selection.env]))
    name = "".join(each for each in clean(of) if each.isalnum() or each in "-_./") or "none"
    marker = f"<!-- mlops-reconciler: {name} -->"
    foot = f"<sub>work {work_digest(proposal)[:12]}: `reconcile apply` of a plan that was kept does exactly this, or nothing</sub>\n"
    body = plan_markdown(proposal, link_base=links, limit=LIMIT - len(marker) - len(foot) - 2) + f"\n{foot}"
    found = rows(proposal)
    told = totals_text(found) if proposal.impact is None else totals_against(proposal.impact, found)
    return Review(marker, body, _state(proposal), told)


def _state(proposal: Proposal) -> State:
    """A mistake fails, and so does what a rule denies; what could not be read is an error, for nobody knows what the merge would do."""
    from reconciler.model import Blocked

    denied = any(isinstance(each, Blocked) and each.reason in ("PolicyDenied", "PolicyBroken") for each in proposal.plan.actions)
    if denied or any(each.severity == "error" for each in proposal.diagnostics):
        return "failure"
    return "error" if any(said != "ok" for said in proposal.tools.values()) else "success"


def _write(path: Path | None, text: str) -> None:
    from reconciler.errors import UsageError

    if path is None:
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="name another file") from None


def _append(path: str | None, text: str) -> None:
    """To the job's summary, where there is one."""
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
