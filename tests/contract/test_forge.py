"""Publishing a review to forges that speak as GitHub, Gitea and GitLab do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import ReconcilerError, Terminal, Transient, UsageError
from reconciler.review.forge import publish
from reconciler.review.values import ForgeName, Place, Review, checked, place_of
from tests.contract.forge_lab import TOKEN, Forge, forge

REVIEW = Review("<!-- mlops-reconciler: here -->", "### Plan\n\n1 to create\n", "success", "1 to create")


def _place(lab: Forge, name: ForgeName = "github") -> Place:
    return checked(name, lab.url, "team/toolkit", "7", "a" * 40, TOKEN)


@pytest.mark.parametrize("name", ["github", "gitea", "gitlab"])
def test_one_comment_is_written_then_kept_up_to_date_and_left_alone_when_it_says_the_same(name: ForgeName) -> None:
    with forge(gitlab=name == "gitlab", pages_all=name == "gitea") as lab:
        lab.comments = {number: f"somebody else {number}" for number in range(1, 251)}
        lab.comments[251] = f"> {REVIEW.marker}\n> quoted"
        place = _place(lab, name)
        assert publish(place, REVIEW) == "a comment is written"
        assert lab.comments[252].startswith(REVIEW.marker)
        assert publish(place, REVIEW) == "the comment says this already"
        assert publish(place, replace(REVIEW, body="### Plan\n\n2 to create\n", state="failure")) == "the comment is brought up to date"
        assert lab.comments[252].endswith("2 to create\n")
        assert len(lab.comments) == 252, "one comment for all three"
        word = "failed" if name == "gitlab" else "failure"
        assert [each["state"] for each in lab.statuses] == ["success", "success", word]
        assert {each.get("context") or each.get("name") for each in lab.statuses} == {"mlops-reconciler"}


def test_a_description_is_one_line_that_the_forge_takes() -> None:
    with forge() as lab:
        publish(_place(lab), replace(REVIEW, description="a\nb\x1b[31m" + "x" * 300))
        assert len(lab.statuses[0]["description"]) <= 140
        assert lab.statuses[0]["description"].isprintable()


def test_a_busy_forge_is_asked_again_and_a_refusal_says_why_and_never_the_token() -> None:
    with forge() as lab:
        lab.answers = [(502, {}), (429, {"Retry-After": "0"}), (403, {"Retry-After": "0"})]
        assert publish(_place(lab), REVIEW) == "a comment is written"
        for code, words in (
            (401, "not accepted"),
            (403, "may not do this"),
            (404, "no such pull request"),
            (422, "does not take it"),
            (301, "refused"),
        ):
            lab.answers = [(code, {})]
            with pytest.raises(Terminal, match=words) as refused:
                publish(_place(lab), REVIEW)
            assert TOKEN not in str(refused.value)
        lab.answers = [(500, {"Retry-After": "0"})] * 10
        with pytest.raises(Transient, match="answered 500"):
            publish(_place(lab), REVIEW)
    with pytest.raises(ReconcilerError, match="does not answer"):
        publish(_place(lab), REVIEW)
    assert TOKEN not in repr(_place(lab))


def test_the_place_is_found_in_the_jobs_of_the_three_forges(tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text('{"number": 7, "pull_request": {"number": 7, "head": {"sha": "' + "b" * 40 + '"}}}')
    github = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_API_URL": "https://api.github.com",
        "GITHUB_REPOSITORY": "team/toolkit",
        "GITHUB_TOKEN": TOKEN,
        "GITHUB_SHA": "c" * 40,
    }
    found = place_of(github)
    assert found == Place("github", "https://api.github.com", "team/toolkit", 7, "b" * 40, TOKEN), "the head, not the merge that is tried"
    gitea = place_of({**github, "GITEA_ACTIONS": "true", "GITHUB_API_URL": "https://git.example.org/api/v1"})
    assert gitea is not None
    assert (gitea.forge, gitea.api) == ("gitea", "https://git.example.org/api/v1")
    gitlab = {
        "GITLAB_CI": "true",
        "CI_MERGE_REQUEST_IID": "9",
        "CI_API_V4_URL": "https://gitlab.com/api/v4",
        "CI_PROJECT_ID": "12",
        "CI_COMMIT_SHA": "d" * 40,
    }
    found = place_of({**gitlab, "MLOPS_FORGE_TOKEN": TOKEN})
    assert found == Place("gitlab", "https://gitlab.com/api/v4", "12", 9, "d" * 40, TOKEN)
    event.write_text("{}")
    assert place_of(github) is None, "a push"
    assert place_of({"GITLAB_CI": "true"}) is None
    assert place_of({}) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"forge": "cvs"}, "no such forge"),
        ({"api": "http://git.example.org"}, "no https address"),
        ({"api": "https://user:pw@git.example.org"}, "more than an address"),
        ({"repository": "a/../b"}, "names none"),
        ({"number": "7; rm"}, "not the number"),
        ({"commit": "HEAD"}, "not the id"),
        ({"token": ""}, "no token"),
        ({"token": "a\nb"}, "no token"),
    ],
)
def test_a_place_that_is_none_is_refused_before_anything_is_sent(change: dict[str, str], words: str) -> None:
    good = {"forge": "github", "api": "https://api.github.com", "repository": "a/b", "number": "7", "commit": "a" * 40, "token": TOKEN}
    with pytest.raises(UsageError, match=words) as refused:
        checked(**{**good, **change})
    assert "pw@" not in str(refused.value)
