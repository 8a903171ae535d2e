"""How a model's folder becomes a function that predicts.

This file is copied into every package beside service.py, and works there without anything else of ours: it imports none of it."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Predict: TypeAlias = Callable[[list[Any]], list[Any]]
"""Takes instances and gives one prediction for each, all plain JSON values."""


class BadInput(ValueError):
    """The instances are of no form that the model could take."""


class BadOutput(ValueError):
    """The model's answer is no list of one plain, finite value for each instance."""


def load(folder: Path, runtime: str, how: Mapping[str, str], fields: Sequence[str] = ()) -> Predict:
    """The model of the folder, loaded by the runtime. `how` is the descriptor's entry for that runtime, `fields` the names of an instance's
    fields in the order of the input schema.

    Raises RuntimeError when the runtime's package is not installed, and whatever the model's own code raises. MLX binds what is not
    evaluated yet to the thread that made it (seen with 0.32): load and call in one and the same thread."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if runtime == "mlx":
        _prepare_mlx()
    elif runtime == "torch":
        _needed("torch", "torch")
    if "load" in how:
        answer = _own(folder, how["load"])
    elif runtime == "sklearn":
        answer = _sklearn(folder / how["file"], fields)
    elif runtime == "pyfunc":
        answer = _pyfunc(folder)
    else:
        raise RuntimeError(f"the runtime {runtime} needs a function that loads the model")
    return lambda instances: plain(answer(instances), len(instances)) if instances else []


def plain(found: Any, count: int) -> list[Any]:
    """Predictions as plain JSON values. Raises BadOutput for a wrong number of them, and for NaN and infinity, which JSON does not have."""
    values = found.tolist() if hasattr(found, "tolist") else found
    if not isinstance(values, (list, tuple)):
        raise BadOutput(f"the model answered with {type(found).__name__}, not with a list")
    if len(values) != count:
        raise BadOutput(f"the model answered {count} instances with {len(values)} predictions")
    return [_plain(each) for each in values]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadOutput(f"the model predicted {value}, which is no number in JSON")
        return float(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    raise BadOutput(f"the model predicted a {type(value).__name__}, which JSON does not have")


def _needed(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RuntimeError(f"{package} is not installed where models are served: {error}") from error


def _prepare_mlx() -> None:
    """Bounds what MLX takes, as far as it keeps to that (MLX documentation, Memory Management); without Metal it uses the CPU."""
    mx = _needed("mlx.core", "mlx")
    if granted := int(os.environ.get("MLOPS_MEMORY_LIMIT") or 0):
        mx.set_memory_limit(granted)
        mx.set_cache_limit(granted // 4)
    if not mx.metal.is_available():
        mx.set_default_device(mx.cpu)


def _own(folder: Path, load: str) -> Predict:
    """A function of a file in the folder, which takes the folder's path. Other files of the folder can be imported by it."""
    file, _, name = load.partition(":")
    path = folder / file
    spec = importlib.util.spec_from_file_location(f"mlops_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{file} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pickles and dataclasses look their module up by its name
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.dont_write_bytecode = True  # a model's folder is known by the digest of its files: nothing may be added to it
    spec.loader.exec_module(module)
    predict: Predict = getattr(module, name)(folder)
    if not callable(predict):
        raise RuntimeError(f"{load} gave no function that predicts")
    return predict


def _sklearn(file: Path, fields: Sequence[str]) -> Predict:
    """A pickle: it is loaded only after the folder was found to be what the registry knows, in a process of its own."""
    estimator = _needed("joblib", "joblib").load(file)
    named = [str(each) for each in getattr(estimator, "feature_names_in_", ())]
    order = named or list(fields)

    def predict(instances: list[Any]) -> Any:
        rows = table(instances, order)
        if named:  # it was fitted on a table, and may choose columns by their names
            pandas = _needed("pandas", "pandas")
            return estimator.predict(pandas.DataFrame(rows, columns=named))
        try:
            return estimator.predict(_needed("numpy", "numpy").asarray(rows))
        except ValueError as error:
            raise BadInput(str(error)) from error

    return predict


def table(instances: Sequence[Any], order: Sequence[str]) -> list[list[Any]]:
    """Instances as rows of equal length: objects by the names in `order`, arrays as they are. Raises BadInput."""
    rows = []
    for place, each in enumerate(instances):
        if isinstance(each, Mapping):
            if not order:
                raise BadInput("the model does not say in which order its fields stand: give `input` with `properties`, or send arrays")
            if missing := [name for name in order if name not in each]:
                raise BadInput(f"instance {place} has no field {missing[0]}")
            rows.append([each[name] for name in order])
        elif isinstance(each, (list, tuple)):
            rows.append(list(each))
        else:
            raise BadInput(f"instance {place} is neither an object nor an array")
    if len({len(row) for row in rows}) > 1:
        raise BadInput("the instances have different numbers of values")
    return rows


def _pyfunc(folder: Path) -> Predict:
    pyfunc, pandas, numpy = _needed("mlflow.pyfunc", "mlflow"), _needed("pandas", "pandas"), _needed("numpy", "numpy")
    model = pyfunc.load_model(str(folder))
    schema = model.metadata.get_input_schema()

    def prepared(instances: list[Any]) -> Any:
        if schema is not None and schema.is_tensor_spec():
            return numpy.asarray(instances, dtype=schema.numpy_types()[0])
        names = [str(each) for each in schema.input_names()] if schema is not None and schema.has_input_names() else None
        frame = pandas.DataFrame(instances, columns=names if names and not isinstance(instances[0], Mapping) else None)
        if schema is not None and not schema.is_tensor_spec():
            # JSON has one sort of number; MLflow takes a column only as the very type that the signature names
            for name, kind in zip(names or frame.columns, schema.pandas_types(), strict=False):
                if name in frame.columns:
                    frame[name] = frame[name].astype(kind)
        return frame

    def predict(instances: list[Any]) -> Any:
        try:
            asked = prepared(instances)
        except (ValueError, TypeError) as error:
            raise BadInput(str(error)) from error
        found = model.predict(asked)
        if isinstance(found, pandas.DataFrame):
            return found.iloc[:, 0] if found.shape[1] == 1 else found.to_dict("records")
        return found

    return predict
