"""What every manifest shares: the envelope, the value types and the field markers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel

API_VERSION = "reconciler.mlops/v1"


# --- field markers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Marker:
    """How a field behaves in the diff; read from the field's annotation by `marked`."""

    name: str
    meaning: str


Immutable = Marker("Immutable", "cannot change in place: a change replaces the object")
ServerSet = Marker("ServerSet", "set by the tool: shown, never desired")
Secret = Marker("Secret", "a reference to a secret: its value is never printed or stored")
AtLeast = Marker("AtLeast", "a bar: the higher, the stricter")
AtMost = Marker("AtMost", "a bar: the lower, the stricter")
ToolDefault = Marker("ToolDefault", "ours only when the manifest sets it; otherwise the tool's own default stands")


@dataclass(frozen=True)
class RefTo:
    """The field names another resource of `kind`: `name` in the same project, or `project/name`.

    `optional` references order the work when the target exists and are no error when it does not."""

    kind: str
    optional: bool = False
    until: str = ""
    """What follows this sign is not part of the name: `@` for `name@alias`."""


def marked(spec: type[BaseModel], marker: Marker, prefix: str = "spec") -> frozenset[str]:
    """Dotted paths (camelCase, starting at `prefix`) of the fields of `spec` that carry `marker`; `*` stands for any key or index."""
    return frozenset(path for path, found in metadata_of(spec, prefix) if found is marker)


def references(spec: type[BaseModel], prefix: str = "spec") -> tuple[tuple[str, RefTo], ...]:
    """(dotted path, target) of every field of `spec` that names another resource."""
    return tuple((path, found) for path, found in metadata_of(spec, prefix) if isinstance(found, RefTo))


def metadata_of(of: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every piece of `Annotated` metadata below a model or a type, with the dotted path of the field that it sits on."""
    if isinstance(of, type) and issubclass(of, BaseModel):
        for name, info in of.model_fields.items():
            below = f"{path}.{info.alias or name}"
            for each in info.metadata:
                yield below, each
            yield from metadata_of(info.annotation, below)
        return
    origin, arguments = get_origin(of), get_args(of)
    if origin is Annotated:
        for each in arguments[1:]:
            yield path, each
        yield from metadata_of(arguments[0], path)
    elif origin in (Union, UnionType):
        for each in arguments:
            yield from metadata_of(each, path)
    elif origin in (list, tuple, frozenset):
        yield from metadata_of(arguments[0], f"{path}.*")
    elif origin is dict:
        yield from metadata_of(arguments[1], f"{path}.*")


# --- value types ---------------------------------------------------------------------------------------------------

_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")
_SCALE: dict[str, Decimal] = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{s: Decimal(1000) ** n for n, s in enumerate("kMGTP", 1)},
    **{f"{s}i": Decimal(1024) ** n for n, s in enumerate("KMGTP", 1)},
}
_DURATION = re.compile(r"^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?$")


def quantity_value(text: str) -> Decimal:
    """The number that a Kubernetes-style quantity stands for: bytes, cores, watts (`2Gi`, `500m`, `4`).

    Suffixes as in the Kubernetes API conventions (resource.Quantity). Raises ValueError when `text` is not a quantity."""
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(
            f"'{text}' is not a quantity; expected a number with Ki, Mi, Gi, Ti (2Gi) or k, M, G, T, or m for thousandths (500m)"
        )
    return Decimal(match[1]) * _SCALE[match[2] or ""]


def duration_value(text: str) -> timedelta:
    """The time span that `30s`, `15m`, `1h30m` or `7d` stands for. Raises ValueError when `text` is not a duration."""
    match = _DURATION.match(text)
    if match is None or not text:
        raise ValueError(f"'{text}' is not a duration; expected a number with ms, s, m, h or d (30s, 15m, 1h30m)")
    days, hours, minutes, seconds, milliseconds = (float(each or 0) for each in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)


def _quantity(found: Any) -> Any:
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if isinstance(found, str):
        quantity_value(found)
    return found


def _duration(found: Any) -> Any:
    if isinstance(found, str):
        duration_value(found)
    return found


def _moment(found: Any) -> datetime:
    if isinstance(found, str):
        found = datetime.fromisoformat(found.replace("Z", "+00:00"))
    if not isinstance(found, datetime):
        raise ValueError("expected a time such as 2027-01-01T00:00:00Z")
    if found.tzinfo is None:
        raise ValueError("a time needs a zone: write 2027-01-01T00:00:00Z or +02:00")
    return found.astimezone(UTC)


def _no_traversal(found: str) -> str:
    if found.startswith(("/", "~")) or ".." in found.split("/") or "\\" in found or "\0" in found:
        raise ValueError("expected a path inside the project: relative, with forward slashes, without '..'")
    return found


Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": _QUANTITY.pattern}, {"type": "integer", "minimum": 0}],
            "description": "a quantity: 2Gi, 500m, 4",
        }
    ),
]
Duration = Annotated[
    str,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": _DURATION.pattern, "description": "a duration: 30s, 15m, 1h30m, 7d"}),
]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    PlainSerializer(lambda at: at.isoformat().replace("+00:00", "Z"), return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
RelativePath = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_no_traversal)]
DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
ResourceName = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=127)
]
"""`name`, or `project/name` for another project's."""


class Strict(BaseModel):
    """Base of every model here: unknown fields are refused, names are camelCase in YAML, values do not change."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=False,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


class Spec(Strict):
    """Base of every kind's `spec`."""


class FromEnv(Strict):
    """A secret taken from an environment variable of the reconciler when it is needed."""

    from_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class FromFile(Strict):
    """A secret read from a file of the machine when it is needed."""

    from_file: str


SecretRef = Annotated[FromEnv | FromFile, Secret]


def secrets_in(value: Any, path: str = "spec") -> Iterator[tuple[str, str]]:
    """(dotted path, name of the variable or path of the file) of every secret reference in a spec."""
    match value:
        case FromEnv(from_env=name) | FromFile(from_file=name):
            yield path, name
        case BaseModel():
            for field, info in type(value).model_fields.items():
                yield from secrets_in(getattr(value, field), f"{path}.{info.alias or field}")
        case dict():
            for key, each in value.items():
                yield from secrets_in(each, f"{path}.{key}")
        case tuple():
            for number, each in enumerate(value):
                yield from secrets_in(each, f"{path}.{number}")


# --- envelope ------------------------------------------------------------------------------------------------------


class Metadata(Strict):
    """Who the resource is. The name is unique for its kind within the project."""

    name: DnsLabel
    project: DnsLabel | None = None
    """The project it belongs to; not used by kinds of the whole installation (Platform, Project, AlertPolicy)."""
    labels: dict[Annotated[str, StringConstraints(min_length=1, max_length=63)], Annotated[str, StringConstraints(max_length=253)]] = Field(
        default_factory=dict
    )
    """For `--selector`; carried into the tool where it has labels or tags."""


class IgnoreRule(Strict):
    """A field that somebody else is allowed to set: no drift, no correction, until the date."""

    path: Annotated[str, StringConstraints(pattern=r"^spec\.", max_length=512)]
    """Dotted path such as `spec.tags.owner`; everything below it is ignored too."""
    reason: Annotated[str, StringConstraints(min_length=3)]
    """Why; shown where the field would have been."""
    until: Moment | None = None
    """When the rule ends; none = it does not end."""


PrunePolicy = Literal["auto", "confirm", "never"]


class Lifecycle(Strict):
    """How the reconciler may treat the resource; every field is optional."""

    mode: Literal["manage", "observe"] = "manage"
    """`observe` reports drift and never writes."""
    drift: Literal["heal", "report"] = "heal"
    """What becomes of a field that somebody changed in the tool: it is put back, or told until the manifest says the same or somebody
    confirms. What the manifest itself changes is applied in either case."""
    suspend: bool = False
    """True: no writes until it is false again; shown as Suspended."""
    prune: PrunePolicy | None = None
    """What happens when the manifest is gone: delete (`auto`), ask first (`confirm`) or keep (`never`); unset = the kind's own default."""
    adopt: bool = False
    """Take over an object of the same name that exists without this installation's mark."""
    moved_from: DnsLabel | None = None
    """What it was called before, in the same project: what is there under that name is renamed and keeps its history. May stay once
    that is done."""
    ignore: tuple[IgnoreRule, ...] = ()
    """Fields that are somebody else's."""


class Envelope(Strict):
    """One YAML document. `spec` is checked by the schema of its kind."""

    api_version: Literal["reconciler.mlops/v1"]
    kind: str
    metadata: Metadata
    lifecycle: Lifecycle = Lifecycle()
    spec: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Use:
    """Something outside the manifest that a spec touches, so that what a project may touch is checked in one place."""

    path: str
    """Field below spec."""
    what: Literal["host", "remote", "file", "code"]
    """`host`: must be in the project's `allow.hosts`; `remote`: a remote of the Platform, in `allow.remotes`;
    `file`: a path relative to the project that this resource alone may manage; `code`: `project/file`, which that project must share."""
    name: str


@dataclass(frozen=True)
class KindInfo:
    """What the engine needs to know of a kind before it looks at a spec; each schema module's `KIND` holds one."""

    name: str
    spec: type[Spec]
    scope: Literal["project", "installation"]
    prune: PrunePolicy
    """What `lifecycle.prune` means when unset: `confirm` for kinds that hold data or history."""
    summary: str
    """One sentence for `reconcile explain`."""
    root_only: bool = False
    """True: accepted from the root source only, so that nobody grants himself rights."""
    check: Callable[[Any], Iterator[tuple[str, str]]] | None = None
    """Further checks over the whole spec: yields (field path below spec, message)."""
    uses: Callable[[Any], Iterator[Use]] | None = None
    """What a spec touches outside itself."""
    left: str = ""
    """What a deletion leaves in the tool, as the end of a sentence: `its reports stay in the workspace`; empty = nothing worth telling."""
    lost: str = ""
    """What a deletion takes with it that no manifest brings back: `its versions are gone`; empty = nothing."""
    made: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Field below spec -> what stays of an earlier value when it is changed back: `the version that was made stays`."""
