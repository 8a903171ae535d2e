"""JSON Schema of manifests, for editors, and the fields of a kind, for `reconcile explain`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic.json_schema import models_json_schema

from schemas.base import API_VERSION, KindInfo, Lifecycle, Marker, Metadata, RefTo, metadata_of

DIALECT = "http://json-schema.org/draft-07/schema#"
"""What yaml-language-server understands completely; nothing here needs a newer draft."""
Schema = dict[str, Any]


def kind_schema(info: KindInfo) -> Schema:
    """JSON Schema of one kind's whole manifest."""
    parts, definitions = definitions_of([info])
    return {"$schema": DIALECT, "title": info.name, **_manifest(info, parts), "$defs": definitions}


def any_schema(kinds: Iterable[KindInfo]) -> Schema:
    """One JSON Schema for a manifest of any kind: `kind` decides which applies, so that an editor's messages are about that kind."""
    found = sorted(kinds, key=lambda each: each.name)
    parts, definitions = definitions_of(found)
    choices = [
        {"if": {"properties": {"kind": {"const": info.name}}, "required": ["kind"]}, "then": _manifest(info, parts)} for info in found
    ]
    return {
        "$schema": DIALECT,
        "title": "Manifest",
        "description": "A manifest of mlops-reconciler.",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {"apiVersion": {"const": API_VERSION}, "kind": {"enum": [info.name for info in found]}},
        "allOf": choices,
        "$defs": definitions,
    }


def definitions_of(kinds: list[KindInfo]) -> tuple[Mapping[Any, Schema], Schema]:
    """A reference for every model, and the definitions behind the references, named without clashes."""
    models: list[Any] = [Metadata, Lifecycle, *(info.spec for info in kinds)]
    references, shared = models_json_schema([(each, "validation") for each in models], ref_template="#/$defs/{model}")
    return {model: reference for (model, _), reference in references.items()}, shared.get("$defs", {})


def _manifest(info: KindInfo, parts: Mapping[Any, Schema]) -> Schema:
    needs_spec = any(each.is_required() for each in info.spec.model_fields.values())
    metadata: Schema = {"allOf": [parts[Metadata]]}
    if info.scope == "project":
        metadata["required"] = ["name", "project"]
    else:
        metadata["not"] = {"required": ["project"]}
    return {
        "description": info.summary,
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", *(["spec"] if needs_spec else [])],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": info.name},
            "metadata": metadata,
            "lifecycle": parts[Lifecycle],
            "spec": parts[info.spec],
        },
        "additionalProperties": False,
    }


# --- fields, for people --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """One field as a person reads about it."""

    path: str
    """Dotted, from `metadata`, `lifecycle` or `spec`; `*` stands for any key or index."""
    type: str
    required: bool
    default: str
    """As YAML would have it; empty = no default worth telling."""
    description: str
    markers: tuple[str, ...] = ()
    """What is special about it: immutable, names a Dataset, ..."""
    fields: tuple[Field, ...] = field(default=())


def fields(info: KindInfo) -> tuple[Field, ...]:
    """`metadata`, `lifecycle` and `spec` of a kind with everything below them."""
    schema = kind_schema(info)
    marks = dict(_marks(info))
    envelope = {
        "metadata": "Who the resource is.",
        "lifecycle": "How the reconciler may treat it.",
        "spec": info.summary,
    }
    properties = schema["properties"]
    return tuple(
        _field(name, _resolved(properties[name], schema), name in schema["required"], schema, marks, about)
        for name, about in envelope.items()
    )


def find(info: KindInfo, path: str) -> Field | None:
    """The field at a dotted path, with or without `spec.` in front; keys and indexes may be written as they are."""
    for start in ((), ("spec",)):
        found = _down(fields(info), (*start, *path.split(".")))
        if found is not None:
            return found
    return None


def walk(found: Iterable[Field]) -> Iterator[Field]:
    """Every field, parents before children."""
    for each in found:
        yield each
        yield from walk(each.fields)


def _down(among: tuple[Field, ...], path: tuple[str, ...]) -> Field | None:
    for each in among:
        name = each.path.rsplit(".", 1)[-1]
        if path and name in (path[0], "*"):
            return each if len(path) == 1 else _down(each.fields, path[1:])
    return None


def _field(path: str, schema: Schema, required: bool, whole: Schema, marks: Mapping[str, tuple[str, ...]], about: str = "") -> Field:
    below = _below(schema, whole)
    return Field(
        path,
        type_words(schema, whole),
        required,
        _default(schema),
        about or " ".join(str(schema.get("description", "")).split()),
        marks.get(path, ()),
        tuple(_field(f"{path}.{name}", _resolved(each, whole), needed, whole, marks) for name, each, needed in below),
    )


def _below(schema: Schema, whole: Schema) -> list[tuple[str, Schema, bool]]:
    """(name, schema, required) of what an object or a list of objects holds; `null` and scalars beside it are left out."""
    found: list[tuple[str, Schema, bool]] = []
    options = [_resolved(each, whole) for each in schema.get("anyOf", [schema])]
    choice = sum("properties" in each for each in options) > 1  # of several shapes, none of the fields is needed always
    for option in options:
        needed = [] if choice else option.get("required", [])
        found += [(name, one, name in needed) for name, one in option.get("properties", {}).items()]
        if option.get("type") == "array" and isinstance(option.get("items"), dict):
            inner = _resolved(option["items"], whole)
            found += [("*", inner, False)] if _below(inner, whole) else []
    return found


def _resolved(schema: Schema, whole: Schema) -> Schema:
    """The definition behind a `$ref`; what stands beside the reference (description, default) wins."""
    if "allOf" in schema and len(schema["allOf"]) == 1:
        return {**_resolved(schema["allOf"][0], whole), **{key: each for key, each in schema.items() if key != "allOf"}}
    if "$ref" not in schema:
        return schema
    target = whole["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    beside = {key: each for key, each in schema.items() if key != "$ref"}
    return {**_resolved(target, whole), **beside}


def type_words(schema: Schema, whole: Schema) -> str:
    """`string`, `list of string`, `maximize | minimize`, `map of string`, `object`."""
    schema = _resolved(schema, whole)
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return " | ".join(str(each) for each in schema["enum"])
    if "anyOf" in schema:
        words = [type_words(each, whole) for each in schema["anyOf"] if each.get("type") != "null"]
        if str(schema.get("description", "")).startswith("a quantity"):
            return "quantity"
        if {"string", "integer", "number", "boolean"} <= set(words):
            words = ["scalar", *(each for each in words if each not in ("string", "integer", "number", "boolean"))]
        return " | ".join(dict.fromkeys(words))
    if schema.get("format") == "date-time":
        return "time"
    if str(schema.get("description", "")).startswith("a duration") or schema.get("pattern", "").startswith("^(?:(\\d+)d)?"):
        return "duration"
    match schema.get("type"):
        case "array":
            items = schema.get("items")
            return f"list of {_grouped(items, whole)}" if isinstance(items, dict) else "list"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"map of {_grouped(schema['additionalProperties'], whole)}"
        case "object" if schema.get("patternProperties"):
            return f"map of {_grouped(next(iter(schema['patternProperties'].values())), whole)}"
        case str(word):
            return word
    return "any"


def _grouped(schema: Schema, whole: Schema) -> str:
    words = type_words(schema, whole)
    return f"({words})" if " | " in words else words


def _default(schema: Schema) -> str:
    found = schema.get("default")
    if isinstance(found, bool):
        return str(found).lower()
    return "" if found in (None, "", [], {}, ()) or isinstance(found, dict) else str(found)


def _marks(info: KindInfo) -> Iterator[tuple[str, tuple[str, ...]]]:
    told: dict[str, list[str]] = {}
    for path, found in metadata_of(info.spec, "spec"):
        if isinstance(found, Marker):
            told.setdefault(path, []).append(f"{found.name}: {found.meaning}")
        elif isinstance(found, RefTo):
            told.setdefault(path.removesuffix(".*"), []).append(f"names a {found.kind}{' (optional)' if found.optional else ''}")
    for path, words in told.items():
        yield path, tuple(dict.fromkeys(words))
