"""Airflow as four services on the embedded PostgreSQL: api-server, scheduler, dag-processor and triggerer, each a process of its own.

What was found out about Airflow 3.3 and shapes this file:

* On SQLite the api-server waits for itself when a task starts while it writes; on `postgresql://`, which SQLAlchemy 2.1 takes for
  psycopg 3, a locked pool ends the scheduler. So: PostgreSQL, and psycopg2 by name.
* `airflow standalone` leaves children behind when it is ended; separate processes end within seconds.
* Scheduler and triggerer listen on all interfaces for their logs unless told not to (`--skip-serve-logs`).
* A process title overwrites the environment, by which we find our processes, unless SPT_NOENV is set.

The folder of `airflow` holds what all four share: `secrets.json`, `passwords.json` (whoever knows them is admin), `home/` (logs, checkouts
of the bundle) and `dags/`, the git repository that workflows are delivered to."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping

from reconciler import delivery
from reconciler.errors import Transient
from reconciler.exchange import BUNDLE, DAGS
from reconciler.files import write_private
from reconciler.platform import package, postgres
from reconciler.platform.process import Launch
from reconciler.platform.spec import Endpoint, Probe, ServiceSpec, Site

API, SCHEDULER, PROCESSOR, TRIGGERER = "airflow", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"
SERVICES = (API, SCHEDULER, PROCESSOR, TRIGGERER)
USER = "mlops"
"""The one account that is made here; an administrator."""
PROBE_SECONDS = 5.0
READY_SECONDS = 180.0
"""The first start makes some 60 tables; with cold bytecode it was seen to take half a minute."""
BUSY = ("address already in use",)
"""A chosen port that somebody took between the choice and the start: the next start chooses another."""
NO_PORT = 1
"""Of those that listen nowhere: nothing is chosen for them."""
DATABASE = "airflow"
PARALLELISM = 4
"""Tasks that may be written down or ended at once. None of them works here: work waits for its lease, deferred."""
ANSWER_SECONDS = 60.0
"""How long a task waits for an answer of the api-server. Airflow's own 5 s, six times over, were seen to fail tasks while trainings took
all of the machine."""
_COMPONENT = {SCHEDULER: "scheduler", PROCESSOR: "dag_processor", TRIGGERER: "triggerer"}
"""Names in /monitor/health."""
_ARGUMENTS = {
    SCHEDULER: ("scheduler", "--skip-serve-logs"),
    PROCESSOR: ("dag-processor",),
    TRIGGERER: ("triggerer", "--skip-serve-logs"),
}
_START = """
import os, subprocess, sys
subprocess.run([sys.argv[1], "-m", "airflow", "db", "migrate"], check=True)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Brings the database up to date, then becomes the api-server: one process to watch, and nobody waits for it while he holds a lock."""


def needs(spec: ServiceSpec) -> tuple[str, ...]:
    """The database for the api-server; the api-server, which brings it up to date, for the others."""
    return ("postgres",) if spec.name == API else (API,)


def prepare(site: Site) -> None:
    """Check that it can run; make its database, its secrets and the repository that workflows are delivered to."""
    package.require(site, "Airflow", "airflow")
    if site.name != API:
        return
    postgres.ensure_database(site.needs["postgres"], DATABASE)
    for name, make in (("secrets.json", _new_secrets), ("passwords.json", _new_passwords)):
        if not (site.home / name).exists():
            write_private(site.home / name, json.dumps(make()))
    (site.home / "home").mkdir(mode=0o700, exist_ok=True)
    delivery.make(site.home / DAGS)


def launch(site: Site) -> Launch:
    """One of the four, all with the same settings; secrets are in the environment, because everybody may read an argv."""
    python = site.spec.interpreter or sys.executable
    program = (
        (python, "-m", "airflow", *_ARGUMENTS[site.name])
        if site.name != API
        else (python, "-c", _START, python, "-m", "airflow", "api-server")
    )
    own = {"MLOPS_DAG_PROCESSOR": "1"} if site.name == PROCESSOR else {}
    return Launch(program, site.home, {**_settings(_api(site)), **own, **package.import_path(site), **site.spec.env})


def endpoint(site: Site) -> Endpoint:
    """The base URL of the api-server with our account. Raises Transient before the first start."""
    api = _api(site)
    try:
        password = json.loads((api.home / "passwords.json").read_text(encoding="utf-8"))[USER]
    except (OSError, ValueError, KeyError):
        raise Transient("airflow was never started here", hint="reconcile platform up airflow") from None
    return Endpoint(site.name, "http", "127.0.0.1", api.port, USER, password)


def probe(site: Site) -> Probe:
    """What the api-server says of its database; of the others, when they last looked into it."""
    import httpx

    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{_api(site).port}/api/v2", timeout=PROBE_SECONDS, trust_env=False) as client:
            health = client.get("/monitor/health")
            if health.status_code != 200:
                return Probe(False, f"its health was answered with {health.status_code}")
            told = health.json()
            if site.name != API:
                return _component(site.name, told)
            if (told.get("metadatabase") or {}).get("status") != "healthy":
                return Probe(False, "it does not reach its database")
            return package.compare(site, str(client.get("/version").json().get("version")), "apache-airflow")
    except httpx.ConnectError:
        return Probe(False, "nothing answers at its port" if site.name == API else "the api-server does not answer")
    except httpx.TimeoutException:
        return Probe(False, f"its health was not answered in {PROBE_SECONDS:.0f} s")
    except (httpx.HTTPError, ValueError) as error:
        return Probe(False, f"its health was not answered: {type(error).__name__}")


def _api(site: Site) -> Site:
    return site if site.name == API else site.needs[API]


def _new_secrets() -> dict[str, str]:
    import base64

    fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return {"jwt": secrets.token_urlsafe(64), "secret_key": secrets.token_urlsafe(32), "fernet": fernet}


def _new_passwords() -> dict[str, str]:
    return {USER: secrets.token_urlsafe(24)}


def _component(name: str, told: Mapping[str, Mapping[str, object]]) -> Probe:
    found = told.get(_COMPONENT[name]) or {}
    if found.get("status") == "healthy":
        return Probe(True)
    return Probe(False, "it has not been seen at work yet" if not found.get("status") else "it has not been seen at work for a while")


def _settings(api: Site) -> dict[str, str]:
    """Airflow's own names (configuration reference of 3.3); what is not here has Airflow's default.

    Pickup: git is asked every 2 s, and a project's loader is read again only when it has changed, which it does with each of its specs."""
    kept = json.loads((api.home / "secrets.json").read_text(encoding="utf-8"))
    base = f"http://127.0.0.1:{api.port}"
    bundle = {"repo_url": str(api.home / DAGS), "tracking_ref": "main", "refresh_interval": 2}
    sections: dict[str, dict[str, object]] = {
        "core": {
            "load_examples": False,
            "executor": "LocalExecutor",
            "parallelism": PARALLELISM,
            "max_active_tasks_per_dag": 64,
            "dags_are_paused_at_creation": False,
            "min_serialized_dag_update_interval": 0,
            "execution_api_server_url": f"{base}/execution/",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": api.home / "passwords.json",
            "fernet_key": kept["fernet"],
            "hostname_callable": "socket.gethostname",
        },
        "database": {"sql_alchemy_conn": _database(api), "sql_alchemy_pool_size": 3},
        "api": {"host": "127.0.0.1", "port": api.port, "base_url": base, "secret_key": kept["secret_key"], "maximum_page_limit": 1000},
        "api_auth": {"jwt_secret": kept["jwt"]},
        "execution_api": {"jwt_expiration_time": 3600},
        "dag_processor": {
            "dag_bundle_storage_path": api.home / "home" / "bundles",
            "dag_bundle_config_list": json.dumps(
                [{"name": BUNDLE, "classpath": "reconciler.workflows.bundle.WorkflowBundle", "kwargs": bundle}]
            ),
            "refresh_interval": 2,
            "bundle_refresh_check_interval": 1,
            "min_file_process_interval": 3600,
            "parsing_processes": 1,
            "print_stats_interval": 0,
            "stale_dag_threshold": 10,
        },
        "scheduler": {"parsing_cleanup_interval": 5, "scheduler_idle_sleep_time": 1, "orphaned_tasks_check_interval": 30},
        "workers": {"execution_api_timeout": ANSWER_SECONDS},
        "logging": {"base_log_folder": api.home / "home" / "logs"},
        "usage_data_collection": {"enabled": False},
    }
    env = {
        f"AIRFLOW__{section.upper()}__{name.upper()}": str(value) for section, names in sections.items() for name, value in names.items()
    }
    return {
        **env,
        "AIRFLOW_HOME": str(api.home / "home"),
        "SPT_NOENV": "1",
        "AIRFLOW_CONN_GIT_DEFAULT": '{"conn_type": "git"}',
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
    }


def _database(api: Site) -> str:
    return postgres.endpoint(api.needs["postgres"]).for_database(DATABASE, driver="psycopg2").url
