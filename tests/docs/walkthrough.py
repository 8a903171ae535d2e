"""A page of the docs, executed: files are written, commands are run, what they print is held against what the page shows.

In a page, an HTML comment `<!-- file: PATH -->` before a fenced block names the file that the block is written to. A ```console block
holds commands (`$ ` first) and below each one what it prints. `...` alone on a line stands for any lines, `…` or `<word>` inside a line for
any text. Times, revisions and digests of plans need not be the same. Runs of spaces count as one, empty lines not at all.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.forked import reconcile

FENCE = re.compile(r"^(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$", re.M | re.S)
CONFIRM = re.compile(r"--confirm ([0-9a-f]{8})\b")
VARIES = (
    (re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? (s|min|h)\b"), "SPAN"),
    (re.compile(r"(?<=@ )[0-9a-f]{7}\b|(?<=before: )[0-9a-f]{7}\b|(?<=@ <code>)[0-9a-f]{7}\b"), "REVISION"),
    (re.compile(r"(?<=--confirm )[0-9a-f]{8}\b|(?<=<sub>plan )[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"(?<=\"seconds\": )[\d.]+|(?<=passed in )[\d.]+"), "NUMBER"),
)
"""What differs from run to run although it means the same."""
PROGRESS = re.compile(r"^\[\d+ (?:s|min|h)\] .*\n", re.M)
"""Lines on stderr, one every ten seconds: how many there are tells how busy the machine is."""
ENDED = '; echo "exit code $?"'
PLAIN = re.compile(r"reconcile(?: [^|&;<>()$`*?\[#~\n]*)?")
"""A line on which the shell has nothing to do but start the program."""


@dataclass(frozen=True)
class Step:
    """One file to write or one command to run; `start` and `end` are where its text, or what it prints, stands in the page."""

    line: int
    text: str
    file: str = ""
    shown: tuple[str, ...] = ()
    start: int = 0
    end: int = 0


@dataclass
class Walk:
    """Where a page is executed. `words` maps what the page says to what it is in this run."""

    folder: Path
    env: Mapping[str, str]
    words: dict[str, str]
    printed: dict[int, str] = field(default_factory=dict)
    """By a step's line, for `rewritten`."""
    forked: bool = True
    """False where the page brings kinds of its own: what is forked knows those that were there when it was started."""

    def go(self, step: Step) -> None:
        """Carry out one step. Raises AssertionError, with all that was printed, when that is not what the page shows."""
        if step.file:
            path = self.folder / step.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._here(step.text), encoding="utf-8")
        elif step.text.startswith("cd "):
            self.folder = self.folder / step.text.removeprefix("cd ")
        else:
            said = PROGRESS.sub("", self._page(self._run(self._here(step.text))))
            for shown, found in zip(CONFIRM.findall("\n".join(step.shown)), CONFIRM.findall(said), strict=False):
                self.words[f"--confirm {shown}"] = f"--confirm {found}"
            self.printed[step.line] = said
            wanted, got = [_plain(each) for each in step.shown], [_plain(each) for each in said.splitlines()]
            agrees = _agree([each for each in wanted if each], [each for each in got if each])
            assert agrees, f"line {step.line}: $ {step.text}\nprints\n{said}\nand the page shows\n" + "\n".join(step.shown)

    def _run(self, command: str) -> str:
        plain = command.removesuffix(ENDED)
        if self.forked and PLAIN.fullmatch(plain):
            ran = reconcile(*shlex.split(plain)[1:], cwd=self.folder, env=self.env, timeout=300, together=True)
            return ran.stdout + (f"exit code {ran.returncode}\n" if plain != command else "")
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            env=dict(self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return done.stdout

    def _here(self, text: str) -> str:
        for page, here in self.words.items():
            text = text.replace(page, here)
        return text

    def _page(self, text: str) -> str:
        for page, here in self.words.items():
            text = text if page.startswith("--confirm") else text.replace(here, page)
        return text


def steps(page: str) -> Iterator[Step]:
    """The steps of a page, in order."""
    for block in FENCE.finditer(page):
        line = page.count("\n", 0, block.start("body")) + 1
        if block["file"]:
            yield Step(line, block["body"], file=block["file"])
        elif block["language"] == "console":
            yield from _commands(block["body"], line, block.start("body"))


def _commands(body: str, line: int, start: int) -> Iterator[Step]:
    lines = body.splitlines(keepends=True)
    heads = [at for at, each in enumerate(lines) if each.startswith("$ ")]
    for at, until in zip(heads, [*heads[1:], len(lines)], strict=True):
        begin = start + sum(map(len, lines[: at + 1]))
        shown = tuple(each.rstrip("\n") for each in lines[at + 1 : until])
        yield Step(line + at, lines[at][2:].strip(), shown=shown, start=begin, end=begin + sum(map(len, lines[at + 1 : until])))


def rewritten(page: str, done: Sequence[Step], printed: Mapping[int, str]) -> str:
    """The page with what the commands print now, for `UPDATE_GOLDEN=1`; what agrees already stays as it is written."""
    for step in reversed(done):
        if step.line in printed:
            page = f"{page[: step.start]}{printed[step.line].strip()}\n{page[step.end :]}" if printed[step.line].strip() else page
    return page


def environment(path: Path) -> dict[str, str]:
    """A newcomer's environment: `path` first on PATH, no settings of ours, no colours, 100 columns."""
    base = {key: value for key, value in os.environ.items() if not key.startswith(("MLOPS_", "MLFLOW_", "GIT_", "GITHUB_", "CI_"))}
    names = {
        f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
    }
    quiet = {"NO_COLOR": "1", "COLUMNS": "100", "LOGNAME": "ada", "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_CONFIG_NOSYSTEM": "1"}
    return {**base, **names, **quiet, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}


def walked(page: Path, walk: Walk) -> None:
    """Carry out the whole page. With `UPDATE_GOLDEN=1` in the environment what differs is written into it, else it raises."""
    text, update, differing = page.read_text(encoding="utf-8"), bool(os.environ.get("UPDATE_GOLDEN")), list[Step]()
    for step in steps(text):
        try:
            walk.go(step)
        except AssertionError:
            if not update:
                raise
            differing.append(step)
    if differing:
        page.write_text(rewritten(text, differing, walk.printed), encoding="utf-8")


def set_aside(url: str, projects: Sequence[str]) -> None:
    """Give up the names of these projects' experiments: MLflow keeps those of deleted ones reserved, so they are renamed first."""
    with httpx.Client(base_url=f"{url}/api/2.0/mlflow/experiments/", trust_env=False, timeout=30) as client:
        for project in projects:
            query = {"view_type": "ALL", "max_results": 1000, "filter": f"name LIKE '{project}/%'"}
            found = client.post("search", json=query).raise_for_status().json()
            for each in found.get("experiments", []):
                key = {"experiment_id": each["experiment_id"]}
                if each["lifecycle_stage"] == "deleted":
                    client.post("restore", json=key).raise_for_status()
                client.post("update", json={**key, "new_name": f"{project}-{uuid.uuid4().hex}"}).raise_for_status()
                for tag in ("mlops.ref", "mlops.installation"):
                    client.post("delete-experiment-tag", json={**key, "key": tag})
                client.post("delete", json=key).raise_for_status()


def _plain(line: str) -> str:
    line = " ".join(line.split())
    for pattern, word in VARIES:
        line = pattern.sub(word, line)
    return line


def _agree(wanted: Sequence[str], got: Sequence[str]) -> bool:
    """Line by line; `...` takes as many lines as it needs."""
    if not wanted:
        return not got
    if wanted[0] == "...":
        return any(_agree(wanted[1:], got[at:]) for at in range(len(got) + 1))
    return bool(got) and _same(wanted[0], got[0]) and _agree(wanted[1:], got[1:])


def _same(wanted: str, got: str) -> bool:
    parts = re.split(r"…|<[a-z]+>", wanted)
    return wanted == got or re.fullmatch(".*?".join(map(re.escape, parts)), got) is not None
