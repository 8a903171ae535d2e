"""The values of this package: what is wanted of a service, how it is, where it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

ServiceState = Literal["running", "starting", "stopped", "dead", "degraded", "unhealthy"]
"""running: does its work. starting: its process is up and still within its start time. stopped: not wanted up.
dead: its process ended without being asked to. degraded: works, but not as specified (version, settings).
unhealthy: its process is up and does no work."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class ServiceSpec:
    """What is wanted of one service.

    `port` None lets the service choose: a free port, remembered on disk, or a private socket (postgres).
    `interpreter` is the Python that runs it (None: this one). `extra` holds the recipe's own options, `env` is added to the
    service's environment; the values of both may be secret (a database's URL) and are never printed."""

    name: str
    port: int | None = None
    workers: int = 1
    interpreter: str | None = None
    extra: Mapping[str, str] = field(default_factory=lambda: _NOTHING, repr=False)
    env: Mapping[str, str] = field(default_factory=lambda: _NOTHING, repr=False)


@dataclass(frozen=True)
class ServiceStatus:
    """One service as it was seen. `url` never holds a password; `pss_bytes` is the proportional memory of its process tree
    (None where it was not asked for or cannot be read)."""

    name: str
    state: ServiceState
    pid: int | None = None
    url: str | None = None
    since: datetime | None = None
    version: str | None = None
    message: str = ""
    pss_bytes: int | None = None


@dataclass(frozen=True)
class Endpoint:
    """Where a service answers. Printing it never shows the password; `url` holds it, so `url` is not for logs."""

    name: str
    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""

    @property
    def url(self) -> str:
        """The full address, password included."""
        return self._format(self.password)

    @property
    def public_url(self) -> str:
        """The address with the password left out."""
        return self._format("***" if self.password else "")

    def for_database(self, database: str, driver: str = "") -> Endpoint:
        """The same server's other database; `driver` is SQLAlchemy's name for one, such as psycopg2."""
        scheme = self.scheme.partition("+")[0] + (f"+{driver}" if driver else "")
        return Endpoint(self.name, scheme, self.host, self.port, self.user, self.password, database)

    def _format(self, password: str) -> str:
        who = f"{quote(self.user, safe='')}:{quote(password, safe='*')}@" if self.user else ""
        path = f"/{self.database}" if self.database else ""
        if self.host.startswith("/"):
            return f"{self.scheme}://{who}{path or '/'}?host={quote(self.host, safe='/')}&port={self.port}"
        return f"{self.scheme}://{who}{self.host}:{self.port}{path}"


@dataclass(frozen=True)
class Probe:
    """What one look at a service's work told. `version` is what the service itself says that it is, `pid` which process answered
    (None where it does not tell)."""

    ok: bool
    message: str = ""
    version: str | None = None
    pid: int | None = None


@dataclass(frozen=True)
class Site:
    """Everything that a recipe may know about one service: what is wanted, its folder, its port, the services that it needs."""

    spec: ServiceSpec
    home: Path
    port: int
    needs: Mapping[str, Site] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def name(self) -> str:
        return self.spec.name
