"""Where a pull request is, and what is said there. Pure."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from reconciler.errors import UsageError
from schemas.receiver import is_loopback

ForgeName = Literal["github", "gitea", "gitlab"]
State = Literal["success", "failure", "error"]
TOKENS = ("MLOPS_FORGE_TOKEN", "GITHUB_TOKEN", "GITEA_TOKEN", "GITLAB_TOKEN")
"""Variables that may hold the token, in this order; the first that is set counts."""
CONTEXT = "mlops-reconciler"
"""Name of the status; GitHub's term."""


@dataclass(frozen=True)
class Place:
    """One pull request (GitLab: merge request). `api` is the address of the forge's REST interface, without a slash at its end."""

    forge: ForgeName
    api: str
    repository: str
    """`owner/name`, or the project's id or path at GitLab."""
    number: int
    commit: str
    """Full id of the commit that is reviewed."""
    token: str = field(repr=False)


@dataclass(frozen=True)
class Review:
    """What is published. `marker` begins the comment and finds it again; one for each installation and environment."""

    marker: str
    body: str
    state: State
    description: str
    """One line of at most 140 characters, as GitHub allows."""


def place_of(env: Mapping[str, str] = os.environ) -> Place | None:
    """The pull request that this job of GitHub Actions, Gitea Actions or GitLab CI runs for; None = it runs for none.

    Raises UsageError when it does and something is missing."""
    if env.get("GITLAB_CI"):
        return _gitlab(env)
    if env.get("GITHUB_ACTIONS") or env.get("GITEA_ACTIONS"):
        return _github(env)
    return None


def _github(env: Mapping[str, str]) -> Place | None:
    event = _event(env.get("GITHUB_EVENT_PATH", ""))
    asked = event.get("pull_request")
    if not isinstance(asked, dict):
        return None
    head = asked.get("head")
    commit = str(head.get("sha")) if isinstance(head, dict) else env.get("GITHUB_SHA", "")
    forge: ForgeName = "gitea" if env.get("GITEA_ACTIONS") else "github"
    api = env.get("GITHUB_API_URL") or ("https://api.github.com" if forge == "github" else f"{env.get('GITHUB_SERVER_URL', '')}/api/v1")
    return checked(
        forge, api, env.get("GITHUB_REPOSITORY", ""), str(event.get("number") or asked.get("number") or ""), commit, token_in(env)
    )


def _event(path: str) -> Mapping[str, object]:
    try:
        found = json.loads(Path(path).read_bytes()) if path else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"GITHUB_EVENT_PATH cannot be read: {type(error).__name__}", hint="name the pull request with --number") from None
    return found if isinstance(found, dict) else {}


def _gitlab(env: Mapping[str, str]) -> Place | None:
    if not env.get("CI_MERGE_REQUEST_IID"):
        return None
    commit = env.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or env.get("CI_COMMIT_SHA", "")
    return checked("gitlab", env.get("CI_API_V4_URL", ""), env.get("CI_PROJECT_ID", ""), env["CI_MERGE_REQUEST_IID"], commit, token_in(env))


def token_in(env: Mapping[str, str]) -> str:
    """The token; empty = there is none."""
    return next((env[name] for name in TOKENS if env.get(name)), "")


def checked(forge: str, api: str, repository: str, number: str, commit: str, token: str) -> Place:
    """The place, if these can be one. Raises UsageError, which names what is missing; the token never goes over a line in the clear."""
    if forge not in ("github", "gitea", "gitlab"):
        raise UsageError(f"--forge {forge}: there is no such forge", hint="github, gitea (Forgejo too) or gitlab")
    address = urlsplit(api)
    if address.scheme != "https" and not (address.scheme == "http" and is_loopback(address.hostname or "")):
        raise UsageError(f"--api {api or '(nothing)'} is no https address", hint="for example https://api.github.com")
    if "@" in address.netloc or address.query or address.fragment:
        raise UsageError("--api holds more than an address", hint="the token comes from MLOPS_FORGE_TOKEN")
    if not repository or any(part in ("", ".", "..") for part in repository.split("/")):
        raise UsageError(f"--repository {repository or '(nothing)'} names none", hint="owner/name")
    if not (number.isascii() and number.isdecimal()):
        raise UsageError(f"--number {number or '(nothing)'} is not the number of a pull request")
    if not (7 <= len(commit) <= 64 and all(each in "0123456789abcdef" for each in commit)):
        raise UsageError(f"--commit {commit or '(nothing)'} is not the id of a commit", hint="40 hex digits")
    if not token or not token.isprintable() or not token.isascii():
        raise UsageError("there is no token for the forge", hint=f"put it into {TOKENS[0]} (it may be {', '.join(TOKENS[1:])} too)")
    return Place(forge, api.rstrip("/"), repository, int(number), commit, token)  # type: ignore[arg-type]


def path_of(repository: str, forge: ForgeName) -> str:
    """The repository in an address: GitLab takes `group%2Fname` as one part."""
    return quote(repository, safe="" if forge == "gitlab" else "/")
