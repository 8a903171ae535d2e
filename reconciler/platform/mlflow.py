"""The MLflow server: one process tree on the embedded PostgreSQL (or on the database that `extra` names)."""

from __future__ import annotations

import sys

from reconciler.errors import Terminal
from reconciler.platform import package, postgres
from reconciler.platform.process import Launch
from reconciler.platform.spec import Endpoint, Probe, ServiceSpec, Site

PROBE_SECONDS = 5.0
BUSY = ("address already in use",)
"""A chosen port that somebody took between the choice and the start: the next start chooses another."""
_DATABASES = ("postgresql", "mysql", "sqlite", "mssql")
"""Source: MLflow 3, mlflow.store.db.db_types.DATABASE_ENGINES."""
_OPTIONS = frozenset({"database", "artifacts", "allowedHosts"})
"""What `extra` may say: a SQLAlchemy URL instead of the embedded PostgreSQL, where artifacts go, further names that clients call us by."""


def needs(spec: ServiceSpec) -> tuple[str, ...]:
    """postgres, unless another database was named."""
    return () if "database" in spec.extra else ("postgres",)


def prepare(site: Site) -> None:
    """Check that it can run; make its database and its folder for artifacts."""
    if unknown := sorted(set(site.spec.extra) - _OPTIONS):
        raise Terminal(f"mlflow has no option {unknown[0]!r}", hint=f"allowed: {', '.join(sorted(_OPTIONS))}")
    package.require(site, "MLflow")
    if "database" in site.spec.extra:
        _check_url(site.spec.extra["database"])
    (site.home / "artifacts").mkdir(mode=0o700, exist_ok=True)
    if "postgres" in site.needs:
        postgres.ensure_database(site.needs["postgres"], "mlflow")


def launch(site: Site) -> Launch:
    """One worker by default, no job runner (it doubles the memory), no telemetry; the database's password is in the
    environment, because everybody may read an argv."""
    names = ["127.0.0.1", "localhost", *filter(None, site.spec.extra.get("allowedHosts", "").split(","))]
    argv = (
        *(site.spec.interpreter or sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(site.port)),
        *("--workers", str(site.spec.workers), "--uvicorn-opts", "--no-access-log"),
        *("--artifacts-destination", site.spec.extra.get("artifacts") or str(site.home / "artifacts")),
        *("--allowed-hosts", ",".join(f"{name}{port}" for name in names for port in ("", f":{site.port}"))),
        *("--cors-allowed-origins", ",".join(f"http://{name}:{site.port}" for name in names)),
    )
    env = {
        "MLFLOW_BACKEND_STORE_URI": _database(site),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **site.spec.env,
    }
    return Launch(argv, site.home, env)


def endpoint(site: Site) -> Endpoint:
    """Its base URL."""
    return Endpoint(site.name, "http", "127.0.0.1", site.port)


def probe(site: Site) -> Probe:
    """A search that reads the database; /health says 200 while the database is gone."""
    import httpx

    try:
        with httpx.Client(base_url=endpoint(site).url, timeout=PROBE_SECONDS, trust_env=False) as client:
            answer = client.post("/api/2.0/mlflow/experiments/search", json={"max_results": 1})
            if answer.status_code != 200 or "experiments" not in answer.json():
                return Probe(False, f"a search of experiments was answered with {answer.status_code}")
            return package.compare(site, client.get("/version").text.strip().strip('"'))
    except httpx.ConnectError:
        return Probe(False, "nothing answers at its port")
    except httpx.TimeoutException:
        return Probe(False, f"a search of experiments was not answered in {PROBE_SECONDS:.0f} s")
    except (httpx.HTTPError, ValueError) as error:
        return Probe(False, f"a search of experiments was not answered: {type(error).__name__}")


def _check_url(url: str) -> None:
    """Refuse what MLflow could not use: it writes such a URL into its log, password and all. Raises Terminal, which never shows it."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        found = make_url(url).get_backend_name()
    except (ArgumentError, ValueError):
        found = ""
    if found not in _DATABASES:
        hint = f"expected a URL such as postgresql://user:password@host:5432/name; MLflow knows {', '.join(_DATABASES)}"
        raise Terminal("the secret of spec.database.url is not the URL of a database for MLflow", hint=hint) from None


def _database(site: Site) -> str:
    given = site.spec.extra.get("database")
    if given is None:
        return postgres.endpoint(site.needs["postgres"]).for_database("mlflow", driver="psycopg2").url
    # SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3, which MLflow's extra does not bring
    return given.replace("postgresql://", "postgresql+psycopg2://", 1)
