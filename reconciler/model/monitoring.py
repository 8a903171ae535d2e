"""What the program that looks at one window is told, and what it tells: plain values, written as JSON. No I/O.

::

    monitors/PROJECT/NAME/KEY.spec     what it is told
    monitors/PROJECT/NAME/KEY.json     what it found
    services/evidently/workspace/      of Evidently: one project for each Monitor, one snapshot for each window

All below the installation's state folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from reconciler.model.values import JSON

WORKSPACE = "workspace"
"""Folder of the workspace in that of the service `evidently`."""
Verdict = Literal["pass", "fail", "hold"]
"""`hold`: too little was seen to say either."""


def folder(state_dir: Path) -> Path:
    return state_dir / "monitors"


def workspace(state_dir: Path) -> Path:
    return state_dir / "services" / "evidently" / WORKSPACE


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from: a time in the log of predictions of a deployment, or a file."""

    kind: Literal["log", "data"]
    project: str = ""
    name: str = ""
    """Of the deployment."""
    start: float = 0.0
    """Unix seconds; rows from then on."""
    end: float = 0.0
    """Rows before then; 0 = as many as `count` says."""
    count: int = 0
    """So many rows from `start` on, and those of the same moment as the last; 0 = by time."""
    revision: str = ""
    """Only what this revision answered; empty = whatever answered."""
    path: str = ""
    """A CSV or Parquet file; in DVC's cache it has no ending, and what it is shows in how it begins."""
    digest: str = ""
    """Of the dataset's version; for people, and for the key."""


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """`python -m reconciler.monitoring SPEC.json`."""

    key: str
    ref: str
    """The Monitor's, as text."""
    state_dir: str
    current: Source
    reference: Source
    checks: Mapping[str, JSON]
    """`schemas.checks.Checks`, as JSON."""
    result: str
    """File that WindowResult is written to."""
    min_rows: int = 100
    max_rows: int = 100_000
    target: str = ""
    """Column of the reference with the truth; empty = it has none."""
    expected: tuple[str, ...] = ()
    """Fields of the model's input, where its schema names them: of a reference that is data these are the inputs, and each that no
    instance has is missing. Empty = all columns of the data are inputs, but the truth and what looks like the name of a row."""
    baseline: Mapping[str, float] = field(default_factory=dict)
    """What the first window after the promotion showed; see `WindowResult.measured`. Empty = this may become it."""
    workspace: str = ""
    """Folder of the Evidently workspace; empty = no snapshot is kept."""
    project: str = ""
    """Id of the Monitor's project there."""
    snapshot: str = ""
    """Id of the snapshot: the same for the same window, so that a second look replaces the first."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """What the snapshot says of whom it belongs to: the installation and whatever else tells it from somebody else's."""
    retain: float = 90 * 86400.0
    """Seconds that snapshots are kept."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one check says of a window."""

    check: str
    """`drift`, `quality`, `predictions`, `labels`, `performance`, `operations`."""
    verdict: Verdict
    said: str
    """In words, without the window's time: `2 of 10 columns drifted; first: words (Wasserstein 0.41, limit 0.1)`."""
    columns: tuple[Mapping[str, JSON], ...] = ()
    """For each column that is not as it was, the worst first: `column`, `what` (`drifted`, `missing`, `unseen values`, ...),
    `test`, `score`, `limit`, `from`, `to` (what was normal and what is, in a few words)."""
    suggestion: str = ""
    """What would help, when the check can know of it: `height looks as if it came in other units: 100 times what it was`."""


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What was found."""

    key: str
    verdict: Verdict
    start: float
    end: float
    """Unix seconds of the window; of one by count, after its last row."""
    rows: int = 0
    """Predictions in it; more than were looked at when it was sampled."""
    labels: int = 0
    """Of those looked at, with a label by now."""
    why: str = ""
    """In words: of the first check that fails, or why it holds."""
    checks: tuple[Found, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    """Numbers for a baseline and for people: `latency` (p95, seconds), `errorRate`, `requests`, `requestRate` (per second), `memory`
    (bytes, most of one replica), `heat` (level), the metric of `performance` by its name. What is not known is not there."""
    revisions: Mapping[str, int] = field(default_factory=dict)
    """Who answered -> rows."""
    series: Mapping[str, float] = field(default_factory=dict)
    """Scores by column, for charts."""
    snapshot: str = ""
    """Id in the workspace; empty = none was written."""
    trouble: str = ""
    """What could not be done although the verdict stands: `the snapshot could not be written: no space left on device`."""
    seconds: float = 0.0
    memory: int = 0
    """Peak of the program, in bytes."""
    at: float = 0.0
    """Unix seconds when it was looked at."""
