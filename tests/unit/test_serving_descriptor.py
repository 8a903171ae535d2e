"""What a model's folder says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import Terminal
from reconciler.model.descriptor import validator
from reconciler.serving.descriptor import read
from tests.contract.model_folders import adding

MLMODEL = """
flavors:
  python_function: {{loader_module: mlflow.sklearn, model_path: model.pkl, python_version: 3.11.7}}
  sklearn: {{sklearn_version: 1.9.1}}
saved_input_example_info: {{artifact_path: input_example.json, type: dataframe}}
signature:
  inputs: '{inputs}'
  outputs: '{outputs}'
"""
COLUMNS = [{"type": "double", "name": "a", "required": True}, {"type": "long", "name": "b", "required": False}]


def mlflow_folder(folder: Path, inputs: Any, outputs: Any, example: Any = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(MLMODEL.format(inputs=json.dumps(inputs), outputs=json.dumps(outputs)))
    (folder / "requirements.txt").write_text("mlflow==3.17.2\n# a remark\nScikit_Learn==1.9.1 ; python_version > '3'\nnumpy>=2\n")
    if example is not None:
        (folder / "input_example.json").write_text(json.dumps(example))
    return folder


def test_what_it_says_is_read(tmp_path: Path) -> None:
    found = read(adding(tmp_path / "m", packages={"Scikit_Learn": "1.9.1"}, python="3.11.7", quantization="4-bit"))
    assert found.runtimes == {"sklearn": {"load": "model.py:load"}}
    assert found.example[0] == {"a": 1.0, "b": 2.0}
    assert (found.packages, found.python, found.quantization) == ({"scikit-learn": "1.9.1"}, "3.11.7", "4-bit")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"runtime": {}}, "`runtime` is not known.*runtimes, input"),
        ({"runtimes": {}}, "`runtimes` is missing or empty.*mlx, torch, sklearn, pyfunc"),
        ({"runtimes": {"onnx": {}}}, r"`runtimes.onnx` is not known"),
        ({"runtimes": {"sklearn": "model.py"}}, "no object of texts"),
        ({"runtimes": {"sklearn": {}}}, "does not say how it is loaded.*`file` or `load`"),
        ({"runtimes": {"sklearn": {"file": "gone.joblib"}}}, "names gone.joblib, which is not in the folder"),
        ({"runtimes": {"sklearn": {"file": "../model.py"}}}, "not in the folder"),
        ({"runtimes": {"mlx": {"file": "model.py"}}}, r"`runtimes.mlx.file` is not known.*allowed: load"),
        ({"runtimes": {"mlx": {"load": "model.py"}}}, "is `model.py`.*`file.py:function`"),
        ({"runtimes": {"pyfunc": {}}}, "needs MLflow's MLmodel"),
        ({"input": []}, "`input` is no object"),
        ({"input": {"type": "numbr"}}, "`input` is no JSON Schema"),
        ({"input": {"pattern": "("}}, "`input` is no JSON Schema"),
        ({"output": {"$ref": "http://127.0.0.1:9/x"}}, "`output` points to `http://127.0.0.1:9/x`"),
        ({"output": {"$id": "http://127.0.0.1:9/", "properties": {"x": {"$ref": "#/y"}}}}, "`output` points to"),
        ({"input": {"allOf": [{"properties": {"x": {"$ref": "file:///etc/passwd"}}}]}}, "points to `file:///etc/passwd`"),
        ({"example": {"a": 1}}, "`example` is no list"),
        ({"example": [{"a": 1, "b": "x"}]}, r"`example\[0\]`.*must be number"),
        ({"packages": ["numpy"]}, "`packages` is no object"),
        ({"packages": {"numpy": ">=2"}}, r"`packages.numpy` is `>=2`"),
        ({"packages": {"--index-url": "x"}}, "packages.--index-url"),
        ({"python": 3.11}, "`python` is no text"),
    ],
)
def test_what_it_cannot_mean_is_named(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(Terminal, match=said):
        read(adding(tmp_path / "m", **more))


@pytest.mark.parametrize("text", ["", "[", "[1]", '"x"', '{"example": [NaN]}', "[" * 100_000])
def test_what_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (adding(tmp_path / "m") / "mlops.json").write_text(text)
    with pytest.raises(Terminal):
        read(tmp_path / "m")


def test_a_field_may_be_called_like_a_key_of_the_schema(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"$ref": {"type": "string"}, "id": {"type": "number"}}, "definitions": {"$id": {}}}
    assert read(adding(tmp_path / "m", input=schema, example=[{"$ref": "x", "id": 1}])).input == schema


def test_a_reference_within_the_schema_is_fine(tmp_path: Path) -> None:
    schema = {"definitions": {"n": {"type": "number"}}, "type": "array", "items": {"$ref": "#/definitions/n"}}
    found = read(adding(tmp_path / "m", input=schema, example=[[1, 2]]))
    assert validator(found.input)([1, "x"]) != ""


def test_a_folder_without_a_word_is_told_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(Terminal, match=r"no mlops.json, MLmodel or model.joblib.*write mlops.json"):
        read(tmp_path)


def test_joblib_alone_is_scikit_learn(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(b"")
    assert read(tmp_path).runtimes == {"sklearn": {"file": "model.joblib"}}


def test_a_folder_of_mlflow_with_columns(tmp_path: Path) -> None:
    example = {"columns": ["a", "b"], "data": [[1.5, 2], [0.5, 1]]}
    found = read(mlflow_folder(tmp_path / "m", COLUMNS, [{"type": "string"}], example))
    assert found.runtimes == {"pyfunc": {}}
    assert found.input == {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "integer"}}, "required": ["a"]}
    assert found.output == {"type": "string"}
    assert found.example == ({"a": 1.5, "b": 2}, {"a": 0.5, "b": 1})
    assert found.packages == {"mlflow": "3.17.2", "scikit-learn": "1.9.1"}
    assert found.python == "3.11.7"


def test_a_folder_of_mlflow_with_tensors(tmp_path: Path) -> None:
    def tensor(shape: list[int]) -> list[dict[str, Any]]:
        return [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": shape}}]

    found = read(mlflow_folder(tmp_path / "m", tensor([-1, 2, -1]), tensor([-1]), {"inputs": [[[1.0], [2.0]]]}))
    inner = {"type": "array", "items": {"type": "number"}}
    assert found.input == {"type": "array", "items": inner, "minItems": 2, "maxItems": 2}
    assert found.output == {"type": "number"}
    assert found.example == ([[1.0], [2.0]],)


@pytest.mark.parametrize("text", ["a: [", "x", "flavors: {keras: {}}", "flavors:"])
def test_an_mlmodel_without_python_function_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(Terminal, match="MLmodel"):
        read(tmp_path)


def test_a_descriptor_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (adding(tmp_path / "m") / "mlops.json").write_text(" " * (5 << 20))
    with pytest.raises(Terminal, match="larger than 4 MiB"):
        read(tmp_path / "m")
