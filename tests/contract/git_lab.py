"""Real repositories, and real servers of them on this machine."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from reconciler.source.git import Followed, Repository

_PERSON = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


def git(folder: Path, *words: str, **environment: str) -> str:
    """What a person's git says in a folder, at his desk."""
    done = subprocess.run(["git", *words], cwd=folder, env=os.environ | _PERSON | environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"git {words}: {done.stderr}"
    return done.stdout.strip()


def commit(folder: Path, files: Mapping[str, str | bytes | None], *words: str, message: str = "change", **environment: str) -> str:
    """The id of a new commit with these files; None removes one."""
    for name, content in files.items():
        path = folder / name
        if content is None:
            path.unlink()
            with contextlib.suppress(OSError):
                path.parent.rmdir()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    git(folder, "add", "--force", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message, *words, **environment)
    return git(folder, "rev-parse", "HEAD")


def repository_at(folder: Path, *words: str) -> Path:
    """A repository with one commit on `main`."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main", *words)
    commit(folder, {"a.yaml": "one\n", "deep/b.yaml": "one\n"})
    return folder


def following(where: Path, url: Path | str, revision: str = "main", *, deadline: float = 60.0, **more: Any) -> Repository:
    """A repository as the reconciler follows it."""
    return Repository(where, Followed("team", str(url), revision, **more), deadline=deadline)


def placed(repository: Repository) -> str:
    """Fetch the newest and check it out; its id."""
    newest = repository.newest()
    assert repository.check_out(newest).after == newest == repository.here()
    return newest


def files(folder: Path) -> dict[str, str]:
    """What lies in a work tree, by name."""
    found = (each for each in sorted(folder.rglob("*")) if each.is_file() and ".git" not in each.relative_to(folder).parts)
    return {str(each.relative_to(folder)): each.read_text() for each in found}


KEPT = {"notes.txt": "mine", "deep/data.csv": "1,2,3"}
"""What is not tracked in `one_behind`."""


def one_behind(where: Path, origin: Path) -> Repository:
    """A clone of ours with something that is not tracked, one commit behind: that changes, makes and removes a file."""
    found = following(where, origin)
    placed(found)
    for name, content in KEPT.items():
        (where / name).write_text(content)
    commit(origin, {"a.yaml": "two\n", "c/new.yaml": "new\n", "deep/b.yaml": None})
    return found


def as_it_should_be(ours: Repository, origin: Path) -> bool:
    """Whether it has caught up, is sound, and kept what is not tracked."""
    git(ours.where, "fsck", "--strict")
    assert not [each for each in ours.where.iterdir() if each.name.startswith(".mlops")]
    assert git(ours.where, "status", "--porcelain", "--untracked-files=no") == ""
    return files(ours.where) == KEPT | {"a.yaml": "two\n", "c/new.yaml": "new\n"} and ours.here() == git(origin, "rev-parse", "HEAD")


@dataclass
class Server:
    """git's own http-backend behind a door. `asked` is what knocked: the path, and the header of authorization."""

    root: Path
    token: str = ""
    leads_to: str = ""
    """Base URL that every request is sent on to."""
    status: int = 0
    """Answered in place of anything else."""
    said: str = ""
    kind: str = "text/plain"
    """What it says then, and of which type."""
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, door: BaseHTTPRequestHandler) -> None:
        given = door.headers.get("Authorization", "")
        self.asked.append((door.path, given))
        if self.leads_to:
            return _say(door, 302, {"Location": self.leads_to + door.path})
        if self.status:
            return _say(door, self.status, {"Content-Type": self.kind}, self.said.encode())
        wanted = "Basic " + base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
        if self.token and given != wanted:
            return _say(door, 401, {"WWW-Authenticate": "Basic"}, b"who are you?")
        return self._serve(door)

    def _serve(self, door: BaseHTTPRequestHandler) -> None:
        path, _, query = door.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": door.command,
            "CONTENT_TYPE": door.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": door.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": door.headers.get("Git-Protocol", ""),
        }
        body = door.rfile.read(int(door.headers.get("Content-Length") or 0))
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, timeout=60)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        _say(door, int(headers.pop("Status", "200").split()[0]), headers, content)


def _say(door: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], content: bytes = b"") -> None:
    door.send_response(status)
    for name, value in headers.items():
        door.send_header(name, value)
    door.send_header("Content-Length", str(len(content)))
    door.end_headers()
    door.wfile.write(content)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server, with its `url`, on a free port of this machine."""

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.answer(self)

        def do_POST(self) -> None:
            server.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{listening.server_port}"
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
