"""Deployments, asked through the gateway as anybody else asks them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.complete import refs as complete_refs
from reconciler.cli.options import Format, Globals, Output, given, width

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

    from reconciler.house import House
    from reconciler.model import Ref
    from reconciler.report.serving import Answer

PATIENCE = 15.0
"""Seconds beyond a deployment's own time limit for which its answer is waited for, and for what the gateway knows by itself."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(predict)


def predict(
    ctx: typer.Context,
    ref: Annotated[
        str | None, typer.Argument(metavar="REF", help="deployment/project/name, or a name alone.", autocompletion=complete_refs)
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="FILE", help="Instances: a JSON list, or one JSON value a line; '-' = stdin.")] = None,
    rows: Annotated[str | None, typer.Option(metavar="JSON", help="Instances: a JSON list of them, or a single object.")] = None,
    header: Annotated[list[str] | None, typer.Option(metavar="NAME:VALUE", help="Sent along; repeatable.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Ask every deployment with its model's own example.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Ask a deployment through the gateway; without data, with its model's own example.

    Tells the predictions, and the version, run and data that they come from. With --all: exit code 1 when one does not answer.

    \b
    Examples:
      reconcile predict cpu-compression/distilled
      reconcile predict distilled --rows '[{"age": 52, "bmi": 24.1}]'
      reconcile predict distilled --data rows.jsonl --header release:canary
      reconcile predict --all
    """
    from reconciler.cli.exit import Exit
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.errors import UsageError
    from reconciler.report import serving as report

    asked = given(ctx)
    if all_ and (ref or data or rows):
        raise UsageError("--all asks every deployment with its own example", hint="name one deployment to send your own data")
    if data is not None and rows is not None:
        raise UsageError("--data and --rows both say what to ask", hint="give one of them")
    house = open_for(asked, read_only=True)
    with gateway(house, asked) as client:
        known = [each for each in _listed(client) if not asked.project or each["project"] in asked.project]
        if all_:
            answers = [ask(client, each["deployment"], None, headers(header)) for each in known]
            say(report.answers_json(answers) if output is Format.JSON else report.answers_text(answers, color=asked.color(), width=width()))
            raise typer.Exit(_exit(answers))
        found = _deployment(ref, house, known)
        answer = ask(client, found.path, instances(data, rows), headers(header))
    if output is Format.JSON:
        say(report.answer_json(answer))
    elif answer.answered:
        say(report.answer_text(answer, color=asked.color(), width=width()))
    if not answer.answered:
        _complain(answer, found)
        raise typer.Exit(Exit.ERROR)


# --- what is sent --------------------------------------------------------------------------------------------------------


def instances(data: str | None, rows: str | None) -> list[Any] | None:
    """What to ask; None = nothing was given. Raises UsageError when it cannot be read."""
    import sys

    from reconciler.errors import UsageError

    if data is None:
        return None if rows is None else parsed(rows, "--rows")
    try:
        text = sys.stdin.read() if data == "-" else Path(data).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{data} cannot be read: {why}", hint="for --data") from None
    return parsed(text, "--data")


def parsed(text: str, option: str) -> list[Any]:
    """A JSON list, `{"instances": [...]}`, a single instance, or one instance on each line. Raises UsageError."""
    import json

    from reconciler.errors import UsageError

    try:
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            lines = [line for line in text.splitlines() if line.strip()]
            if len(lines) < 2:
                raise
            return [json.loads(line) for line in lines]
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not JSON: {error}", hint=f"{option} takes a list of instances, or one on each line") from None
    if isinstance(found, dict) and found.keys() == {"instances"} and isinstance(found["instances"], list):
        return list(found["instances"])
    return found if isinstance(found, list) else [found]


def headers(pairs: Sequence[str] | None) -> dict[str, str]:
    """What `--header` names. Raises UsageError for what is no header, or would replace the key."""
    from reconciler.errors import UsageError

    found = {}
    for each in pairs or ():
        name, colon, text = (part.strip() for part in each.partition(":"))
        plain = name.replace("-", "").isalnum() and name.isascii() and text.isascii() and text.isprintable()
        if not colon or not plain or name.lower() in ("authorization", "x-api-key", "host", "content-length", "content-type"):
            raise UsageError(f"'{each}' is not a header that can be sent along", hint="write --header release:canary")
        found[name] = text
    return found


# --- the gateway ---------------------------------------------------------------------------------------------------------


def gateway(house: House, asked: Globals) -> httpx.Client:
    """A client of the gateway with its own token. Raises Transient when it was never started."""
    from reconciler.cli.services import shared
    from reconciler.platform.ray import connect

    return connect(shared(house, asked).endpoint("gateway"), PATIENCE)


def ask(client: httpx.Client, path: str, rows: Sequence[Any] | None, more: Mapping[str, str]) -> Answer:
    """Ask the deployment `project/name`; `rows` None = with its example. What goes wrong is told in the answer."""
    import time
    from dataclasses import replace

    from reconciler.report.serving import Answer

    about = _get(client, f"/models/{path}")
    if "targets" not in about:
        return Answer(path, why=str(about["detail"]))
    first: Mapping[str, Any] = max(about["targets"], key=lambda each: each["weight"], default={})
    known = Answer(path, runtime=first.get("runtime", ""), version=first.get("version", ""), model=first.get("model", ""))
    if about["off"]:
        return replace(known, why=about["off"], off=True)
    if rows is None and not about["example"]:
        why = "its model has no example" if about["up"] else "no replica is up that could say what it accepts"
        return replace(known, why=why, untried=bool(about["up"]))
    sent = list(rows) if rows is not None else about["example"]["instances"]
    began = time.perf_counter()
    answer = _send(client, path, sent, more, about["limits"]["timeout"] + PATIENCE)
    seconds = time.perf_counter() - began
    if isinstance(answer, str):
        return replace(known, why=answer)
    return replace(_told(path, answer, about["targets"]), asked=len(sent), seconds=seconds)


def _told(path: str, answer: httpx.Response, targets: Sequence[Mapping[str, Any]]) -> Answer:
    from reconciler.report.serving import Answer

    body, revision = answer.json(), answer.headers.get("x-deployment-revision", "")
    target: Mapping[str, Any] = next((each for each in targets if each["revision"] == revision), {})  # a rollout may have ended meanwhile
    return Answer(
        path,
        predictions=body["predictions"],
        ids=body.get("ids") or (),
        model=body["model"],
        version=body["version"],
        run=answer.headers.get("x-model-run", ""),
        revision=revision,
        runtime=target.get("runtime", ""),
        role=target.get("role", ""),
        datasets=target.get("datasets", {}),
    )


def _send(client: httpx.Client, path: str, rows: Sequence[Any], more: Mapping[str, str], timeout: float) -> httpx.Response | str:
    """The answer, or why there is none."""
    import json

    import httpx

    body = json.dumps({"instances": rows}).encode()  # what JSON has no word for is the gateway's to refuse
    try:
        answer = client.post(f"/predict/{path}", content=body, headers={**more, "content-type": "application/json"}, timeout=timeout)
    except httpx.TimeoutException:
        return f"no answer in {timeout:.0f} s"
    except httpx.HTTPError as error:
        return f"the gateway did not answer: {type(error).__name__}"
    if answer.is_success:
        return answer
    problem = _problem(answer)
    mistakes = "; ".join(f"{each.get('path')}: {each.get('message')}" for each in problem.get("errors", [])[:3])
    return f"{problem['detail']}{f' ({mistakes})' if mistakes else ''}"


def _listed(client: httpx.Client) -> list[dict[str, Any]]:
    """Every deployment that the gateway knows. Raises Transient when it does not say."""
    from reconciler.errors import Transient

    found = _get(client, "/models")
    if not isinstance(found, list):
        raise Transient(f"the gateway does not tell what it serves: {found['detail']}", hint="reconcile platform logs gateway")
    return sorted(found, key=lambda each: str(each["deployment"]))


def _get(client: httpx.Client, path: str) -> Any:
    """What it answers; an object with `detail` where it refuses. Raises Transient when it does not answer."""
    import httpx

    from reconciler.errors import Transient

    try:
        answer = client.get(path)
    except httpx.HTTPError as error:
        why = "nothing listens at its port" if isinstance(error, httpx.ConnectError) else type(error).__name__
        raise Transient(f"the gateway does not answer: {why}", hint="reconcile platform up gateway") from None
    return answer.json() if answer.is_success else _problem(answer)


def _problem(answer: httpx.Response) -> dict[str, Any]:
    """RFC 9457 problem details, as far as there are any."""
    try:
        found = answer.json()
    except ValueError:
        found = None
    return {"detail": f"HTTP {answer.status_code}", **(found if isinstance(found, dict) else {})}


# --- which, and how it went ----------------------------------------------------------------------------------------------


def _deployment(text: str | None, house: House, listed: Sequence[Mapping[str, Any]]) -> Ref:
    """The deployment that `text` means: one that the gateway knows, or that was applied. Raises UsageError."""
    from reconciler.cli.refs import parse_ref
    from reconciler.errors import UsageError
    from reconciler.model import Ref

    served = {Ref("Deployment", str(each["project"]), str(each["name"])) for each in listed}
    if text is None:
        if len(served) == 1:
            return served.pop()
        names = ", ".join(sorted(each.path for each in served)[:5]) or "none is served yet"
        raise UsageError("which deployment?", hint=f"name one ({names}), or ask them all with --all")
    applied = {ref for ref in house.store.inventory() if ref.kind == "Deployment" and not ref.key}
    return parse_ref(text, house.kinds, served | applied)


def _exit(answers: Sequence[Answer]) -> int:
    from reconciler.cli.exit import Exit

    silent = [each for each in answers if not each.answered and not each.off]
    if any(not each.untried for each in silent):
        return Exit.ERROR
    return Exit.HELD if silent or not answers else Exit.OK


def _complain(answer: Answer, ref: Ref) -> None:
    from reconciler.cli.output import complain

    hint = "say what to ask with --rows or --data" if answer.untried else f"`reconcile why {ref}` tells more"
    complain(f"{answer.deployment} did not answer: {answer.why}", hint)
