"""Trials of models: as a function, as a program, and as a job under the reconciler's supervisor."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.jobs import Job
from reconciler.model.packaging import TrialSpec
from reconciler.serving.content import digest
from reconciler.serving.trial import trial
from tests.contract.job_house import JobHouse
from tests.contract.model_folders import adding, mlx, tree

PYFUNC = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import mlflow.sklearn, pandas
from sklearn.linear_model import LogisticRegression
from reconciler.model.packaging import TrialSpec
from reconciler.serving.content import digest
from reconciler.serving.trial import trial
x = pandas.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "n": [1, 2, 3, 4]})
model = LogisticRegression().fit(x, ["low", "low", "high", "high"])
folder, data = Path(sys.argv[1]) / "model", Path(sys.argv[1]) / "data.csv"
signature = mlflow.models.infer_signature(x, model.predict(x))
mlflow.sklearn.save_model(model, folder, signature=signature, input_example=x, pip_requirements=["scikit-learn"])
x.assign(y=["low", "low", "high", "high"]).to_csv(data, index=False)
found = trial(TrialSpec(str(folder), digest(folder), "", requests=10, evaluation=str(data), target="y"))
print("RESULT", found.runtime, found.why, found.metrics.get("accuracy"), found.rows)
"""


def specify(folder: Path, **more: Any) -> TrialSpec:
    return TrialSpec(**{"model": str(folder), "digest": digest(folder), "result": "", "requests": 20, **more})


def data(folder: Path, text: str, name: str = "data.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def rows(count: int) -> str:
    return "b,a,y\n" + "".join(f"{n},{n / 2},{n + n / 2}\n" for n in range(count))


@pytest.mark.parametrize(("now", "said"), [("more", "was changed since"), ("no table", "was changed since"), ("", "is not there any more")])
def test_on_other_data_than_it_should_be_made_on_there_is_no_verdict(tmp_path: Path, now: str, said: str) -> None:
    """Not even that the data does not fit: it is not the data that was asked for."""
    saved, path = rows(20), tmp_path / "data.csv"
    if now:
        path.write_text(saved + "1,2,3\n" if now == "more" else now)
    spec = specify(tree(tmp_path / "m"), evaluation=str(path), target="y", result=str(tmp_path / "result.json"))
    (tmp_path / "spec.json").write_text(json.dumps(asdict(replace(spec, data=hashlib.md5(saved.encode()).hexdigest()))))
    argv = [sys.executable, "-m", "reconciler.serving.trial", str(tmp_path / "spec.json")]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 1
    assert said in ran.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "result.json").exists()


def test_a_good_model_is_measured(tmp_path: Path) -> None:
    import sklearn

    md5 = hashlib.md5(rows(600).encode()).hexdigest()
    spec = specify(tree(tmp_path / "m"), evaluation=data(tmp_path, rows(600)), target="y", data=md5)
    found = trial(spec)
    assert (found.why, found.runtime, found.digest, found.rows, found.data) == ("", "sklearn", spec.digest, 600, md5)
    assert set(found.metrics) >= {"mae", "rmse", "r2"}
    assert found.packages == {"scikit-learn": sklearn.__version__}
    assert 0 < found.p50 <= found.p95 < 1
    assert found.load_seconds > 0
    assert found.memory > 10 << 20


def test_the_columns_stand_as_the_model_has_them(tmp_path: Path) -> None:
    """The data says b, a, y; the model adds what it finds by name."""
    found = trial(specify(adding(tmp_path / "m"), evaluation=data(tmp_path, rows(50)), target="y"))
    assert (found.why, found.metrics["mae"], found.metrics["r2"]) == ("", 0.0, 1.0)


def test_parquet_and_rows_without_a_truth(tmp_path: Path) -> None:
    import pandas

    table = pandas.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 1.0, 1.0], "y": [2.0, None, 4.0]})
    table["y"] = table["y"].astype(object).where(table["y"].notna(), None)
    table.to_parquet(tmp_path / "data.parquet")
    found = trial(specify(adding(tmp_path / "m"), evaluation=str(tmp_path / "data.parquet"), target="y"))
    assert (found.rows, found.metrics["mae"]) == (2, 0.0)


def test_mlx_in_a_trial(tmp_path: Path) -> None:
    found = trial(specify(mlx(tmp_path / "m")))
    assert (found.why, found.runtime) == ("", "mlx")
    assert "mlx" in found.packages


LABELS = "def load(folder):\n    return lambda found: [{'label': 1 if each['a'] > 0 else 0, 'p': 0.5} for each in found]\n"


@pytest.mark.parametrize("truth", [("1", "0"), ("true", "false")])
def test_answers_that_are_objects_are_compared_by_their_label(tmp_path: Path, truth: tuple[str, str]) -> None:
    folder = adding(tmp_path / "m", LABELS, output={"type": "object"})
    found = trial(specify(folder, evaluation=data(tmp_path, f"a,b,y\n1,0,{truth[0]}\n-1,0,{truth[1]}\n"), target="y"))
    assert found.why == ""
    assert found.metrics["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("code", "more", "said"),
    [
        ("def load(folder):\n    raise ValueError('no weights')\n", {}, "it does not load: ValueError: no weights"),
        ("import nosuchmodule\n", {}, "it does not load: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", {}, "it does not load: SystemExit: 3"),
        ("def other(folder): ...\n", {}, "it does not load: AttributeError"),
        ("def load(folder):\n    return lambda found: 1 / 0\n", {}, "it does not answer its example: ZeroDivisionError"),
        ("def load(folder):\n    return lambda found: [float('nan')] * len(found)\n", {}, "predicted nan"),
        ("def load(folder):\n    return lambda found: ['x' for _ in found]\n", {}, r"its answer to example\[0\] .* 'x' must be number"),
        ("def load(folder):\n    return lambda found: [1.0]\n", {}, "2 instances with 1 predictions"),
        (None, {"runtimes": {"torch": {"load": "model.py:load"}}}, "`torch` needs torch"),
        (None, {"packages": {"scikit-learn": "1.2.0"}}, r"made with scikit-learn 1\.2\.0"),
        (None, {"example": []}, "nothing to be asked"),
        (None, {"runtimes": {}}, "`runtimes` is missing"),
    ],
)
def test_a_bad_model_says_why(tmp_path: Path, code: str | None, more: dict[str, Any], said: str) -> None:
    folder = adding(tmp_path / "m", **({"code": code} if code else {}), **more)
    found = trial(specify(folder))
    assert re.search(said, found.why), found.why
    assert found.memory > 0


@pytest.mark.parametrize(
    ("text", "target", "name", "said"),
    [
        ("a,b,y\n1,2,3\n", "z", "data.csv", "no column z (it has a, b, y)"),
        ("a,y\n1,3\n", "y", "data.csv", "no column b"),
        ("a,b,y\n1,2\n", "y", "data.csv", "cannot be read"),
        ("", "y", "data.csv", "cannot be read"),
        ("nothing", "y", "data.parquet", "cannot be read"),
        ("{}", "y", "data.json", "is a CSV or Parquet file"),
        ("a,b,y\n1,x,3\n", "y", "data.csv", "fails on the evaluation data"),
    ],
)
def test_evaluation_data_that_does_not_fit_says_why(tmp_path: Path, text: str, target: str, name: str, said: str) -> None:
    found = trial(specify(adding(tmp_path / "m"), evaluation=data(tmp_path, text, name), target=target))
    assert said in found.why


def test_data_without_rows_gives_no_metric(tmp_path: Path) -> None:
    found = trial(specify(adding(tmp_path / "m"), evaluation=data(tmp_path, "a,b,y\n"), target="y"))
    assert (found.why, found.rows, found.metrics) == ("", 0, {})


def test_codes_that_look_like_numbers_stay_texts(tmp_path: Path) -> None:
    code = "def load(folder):\n    return lambda found: [each['code'] + '!' for each in found]\n"
    schema = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    folder = adding(tmp_path / "m", code, input=schema, output={"type": "string"}, example=[{"code": "x"}])
    found = trial(specify(folder, evaluation=data(tmp_path, "code,y\n123,123!\n456,456!\n"), target="y"))
    assert (found.why, found.metrics["accuracy"]) == ("", 1.0)


def test_files_that_were_exchanged_are_not_loaded(tmp_path: Path) -> None:
    folder = adding(tmp_path / "m")
    spec = specify(folder)
    (folder / "model.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    found = trial(spec)
    assert "not those of its version" in found.why
    assert found.digest == digest(folder) != spec.digest
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_mlflow_is_served_by_its_pyfunc(tmp_path: Path) -> None:
    """In a process of its own: MLflow is large, and stays where it was imported."""
    done = subprocess.run([sys.executable, "-c", PYFUNC, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "RESULT pyfunc  1.0 4" in done.stdout, done.stderr[-2000:] + done.stdout


def test_the_program_writes_a_result_and_ends_well_whatever_the_model_does(tmp_path: Path) -> None:
    for name, code in (("good", {}), ("bad", {"code": "import os\nprint('loud')\nraise RuntimeError\n"})):
        spec = specify(adding(tmp_path / name, **code), result=str(tmp_path / "results" / f"{name}.json"))
        (tmp_path / "spec.json").write_text(json.dumps({**asdict(spec), "later": "a field of a newer version"}))
        done = subprocess.run([sys.executable, "-m", "reconciler.serving.trial", str(tmp_path / "spec.json")], check=False)
        result = json.loads((tmp_path / "results" / f"{name}.json").read_text())
        assert (done.returncode, bool(result["why"])) == (0, name == "bad")
        assert result["memory"] > 120 << 20  # Ray Serve and BentoML are beside the model, as they are where it is served


def test_a_trial_runs_as_a_job_with_the_interpreter_that_it_names(tmp_path: Path) -> None:
    house = JobHouse(tmp_path)
    result = tmp_path / "results" / "t.json"
    (tmp_path / "spec.json").write_text(json.dumps(asdict(specify(adding(tmp_path / "m"), result=str(result)))))
    job = Job(
        id="trial-1",
        ref="model/p/m",
        backend="local",
        cwd=str(house.work),
        entrypoint="reconciler.serving.trial",
        arguments=(str(tmp_path / "spec.json"),),
        requirements=("nosuchpackage==1",),
        interpreter=sys.executable,
        memory=1 << 30,
    )
    house.runner.launch(job)
    ended = house.wait(job.id, lambda found: found.state == "ended")
    assert (ended.exit_code, ended.why) == (0, ""), ended.tail
    assert json.loads(result.read_text())["why"] == ""
    assert not (house.state_dir / "environments").exists()


def test_an_interpreter_that_is_not_there_is_told(tmp_path: Path) -> None:
    house = JobHouse(tmp_path)
    job_id = house.start("", interpreter=str(tmp_path / "python"))
    assert "interpreter" in house.ended(job_id).why


def test_the_order_of_arrays_is_that_of_the_columns(tmp_path: Path) -> None:
    code = "def load(folder):\n    return lambda found: [each[0] - each[1] for each in found]\n"
    schema = {"type": "array", "items": {"type": "number"}}
    folder = adding(tmp_path / "m", code, input=schema, example=[[1.0, 2.0]])
    found = trial(specify(folder, evaluation=data(tmp_path, "a,y,b\n5,3,2\n"), target="y"))
    assert (found.why, found.metrics["mae"]) == ("", 0.0)
