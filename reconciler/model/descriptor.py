"""What a model's folder says of itself, from the text of its files. Pure: the files are read by whoever holds them.

Source of the second form: MLflow documentation, Models, "MLmodel configuration" and "Model Signatures And Input Examples"."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from reconciler.errors import Terminal
from reconciler.model.content import is_inside
from reconciler.model.runtimes import RUNTIMES
from reconciler.model.serving import DESCRIPTOR, Descriptor
from reconciler.model.values import JSON

MLMODEL = "MLmodel"
JOBLIB = "model.joblib"
Read = Callable[[str], str | None]
"""Text of a file of the folder by its name; None when there is none."""
_FIELDS = ("runtimes", "input", "output", "example", "packages", "python", "quantization")
_LOADED = tuple(each for each in RUNTIMES if each != "bento")
_LOAD = re.compile(r"[\w./-]+\.py:[A-Za-z_]\w*", re.ASCII)
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;#]+)")
_TYPES = {
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "string": "string",
    "datetime": "string",
}
"""MLflow's column types -> JSON's."""
_HINT = f'write {DESCRIPTOR} beside the model, for example {{"runtimes": {{"sklearn": {{"file": "model.joblib"}}}}, "example": [[1, 2]]}}'


def described(names: Collection[str], read: Read) -> Descriptor:
    """What the folder with files of these names holds: as DESCRIPTOR says, or as MLflow's or scikit-learn's usual files do.

    Raises Terminal that names the field and what is allowed there."""
    if DESCRIPTOR in names:
        return checked(_json(read(DESCRIPTOR), DESCRIPTOR), names)
    if MLMODEL in names:
        return checked(_of_mlflow(read), names)
    if JOBLIB in names:
        return checked({"runtimes": {"sklearn": {"file": JOBLIB}}}, names)
    raise Terminal(f"the folder does not say how the model is loaded: there is no {DESCRIPTOR}, {MLMODEL} or {JOBLIB}", hint=_HINT)


def checked(raw: JSON, names: Collection[str]) -> Descriptor:
    """The descriptor from plain values. Raises Terminal for what cannot be meant."""
    if not isinstance(raw, dict):
        raise Terminal(f"{DESCRIPTOR} holds no object", hint=_HINT)
    for key in raw:
        if key not in _FIELDS:
            raise _wrong(key, "is not known", ", ".join(_FIELDS))
    example = raw.get("example", [])
    if not isinstance(example, list):
        raise _wrong("example", "is no list", "a list of instances")
    for key in ("python", "quantization"):
        if not isinstance(raw.get(key, ""), str):
            raise _wrong(key, "is no text", "text")
    found = Descriptor(
        runtimes=_runtimes(raw.get("runtimes"), names),
        input=_schema("input", raw.get("input", {})),
        output=_schema("output", raw.get("output", {})),
        example=tuple(example),
        packages=_packages(raw.get("packages", {})),
        python=raw.get("python", ""),
        quantization=raw.get("quantization", ""),
    )
    fits = validator(found.input)
    for place, instance in enumerate(example):
        if why := fits(instance):
            raise _wrong(f"example[{place}]", why, "an instance as `input` has it")
    return found


def validator(schema: Mapping[str, JSON]) -> Callable[[JSON], str]:
    """A function that says in what a value is not as the JSON Schema has it; empty when it is."""
    import fastjsonschema

    check = fastjsonschema.compile(dict(schema), use_default=False)

    def fits(value: JSON) -> str:
        try:
            check(value)
        except fastjsonschema.JsonSchemaValueException as error:
            return str(error.message)
        return ""

    return fits


def _runtimes(raw: JSON, names: Collection[str]) -> Mapping[str, Mapping[str, str]]:
    if not isinstance(raw, dict) or not raw:
        raise _wrong("runtimes", "is missing or empty", f"an object with one or more of {', '.join(_LOADED)}")
    for runtime, how in raw.items():
        if runtime not in _LOADED:
            raise _wrong(f"runtimes.{runtime}", "is not known", ", ".join(_LOADED))
        if not isinstance(how, dict) or not all(isinstance(each, str) for each in how.values()):
            raise _wrong(f"runtimes.{runtime}", "is no object of texts", '`{"load": "network.py:load"}`')
        _loading(runtime, how, names)
    return {runtime: dict(how) for runtime, how in raw.items()}


def _loading(runtime: str, how: Mapping[str, str], names: Collection[str]) -> None:
    """Raises Terminal when this is no way of loading a model, or names a file that is not in the folder."""
    allowed = {"sklearn": ("file", "load"), "pyfunc": ()}.get(runtime, ("load",))
    for key in how:
        if key not in allowed:
            raise _wrong(f"runtimes.{runtime}.{key}", "is not known", ", ".join(allowed) or "nothing: `{}`")
    if allowed and len(how) != 1:
        raise _wrong(f"runtimes.{runtime}", "does not say how it is loaded", " or ".join(f"`{each}`" for each in allowed))
    if "load" in how and not _LOAD.fullmatch(how["load"]):
        raise _wrong(f"runtimes.{runtime}.load", f"is `{how['load']}`", "`file.py:function`")
    for key, value in how.items():
        file = value.partition(":")[0] if key == "load" else value
        if not is_inside(file) or file not in names:
            raise _wrong(f"runtimes.{runtime}.{key}", f"names {file}, which is not in the folder", "a file of the model's folder")
    if runtime == "pyfunc" and MLMODEL not in names:
        raise _wrong("runtimes.pyfunc", f"needs MLflow's {MLMODEL}, which is not in the folder", "a folder that MLflow has written")


def _schema(name: str, raw: JSON) -> Mapping[str, JSON]:
    """A JSON Schema that stands for itself: one that points elsewhere would be fetched from there."""
    import fastjsonschema

    if not isinstance(raw, dict):
        raise _wrong(name, "is no object", "a JSON Schema")
    for reference in _references(raw):
        if not (isinstance(reference, str) and reference.startswith("#")):
            raise _wrong(name, f"points to `{reference}`", "`$ref` that starts with `#`, and no `$id`")
    try:
        fastjsonschema.compile(raw, use_default=False)
    # a schema is foreign text: fastjsonschema says what is wrong with it in many ways (a bad `pattern` is a re.error)
    except Exception as error:
        raise _wrong(name, f"is no JSON Schema: {error}", "a JSON Schema, draft 4, 6 or 7") from error
    return raw


def _references(raw: JSON, at_schema: bool = True) -> Iterator[JSON]:
    """Everything that could make a schema depend on something outside. A property may be called `$id`."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            if at_schema and key == "$ref":
                yield value
            elif at_schema and key in ("$id", "id"):
                yield f"{key}: {value}"
            elif key not in ("enum", "const", "default", "examples"):
                yield from _references(value, not (at_schema and key in ("properties", "patternProperties", "definitions", "$defs")))
    elif isinstance(raw, list):
        for each in raw:
            yield from _references(each, at_schema)


def _packages(raw: JSON) -> Mapping[str, str]:
    from packaging.utils import InvalidName, canonicalize_name
    from packaging.version import InvalidVersion, Version

    if not isinstance(raw, dict) or not all(isinstance(each, str) for each in raw.values()):
        raise _wrong("packages", "is no object of texts", '`{"scikit-learn": "1.9.1"}`')
    found = {}
    for name, version in raw.items():
        try:
            found[str(canonicalize_name(name, validate=True))] = str(Version(version))
        except (InvalidName, InvalidVersion) as error:
            raise _wrong(f"packages.{name}", f"is `{version}`", "a package's name and a version") from error
    return found


# --- folders that MLflow has written -----------------------------------------------------------------------------------


def _of_mlflow(read: Read) -> Mapping[str, JSON]:
    import yaml

    try:
        raw = yaml.safe_load(read(MLMODEL) or "")
    except yaml.YAMLError as error:
        raise Terminal(f"{MLMODEL} is no YAML: {error}") from error
    if not isinstance(raw, dict) or "python_function" not in (raw.get("flavors") or {}):
        raise Terminal(f"{MLMODEL} does not have the flavor `python_function`", hint=_HINT)
    signature = raw.get("signature") or {}
    return {
        "runtimes": {"pyfunc": {}},
        "input": _columns(_json(signature.get("inputs") or "[]", f"{MLMODEL}: signature.inputs"), whole=True),
        "output": _columns(_json(signature.get("outputs") or "[]", f"{MLMODEL}: signature.outputs"), whole=False),
        "example": _example(raw, read),
        "packages": dict(_PINNED.findall(read("requirements.txt") or "")),
        "python": str(raw["flavors"]["python_function"].get("python_version", "")),
    }


def _columns(columns: JSON, *, whole: bool) -> Mapping[str, JSON]:
    """JSON Schema of one row. A single column or a vector of the output is the value itself; what MLflow cannot tell is anything."""
    if not isinstance(columns, list) or not columns or not all(isinstance(each, dict) for each in columns):
        return {}
    if columns[0].get("type") == "tensor":
        return _tensor(columns[0].get("tensor-spec") or {}) if len(columns) == 1 else {}
    kinds = [{"type": kind} if (kind := _TYPES.get(str(each.get("type")))) else {} for each in columns]
    if not all("name" in each for each in columns):
        if len(columns) == 1 and not whole:
            return kinds[0]
        return {"type": "array", "items": kinds, "minItems": len(kinds), "maxItems": len(kinds)}
    required = [str(each["name"]) for each in columns if each.get("required", True)]
    properties = {str(each["name"]): kind for each, kind in zip(columns, kinds, strict=True)}
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _tensor(spec: Mapping[str, Any]) -> Mapping[str, JSON]:
    kind = {"i": "integer", "u": "integer", "f": "number", "b": "boolean"}.get(str(spec.get("dtype", ""))[:1])
    schema: dict[str, JSON] = {"type": kind} if kind else {}
    for size in reversed(list(spec.get("shape") or [-1])[1:]):
        schema = {"type": "array", "items": schema, **({"minItems": size, "maxItems": size} if isinstance(size, int) and size >= 0 else {})}
    return schema


def _example(raw: Mapping[str, Any], read: Read) -> list[JSON]:
    """MLflow's own input example, as instances; none when it is of a form that rows cannot be read from."""
    name = str((raw.get("saved_input_example_info") or {}).get("artifact_path", ""))
    text = read(name) if name and is_inside(name) else None
    found = _json(text, name) if text else None
    if isinstance(found, dict) and isinstance(found.get("data"), list):
        columns = found.get("columns")
        if not (isinstance(columns, list) and all(isinstance(each, str) for each in columns)):
            return list(found["data"])
        return [dict(zip(columns, row, strict=False)) if isinstance(row, list) else row for row in found["data"]]
    if isinstance(found, dict) and isinstance(found.get("inputs"), list):
        return list(found["inputs"])
    return found if isinstance(found, list) else []


def _json(text: str | None, where: str) -> JSON:
    try:
        return json.loads(text or "", parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Terminal(f"{where} is no JSON: {error}") from error


def _no_number(text: str) -> JSON:
    raise ValueError(f"{text} is no number in JSON")


def _wrong(field: str, what: str, allowed: str) -> Terminal:
    return Terminal(f"{DESCRIPTOR}: `{field}` {what}", hint=f"allowed: {allowed}")
