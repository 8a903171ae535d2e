"""Puts the pages on the API's application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from nicegui import app as pages
from nicegui import ui
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from reconciler.dashboard.frame import View, framed
from reconciler.dashboard.guard import Guard
from reconciler.dashboard.login import login_page
from reconciler.dashboard.marks import BASE
from reconciler.dashboard.news import News
from reconciler.dashboard.reader import Reader, Refused
from reconciler.dashboard.sessions import COOKIE, LENGTH, Sessions

if TYPE_CHECKING:
    from reconciler.api.v1.door import Door

ASSETS = Path(__file__).parent / "assets"
LONGEST = 8192
"""Bytes of a login form that are read."""
Page = Callable[[View], Awaitable[None]]


class Dashboard:
    """One for each process, for NiceGUI keeps its pages by process. `api`: the application below `/api/v1`."""

    def __init__(self, door: Door, api: ASGIApp) -> None:
        self._api, self.sessions, self.news = api, Sessions(), News(door)

    def put_on(self, app: FastAPI, door: Door) -> None:
        """Pages below BASE; `/` leads there."""
        from reconciler.dashboard.pages import PAGES

        pages.add_static_files("/assets", str(ASSETS))
        version = max(int(each.stat().st_mtime) for each in ASSETS.iterdir())
        head = '<link rel="stylesheet" href="{0}.css?{1}"><script defer src="{0}.js?{1}"></script>'
        ui.add_head_html(head.format(f"{BASE}/assets/dashboard", version), shared=True)
        for path, title, draw in PAGES:
            self._add(path, title, draw)
        ui.run_with(
            app,
            mount_path=BASE,
            title="mlops-reconciler",
            dark=None,
            language="en-US",
            tailwind=False,
            show_welcome_message=False,
            binding_refresh_interval=None,
            reconnect_timeout=10.0,
        )
        mounted = next(each for each in app.router.routes if isinstance(each, Mount) and each.path == BASE)
        app.router.routes.remove(mounted)
        app.router.routes += [
            Route("/", lambda _: RedirectResponse(f"{BASE}/")),
            Mount(BASE, Guard(_Login(mounted.app, self), door)),
        ]

    def _add(self, path: str, title: str, draw: Page) -> None:
        async def page(request: Request) -> Any:
            reader = self.reader(request)
            me = await reader.get("/me")
            if isinstance(me, Refused) and me.status == 401:
                return RedirectResponse(f"{BASE}/login")
            view = View(
                reader,
                self.news,
                dict(request.query_params) | request.path_params,
                bool(self.token(request)),
                {} if isinstance(me, Refused) else me,
            )
            words = request.path_params.get("name", "")
            await framed(view, request, words or title, draw)
            return None

        ui.page(path, response_timeout=30.0)(page)

    def token(self, request: Request) -> str:
        """Of whoever is logged in; empty = nobody."""
        return self.sessions.token(request.cookies.get(COOKIE, ""))

    def reader(self, request: Request, token: str | None = None) -> Reader:
        """The API as this browser may see it."""
        return Reader(self._api, lambda: self.token(request) if token is None else token, request)


class _Login:
    """The pages, and the forms that need no script."""

    def __init__(self, app: ASGIApp, dashboard: Dashboard) -> None:
        self._app, self._dashboard = app, dashboard

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", "")) if scope["type"] == "http" else ""
        if path not in ("/login", "/logout"):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        response = await (self.login(request) if path == "/login" else self.logout(request))
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)

    async def login(self, request: Request) -> Response:
        if request.method != "POST":
            return HTMLResponse(login_page())
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST:
                return HTMLResponse(login_page("that is no token"), 413)
        from urllib.parse import parse_qs

        token = parse_qs(body.decode(errors="replace")).get("token", [""])[0].strip()
        me = await self._dashboard.reader(request, token or "-").get("/me")
        if isinstance(me, Refused):
            return HTMLResponse(login_page(me.detail), 401 if me.status == 401 else 503)
        response = RedirectResponse(f"{BASE}/", 303)
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        response.set_cookie(
            COOKIE, self._dashboard.sessions.begin(token), max_age=int(LENGTH), path=BASE, httponly=True, samesite="strict", secure=secure
        )
        return response

    async def logout(self, request: Request) -> Response:
        if request.method == "POST":
            self._dashboard.sessions.end(request.cookies.get(COOKIE, ""))
        response = RedirectResponse(f"{BASE}/login", 303)
        response.delete_cookie(COOKIE, path=BASE)
        return response
