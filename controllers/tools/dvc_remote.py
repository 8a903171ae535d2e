"""What DVC reaches over a network or in other repositories: remotes, and the sources that data is taken from once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from controllers.tools.dvc_cache import Cache
from controllers.tools.dvc_calls import load
from reconciler.errors import Terminal, Transient

CONNECT_SECONDS = 10
READ_SECONDS = 60
"""Deadlines of one request; a transfer as a whole may take longer."""
_REDIRECTS = 10
"""Half of what httpx follows by default; a data host rarely needs more than two."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Storage for versions."""

    name: str
    url: str
    """An absolute folder, or `s3://bucket/path`."""
    endpoint_url: str | None = None
    region: str | None = None
    keys: Callable[[], tuple[str | None, str | None]] = field(default=lambda: (None, None), repr=False)
    """Gives access key id and secret access key when they are needed; they are written nowhere. (None, None) = the machine's own."""

    @property
    def settings(self) -> dict[str, str]:
        """DVC's names for what is not secret; what goes into `.dvc/config`."""
        found = {"url": self.url, "endpointurl": self.endpoint_url, "region": self.region}
        return {key: value for key, value in found.items() if value is not None}


def open_fs(remote: Remote, url: str | None = None) -> tuple[Any, str]:
    """DVC's file system for a remote, or for another URL with the remote's access; and the path in it."""
    load("dvc.fs")
    from dvc.fs import get_cloud_fs

    settings: dict[str, Any] = {**remote.settings, "url": url or remote.url}
    if settings["url"].startswith("s3://"):
        secrets = zip(("access_key_id", "secret_access_key"), remote.keys(), strict=True)
        settings |= {key: value for key, value in secrets if value}
        settings |= {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    kind, config, path = get_cloud_fs({}, **settings)
    return kind(**config), path


def _odb(remote: Remote) -> Any:
    load()
    import dvc_data.hashfile.db as dvc_db

    get_odb: Any = dvc_db.get_odb
    fs, path = open_fs(remote)
    return get_odb(fs, fs.join(path, "files", "md5"), hash_name="md5")


def absent_from(remote: Remote, oids: Sequence[str]) -> list[str]:
    """Which of these objects the remote does not hold."""
    found = set(_odb(remote).oids_exist(list(oids))) if oids else set()
    return [each for each in oids if each not in found]


def push(cache: Cache, remote: Remote, md5: str) -> int:
    """Send the objects of a version that the remote lacks, a folder's listing last; how many were sent."""
    oids = cache.parts(md5)
    lacking = absent_from(remote, oids)
    files, listing = (
        [each for each in lacking if each != md5 or not md5.endswith(".dir")],
        [each for each in lacking if each.endswith(".dir")],
    )
    for some in (files, listing):
        if some:
            _copy(_odb(remote), [str(cache.path(each)) for each in some], cache.odb().fs, some, verify=False)
    return len(lacking)


def fetch(cache: Cache, remote: Remote, md5: str) -> int:
    """Bring the objects of a version that the cache lacks, each checked against its name; how many were brought.

    Raises Terminal when the remote does not hold them all, or holds damaged ones."""
    brought = 0
    # A folder's listing first: it says which files to ask for.
    while wanted := ([md5] if not cache.has(md5) else cache.missing(md5)):
        odb = _odb(remote)
        if lacking := absent_from(remote, wanted):
            raise Terminal(f"remote '{remote.name}' lacks {len(lacking)} of the objects of {md5}, first {lacking[0]}")
        _copy(cache.odb(), [odb.oid_to_path(each) for each in wanted], odb.fs, wanted, verify=True)
        if bad := [each for each in wanted if not cache.has(each)]:
            raise Terminal(f"remote '{remote.name}' holds damaged bytes under {bad[0]}")
        brought += len(wanted)
    return brought


def _copy(to: Any, paths: list[str], fs: Any, oids: list[str], verify: bool) -> None:
    failed: list[BaseException] = []
    to.add(paths, fs, oids, check_exists=False, verify=verify, on_error=lambda _, error: failed.append(error))
    if failed:
        raise failed[0]


def download_repo(repo: str, path: str, rev: str | None, to: Path) -> str:
    """Take a file or folder out of another DVC (or git) repository; the revision that it came from, empty when it has none."""
    load("dvc.fs", "dvc.repo", "dvc.repo.open_repo", "dvc.scm")
    from dvc.fs import download
    from dvc.repo import Repo
    from dvc.repo.open_repo import clean_repos
    from dvc.scm import NoSCM

    try:
        with Repo.open(url=repo, rev=rev, subrepos=True, uninitialized=True) as opened:
            fs = opened.dvcfs
            place = fs.from_os_path(path)
            if not fs.exists(place):
                raise Terminal(f"'{path}' is not in {repo}" + (f" at {rev}" if rev else ""))
            download(fs, place, str(to))
            return "" if isinstance(opened.scm, NoSCM) else str(opened.get_rev() or "")
    finally:
        clean_repos()


def download_url(url: str, access: Remote, to: Path, allowed: Callable[[str], bool]) -> str:
    """Take a file from HTTP(S), or an object or folder from S3; its ETag where there is one.

    `allowed` decides on each host, after every redirect too."""
    if urlsplit(url).scheme in ("http", "https"):
        return _download_http(url, to, allowed)
    load("dvc.fs")
    from dvc.fs import download

    fs, path = open_fs(access, url)
    if not fs.exists(path):
        raise Terminal(f"{url} does not exist, or may not be read with the given access")
    download(fs, path, str(to))
    return str(fs.info(path).get("ETag", "")).strip('"')


def _download_http(url: str, to: Path, allowed: Callable[[str], bool]) -> str:
    import httpx

    with httpx.Client(timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS), follow_redirects=False) as client:
        for _ in range(_REDIRECTS):
            host = urlsplit(url).hostname or ""
            if not allowed(host):
                raise Terminal(f"'{host}' is not a host that this project may fetch from", hint="the project's `allow.hosts` lists them")
            with client.stream("GET", url) as answer:
                if answer.is_redirect and answer.next_request is not None:
                    url = str(answer.next_request.url)
                    continue
                if answer.status_code >= 500 or answer.status_code == 429:
                    raise Transient(f"{host} answered {answer.status_code}")
                if answer.status_code != 200:
                    raise Terminal(f"{host} answered {answer.status_code} for {urlsplit(url).path}")
                with to.open("wb") as file:
                    for piece in answer.iter_bytes(1 << 20):
                        file.write(piece)
                return str(answer.headers.get("etag", "")).strip('"')
    raise Terminal(f"{url}: more than {_REDIRECTS} redirects")


def quieten(site_cache: Path) -> None:
    """Before DVC's first import: no usage reports, no progress bars on our terminal, its own state in our folder and not in /var/tmp."""
    import logging

    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    os.environ.setdefault("DVC_SITE_CACHE_DIR", str(site_cache))
    for name in ("dvc_data.callbacks", "dvc.progress", "dvc.ui", "dvc_data", "dvc_objects", "dvc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
