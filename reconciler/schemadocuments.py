"""JSON Schema of documents beside manifests, for editors: files of rules, and patches of an environment. Pure.

A patch has the fields of what it changes, but none that must be there; `null` removes whatever may be missing. Lists are not merged, so
what is in them is whole. Of several shapes of one field a patch may leave one and take another, in one mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import models_json_schema

from reconciler.address import ANY
from reconciler.schema import DIALECT, Schema, definitions_of
from schemas.base import API_VERSION, KindInfo, Lifecycle, Metadata
from schemas.policy import MOST_RULES, Rule, RuleTest

NULL: Schema = {"type": "null"}
EVERY: Schema = {"const": ANY, "description": "Each of them."}


def policy_schema(kinds: Iterable[KindInfo]) -> Schema:
    """JSON Schema of a file of rules; the names of kinds are those that there are."""
    models: list[Any] = [Rule, RuleTest]
    references, shared = models_json_schema([(each, "validation") for each in models], ref_template="#/$defs/{model}")
    definitions = shared["$defs"]
    rule = definitions["Rule"]
    rule["properties"]["kinds"]["items"] = {"enum": sorted(each.name for each in kinds)}
    for effect in ("deny", "warn", "requireApproval"):
        rule["properties"][effect] = _without_null(rule["properties"][effect])
    for each in definitions["RuleTest"]["properties"].values():
        if "patternProperties" in each:
            each["additionalProperties"] = False
    rule["oneOf"] = [{"required": [effect]} for effect in ("deny", "warn", "requireApproval")]
    rule["dependencies"] = {"owners": ["requireApproval"]}
    return {
        "$schema": DIALECT,
        "title": "Policy",
        "description": "A file of rules over what a pass would do.",
        "type": "object",
        "required": ["rules"],
        "properties": {
            "rules": {"type": "array", "maxItems": MOST_RULES, "items": references[Rule, "validation"]},
            "tests": {"type": "array", "items": references[RuleTest, "validation"]},
        },
        "additionalProperties": False,
        "$defs": definitions,
    }


def patch_schema(kinds: Iterable[KindInfo]) -> Schema:
    """JSON Schema of a patch of any kind; `kind` decides which fields there are."""
    found = sorted(kinds, key=lambda each: each.name)
    parts, definitions = definitions_of(found)
    partial = _Partial(definitions, {})
    metadata = partial.of(parts[Metadata])
    names: dict[str, Schema] = {"kind": {"enum": [*(each.name for each in found), ANY]}, "apiVersion": {"const": API_VERSION}}
    bodies = {each.name: _body(each, partial.of(parts[each.spec])) for each in found}
    lifecycle = partial.of(parts[Lifecycle])
    _named(partial.definitions["MetadataPatch"], definitions["Metadata"])
    any_kind: Schema = {"properties": {"spec": {"type": "object"}}}
    return {
        "$schema": DIALECT,
        "title": "Patch",
        "description": "What an environment has differently: a merge patch over manifests of mlops-reconciler (RFC 7386).",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            **names,
            "metadata": {"allOf": [metadata, {"required": ["name"]}]},
            "selector": {
                "description": f"With `name: '{ANY}'`: only those that carry these labels.",
                "type": "object",
                "additionalProperties": {"type": "string"},
            },
            "lifecycle": _or_null(lifecycle),
            "spec": {},
        },
        "additionalProperties": False,
        "allOf": [
            *({"if": _kind_is(name), "then": body} for name, body in [*bodies.items(), (ANY, any_kind)]),
            {"if": {"required": ["selector"]}, "then": {"properties": {"metadata": {"properties": {"name": EVERY}}}}},
        ],
        "$defs": {**definitions, **partial.definitions},
    }


DOCUMENTS: Mapping[str, Callable[[Iterable[KindInfo]], Schema]] = {"policy": policy_schema, "patch": patch_schema}
"""By the name that `reconcile schema` takes; no kind is called so."""


def _body(info: KindInfo, spec: Schema) -> Schema:
    scope: Schema = {"required": ["project"]} if info.scope == "project" else {"not": {"required": ["project"]}}
    return {"description": info.summary, "properties": {"metadata": scope, "spec": spec}}


def _kind_is(name: str) -> Schema:
    return {"properties": {"kind": {"const": name}}, "required": ["kind"]}


def _named(patch: Schema, whole: Schema) -> None:
    """Name and project say whom the patch is for: they are those of a manifest, or stand for each."""
    for name in ("name", "project"):
        patch["properties"][name] = {"anyOf": [EVERY, _without_null(whole["properties"][name])]}


@dataclass
class _Partial:
    """Schemas as patches see them. Definitions of `whole` get a second one, called `NamePatch`."""

    whole: Mapping[str, Schema]
    definitions: dict[str, Schema]

    def of(self, schema: Schema) -> Schema:
        """What a patch may say where a manifest says this."""
        if "$ref" in schema:
            return {**schema, "$ref": self._reference(schema["$ref"].rsplit("/", 1)[-1])}
        if "anyOf" in schema:
            return {**schema, "anyOf": list(self._shapes(schema["anyOf"]))}
        if "allOf" in schema:
            return {**schema, "allOf": [self.of(each) for each in schema["allOf"]]}
        return self._object(schema) if schema.get("type") == "object" else schema

    def _reference(self, name: str) -> str:
        if self.whole[name].get("type") != "object":
            return f"#/$defs/{name}"
        if (own := f"{name}Patch") not in self.definitions:
            self.definitions[own] = {}  # it may lead to itself
            self.definitions[own] = self._object(self.whole[name])
        return f"#/$defs/{own}"

    def _object(self, schema: Schema) -> Schema:
        needed = schema.get("required", ())
        found = {key: each for key, each in schema.items() if key not in ("required", "minProperties")}
        if "properties" in schema:
            found["properties"] = {
                name: self.of(each) if name in needed else _or_null(self.of(each)) for name, each in schema["properties"].items()
            }
        if "patternProperties" in schema:
            found["patternProperties"] = {name: _or_null(self.of(each)) for name, each in schema["patternProperties"].items()}
        if isinstance(schema.get("additionalProperties"), dict):
            found["additionalProperties"] = _or_null(self.of(schema["additionalProperties"]))
        return found

    def _shapes(self, options: Iterable[Schema]) -> Iterator[Schema]:
        """The options; those that are mappings with names of their own as one, in which each name may be set or taken away."""
        shapes: list[Schema] = []
        for each in options:
            target = self.whole[each["$ref"].rsplit("/", 1)[-1]] if "$ref" in each else each
            if target.get("properties"):
                shapes.append(each)
            else:
                yield self.of(each)
        if len(shapes) == 1:
            yield self.of(shapes[0])
        elif shapes:
            yield self._merged([self.whole[each["$ref"].rsplit("/", 1)[-1]] if "$ref" in each else each for each in shapes])

    def _merged(self, shapes: Iterable[Schema]) -> Schema:
        properties: dict[str, list[Schema]] = {}
        for shape in shapes:
            for name, each in shape["properties"].items():
                if (said := self.of(each)) not in properties.setdefault(name, []):
                    properties[name].append(said)
        together = {name: _or_null(some[0] if len(some) == 1 else {"anyOf": some}) for name, some in properties.items()}
        return {"type": "object", "properties": together, "additionalProperties": False}


def _or_null(schema: Schema) -> Schema:
    """Removable; what the field means stays where editors look for it."""
    if NULL in schema.get("anyOf", ()) or not schema:
        return schema
    said: Schema = {key: schema[key] for key in ("title", "description", "default") if key in schema}
    return {**said, "anyOf": [{key: each for key, each in schema.items() if key not in said}, NULL]}


def _without_null(schema: Schema) -> Schema:
    options = [each for each in schema.get("anyOf", ()) if each != NULL]
    only: Schema = options[0] if len(options) == 1 else {"anyOf": options} if options else {}
    return {**{key: each for key, each in schema.items() if key not in ("anyOf", "default")}, **only}
