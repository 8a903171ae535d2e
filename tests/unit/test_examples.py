"""The examples learn something, give the same result for the same seed, leave models that can be served, and fit their manifests."""

from __future__ import annotations

import filecmp
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.model.packaging import TrialSpec
from reconciler.serving.content import digest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DIGITS = "stable-diffusion/data/digits.csv"

Metrics = dict[str, float]


@dataclass(frozen=True)
class Case:
    """A script, its main data, what a short run needs, and what the full run must have learned."""

    script: str
    data: str
    short: dict[str, str]
    model: str
    learned: Callable[[Metrics], list[bool]]
    options: dict[str, str] = field(default_factory=dict)
    judged: tuple[str, str, str, float] | None = None
    """Of a script that leaves a folder `model`: data to predict, the column with the truth, and what a metric must be."""


CASES = (
    Case(
        "lora-finetuning/train.py",
        "lora-finetuning/data/digits-domains.csv",
        {"--steps": "20", "--base-steps": "20"},
        "adapters.safetensors",
        lambda m: [m["accuracy_base"] > 0.85, m["accuracy"] > 0.6, m["accuracy"] > m["accuracy_before"] + 0.3, m["trainable_share"] < 0.2],
        judged=("lora-finetuning/data/digits-turned.csv", "label", "accuracy", 0.65),
    ),
    Case(
        "stable-diffusion/train.py",
        DIGITS,
        {"--steps": "20", "--timesteps": "5"},
        "model.safetensors",
        lambda m: [m["loss"] < 0.6, m["sample_accuracy"] > 0.7],
    ),
    Case(
        "quantized-optimization/train.py",
        DIGITS,
        {"--steps": "20"},
        "model.safetensors",
        lambda m: [m["accuracy_float"] > 0.9, m["accuracy"] > m["accuracy_float"] - 0.05, m["compression"] > 4],
        judged=("stable-diffusion/data/digits-small.csv", "label", "accuracy", 0.9),
    ),
    Case(
        "quantized-optimization/search.py",
        "quantized-optimization/data/breast-cancer.csv",
        {"--steps": "20"},
        "model.safetensors",
        lambda m: [m["accuracy"] > 0.85, m["compression"] > 3, m["bytes"] < m["bytes_float"]],
        judged=("federated-learning/data/hospitals/test.csv", "label", "accuracy", 0.9),
    ),
    Case(
        "cpu-compression/train.py",
        "quantized-optimization/data/breast-cancer.csv",
        {"--epochs": "3", "--recover": "2"},
        "model.npz",
        lambda m: [m["accuracy"] > 0.88, m["bytes"] < m["bytes_dense"] / 4],
    ),
    Case(
        "cpu-compression/distil.py",
        "cpu-compression/data/diabetes.csv",
        {"--trees": "5", "--points": "50"},
        "model.npz",
        lambda m: [m["r2"] > 0.1, m["r2"] > m["r2_plain"], m["compression"] > 50],
        judged=("cpu-compression/data/diabetes-later.csv", "progression", "r2", 0.25),
    ),
    Case(
        "clip-finetuning/train.py",
        DIGITS,
        {"--steps": "10", "--base-steps": "10"},
        "model.safetensors",
        lambda m: [m["accuracy"] > 0.7, m["accuracy"] > m["accuracy_before"], m["accuracy_new"] > m["accuracy_new_before"] + 0.15],
        judged=("clip-finetuning/data/captions-short.csv", "label", "accuracy", 0.75),
    ),
    Case(
        "federated-learning/train.py",
        "federated-learning/data/hospitals",
        {"--rounds": "2"},
        "model.safetensors",
        lambda m: [m["accuracy"] > 0.9, m["accuracy"] > m["accuracy_start"], m["accuracy"] > m["accuracy_alone"]],
    ),
    Case(
        "adaptive-diffusion/train.py",
        "adaptive-diffusion/data/digits-4x4.csv",
        {"--steps": "20", "--stops": "2"},
        "model.safetensors",
        lambda m: [m["frechet"] < m["frechet_noise"] / 5, m["frechet"] < m["frechet_uniform"], m["loss"] < 0.5],
    ),
    Case(
        "meta-learning-peft/train.py",
        "meta-learning-peft/data/digit-tasks.csv",
        {"--tasks": "5", "--base-steps": "10"},
        "model.safetensors",
        lambda m: [m["accuracy"] > 0.7, m["accuracy"] > m["accuracy_scratch"]],
    ),
    Case(
        "self-improving-diffusion/train.py",
        DIGITS,
        {"--steps": "10", "--round-steps": "5", "--rounds": "1"},
        "model.safetensors",
        lambda m: [m["score"] > m["score_0"], m["accuracy"] > 0.7, m["diversity"] > 0.1],
    ),
)
NAMES = [case.script for case in CASES]
ONE_OF_EACH = ("quantized-optimization/train.py", "cpu-compression/train.py", "cpu-compression/distil.py")
"""A script for MLX, for NumPy and for scikit-learn: how each is seeded is the same in all of a sort."""


def launch(case: Case, out: Path, options: dict[str, str]) -> tuple[Metrics, str]:
    """Runs the script as a run would be started: in its project's folder, with an environment of its own and one thread."""
    script = EXAMPLES / case.script
    argv = [sys.executable, script.name, "--data", str(EXAMPLES / case.data), "--out", str(out), *chain.from_iterable(options.items())]
    environment = {
        "PATH": os.defpath,
        "HOME": str(out.parent),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(argv, cwd=script.parent, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "metrics.json").read_text(encoding="utf-8")), done.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], tuple[Path, Metrics, str]]:
    """The folder, the metrics and the words of a script's whole run, which is made once."""
    made: dict[str, tuple[Path, Metrics, str]] = {}

    def run(case: Case) -> tuple[Path, Metrics, str]:
        if case.script not in made:
            folder = tmp_path_factory.mktemp("whole")
            made[case.script] = folder, *launch(case, folder / "out", {})
        return made[case.script]

    return run


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_run_learns_and_leaves_metrics_and_a_model(case: Case, whole: Callable[[Case], tuple[Path, Metrics, str]]) -> None:
    folder, metrics, printed = whole(case)
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert all(case.learned(metrics)), metrics
    assert 0 < (folder / "out" / case.model).stat().st_size < 1_000_000
    assert len(printed.splitlines()) >= 2
    assert (folder / "out" / "model").exists() == (case.judged is not None)
    if case.judged is not None:
        data, target, metric, least = case.judged
        tried = trial(folder / "out" / "model", EXAMPLES / data, target)
        assert tried["why"] == ""
        assert tried["metrics"][metric] > least, tried["metrics"]


def trial(model: Path, data: Path, target: str) -> dict[str, Any]:
    """What a trial says of the model; it leaves the folder as it was, and needs nothing else of the project."""
    folder = model.rename(model.parents[1] / "served")
    before, told, result = digest(folder), folder.with_name("trial.json"), folder.with_name("result.json")
    spec = TrialSpec(str(folder), before, str(result), requests=20, evaluation=str(data), target=target)
    told.write_text(json.dumps(asdict(spec)), encoding="utf-8")
    argv = [sys.executable, "-m", "reconciler.serving.trial", str(told)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert digest(folder) == before
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    "case", [pytest.param(each, id=each.script, marks=() if each.script in ONE_OF_EACH else pytest.mark.full) for each in CASES]
)
def test_the_same_seed_gives_the_same_result_and_another_seed_another(case: Case, tmp_path: Path) -> None:
    first, again, other = (
        launch(case, tmp_path / name, {"--seed": seed, **case.short})[0] for name, seed in (("first", "7"), ("again", "7"), ("other", "8"))
    )
    assert first == again
    assert (tmp_path / "first" / case.model).read_bytes() == (tmp_path / "again" / case.model).read_bytes()
    assert (tmp_path / "first" / case.model).read_bytes() != (tmp_path / "other" / case.model).read_bytes()
    assert first.keys() == other.keys()
    if case.judged is not None:
        assert digest(tmp_path / "first" / "model") == digest(tmp_path / "again" / "model") != digest(tmp_path / "other" / "model")


def experiments() -> Iterator[tuple[str, dict[str, Any]]]:
    """Project and spec of every experiment that declares runs."""
    for path in sorted((ROOT / "manifests" / "projects").glob("*/*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document["kind"] == "Experiment" and "runs" in document["spec"]:
                yield document["metadata"]["project"], document["spec"]


@pytest.fixture(scope="module")
def results(whole: Callable[[Case], tuple[Path, Metrics, str]]) -> dict[str, tuple[Metrics, str]]:
    """Metrics of a run and the help text of every script."""
    found = {}
    for case in CASES:
        asked = [sys.executable, str(EXAMPLES / case.script), "--help"]
        found[case.script] = whole(case)[1], subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return found


def test_every_declared_run_fits_its_script(results: dict[str, tuple[Metrics, str]]) -> None:
    declared = list(experiments())
    assert {project for project, _ in declared} == {script.split("/")[0] for script in NAMES}
    for project, spec in declared:
        script = f"{project}/{spec['runs']['entrypoint']}"
        metrics, text = results[script]
        params = spec["runs"].get("params", {})
        for name in chain.from_iterable(params) if isinstance(params, list) else params:
            assert f"--{name} " in text, f"{script} has no --{name}"
        if "metric" in spec:
            assert spec["metric"]["name"] in metrics, f"{script} does not write {spec['metric']['name']}"


def test_code_globs_cover_every_module_that_a_script_imports() -> None:
    for project, spec in experiments():
        folder = EXAMPLES / project
        covered = {path.name for glob in spec["runs"].get("code", ["*.py"]) for path in folder.glob(glob)}
        source = (folder / spec["runs"]["entrypoint"]).read_text(encoding="utf-8")
        own = {path.name for path in folder.glob("*.py") if f"from {path.stem} import" in source}
        assert {spec["runs"]["entrypoint"], *own} <= covered, project


def test_the_data_sets_are_what_the_export_script_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(EXAMPLES / "export_data.py"), str(tmp_path)], check=True, capture_output=True)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.csv"))
    assert written == sorted(path.relative_to(EXAMPLES) for path in EXAMPLES.glob("*/data/**/*.csv"))
    for name in written:
        assert filecmp.cmp(tmp_path / name, EXAMPLES / name, shallow=False), name
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.csv")) < 2_000_000
