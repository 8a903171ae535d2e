"""Simulations as pictures: a PNG by matplotlib, and one HTML page by plotly that needs no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.admission.simulate.compare import Played
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.admission.simulate.account import Point

GIB = 1 << 30
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Okabe and Ito's palette: can be told apart without seeing red and green."""
NAMED: Mapping[str, str] = {"none": "#999999", "memory": "#d55e00", "full": "#0072b2", "first-come": "#999999", "no-reservation": "#d55e00"}
ROOM = 1.25
"""An axis ends at this many times the highest curve of those under admission control; what is far above leaves the picture."""


@dataclass(frozen=True)
class Panel:
    """One row of the picture."""

    title: str
    value: Callable[[Point], float | None]
    limit: Callable[[Played], tuple[float, str] | None] = lambda each: None
    """A line that must not be crossed, with its name."""
    ends: Callable[[Sequence[Played]], tuple[float, float]] | None = None
    """Of the axis; None = from zero to a little above the highest curve under admission control."""
    steps: bool = True


def _trip(played: Played) -> float:
    return played.case.scenario.plant.trip


HEAT = (
    Panel(
        "die, °C",
        lambda each: each.temperature,
        lambda each: (_trip(each), "throttles"),
        lambda group: (_trip(group[0]) - 25, _trip(group[0]) + 3),
        steps=False,
    ),
    Panel("level", lambda each: None if each.level is None else float(each.level), ends=lambda group: (-0.2, 3.2)),
    Panel("frequency", lambda each: each.frequency, ends=lambda group: (0.5, 1.05)),
)
LOAD = (
    Panel("running", lambda each: float(each.running)),
    Panel("waiting", lambda each: float(each.waiting)),
    Panel(
        "memory, GiB",
        lambda each: each.memory / GIB,
        lambda each: ((each.case.scenario.plant.memory - each.case.scenario.plant.system) / GIB, "swaps"),
    ),
)


def write_plots(played: Sequence[Played], folder: Path) -> tuple[Path, ...]:
    """Write `NAME.png` and `NAME.html` of the scenario's name. Raises UsageError where the plotting libraries are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(played[0].case.scenario.name).stem
    image, page = folder / f"{name}.png", folder / f"{name}.html"
    try:
        _png(played, image)
        _html(played, page)
    except ImportError as error:
        raise UsageError(f"--plot needs {error.name}", hint="install mlops-reconciler[plots]") from None
    return image, page


def columns(played: Sequence[Played]) -> dict[str, list[Played]]:
    """One column of the picture for each way in which power falls with the frequency."""
    found: dict[str, list[Played]] = {}
    for each in played:
        found.setdefault(each.case.power, []).append(each)
    return found


def panels(played: Sequence[Played]) -> tuple[Panel, ...]:
    return (*HEAT, *LOAD) if any(each.case.power for each in played) else LOAD


def ends(panel: Panel, played: Sequence[Played]) -> tuple[float, float]:
    """Of the axis: everything under admission control is in sight, the explosion without it leaves the picture."""
    if panel.ends is not None:
        return panel.ends(played)
    seen = [each for each in played if each.case.label != "none"] or list(played)
    found = [value for each in seen for point in each.outcome.points if (value := panel.value(point)) is not None]
    limits = [limit[0] for each in seen if (limit := panel.limit(each)) is not None]
    return 0.0, ROOM * max([*found, *limits, 0.8])


def color(each: Played, at: int) -> str:
    return NAMED.get(each.case.label, COLORS[at % len(COLORS)])


def _title(power: str, each: Played) -> str:
    scenario = each.case.scenario
    return f"{scenario.name}, seed {scenario.seed}" + (f": power {power}" if power else "")


def _png(played: Sequence[Played], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across, rows = columns(played), panels(played)
    figure = Figure(figsize=(7.5 * len(across) + 1, 1.75 * len(rows) + 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(rows) + 1, len(across), height_ratios=[1.0] * len(rows) + [1.5])
    for column, (power, group) in enumerate(across.items()):
        first: Any = None
        for row, panel in enumerate(rows):
            axes = figure.add_subplot(grid[row, column], sharex=first)
            first = first or axes
            _draw(axes, panel, group)
            axes.tick_params(labelbottom=row == len(rows) - 1)
            if row == 0:
                axes.set_title(_title(power, group[0]), loc="left", fontsize=11)
                axes.legend(loc="lower right", fontsize=8, ncols=len(group), framealpha=0.9)
        first.set_xlim(0, max(each.outcome.seconds for each in group) / 3600)
        axes.set_xlabel("hours")
        _bars(figure.add_subplot(grid[len(rows), column]), group)
    figure.savefig(path, dpi=110)


def _draw(axes: Any, panel: Panel, group: Sequence[Played]) -> None:
    for at, each in enumerate(group):
        hours = [point.at / 3600 for point in each.outcome.points]
        values = [panel.value(point) for point in each.outcome.points]
        axes.plot(
            hours,
            values,
            color=color(each, at),
            linewidth=1.0,
            label=each.case.label,
            drawstyle="steps-post" if panel.steps else None,
        )
    limit = panel.limit(group[0])
    if limit is not None:
        axes.axhline(limit[0], color="#555555", linewidth=0.8, linestyle="--")
        axes.annotate(limit[1], (0.003, limit[0]), xycoords=("axes fraction", "data"), va="top", fontsize=8, color="#555555")
    axes.set_ylim(*ends(panel, group))
    if panel.title == "level":
        axes.set_yticks(range(4), ["nominal", "fair", "serious", "critical"], fontsize=8)
    axes.set_ylabel(panel.title)
    axes.grid(alpha=0.25)


def _bars(axes: Any, group: Sequence[Played]) -> None:
    """What each project had of the machine."""
    names = sorted({name for each in group for name in each.outcome.projects})
    shown = [each for each in group if each.case.label != "none"] or list(group)
    width = 0.8 / len(shown)
    for at, each in enumerate(shown):
        shares = [100 * each.outcome.projects[name].share if name in each.outcome.projects else 0.0 for name in names]
        places = [place + (at - (len(shown) - 1) / 2) * width for place in range(len(names))]
        label = f"{each.case.label} (Jain {each.outcome.jain:.2f})"
        axes.bar(places, shares, width, color=color(each, group.index(each)), label=label)
    axes.set_xticks(range(len(names)), [name.replace("-", "-\n", 1) for name in names], fontsize=8)
    axes.set_ylabel("share of the\nmachine, %")
    axes.legend(fontsize=8)
    axes.grid(axis="y", alpha=0.25)


def _html(played: Sequence[Played], path: Path) -> None:
    from plotly.graph_objects import Scattergl  # type: ignore[import-untyped]
    from plotly.subplots import make_subplots  # type: ignore[import-untyped]

    across, rows = columns(played), panels(played)
    titles = [_title(power, group[0]) for power, group in across.items()]
    figure = make_subplots(len(rows), len(across), shared_xaxes=True, vertical_spacing=0.025, column_titles=titles)
    for column, group in enumerate(across.values(), 1):
        for row, panel in enumerate(rows, 1):
            for at, each in enumerate(group):
                points = each.outcome.points
                figure.add_trace(
                    Scattergl(
                        x=[point.at / 3600 for point in points],
                        y=[panel.value(point) for point in points],
                        name=each.case.label,
                        legendgroup=each.case.label,
                        showlegend=row == 1 and column == 1,
                        line={"color": color(each, at), "width": 1},
                    ),
                    row=row,
                    col=column,
                )
            if (limit := panel.limit(group[0])) is not None:
                figure.add_hline(limit[0], line_dash="dash", line_width=1, annotation_text=limit[1], row=row, col=column)
            name = panel.title if column == 1 else None
            figure.update_yaxes(title_text=name, range=list(ends(panel, group)), row=row, col=column)
        figure.update_xaxes(title_text="hours", row=len(rows), col=column)
    figure.update_layout(height=210 * len(rows) + 120, template="plotly_white", hovermode="x unified", legend_orientation="h")
    figure.write_html(path, include_plotlyjs=True, full_html=True)
