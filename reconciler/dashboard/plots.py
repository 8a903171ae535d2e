"""Options of charts: pure functions. No name that comes from outside becomes a key, for NiceGUI takes some keys for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

GREY = "#7a8896"
COLOURS = ("#3d85d8", "#d98324", "#2f9e6e", "#b4559f", "#8a7fd6", "#b3903a", "#d05a55", "#3aa6b0")
"""Each holds a contrast of 3 on the light and on the dark ground."""
TONES = {"pass": "#2f9e6e", "fail": "#d05a55", "hold": "#b3903a"}
BASE: Mapping[str, Any] = {
    "color": list(COLOURS),
    "animation": False,
    "grid": {"left": 12, "right": 24, "top": 40, "bottom": 12, "containLabel": True},
    "tooltip": {"trigger": "item", "renderMode": "richText", "confine": True},
}
_LINES = {
    "axisLabel": {"color": GREY, "hideOverlap": True},
    "nameTextStyle": {"color": GREY, "align": "left"},
    "splitLine": {"lineStyle": {"opacity": 0.25}},
}


def _value(name: str, kind: str = "value") -> dict[str, Any]:
    return {"type": kind, "name": name, "scale": True, **_LINES}


def _legend(names: Sequence[str]) -> dict[str, Any]:
    return {"show": len(names) > 1, "type": "scroll", "bottom": 0, "textStyle": {"color": GREY}, "data": list(names)}


def scatter(x: str, y: str, series: Sequence[tuple[str, Sequence[tuple[str, float, float]]]]) -> dict[str, Any]:
    """Points (name, x, y) of each series; `x`, `y`: what the axes are called, with their units."""
    shown = [
        {
            "type": "scatter",
            "name": name,
            "symbolSize": 11,
            "data": [{"name": label, "value": [across, up]} for label, across, up in points],
        }
        for name, points in series
    ]
    across = {**_value(x), "nameLocation": "middle", "nameGap": 28, "nameTextStyle": {"color": GREY}}
    grid = {**BASE["grid"], "bottom": 56 if len(series) > 1 else 30}
    return {**BASE, "grid": grid, "xAxis": across, "yAxis": _value(y), "series": shown, "legend": _legend([each for each, _ in series])}


def bars(names: Sequence[str], values: Sequence[float | None], what: str, tones: Sequence[str] = ()) -> dict[str, Any]:
    """One bar for each name, lying, the first on top. `what`: what they measure, with its unit; `tones`: a colour for each."""
    data = [{"value": each, "itemStyle": {"color": tones[at]}} if tones else each for at, each in enumerate(values)]
    across = {**_value(what), "scale": False, "nameLocation": "middle", "nameGap": 28, "nameTextStyle": {"color": GREY}}
    labels = {"color": GREY, "width": 150, "overflow": "truncate"}
    up = {"type": "category", "data": list(names), "inverse": True, "axisLabel": labels, "axisTick": {"show": False}}
    grid = {**BASE["grid"], "top": 12, "bottom": 30}
    return {**BASE, "grid": grid, "xAxis": across, "yAxis": up, "series": [{"type": "bar", "name": what, "barMaxWidth": 26, "data": data}]}


def columns(times: Sequence[str], values: Sequence[float | None], what: str, tones: Sequence[str]) -> dict[str, Any]:
    """One bar for each time, standing, each in its colour."""
    data = [{"value": each, "itemStyle": {"color": tone}} for each, tone in zip(values, tones, strict=True)]
    across = {"type": "category", "data": list(times), **_LINES}
    up = {**_value(what), "scale": False, "min": 0}
    return {**BASE, "xAxis": across, "yAxis": up, "series": [{"type": "bar", "name": what, "barMaxWidth": 26, "data": data}]}


def lines(times: Sequence[str], series: Sequence[tuple[str, Sequence[float | None]]], what: str) -> dict[str, Any]:
    """A line for each series over the same times; None leaves a gap."""
    shown = [{"type": "line", "name": name, "symbolSize": 6, "data": list(values)} for name, values in series]
    grid = {**BASE["grid"], "bottom": 36 if len(series) > 1 else 12}
    across = {"type": "category", "data": list(times), **_LINES}
    legend = _legend([each for each, _ in series])
    return {**BASE, "grid": grid, "xAxis": across, "yAxis": _value(what), "series": shown, "legend": legend}
