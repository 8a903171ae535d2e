"""Dataset: a DVC-tracked file or folder of a project."""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import normpath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from schemas.base import DnsLabel, Duration, KindInfo, RelativePath, Spec, Strict, Use

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
"""DVC's content address: an MD5, with `.dir` for a folder."""


class DvcImport(Strict):
    """Data that another DVC repository owns."""

    repo: Annotated[str, StringConstraints(min_length=1)]
    """Path or URL of the repository; a host must be in the project's `allow.hosts`."""
    path: RelativePath
    """Path inside that repository."""
    rev: str | None = None
    """Branch, tag or commit; none = what the repository holds now."""


class Source(Strict):
    """Where missing bytes come from the first time; exactly one field is set."""

    file: RelativePath | None = None
    """Another file or folder of the same project."""
    url: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    """A file behind HTTP(S); its host must be in the project's `allow.hosts`."""
    s3: Annotated[str, StringConstraints(pattern=r"^s3://[^/]+/.+")] | None = None
    """An object in S3; its bucket must be in the project's `allow.hosts` as `s3://bucket`."""
    import_: Annotated[DvcImport | None, Field(alias="import")] = None
    """Data from another DVC repository."""


class Expect(Strict):
    """What the data must look like; also types each change (append, schema-additive, schema-breaking)."""

    columns: tuple[str, ...] = ()
    """Columns that must be there, in any order (CSV, TSV or Parquet)."""
    min_rows: Annotated[int, Field(ge=0)] | None = None
    """Fewer rows than this are refused as a version."""


class DatasetSpec(Spec):
    """A path whose bytes are versioned by DVC and restored when they go missing."""

    path: RelativePath
    """File or folder, relative to the project's path."""
    type: Literal["data", "model"] = "data"
    """What the bytes are; `model` is for weights that training starts from."""
    source: Source | None = None
    """Where the bytes come from when they are not there yet."""
    pin: Digest | None = None
    """Hold exactly this version: other bytes are drift and are put back (after a copy was saved)."""
    remote: DnsLabel | None = None
    """Name of a remote of the Platform; must be in the project's `allow.remotes` if that is set."""
    push: bool = False
    """True: every version is pushed to the remote."""
    versions: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many old versions the history keeps; none = all."""
    settle: Duration = "10s"
    """Changed bytes become a version once the file has not changed for this long."""
    expect: Expect | None = None
    """Conditions on the content."""
    write_back: Literal["none", "file"] = "none"
    """`file` writes a `.dvc` file beside the data, in the project's own tree."""


def check(spec: DatasetSpec) -> Iterator[tuple[str, str]]:
    """Conditions that span fields."""
    if spec.push and spec.remote is None:
        yield "remote", "`push: true` needs a remote to push to"
    if spec.source is not None:
        chosen = [name for name in ("file", "url", "s3", "import_") if getattr(spec.source, name) is not None]
        if len(chosen) != 1:
            yield "source", f"expected exactly one of file, url, s3, import; found {len(chosen)}"


def uses(spec: DatasetSpec) -> Iterator[Use]:
    """What a dataset touches: its own path, the hosts that it fetches from, the remote that it pushes to."""
    yield Use("path", "file", spec.path)
    if spec.remote is not None:
        yield Use("remote", "remote", spec.remote)
    if spec.source is not None:
        if spec.source.url is not None:
            yield Use("source.url", "host", urlsplit(spec.source.url).hostname or "")
        if spec.source.s3 is not None:
            yield Use("source.s3", "host", f"s3://{urlsplit(spec.source.s3).netloc}")
        if spec.source.import_ is not None:
            place = _place(spec.source.import_.repo)
            if place is not None:
                yield Use("source.import.repo", "host", place)


def _place(repo: str) -> str | None:
    """The "host" of a repository: a folder of this machine is one too, since nothing outside the project is read unless the
    platform team allows it. None = a folder of the project itself."""
    if "://" in repo:
        return urlsplit(repo).hostname or repo
    if "@" in repo.split(":")[0]:
        return repo.split("@", 1)[1].split(":")[0]
    if repo.startswith("/"):
        return f"file://{repo}"
    return repo if normpath(repo).split("/")[0] == ".." else None


KIND = KindInfo(
    name="Dataset",
    spec=DatasetSpec,
    scope="project",
    prune="confirm",
    summary="A file or folder whose every version is kept by DVC and whose missing bytes are restored.",
    check=check,
    uses=uses,
    left="what lies at its path stays, and so do bytes that another dataset refers to",
    lost="its earlier versions are gone from DVC; what lies at its path becomes a version again",
    made={"version": "the version that was made stays in DVC"},
)
