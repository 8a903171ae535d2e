"""A forge on loopback that speaks as much of the interfaces of GitHub, Gitea and GitLab as a review needs, and can misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "forge-token-canary"


@dataclass
class Forge:
    """`comments` by id, `statuses` in order; `answers` are given before anything else, one for each request."""

    url: str = ""
    gitlab: bool = False
    pages_all: bool = False
    """As Gitea: every page holds all comments."""
    comments: dict[int, str] = field(default_factory=dict)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def writes(self) -> list[tuple[str, str]]:
        return [each for each in self.asked if each[0] != "GET"]


@contextmanager
def forge(*, gitlab: bool = False, pages_all: bool = False) -> Iterator[Forge]:
    found = Forge(gitlab=gitlab, pages_all=pages_all)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(found))
    found.url = f"http://127.0.0.1:{server.server_address[1]}{'/api/v4' if gitlab else ''}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(lab: Forge) -> type[BaseHTTPRequestHandler]:
    home = "/api/v4/projects/team%2Ftoolkit" if lab.gitlab else "/repos/team/toolkit"
    comments = f"{home}/merge_requests/7/notes" if lab.gitlab else f"{home}/issues/7/comments"
    each = comments if lab.gitlab else f"{home}/issues/comments"
    statuses = f"{home}/statuses/{'a' * 40}"

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else {}
            lab.asked.append((self.command, unquote(urlsplit(self.path).path)))
            if lab.answers:
                code, headers = lab.answers.pop(0)
                self._answer(code, {"message": f"no, {TOKEN}"}, headers)
            elif self._token() != TOKEN:
                self._answer(401, {"message": "Bad credentials"})
            else:
                self._answer(*self._done(body))

        def _token(self) -> str:
            if lab.gitlab:
                return self.headers.get("PRIVATE-TOKEN", "")
            return self.headers.get("Authorization", "").removeprefix("token ")

        def _done(self, body: dict[str, Any]) -> tuple[int, Any]:
            path, asked = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            if self.command == "GET" and path == comments:
                found = [{"id": number, "body": text} for number, text in sorted(lab.comments.items())]
                size, page = int(asked["per_page"][0]), int(asked["page"][0])
                return 200, found if lab.pages_all else found[size * (page - 1) : size * page]
            if self.command == "POST" and path == comments:
                lab.comments[max(lab.comments, default=100) + 1] = body["body"]
                return 201, {"id": max(lab.comments)}
            if self.command == ("PUT" if lab.gitlab else "PATCH") and path.rpartition("/")[0] == each:
                lab.comments[int(path.rpartition("/")[2])] = body["body"]
                return 200, {}
            if self.command == "POST" and path == statuses:
                lab.statuses.append(body)
                return 201, {}
            return 404, {"message": "Not Found"}

        def _answer(self, code: int, value: Any, headers: dict[str, str] | None = None) -> None:
            text = json.dumps(value).encode()
            self.send_response(code)
            for name, each in {"Content-Length": str(len(text)), **(headers or {})}.items():
                self.send_header(name, each)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_PUT = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Handler
