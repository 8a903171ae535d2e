"""Platform: the shared services, and where manifests come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.api import Api
from schemas.api import check as api_check
from schemas.base import DnsLabel, Duration, Immutable, KindInfo, Quantity, RelativePath, SecretRef, Spec, Strict, duration_value
from schemas.gitsource import Follow, Git
from schemas.gitsource import check as git_check
from schemas.policy import Policy
from schemas.resourcequota import Amounts

LEAST_POLL = 1.0
"""Seconds."""
Kind = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$")]
Port = Annotated[int, Field(ge=1024, le=65535)]


class ManifestSource(Strict):
    """A further place that manifests come from. It can name only the projects and kinds listed here."""

    name: DnsLabel
    path: RelativePath = "."
    """Folder, relative to the installation's root; of a repository, within it."""
    git: Git | None = None
    """The repository that it lies in; unset = a folder that is there."""
    projects: tuple[DnsLabel, ...]
    kinds: tuple[str, ...] | None = None
    """Unset = every kind that does not belong to the root source."""
    secrets: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    """Environment variables, and paths of files, that its manifests may take secrets from: the loop's own are nobody else's to send on."""


class Database(Strict):
    """PostgreSQL for the tools: ours, or an existing one."""

    managed: bool = True
    port: Port | None = None
    """Unset = a free one, chosen at the first start and kept."""
    url: SecretRef | None = None
    """With `managed: false`: SQLAlchemy URL of an existing database for MLflow."""


class Mlflow(Strict):
    """The MLflow server: ours, or an existing one."""

    managed: bool = True
    port: Port | None = None
    """Unset = a free one, chosen at the first start and kept."""
    workers: Annotated[int, Field(ge=1, le=32)] = 1
    interpreter: str | None = None
    """Python program whose environment holds MLflow; unset = the reconciler's own."""
    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    """With `managed: false`: base URL of an existing server."""
    username: str | None = None
    password: SecretRef | None = None


class Remote(Strict):
    """Storage that dataset versions can be pushed to."""

    name: DnsLabel
    url: Annotated[str, StringConstraints(min_length=1)]
    """A folder, or `s3://bucket/path`."""
    endpoint_url: str | None = None
    """Of an S3-compatible server."""
    region: str | None = None
    access_key_id: SecretRef | None = None
    secret_access_key: SecretRef | None = None


class Dvc(Strict):
    """Where dataset versions are kept."""

    cache_dir: str | None = None
    """Unset = inside the installation's state folder."""
    cache_types: tuple[Literal["reflink", "hardlink", "symlink", "copy"], ...] = ("reflink", "copy")
    """How restored data is linked to the cache: the first that the file system can do."""
    remotes: tuple[Remote, ...] = ()


class Ray(Strict):
    """The Ray head on this machine; started only when something wants it."""

    port: Port | None = None
    """Of its REST interface; unset = a free one, chosen at the first start and kept."""
    cpus: Annotated[int, Field(ge=1)] | None = None
    """Cores that it may schedule; unset = all."""
    object_store: Quantity = "100M"
    """Memory for objects shared between its workers."""
    interpreter: str | None = None
    """Python program whose environment holds Ray; unset = the reconciler's own."""


class Gateway(Strict):
    """What answers `POST /predict/{project}/{name}` on this machine; started only when a Deployment wants it."""

    port: Port | None = None
    """Unset = a free one, chosen at the first start and kept."""
    interpreter: str | None = None
    """Python program whose environment holds the gateway's packages; unset = the reconciler's own."""


class Evidently(Strict):
    """Evidently's pages on this machine, over the reports of all Monitors; started only when there is a Monitor."""

    port: Port | None = None
    """Unset = a free one, chosen at the first start and kept."""
    interpreter: str | None = None
    """Python program whose environment holds Evidently, for the pages and for the workers; unset = the reconciler's own."""


class Airflow(Strict):
    """Airflow on this machine, started only when a Workflow wants it; or an existing one."""

    managed: bool = True
    port: Port | None = None
    """Of its pages and its REST interface; unset = a free one, chosen at the first start and kept."""
    interpreter: str | None = None
    """Python program whose environment holds Airflow and its git provider; unset = the reconciler's own."""
    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    """With `managed: false`: base URL of an existing Airflow 3."""
    username: str | None = None
    password: SecretRef | None = None
    bundle: str | None = None
    """With `managed: false`: folder on this machine of the git repository that its bundle for our workflows reads; without it no workflow
    can be delivered. The loader is put there too. It imports `reconciler`, so that this package must be installed where Airflow runs."""


class Simulated(Strict):
    """Plays a recorded or scripted trace instead of reading this machine's sensors."""

    trace: RelativePath
    """JSON-lines file, relative to the installation's root."""
    speed: Annotated[float, Field(gt=0)] = 1.0
    """2 = plays twice as fast."""
    loop: bool = False
    """True: starts again at its end; otherwise the last line stays."""


class Admission(Strict):
    """How much of the machine may be given away, and when it is too hot for more."""

    capacity: Amounts | None = None
    """What the machine has, where it cannot be detected or only a part of it is ours; unset = detected."""
    memory_reserve: Quantity | None = None
    """Left to the operating system and to people; unset = a tenth of the memory, 1 GiB at least, 8 GiB at most."""
    margin: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Added to every memory estimate."""
    exempt_priority: Annotated[int, Field(ge=1, le=10)] = 7
    """From this priority on, work starts while the machine is hot (serious) and may use the last tenth of its headroom."""
    launch_budget: Annotated[int, Field(ge=0)] = 20
    """More new runs than this in one revision ask for confirmation."""
    reserve_after: Duration = "30m"
    """A project that could start nothing for so long gets the next room; nobody passes it."""
    pause_after: Duration = "60s"
    """Critically hot for so long: the lowest priority is paused."""
    preemption: Literal["reclaim", "never"] = "reclaim"
    """`reclaim`: a project may take back its lent share, and higher priority stops lower within a project, at most three times each."""
    sensors: Literal["auto", "none"] | Simulated = "auto"
    """`auto`: what this machine has. `none`: quotas and memory only."""


class PlatformSpec(Spec):
    """One installation of the tools that serves every project."""

    installation: Annotated[DnsLabel, Immutable]
    """Marks everything that is created in a tool; two installations can share a server without touching each other."""
    sources: tuple[ManifestSource, ...] = ()
    """Further sources; the folder given on the command line is the root source."""
    follow: Follow | None = None
    """What `reconcile watch` brings the installation's own folder to; unset = the files are taken as they are."""
    poll: dict[Kind, Duration] = Field(default_factory=dict)
    """How often `reconcile watch` looks at a kind in its tool although nothing was saved, such as `{Workflow: 5m}`; kinds that are not
    named: as often as its `--every` says."""
    database: Database = Database()
    mlflow: Mlflow = Mlflow()
    dvc: Dvc = Dvc()
    ray: Ray = Ray()
    gateway: Gateway = Gateway()
    airflow: Airflow = Airflow()
    evidently: Evidently = Evidently()
    admission: Admission = Admission()
    policy: Policy = Policy()
    api: Api = Api()


def check(spec: PlatformSpec) -> Iterator[tuple[str, str]]:
    """Conditions that span fields."""
    if not spec.mlflow.managed and spec.mlflow.endpoint is None:
        yield "mlflow.endpoint", "`managed: false` needs the address of an existing server"
    if spec.mlflow.managed and spec.mlflow.endpoint is not None:
        yield "mlflow.managed", "`endpoint` names an existing server: set `managed: false` with it"
    if not spec.database.managed and spec.database.url is None and spec.mlflow.managed:
        yield "database.url", "`managed: false` needs the URL of an existing database"
    if not spec.airflow.managed and spec.airflow.endpoint is None:
        yield "airflow.endpoint", "`managed: false` needs the address of an existing Airflow"
    if spec.airflow.managed and spec.airflow.endpoint is not None:
        yield "airflow.managed", "`endpoint` names an existing Airflow: set `managed: false` with it"
    yield from ((f"api.{field}", why) for field, why in api_check(spec.api))
    for number, source in enumerate(spec.sources):
        if source.git is None and source.path == ".":
            yield f"sources.{number}.path", "is the root itself: name the folder of this source"
        if source.git is not None:
            yield from ((f"sources.{number}.git.{field}", why) for field, why in git_check(source.git))
        if source.name == "root":
            yield f"sources.{number}.name", "is the name of the folder given on the command line"
    for kind, every in spec.poll.items():
        if duration_value(every).total_seconds() < LEAST_POLL:
            yield f"poll.{kind}", f"{every} is too often: {LEAST_POLL:.0f}s at least"
    if spec.follow is not None:
        yield from ((f"follow.{field}", why) for field, why in git_check(spec.follow))
    for what in (spec.sources, spec.dvc.remotes):
        names = [each.name for each in what]
        for name in sorted({each for each in names if names.count(each) > 1}):
            yield ("sources" if what is spec.sources else "dvc.remotes"), f"the name '{name}' is used twice"


KIND = KindInfo(
    name="Platform",
    spec=PlatformSpec,
    scope="installation",
    prune="confirm",
    summary="The shared services: which of them run here and which exist already.",
    root_only=True,
    check=check,
    left="the data of its services stays on disk",
)
