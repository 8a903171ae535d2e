"""The calls to a forge: GitHub, Gitea and Forgejo, GitLab. One comment is found again by its first line; one status for each commit.

docs.github.com "REST API endpoints for issue comments" and "for commit statuses"; Gitea's `/api/swagger`, which is made like GitHub's;
docs.gitlab.com "Notes API" and "Commits API" (statuses)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reconciler.errors import ReconcilerError, Terminal, Transient
from reconciler.report.show import clean, shorten
from reconciler.review.values import CONTEXT, Place, Review, path_of
from schemas.receiver import is_loopback

if TYPE_CHECKING:
    import httpx

SECONDS = 20.0
"""Deadline of one call."""
PER_PAGE, MOST_PAGES = 100, 50
TRIES = 4
"""Of one call, while the forge is busy."""
LONGEST_WAIT = 20.0
"""Seconds between two tries at most, whatever the forge asks for."""


def publish(place: Place, review: Review) -> str:
    """Write or bring up to date the comment and the status; what was done, in words. Raises Transient and Terminal, which name neither
    token nor answer in full. A comment that says the same already is left alone, so that nobody is notified."""
    import httpx

    here = is_loopback(urlsplit(place.api).hostname or "")
    headers = {"PRIVATE-TOKEN": place.token} if place.forge == "gitlab" else {"Authorization": f"token {place.token}"}
    headers |= {"User-Agent": "mlops-reconciler", "Accept": "application/json"}
    with httpx.Client(headers=headers, timeout=SECONDS, follow_redirects=False, trust_env=not here) as client:
        forge = _Forge(client, place)
        done = forge.comment(review)
        forge.status(review)
    return done


class _Forge:
    def __init__(self, client: httpx.Client, place: Place) -> None:
        self._client, self._place = client, place
        self._gitlab = place.forge == "gitlab"
        home = f"{place.api}/{'projects' if self._gitlab else 'repos'}/{path_of(place.repository, place.forge)}"
        self._comments = f"{home}/merge_requests/{place.number}/notes" if self._gitlab else f"{home}/issues/{place.number}/comments"
        self._each = self._comments if self._gitlab else f"{home}/issues/comments"
        self._statuses = f"{home}/statuses/{place.commit}"

    def comment(self, review: Review) -> str:
        body = f"{review.marker}\n{review.body}"
        for found in self._ours(review.marker):
            if found["body"].replace("\r\n", "\n").rstrip() == body.rstrip():
                return "the comment says this already"
            self._call("PUT" if self._gitlab else "PATCH", f"{self._each}/{int(found['id'])}", json={"body": body})
            return "the comment is brought up to date"
        self._call("POST", self._comments, json={"body": body})
        return "a comment is written"

    def status(self, review: Review) -> None:
        failed = {"failure": "failed", "error": "failed"} if self._gitlab else {}
        said = {"state": failed.get(review.state, review.state), "description": shorten(clean(review.description), 140)}
        self._call("POST", self._statuses, json={**said, ("name" if self._gitlab else "context"): CONTEXT})

    def _ours(self, marker: str) -> Iterator[dict[str, Any]]:
        """Comments that begin with the marker, the oldest first; a quoted one begins otherwise."""
        seen: set[int] = set()
        for page in range(1, MOST_PAGES + 1):
            found = self._call("GET", self._comments, params={"per_page": PER_PAGE, "limit": PER_PAGE, "page": page})
            new = [each for each in found if isinstance(each, dict) and each.get("id") not in seen] if isinstance(found, list) else []
            yield from (each for each in sorted(new, key=lambda one: int(one["id"])) if str(each.get("body", "")).startswith(marker))
            seen.update(each["id"] for each in new)
            if not new or len(found) < PER_PAGE:  # Gitea gives all of them at once, whatever page is asked for
                return

    def _call(self, method: str, url: str, **more: Any) -> Any:
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

        for attempt in Retrying(stop=stop_after_attempt(TRIES), retry=retry_if_exception_type(Transient), wait=_pause, reraise=True):
            with attempt:
                return self._once(method, url, **more)
        raise AssertionError

    def _once(self, method: str, url: str, **more: Any) -> Any:
        import httpx

        try:
            answer = self._client.request(method, url, **more)
        except httpx.HTTPError as error:
            # What was sent may have arrived: a comment is looked for again by its first line, and a status replaces the one before it.
            raise Transient(f"{self._place.api} does not answer: {type(error).__name__}") from None
        if answer.is_success:
            return answer.json() if answer.content else None
        raise _refusal(answer, self._place)


def _pause(state: Any) -> float:
    error = state.outcome.exception()
    asked = error.retry_after if isinstance(error, Transient) and error.retry_after is not None else 2.0 ** (state.attempt_number - 1)
    return min(LONGEST_WAIT, float(asked))


def _refusal(answer: httpx.Response, place: Place) -> ReconcilerError:
    after = answer.headers.get("Retry-After", "")
    wait = float(after) if after.isascii() and after.isdecimal() else None
    limited = answer.status_code == 403 and (wait is not None or answer.headers.get("X-RateLimit-Remaining") == "0")
    if answer.status_code in (408, 429, 500, 502, 503, 504) or limited:
        return Transient(f"{place.api} answered {answer.status_code}", retry_after=wait)
    what = {
        401: "the token is not accepted",
        403: "the token may not do this",
        404: "there is no such pull request, or the token may not see it",
        422: "the forge does not take it",
    }.get(answer.status_code, "the forge refused")
    hint = "a pull request of a fork has a token that may only read; let the job write `pull-requests` and `statuses`"
    return Terminal(f"{place.api} answered {answer.status_code}: {what}", hint=hint if answer.status_code in (401, 403, 404) else "")
