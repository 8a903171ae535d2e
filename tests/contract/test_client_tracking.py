"""The client and a real MLflow server: what is logged, to which run, and what becomes of it while the server is away."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.client import MLOpsClient, MLOpsWarning, NotAsked, Patience, Refused, Unavailable
from reconciler.client.datasets import DataVersion
from tests.contract.client_lab import Seen, client, installed, line, params, tags
from tests.contract.proxy import answering, losing_the_first
from tests.e2e.installation import REPOSITORY, experiment

TICKETS = DataVersion("tickets", "a" * 32, Path("tickets.csv"))

pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture
def seen(mlflow_url: str) -> Seen:
    return Seen(mlflow_url)


def test_a_run_is_logged_with_its_marks_and_ends(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    here, name = installed(tmp_path, mlflow_url)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mlops.json").write_text("{}")
    with client(here, name) as ours, ours.start_run("words", name="first", params={"rate": 0.1}, datasets=[TICKETS]) as run:
        ours.log_params({"depth": 3, "note": "x"})
        ours.log_metrics({"loss": 0.5}, step=1)
        ours.log_metrics_batch([{"loss": 1 / step} for step in range(1, 2501)], first_step=2)
        ours.log_artifact(tmp_path / "notes.txt")
        ours.log_model(tmp_path / "model")
        assert ours.log_apple_silicon_metrics()["system_memory_usage_megabytes"] > 0
    assert run.id is not None
    found = seen.run(run.id)
    assert found["info"]["status"] == "FINISHED"
    assert found["info"]["run_name"] == "first"
    assert params(found) == {"rate": "0.1", "depth": "3", "note": "x"}
    told = tags(found)
    assert told["mlops.ref"] == f"unmanaged:{name}"
    assert told["mlops.installation"] == "client-test"
    assert told["mlops.project"] == name
    assert told["mlops.dataset.tickets"] == "a" * 32
    assert told["mlops.context.python"] == ".".join(map(str, sys.version_info[:3]))
    assert len(seen.history(run.id, "loss")) == 2501
    assert sorted(seen.artifacts(run.id)) == ["model/mlops.json", "notes.txt"]
    assert tags({"data": seen.experiment(f"{name}/words")})["mlops.ref"] == f"unmanaged:{name}"


def test_a_manifest_of_that_name_adopts_the_experiment(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    here, name = installed(tmp_path, mlflow_url)
    with client(here, name) as ours:
        ours.create_experiment("words")
        with ours.start_run("words"):
            pass
    here.write({"manifests/words.yaml": experiment("words", name)})
    assert [each["action"] for each in here.plan()["actions"] if each["ref"] == f"experiment/{name}/words"] == ["adopt"]
    here.ok()
    assert tags({"data": seen.experiment(f"{name}/words")})["mlops.ref"] == f"experiment/{name}/words"
    assert len(seen.runs(f"{name}/words")) == 1


def test_inside_a_run_that_was_started_for_it_no_second_one_is_made(
    tmp_path: Path, mlflow_url: str, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, name = installed(tmp_path, mlflow_url)
    theirs = seen.create(f"{name}/given")
    monkeypatch.setenv("MLFLOW_RUN_ID", theirs)
    with client(here, name) as ours:
        ours.log_metrics({"before": 1})
        with ours.start_run("elsewhere", params={"a": 1}) as run:
            ours.log_metrics({"loss": 2})
            assert run.id == theirs
        with ours.start_run("elsewhere"):
            ours.log_metrics({"again": 3})
            with ours.start_run("part", nested=True) as part:
                pass
    found = seen.run(theirs)
    assert found["info"]["status"] == "RUNNING"  # who started it ends it
    assert {each["key"] for each in found["data"]["metrics"]} == {"before", "loss", "again"}
    assert len(seen.runs(f"{name}/given")) == 1
    assert part.id is not None
    assert tags(seen.run(part.id))["mlflow.parentRunId"] == theirs


def test_how_a_block_ends_is_how_its_run_ends(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    here, name = installed(tmp_path, mlflow_url)
    with client(here, name) as ours:
        with pytest.raises(ZeroDivisionError), ours.start_run("words") as failed:
            1 / 0  # noqa: B018
        with pytest.raises(NotAsked, match="no run is active"):
            ours.log_metrics({"loss": 1})
        with ours.start_run("words"), pytest.raises(NotAsked, match="active already"):
            ours.start_run("words")
        with ours.start_run("words"), pytest.raises(NotAsked, match="not a number"):
            ours.log_metrics({"loss": "low"})  # type: ignore[dict-item]
    assert failed.id is not None
    assert seen.run(failed.id)["info"]["status"] == "FAILED"


def test_the_decorator_logs_arguments_and_numbers(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    here, name = installed(tmp_path, mlflow_url)
    with client(here, name) as ours:

        @ours.track_experiment("words")
        def train(rate: float, steps: int = 3) -> dict[str, float]:
            return {"loss": rate / steps}

        @ours.track_experiment("words", name="later")
        async def later(rate: float) -> dict[str, float]:
            await ours.aio.log_metrics({"inner": 1})
            return {"loss": rate}

        assert train(0.3) == {"loss": pytest.approx(0.1)}
        asyncio.run(later(0.7))
    first, second = seen.runs(f"{name}/words")
    assert params(first) == {"rate": "0.3", "steps": "3"}
    assert first["info"]["run_name"] == "train"
    assert {each["key"] for each in second["data"]["metrics"]} == {"inner", "loss"}


def test_tasks_of_one_loop_log_to_their_own_runs(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    here, name = installed(tmp_path, mlflow_url)

    async def one(ours: MLOpsClient, number: int) -> None:
        async with ours.aio.start_run("words", name=f"r{number}"):
            await ours.aio.log_params({"number": number})
            await ours.aio.log_metrics_batch([{"n": number}] * 3)

    async def every() -> None:
        ours = client(here, name)
        await asyncio.gather(*(one(ours, number) for number in range(5)))
        await ours.aio.close()

    asyncio.run(every())
    found = seen.runs(f"{name}/words")
    assert sorted((each["info"]["run_name"], params(each)["number"]) for each in found) == [(f"r{n}", str(n)) for n in range(5)]
    assert {each["info"]["status"] for each in found} == {"FINISHED"}


def test_plain_mlflow_in_the_block_logs_to_the_same_run(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    here, name = installed(tmp_path, mlflow_url)
    program = f"""
import mlflow
from reconciler.client import MLOpsClient
with MLOpsClient.from_project("{name}", root="{here.root}") as client:
    with client.start_run("words") as run:
        mlflow.log_metric("plain", 1.0)
        client.log_metrics({{"ours": 2.0}})
    assert mlflow.active_run() is None
    print(run.id)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=here.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (only,) = seen.runs(f"{name}/words")
    assert only["info"]["run_id"] == done.stdout.split()[-1]
    assert {each["key"] for each in only["data"]["metrics"]} == {"plain", "ours"}


def test_threads_log_to_their_own_runs_and_helpers_to_that_of_the_block(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    here, name = installed(tmp_path, mlflow_url)
    both = threading.Barrier(2)

    def one(ours: MLOpsClient, number: int) -> None:
        with ours.start_run("words", name=f"r{number}"):
            both.wait(30)
            ours.log_params({"number": number})
            both.wait(30)

    with client(here, name) as ours:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, [ours, ours], [0, 1]))
        with ours.start_run("words", name="r2"), ThreadPoolExecutor(1) as pool:
            pool.submit(ours.log_params, {"number": 2}).result()
    assert sorted((each["info"]["run_name"], params(each)["number"]) for each in seen.runs(f"{name}/words")) == [
        (f"r{number}", str(number)) for number in range(3)
    ]


def test_an_object_is_written_by_mlflow_as_the_model_of_the_run(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    from sklearn.linear_model import LinearRegression

    here, name = installed(tmp_path, mlflow_url)
    with client(here, name) as ours, ours.start_run("words") as run:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what MLflow and scikit-learn say of each other
            ours.log_model(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), pip_requirements=[])
        with pytest.raises(NotAsked, match=r"how a builtins\.dict is written"):
            ours.log_model({})
        with pytest.raises(NotAsked, match="not the folder of a model"):
            ours.log_model(tmp_path / "nothing")
    assert run.id is not None
    assert "model/MLmodel" in seen.artifacts(run.id)


def test_without_mlflows_package_only_objects_cannot_be_written(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    here, name = installed(tmp_path, mlflow_url)
    program = f"""
import sys
sys.modules["mlflow"] = None
from reconciler.client import MLOpsClient, NotAsked
with MLOpsClient.from_project("{name}", root="{here.root}") as client, client.start_run("words") as run:
    client.log_artifact("{here.root}/manifests/platform.yaml")
    try:
        client.log_model(object(), flavor="sklearn")
    except NotAsked as error:
        print(error)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, env=here.environment, capture_output=True, text=True, check=True)
    assert "needs MLflow's package" in done.stdout
    (only,) = seen.runs(f"{name}/words")
    assert seen.artifacts(only["info"]["run_id"]) == ["platform.yaml"]


# --- while MLflow is away --------------------------------------------------------------------------------------------


def test_what_is_logged_while_it_is_away_arrives_once_and_in_order(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    with line(mlflow_url) as wire:
        here, name = installed(tmp_path, wire.url)
        note = tmp_path / "notes.txt"
        note.write_text("kept")
        wire.cut()
        ours = client(here, name)
        with pytest.warns(MLOpsWarning, match="does not answer.*delivered later") as told:
            run = ours.start_run("words", params={"rate": 1})
        assert told[0].filename == __file__  # the line of the project's code, not one of ours
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # said once is enough
            with run:
                assert run.id is None
                for step in range(5):
                    ours.log_metrics({"loss": step}, step=step)
                ours.log_artifact(note)
        note.unlink()
        assert ours.waiting() == 9
        with pytest.raises(Unavailable):
            ours.flush()
        wire.mend()
        time.sleep(0.3)  # the circuit is open for so long at most
        assert ours.flush() == 9
        assert ours.flush() == 0
        ours.close()
    (only,) = seen.runs(f"{name}/words")
    assert only["info"]["status"] == "FINISHED"
    assert run.id == only["info"]["run_id"]
    assert seen.history(run.id, "loss") == [(step, float(step)) for step in range(5)]
    assert seen.artifacts(run.id) == ["notes.txt"]
    assert not list((here.root / ".mlops" / "client" / name).glob("*.jsonl"))
    assert not list((here.root / ".mlops" / "client" / name / "files").iterdir())


def test_it_goes_on_by_itself_when_the_server_is_back(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    with line(mlflow_url) as wire:
        here, name = installed(tmp_path, wire.url)
        with client(here, name) as ours, ours.start_run("words") as run:
            ours.log_metrics({"loss": 0}, step=0)
            wire.cut()
            with pytest.warns(MLOpsWarning):
                ours.log_metrics({"loss": 1}, step=1)
            ours.log_metrics({"loss": 2}, step=2)
            wire.mend()
            time.sleep(0.3)
            ours.log_metrics({"loss": 3}, step=3)
            assert run.id is not None
            assert seen.history(run.id, "loss") == [(step, float(step)) for step in range(4)]
    assert seen.run(run.id)["info"]["status"] == "FINISHED"


def test_the_next_program_delivers_what_a_killed_one_left(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    with line(mlflow_url) as wire:
        here, name = installed(tmp_path, wire.url)
        wire.cut()
        program = f"""
import os, warnings
from reconciler.client import MLOpsClient, Patience
warnings.simplefilter("ignore")
client = MLOpsClient.from_project("{name}", root="{here.root}", patience=Patience(tries=1, trip=1))
with client.start_run("words", params={{"rate": 1}}):
    client.log_metrics({{"loss": 0.5}})
    os._exit(9)
"""
        done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, env=here.environment, check=False)
        assert done.returncode == 9
        wire.mend()
        with client(here, name) as ours, ours.start_run("words", name="second"):
            assert ours.waiting() == 0
    first, _ = sorted(seen.runs(f"{name}/words"), key=lambda each: int(each["info"]["start_time"]))
    assert params(first) == {"rate": "1"}
    assert first["data"]["metrics"][0]["value"] == 0.5
    assert first["info"]["status"] == "RUNNING"  # nobody said how it ended


def test_what_was_delivered_and_not_noted_is_not_there_twice(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    with line(mlflow_url) as wire:
        here, name = installed(tmp_path, wire.url)
        wire.cut()
        ours = client(here, name)
        with pytest.warns(MLOpsWarning), ours.start_run("words", params={"rate": 1}):
            ours.log_metrics({"loss": 1}, step=1)
        (file,) = (here.root / ".mlops" / "client" / name).glob("*.jsonl")
        left = file.read_bytes()
        wire.mend()
        time.sleep(0.3)
        ours.flush()
        ours.close()
        file.write_bytes(left)  # as if the process had died before it noted anything
        with client(here, name) as again:
            assert again.flush() == 4
    (only,) = seen.runs(f"{name}/words")
    assert seen.history(only["info"]["run_id"], "loss") == [(1, 1.0)]


def test_a_run_whose_answer_was_lost_is_made_once(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    with losing_the_first("runs/create", mlflow_url) as url:
        here, name = installed(tmp_path, url)
        with client(here, name) as ours, ours.start_run("words") as run:
            pass
    assert [each["info"]["run_id"] for each in seen.runs(f"{name}/words")] == [run.id]


def test_what_is_refused_later_stops_nothing_and_is_kept_with_its_answer(tmp_path: Path, mlflow_url: str, seen: Seen) -> None:
    with line(mlflow_url) as wire:
        here, name = installed(tmp_path, wire.url)
        wire.cut()
        ours = client(here, name)
        with pytest.warns(MLOpsWarning), ours.start_run("words", params={"rate": 1}) as run:
            run.log_params({"rate": 2})  # MLflow keeps a parameter as it was logged first
        run.log_metrics({"loss": 1})
        wire.mend()
        time.sleep(0.3)
        with pytest.warns(MLOpsWarning, match="refused 1 of 5 records"):
            ours.flush()
        ours.close()
    (only,) = seen.runs(f"{name}/words")
    assert params(only) == {"rate": "1"}
    assert only["data"]["metrics"][0]["key"] == "loss"
    (told,) = (here.root / ".mlops" / "client" / name / "refused.jsonl").read_text().splitlines()
    assert "Changing param" in json.loads(told)["answer"]


def test_who_is_not_let_in_loses_nothing(tmp_path: Path) -> None:
    with answering("{}", 401) as url:
        here, name = installed(tmp_path, url)
        with client(here, name) as ours:
            with pytest.warns(MLOpsWarning, match="lets us not in"):
                ours.create_experiment("words")
            assert ours.waiting() == 1


def test_a_server_that_hangs_is_waited_for_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        here, name = installed(tmp_path, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        patience = Patience(tries=1, trip=1, timeout=0.5, connect=0.5, rest=60)
        with MLOpsClient.from_project(name, root=here.root, patience=patience) as ours:
            with pytest.warns(MLOpsWarning, match="gave no answer to experiments/get-by-name: ReadTimeout"):
                ours.create_experiment("words")
            with ours.start_run("words"):
                ours.log_metrics_batch([{"loss": step} for step in range(100)])
            assert ours.waiting() == 4
            with pytest.raises(Unavailable, match="asked again in"):
                ours.flush()


def test_where_nothing_can_be_kept_either_the_training_goes_on(tmp_path: Path) -> None:
    here, name = installed(tmp_path, "http://127.0.0.1:9")
    here.write({f".mlops/client/{name}": "a file"})
    with client(here, name) as ours:
        with pytest.warns(MLOpsWarning, match="so that it is lost"):
            ours.create_experiment("words")
        with ours.start_run("words"):
            ours.log_metrics({"loss": 1})


def test_a_refusal_is_told_at_once(tmp_path: Path, mlflow_url: str) -> None:
    here, name = installed(tmp_path, mlflow_url)
    with client(here, name) as ours, ours.start_run("words", params={"rate": 1}), pytest.raises(Refused, match="Changing param"):
        ours.log_params({"rate": 2})
