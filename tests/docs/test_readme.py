"""What README.md and the other pages name is there: commands and options, make targets, files behind links."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forked import reconcile

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
GUIDE = (REPOSITORY / "docs" / "guide.md").read_text(encoding="utf-8")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
WORDS = {
    "REF": "dataset/vision/digits",
    "[REF]": "",
    "DIR": "here",
    "NAME": "vision/probe",
    "PATH": "manifests",
    "FILE": "calls",
    "KIND": "dataset",
    "SERVICE": "mlflow",
}


def pages() -> list[Path]:
    """Every Markdown page in git, and those that are about to be; not the golden plans, which link to trees of their own."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.md", ":!tests/golden"]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(REPOSITORY / name for name in names if name and (REPOSITORY / name).is_file())


def commands(page: str) -> Iterator[str]:
    """Command lines that begin with `reconcile`, from blocks and from inline code, as far as the shell would hand them over."""
    for block in FENCED.findall(page):
        for line in block.splitlines():
            if (text := line.strip().removeprefix("$ ").partition("#")[0].strip()).split(" ")[0] == "reconcile":
                yield text
    for text in CODE.findall(FENCED.sub("", page)):
        if text.split(" ")[0] == "reconcile":
            yield text.partition(" > ")[0]


@pytest.mark.parametrize("command", sorted({*commands(README), *commands(FENCED.sub("", GUIDE))}))
def test_every_command_that_is_named_parses(command: str, tmp_path: Path) -> None:
    """With `--help` behind it, every option before it must exist and every sub-command must be one."""
    words = [WORDS.get(each, each) for each in shlex.split(command)[1:]]
    done = reconcile(*filter(None, words), "--help", cwd=tmp_path, env=os.environ, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    named = words[0] if words and not words[0].startswith("-") else ""
    assert f"Usage: reconcile {named}".strip() in done.stdout
    for option in (each.partition("=")[0] for each in words if each.startswith("-")):
        assert option in done.stdout, f"{command}: there is no {option}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if "://" in target or target.startswith(("mailto:", "#")):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path
        assert found.exists(), f"{page.name} links to {target}, which is not there"
        assert found.resolve().is_relative_to(REPOSITORY)
        if anchor and found.suffix == ".md":
            assert anchor in _anchors(found), f"{page.name} links to {target}, and {path} has no such heading"


def _anchors(page: Path) -> set[str]:
    """As GitHub and GitLab make them: lower case, punctuation gone, spaces to hyphens."""
    heads = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in heads}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M))
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(FENCED.findall(text))
    named = re.findall(r"`make ([a-z-]+)", FENCED.sub("", text)) + re.findall(r"^(?:\$ )?make ([a-z-]+)", blocks, re.M)
    assert set(named) <= targets


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
