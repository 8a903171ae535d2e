"""A monitor's notebook: what was looked at, how each check went, the episode that is open. Pure.

An **episode** is one breach from its first bad window to the end: what is done about it is done once for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from reconciler.model import JSON

T = TypeVar("T")
TRIES = 3
"""Workers that may end without a result before a window counts as one that cannot be looked at."""
KEPT_WINDOWS = 60
"""Windows that the notebook remembers; their results are kept in files for as long as the manifest says."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A window that was judged. Times are Unix seconds."""

    key: str
    start: float
    end: float
    verdict: str
    rows: int = 0
    labels: int = 0
    at: float = 0.0
    again: int = 0
    """How often it was looked at once more, for labels that came late."""
    labels_then: int = 0
    """Labels that the deployment had ever got when it was looked at."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A window that a worker looks at, or is to."""

    key: str
    start: float
    end: float
    """0 = as many rows as `count` says."""
    count: int = 0
    version: str = ""
    """Digest of the dataset's version that is looked at, for a monitor that watches versions."""
    again: int = 0
    """Above 0: it was judged before; labels have come since."""
    tries: int = 0
    """Workers that were started for it."""
    job: str = ""
    """Id of the last one."""
    context: Mapping[str, str] = field(default_factory=dict)
    """What served it and what was normal when it was looked at; see `controllers.monitors.causes`."""
    labels_then: int = 0


@dataclass(frozen=True, slots=True)
class Streak:
    """How one check went lately."""

    bad: int = 0
    good: int = 0
    since: float = 0.0
    """Start of the first of the bad windows in a row."""
    until: float = 0.0
    """Its end."""
    key: str = ""
    """Of that window."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A breach."""

    id: str
    since: float
    """Start of its first bad window; it began at some time in it."""
    until: float
    """End of that window: what comes later is all of the breach."""
    opened: float
    """When it was found."""
    first: str = ""
    """The gravest check that failed when it was found: what it is called, for as long as it lasts."""
    failing: Mapping[str, str] = field(default_factory=dict)
    """Check -> what it said last."""
    columns: tuple[Mapping[str, JSON], ...] = ()
    """The worst first, over all checks; see `reconciler.model.monitoring.Found`."""
    causes: tuple[str, ...] = ()
    """Probable ones, the most probable first."""
    suggestions: tuple[str, ...] = ()
    acted: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    """What was done, by the key of the reaction: `at`, `said`."""
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Notes:
    """The notebook."""

    since: float = 0.0
    """When watching began; 0 = it has not."""
    cursor: float = 0.0
    """Where the next window may begin: the end of the last one."""
    taken: int = 0
    """Predictions that windows by count have used up."""
    version: str = ""
    """Digest of the dataset's version that was looked at last."""
    pending: Pending | None = None
    streaks: Mapping[str, Streak] = field(default_factory=dict)
    episode: Episode | None = None
    before: Episode | None = None
    """The last one that has ended."""
    windows: tuple[Looked, ...] = ()
    baseline: Mapping[str, float] = field(default_factory=dict)
    """What the first full window after the promotion of what is served showed."""
    baseline_of: str = ""
    """Revision that it belongs to."""
    good: Mapping[str, str] = field(default_factory=dict)
    """Context of the last window in which every check passed."""
    acted: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Reaction -> when it was done."""
    said: str = ""
    """What the last window came to."""


def read(page: Mapping[str, JSON]) -> Notes:
    """Of what `written` wrote; what another version wrote is left out."""
    raw: dict[str, Any] = dict(page)
    return Notes(
        **{
            **_known(Notes, raw),
            "pending": Pending(**_known(Pending, raw["pending"])) if raw.get("pending") else None,
            "streaks": {name: Streak(**_known(Streak, each)) for name, each in (raw.get("streaks") or {}).items()},
            "episode": _episode(raw.get("episode")),
            "before": _episode(raw.get("before")),
            "windows": tuple(Looked(**_known(Looked, each)) for each in raw.get("windows") or ()),
            "acted": {name: tuple(each) for name, each in (raw.get("acted") or {}).items()},
        }
    )


def written(notes: Notes) -> dict[str, JSON]:
    """As plain values; what is empty is left out."""
    return {name: each for name, each in asdict(notes).items() if each not in (None, 0, 0.0, "", {}, (), [])}


def _episode(raw: Any) -> Episode | None:
    if not raw:
        return None
    known = _known(Episode, raw)
    for name in ("columns", "causes", "suggestions"):
        known[name] = tuple(known.get(name) or ())
    return Episode(**known)


def _known(kind: type[T], raw: Mapping[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return {name: each for name, each in raw.items() if name in names}
