"""What all pages have in common: who looks, the head, the ways, and parts that are drawn anew when their values change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup, escape
from nicegui import ui
from starlette.requests import Request

from reconciler.dashboard import marks
from reconciler.dashboard.news import TICK, News
from reconciler.dashboard.reader import Reader, Refused

GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("", (("/", "Overview"), ("/resources", "Resources"), ("/lineage", "Lineage"), ("/plan", "Plan and approvals"))),
    ("Work", (("/queue", "Queue and quotas"), ("/hardware", "Hardware"), ("/workflows", "Workflows"))),
    ("Results", (("/experiments", "Experiments"), ("/compare", "Techniques"), ("/models", "Models"))),
    ("Running", (("/deployments", "Deployments"), ("/monitors", "Monitors"), ("/alerts", "Alerts"))),
    ("", (("/audit", "Audit"),)),
)
"""The ways that lead everywhere."""
KEYS = (
    (
        "g then a letter",
        "go: o overview, r resources, l lineage, p plan, q queue, h hardware, w workflows, e experiments, c techniques, "
        "m models, d deployments, n monitors, a alerts, u audit",
    ),
    ("/", "search"),
    ("?", "these keys"),
)
Draw = Callable[..., Any]


@dataclass
class _Part:
    paths: tuple[str, ...]
    draw: Draw
    box: ui.element
    every: float
    seen: tuple[Any, ...]
    due: float
    again: Draw | None = None
    """Shows later values, where `draw` said how."""


@dataclass
class View:
    """One page in one browser."""

    reader: Reader
    news: News
    query: Mapping[str, str]
    logged_in: bool
    me: Mapping[str, Any]
    parts: list[_Part] = field(default_factory=list)
    _number: int = -1
    _busy: bool = False

    @property
    def project(self) -> str:
        """The one that is looked at; empty = the whole toolkit."""
        return self.query.get("project", "")

    def of_project(self, path: str, **query: object) -> str:
        """A path of the API, for the project that is looked at. What is None or empty is left out."""
        asked = {name: str(value) for name, value in {"project": self.project, **query}.items() if value not in (None, "")}
        return path + (f"?{urlencode(asked)}" if asked else "")

    def may(self, act: str, project: str) -> bool:
        """Whether to offer it: `operate` or `approve`. What is given is judged by the API."""
        from reconciler.api.v1.asker import MAY

        grants = self.me.get("grants", ()) if self.logged_in else ()
        return any(act in MAY[each["role"]] and ("*" in each["projects"] or project in each["projects"]) for each in grants)

    async def part(self, draw: Draw, *paths: str, every: float = 0.0) -> None:
        """A part of the page that is made of what the API answers to `paths`, now and whenever that changes.

        `draw` gets the values, in their order. It returns markup, or draws elements itself and returns nothing, or returns a function: that
        gets later values, in place of drawing all anew. `every`: seconds after which it is asked again although nothing was written;
        0 = only then."""
        box = ui.element("div").props(f"data-part={len(self.parts)}")
        values = await self._values(paths)
        made = _Part(paths, draw, box, every, values, time.monotonic() + every)
        self.parts.append(made)
        _show(made)

    async def tick(self) -> None:
        """Look whether anything changed, and draw that anew."""
        if self._busy:
            return
        self._busy = True
        try:
            await self.news.look()
            new, now = self.news.number != self._number, time.monotonic()
            self._number = self.news.number
            for each in self.parts:
                if new or (each.every and now >= each.due):
                    each.due = now + each.every
                    values = await self._values(each.paths)
                    if any(one is not other for one, other in zip(values, each.seen, strict=True)):
                        each.seen = values
                        _show(each)
        finally:
            self._busy = False

    async def _values(self, paths: tuple[str, ...]) -> tuple[Any, ...]:
        return tuple(await asyncio.gather(*map(self.reader.get, paths)))

    async def order(self, path: str, body: Mapping[str, Any] | None, done: str) -> bool:
        """Give an order, and say what came of it."""
        answer = await self.reader.post(path, body)
        if isinstance(answer, Refused):
            ui.notify(answer.detail, type="negative", timeout=10_000, close_button="Close")
            return False
        ui.notify(done or str(answer.get("what", "done")), type="positive")
        self._number = -1
        return True


def _show(part: _Part) -> None:
    refused = [each for each in part.seen if isinstance(each, Refused)]
    if not refused and part.again is not None:
        part.again(*part.seen)
        return
    part.again = None
    part.box.clear()
    with part.box:
        if refused:
            html(_refusal(refused[0]))
            return
        made = part.draw(*part.seen)
        if isinstance(made, Markup):
            html(made)
        elif callable(made):
            part.again = made


def _refusal(refused: Refused) -> Markup:
    if refused.status == 401:
        return marks.trouble(Markup("{} {}").format("Log in to see this.", marks.link(f"{marks.BASE}/login", "Log in")))
    if refused.status == 404:
        return marks.nothing(refused.detail)
    return marks.trouble(refused.detail)


def html(text: Markup) -> ui.html:
    """Markup of `marks`, which has escaped what came from outside."""
    return ui.html(str(text), sanitize=False)


def heading(text: str, level: int = 2) -> None:
    """A heading of the page."""
    html(marks.tag(f"h{level}", text))


def button(text: str, do: Callable[[], Awaitable[Any]], *, main: bool = False, why_not: str = "") -> ui.element:
    """`why_not`: why it cannot be pressed; empty = it can."""
    made = ui.element("button").classes("act main" if main else "act").props("type=button")
    with made:
        ui.html(str(escape(text)), sanitize=False, tag="span")
    if why_not:
        made.props(f'disabled title="{escape(why_not)}"')
    else:
        made.on("click", do)
    return made


def chart(label: str, options: Mapping[str, Any]) -> ui.echart:
    """`label` says what it shows, for who does not see it; the values stand in a table beside or below it."""
    made = ui.echart({"aria": {"enabled": True}, "textStyle": {"color": "#7a8896"}, **options}).classes("chart")
    return made.props(f'role=img aria-label="{escape(label)}"')


async def framed(view: View, request: Request, title: str, draw: Callable[[View], Awaitable[None]]) -> None:
    """Draw the frame, and the page in it; keep both as they are now for as long as somebody looks."""
    path = request.url.path.removeprefix(request.scope.get("root_path", "")) or "/"
    query = f"?{urlencode({'project': view.project})}" if view.project else ""
    projects = await view.reader.get("/projects")
    ui.page_title(f"{title} · mlops-reconciler")
    html(marks.link("#main", "Skip to the content", "skip"))
    with ui.element("div").classes("frame").props(f'data-query="{escape(query)}"'):
        _header(view, path, projects)
        _ways(path, query)
        with ui.element("div").classes("page").props("id=main tabindex=-1"):  # NiceGUI has put a main around it
            heading(title, 1)
            await draw(view)
    _keys()
    ui.timer(TICK, view.tick)


def _header(view: View, path: str, projects: Any) -> None:
    names = [each["name"] for each in projects["items"]] if not isinstance(projects, Refused) else []
    options = [Markup('<option value="">All projects</option>')]
    for each in names:
        chosen = Markup(" selected") if each == view.project else ""
        options.append(Markup('<option value="{}"{}>{}</option>').format(each, chosen, each))
    form = '<form method="get" action="{}"><select id="project" name="project" aria-label="Project">{}</select></form>'
    where = path if not path.startswith("/resource/") else "/resources"
    who = marks.link(f"{marks.BASE}/login", "Log in")
    if view.logged_in:
        out = '<form method="post" action="{}/logout"><button type="submit">Log out {}</button></form>'
        who = Markup(out).format(marks.BASE, view.me.get("name", ""))
    with ui.element("header"):
        html(Markup('<button id="menu" type="button" aria-expanded="false">Menu</button>'))
        html(marks.link(f"{marks.BASE}/", "mlops-reconciler", "brand"))
        html(Markup(form).format(f"{marks.BASE}{where}", Markup("").join(options)))
        ui.element("span").classes("push")
        html(Markup('<button id="dark" type="button">Dark or light</button>'))
        html(who)


def _ways(path: str, query: str) -> None:
    lines = []
    for group, ways in GROUPS:
        if group:
            lines.append(Markup('<li class="group">{}</li>').format(group))
        for where, title in ways:
            here = Markup(' aria-current="page"') if path.rstrip("/") == where.rstrip("/") else ""
            lines.append(Markup('<li><a href="{}{}{}"{}>{}</a></li>').format(marks.BASE, where, query, here, title))
    with ui.element("nav").props('aria-label="Pages"'):
        html(Markup("<ul>{}</ul>").format(Markup("").join(lines)))


def _keys() -> None:
    mark = (
        '<dialog id="keys" aria-labelledby="keys-title"><h2 id="keys-title">Keys</h2>{}'
        '<form method="dialog"><button class="act">Close</button></form></dialog>'
    )
    html(Markup(mark).format(marks.facts(KEYS)))
