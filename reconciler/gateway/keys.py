"""API keys: who may ask the gateway for what. Kept as hashes in `serving/keys.json`; the text of a key is known once, when it is made.

A key is `mlr_ID_SECRET`. Its secret has 256 random bits, so that nobody finds it by trying, and a plain SHA-256 of it is right: salted and
slow hashes are for what people choose and for less than 112 bits (NIST SP 800-63B, 5.1.2.2 on look-up secrets)."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from reconciler.errors import StoreError, UsageError
from reconciler.files import write_private
from reconciler.model.serving import folder

Scope = Literal["predict", "feedback", "models", "metrics"]
SCOPES: tuple[Scope, ...] = ("predict", "feedback", "models", "metrics")
USUAL: frozenset[Scope] = frozenset({"predict", "feedback", "models"})
"""What a key may do unless its maker says otherwise; metrics tell of all projects."""
ALL = "*"
"""In place of a project: every one."""
PREFIX = "mlr"
GRACE = 3600.0
"""Seconds for which the old secret of a rotated key is still good."""
LONGEST = 300
"""Characters of what is presented; a longer text is no key."""
_log = logging.getLogger("reconciler.gateway")


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Times are Unix seconds."""

    id: str
    project: str
    """Or ALL."""
    scopes: frozenset[Scope]
    created: float = 0.0
    expires: float | None = None
    revoked: float | None = None
    replaced_by: str = ""
    """Id of the key that a rotation made."""
    note: str = ""
    sha256: str = field(default="", repr=False)

    def allows(self, project: str, scope: Scope) -> bool:
        """Whether it is for this project and this use."""
        return scope in self.scopes and self.project in (ALL, project)

    def good(self, now: float) -> bool:
        """Neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < self.expires)


def keys_file(state_dir: Path) -> Path:
    return folder(state_dir) / "keys.json"


class Keyring:
    """The keys as the gateway asks for them: read again when the file has changed. `clock` gives Unix seconds."""

    def __init__(self, state_dir: Path, admin_token: str, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = keys_file(state_dir), clock
        self._admin = _hash(admin_token) if admin_token else ""
        self._stamp: tuple[int, int, int] | None = (-1, -1, -1)
        self._keys: Mapping[str, Key] = {}

    def find(self, presented: str) -> Key | None:
        """The key that `presented` is the text of; None when there is none, or it is good no longer.

        The admin token is a key for everything, with the id `admin`."""
        if not 0 < len(presented) <= LONGEST:
            return None
        if self._admin and hmac.compare_digest(_hash(presented), self._admin):
            return ADMIN
        self._follow()
        prefix, _, rest = presented.partition("_")
        id_, _, secret = rest.partition("_")
        key = self._keys.get(id_)
        if prefix != PREFIX or key is None or not hmac.compare_digest(_hash(secret), key.sha256):
            return None
        return key if key.good(self._clock()) else None

    def _follow(self) -> None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            stamp = None
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = {key.id: key for key in _read(self._path)}
        except StoreError as error:  # nobody can say then who was revoked
            self._keys = {}
            _log.error("no key is accepted: %s", error)


ADMIN = Key("admin", ALL, frozenset(SCOPES))


# --- making and ending them --------------------------------------------------------------------------------------------


def create(
    state_dir: Path,
    project: str,
    scopes: Iterable[str] = USUAL,
    *,
    lifetime: float | None = None,
    note: str = "",
    now: float | None = None,
) -> tuple[Key, str]:
    """A new key, and its text, which cannot be had again. `lifetime` is in seconds. Raises UsageError when there is no scope
    or one that is none, StoreError when the file cannot be read."""
    asked = set(scopes)
    wanted = frozenset(each for each in SCOPES if each in asked)
    if not asked or len(wanted) < len(asked):
        told = f"there is no scope {min(asked.difference(SCOPES))!r}" if asked else "a key without a scope could do nothing"
        raise UsageError(told, hint=f"scopes are: {', '.join(SCOPES)}")
    with _changed(state_dir) as keys:
        return _add(keys, Key("", project, wanted, note=note), lifetime, time.time() if now is None else now)


def listing(state_dir: Path) -> tuple[Key, ...]:
    """All keys, the oldest first, those that are good no longer too. Raises StoreError when the file cannot be read."""
    return tuple(sorted(_read(keys_file(state_dir)), key=lambda each: (each.created, each.id)))


def revoke(state_dir: Path, id_: str, *, now: float | None = None) -> Key:
    """End a key at once. Revoking it again changes nothing. Raises UsageError when there is no such key."""
    with _changed(state_dir) as keys:
        key = _known(keys, id_)
        if key.revoked is None:
            key = keys[id_] = replace(key, revoked=time.time() if now is None else now)
        return key


def rotate(state_dir: Path, id_: str, *, grace: float = GRACE, now: float | None = None) -> tuple[Key, str]:
    """A key in place of another, for the same uses and the same time from now on, and its text; the old one is good for `grace` seconds
    more. Raises UsageError when there is no such key, or it is good no longer."""
    at = time.time() if now is None else now
    with _changed(state_dir) as keys:
        old = _known(keys, id_)
        if not old.good(at):
            raise UsageError(f"key {id_} is good no longer", hint="make a new one: `reconcile keys create`")
        if old.replaced_by:
            raise UsageError(f"key {id_} was replaced by {old.replaced_by} already", hint=f"reconcile keys rotate {old.replaced_by}")
        lifetime = None if old.expires is None else old.expires - old.created
        new, text = _add(keys, Key("", old.project, old.scopes, note=old.note), lifetime, at)
        ends = at + grace if old.expires is None else min(old.expires, at + grace)
        keys[id_] = replace(old, expires=ends, replaced_by=new.id)
        return new, text


def _add(keys: dict[str, Key], wanted: Key, lifetime: float | None, now: float) -> tuple[Key, str]:
    id_ = next(each for each in iter(lambda: secrets.token_hex(6), "") if each not in keys)
    secret = secrets.token_urlsafe(32)
    keys[id_] = key = replace(wanted, id=id_, created=now, expires=None if lifetime is None else now + lifetime, sha256=_hash(secret))
    return key, f"{PREFIX}_{id_}_{secret}"


def _known(keys: Mapping[str, Key], id_: str) -> Key:
    if id_ not in keys:
        raise UsageError(f"there is no key '{id_}'", hint="`reconcile keys list --all` shows them all")
    return keys[id_]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- the file ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _changed(state_dir: Path) -> Iterator[dict[str, Key]]:
    """The keys by id, to be changed by one at a time; written as a whole when the block ends well and something changed."""
    path = keys_file(state_dir)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # held for one small write
        keys = {key.id: key for key in _read(path)}
        before = dict(keys)
        yield keys
        if keys != before:
            rows = [{**asdict(each), "scopes": sorted(each.scopes)} for each in keys.values()]
            write_private(path, json.dumps({"keys": rows}, indent=1))
    finally:
        os.close(handle)


def _read(path: Path) -> list[Key]:
    """Raises StoreError when there is a file and it does not hold keys."""
    try:
        return [_key(row) for row in json.loads(path.read_text(encoding="utf-8"))["keys"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it does not hold keys"
        raise StoreError(f"{path} cannot be read: {why}", hint="put a backup in its place, or remove it and make new keys") from None


def _key(row: Mapping[str, Any]) -> Key:
    expires, revoked = row.get("expires"), row.get("revoked")
    key = Key(
        id=str(row["id"]),
        project=str(row["project"]),
        scopes=frozenset(row["scopes"]),
        created=float(row["created"]),
        expires=None if expires is None else float(expires),
        revoked=None if revoked is None else float(revoked),
        replaced_by=str(row.get("replaced_by", "")),
        note=str(row.get("note", "")),
        sha256=row["sha256"],
    )
    if not isinstance(key.sha256, str) or len(key.sha256) != 64:
        raise ValueError("a key without a hash")
    return key
