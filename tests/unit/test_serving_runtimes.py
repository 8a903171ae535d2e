"""A model's folder as a function that predicts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reconciler.serving.runtimes import BadInput, BadOutput, load, plain, table
from tests.contract.model_folders import FIELDS, SUM, adding, mlx, tree


def test_scikit_learn_takes_objects_and_arrays_alike(tmp_path: Path) -> None:
    predict = load(tree(tmp_path / "m"), "sklearn", {"file": "model.joblib"}, FIELDS)
    objects, arrays = predict([{"b": 9.0, "a": 1.0, "more": "ignored"}]), predict([[1.0, 9.0]])
    assert objects == arrays
    assert type(objects[0]) is float
    assert predict([]) == []
    for wrong in ([{"a": 1.0}], [[1.0]], [[1.0, 2.0], [1.0]], ["x"], [[1.0, "x"]]):
        with pytest.raises(BadInput):
            predict(wrong)


def test_scikit_learn_that_was_fitted_on_a_table_gets_a_table(tmp_path: Path) -> None:
    import joblib
    import pandas
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    data = pandas.DataFrame({"size": [1.0, 2.0, 3.0, 4.0], "colour": ["red", "blue", "red", "blue"]})
    encode = ColumnTransformer([("colour", OneHotEncoder(), ["colour"])], remainder="passthrough")
    joblib.dump(make_pipeline(encode, LinearRegression()).fit(data, [1, 12, 3, 14]), tmp_path / "model.joblib")
    predict = load(tmp_path, "sklearn", {"file": "model.joblib"})
    assert predict([{"colour": "blue", "size": 3.0}]) == pytest.approx([13.0])


def test_mlx_that_is_loaded_and_called_in_one_thread(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        predict = thread.submit(load, mlx(tmp_path / "m"), "mlx", {"load": "network.py:load"}).result()
        assert thread.submit(predict, [{"a": 1, "b": 1}, {"a": 0, "b": 2}]).result() == [5.0, 6.0]


def test_mlx_gets_the_limit_of_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlx.core as mx

    before = mx.set_memory_limit(1 << 33)
    monkeypatch.setenv("MLOPS_MEMORY_LIMIT", str(1 << 28))
    load(mlx(tmp_path / "m"), "mlx", {"load": "network.py:load"})
    assert mx.set_memory_limit(before) == 1 << 28


def test_torch_where_it_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="torch is not installed where models are served"):
        load(adding(tmp_path / "m"), "torch", {"load": "model.py:load"})


def test_what_load_gives_must_predict(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="gave no function that predicts"):
        load(adding(tmp_path / "m", "def load(folder):\n    return 3\n"), "sklearn", {"load": "model.py:load"})


def test_two_folders_with_files_of_one_name_do_not_mix(tmp_path: Path) -> None:
    one = load(adding(tmp_path / "one"), "sklearn", {"load": "model.py:load"})
    two = load(adding(tmp_path / "two", SUM.replace("+", "-")), "sklearn", {"load": "model.py:load"})
    assert (one([{"a": 3, "b": 2}]), two([{"a": 3, "b": 2}])) == ([5], [1])


@pytest.mark.parametrize(
    ("found", "count", "said"),
    [
        ([1, 2], 1, "1 instances with 2 predictions"),
        (3.0, 1, "with float, not with a list"),
        ("ab", 2, "with str"),
        ([float("nan")], 1, "nan"),
        ([{"p": [1.0, float("inf")]}], 1, "inf"),
        ([object()], 1, "a object"),
        ([{1, 2}], 1, "a set"),
    ],
)
def test_answers_that_json_does_not_have(found: Any, count: int, said: str) -> None:
    with pytest.raises(BadOutput, match=said):
        plain(found, count)


def test_answers_become_plain_values() -> None:
    import numpy

    found = plain([numpy.float64(1.5), numpy.int64(2), {"label": numpy.str_("a"), "p": numpy.array([0.5])}, (1, None), True], 5)
    assert found == [1.5, 2, {"label": "a", "p": [0.5]}, [1, None], True]
    assert [type(each) for each in found[:2]] == [float, int]
    assert plain(numpy.array([[1, 2], [3, 4]]), 2) == [[1, 2], [3, 4]]


def test_objects_need_an_order() -> None:
    with pytest.raises(BadInput, match="in which order"):
        table([{"a": 1}], ())
