"""`reconcile predict` against the real gateway and replicas that answer; `reconcile models` over a real Store."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.cli.serving import headers, parsed
from reconciler.errors import UsageError
from reconciler.model import Health, Owned, Ref, Status
from reconciler.model.serving import PredictionLog
from reconciler.platform import Services, ServiceSpec
from reconciler.report.models import listed, models_json, models_text
from reconciler.report.serving import Answer, answer_json, answer_text, answers_json, answers_text
from reconciler.state import open_store
from tests.contract.gateway_lab import Lab, route, target
from tests.unit.test_cli import reconcile

UP, CANARY, AWAY = target("hello.double.aaaaaaaa", 90), target("hello.double.bbbbbbbb", 10, "canary", "2"), target("hello.away.cccccccc")
ROUTES = (
    route("double", UP, CANARY, project="hello", header="release", predictions=PredictionLog(log=True)),
    route("away", AWAY, project="hello", limits=replace(route().limits, timeout=1.0)),
    route("off", project="audio", off="project audio is not active"),
    route("mute", target("audio.mute.dddddddd"), project="audio"),
)


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """A tree whose gateway runs as the platform runs it, in front of two replicas."""
    folder = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))  # short: sockets
    assert reconcile("init", ".", cwd=folder).returncode == 0
    state = folder / ".mlops"
    (state / "serving").mkdir(mode=0o700, parents=True)
    services, lab = Services(state, [ServiceSpec("gateway")]), Lab(state, 0)
    try:
        for app in (UP.app, CANARY.app):
            lab.replica(app)
        lab.replica("audio.mute.dddddddd", example=())
        lab.routes(*ROUTES)
        services.ensure(["gateway"], deadline=60)
        yield folder
    finally:
        lab.stop()
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_deployment_is_asked_with_its_own_example(tree: Path) -> None:
    said = reconcile("predict", "double", "--header", "release:stable", cwd=tree)
    assert said.returncode == 0, said.stderr
    lines = said.stdout.split("\n")
    assert re.fullmatch(r"hello/double answered 2 instances in [\d.,]+ ms", lines[0])
    assert "  model       p/model version 1, sklearn" in lines
    assert "  run         run-1" in lines
    assert "  trained on  digits d1" in lines
    assert [line.split()[0] for line in lines if re.match(r"  [\d.]+   \S+-[01]$", line)] == ["2", "5.0"]
    assert lines[-2].startswith("Next: send what was right to `POST /feedback/hello/double`")


def test_own_data_and_headers_are_sent_along(tree: Path) -> None:
    (tree / "rows.jsonl").write_text('{"x": 4}\n\n{"x": -1}\n')
    said = reconcile("predict", "deployment/hello/double", "--data", "rows.jsonl", "--header", "Release: canary", "-o", "json", cwd=tree)
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert (told["formatVersion"], told["kind"], told["deployment"], told["predictions"]) == (1, "prediction", "hello/double", [8, -2])
    assert (told["version"], told["role"], told["run"], told["datasets"]) == ("2", "canary", "run-2", {"digits": "d1"})
    assert told["milliseconds"] > 0


def test_all_are_asked_and_one_that_does_not_answer_is_an_error(tree: Path) -> None:
    said = reconcile("predict", "--all", cwd=tree)
    assert said.returncode == 1
    lines = said.stdout.split("\n")
    assert lines[0] == "1 of 3 deployments answered through the gateway"
    assert lines[2].split() == ["DEPLOYMENT", "RUNTIME", "VERSION", "RUN", "TRAINED", "ON", "ANSWER", "MS"]
    rows = {line.split()[0]: line for line in lines[3:7]}
    assert "2 and 1 more" in rows["hello/double"]
    assert "no replica is up" in rows["hello/away"]
    assert "its model has no example" in rows["audio/mute"]
    assert "project audio is not active" in rows["audio/off"]
    assert lines[-2] == "Next: `reconcile why deployment/hello/away`."
    only = reconcile("predict", "--all", "--project", "audio", "-o", "json", cwd=tree)
    assert only.returncode == 3, "one has nothing to be asked with; the other is off on purpose"
    assert [(each["deployment"], each["answered"], each["off"]) for each in json.loads(only.stdout)["deployments"]] == [
        ("audio/mute", False, False),
        ("audio/off", False, True),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["double", "--rows", '[{"x": "four"}]'], "hello/double did not answer: "),
        (["away", "--rows", '[{"x": 1}]'], "`reconcile why deployment/hello/away` tells more"),
        (["mute"], "say what to ask with --rows or --data"),
        (["duoble"], "did you mean deployment/hello/double"),
        ([], "name one (audio/mute, audio/off, hello/away, hello/double), or ask them all with --all"),
        (["--all", "--rows", "[]"], "--all asks every deployment with its own example"),
        (["double", "--data", "nowhere.json"], "nowhere.json cannot be read: No such file or directory"),
    ],
)
def test_what_gets_no_answer_is_said_in_one_line_with_a_way_on(words: list[str], message: str, tree: Path) -> None:
    said = reconcile("predict", *words, cwd=tree)
    assert (said.returncode, said.stdout) == (1, "")
    assert message in said.stderr
    assert "Traceback" not in said.stderr


def test_a_gateway_that_was_never_started_is_named(tmp_path: Path) -> None:
    assert reconcile("init", ".", cwd=tmp_path).returncode == 0
    said = reconcile("predict", "--all", cwd=tmp_path)
    assert said.returncode == 1
    assert "gateway was never started here" in said.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[{"x": 1}, 2]', [{"x": 1}, 2]),
        ('{"instances": [1]}', [1]),
        ('{"instances": [1], "x": 2}', [{"instances": [1], "x": 2}]),
        ('{"instances": 1}', [{"instances": 1}]),
        ("7", [7]),
        ("[1, 2]\n[3, 4]\n", [[1, 2], [3, 4]]),
        ("[]", []),
    ],
)
def test_instances_may_be_written_in_several_ways(text: str, found: list[object]) -> None:
    assert parsed(text, "--rows") == found


@pytest.mark.parametrize("text", ["", "{", '{"x": 1}\n{"x":', "[" * 100_000])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not JSON"):
        parsed(text, "--rows")


@pytest.mark.parametrize("pair", ["release", ":x", "a b:c", "Authorization: Bearer x", "x-api-key:x", "é:1", "x:a\nb", "content-length:1"])
def test_what_is_no_header_or_would_replace_the_key_is_refused(pair: str) -> None:
    with pytest.raises(UsageError):
        headers([pair])


def test_headers() -> None:
    assert headers(["release:canary", "X-Who: a:b"]) == {"release": "canary", "X-Who": "a:b"}
    assert headers(None) == {}


# --- what is told --------------------------------------------------------------------------------------------------------

SHOWN = Answer(
    "vision/digits", 1, [{"label": "\x1b[31mcat"}], (), "vision/digits", "3", "a" * 32, "b" * 16, "mlx", "stable", {"d": "c" * 64}, 0.0042
)


def test_nothing_that_a_model_says_reaches_the_terminal_as_it_is() -> None:
    assert "\x1b" not in answer_text(SHOWN) + answers_text([SHOWN, Answer("vision/other", why="\x1b[2J")])
    assert json.loads(answer_json(SHOWN))["predictions"] == [{"label": "\x1b[31mcat"}]


def test_a_table_fits_where_it_is_shown_and_ends_with_what_is_next() -> None:
    long = replace(SHOWN, predictions=["x" * 500] * 3)
    lines = answers_text([long], width=120).split("\n")
    assert max(map(len, lines)) <= 120
    assert lines[3].startswith("vision/digits  mlx      3        aaaaaaaa  d cccccccc…cccc  ")
    assert lines[3].endswith("4.2")
    assert lines[-1] == "Next: `reconcile predict vision/digits --rows '[...]'` asks with your own data."
    assert "and 2 more" in lines[3]
    assert answers_text([]).startswith("No deployment is served here.\nNext: ")
    assert json.loads(answers_json([]))["deployments"] == []


# --- models --------------------------------------------------------------------------------------------------------------

VERSIONS = {
    "9": {"run": "e" * 32, "verdict": "fail", "quarantined": "", "memory": "", "runtimes": '["mlx"]', "datasets": "{}"},
    "10": {
        "run": "f" * 32,
        "verdict": "pass",
        "quarantined": "",
        "memory": "300000000",
        "runtimes": '["mlx", "sklearn"]',
        "digest": "0" * 64,
    },
    "8": {"run": "d" * 32, "verdict": "pass", "quarantined": "answers nonsense\x1b[2J", "signature": "signatures/x.json"},
}
OUTPUTS = {
    "alias": "champion",
    "version": "10",
    "run": "f" * 32,
    "datasets": json.dumps({"digits": "a" * 64}),
    "versions": json.dumps(VERSIONS),
}
MODEL = Ref("Model", "vision", "digits")


def test_models_are_told_with_the_version_that_has_the_alias() -> None:
    status = Status(MODEL, Health.HEALTHY, (), message="v10 from rank8-s0 (accuracy 0.93), champion")
    lines = models_text(
        [listed(MODEL, OUTPUTS, status), listed(Ref("Model", "audio", "genres"), {"version": "", "versions": "?"}, None)]
    ).split("\n")
    assert lines[0] == "2 models in 2 projects, 1 with a version that passed"
    assert lines[3].startswith(
        "vision/digits  champion  10       ffffffff  digits aaaaaaaa…aaaa  1 fail, 1 pass, 1 quarantined  Healthy: v10 from rank8-s0 ("
    )
    assert lines[4].split() == ["audio/genres", "-", "-", "-", "-", "-", "-"]
    assert models_text([]).startswith("No model is registered here.\nNext: ")


def test_every_version_is_told_with_its_verdict_the_newest_first() -> None:
    model = listed(MODEL, OUTPUTS, None)
    lines = models_text([model], all_=True, width=200).split("\n")
    assert [line.split()[1:3] for line in lines[3:6]] == [["10", "pass"], ["9", "fail"], ["8", "quarantined"]]
    assert lines[3].endswith("mlx, sklearn  287 MiB  champion")
    assert lines[5].endswith("quarantined: answers nonsense\\x1b[2J")
    told = json.loads(models_json([model]))["models"][0]
    assert (told["ref"], told["alias"], told["version"]) == ("model/vision/digits", "champion", "10")
    assert [each["version"] for each in told["versions"]] == ["10", "9", "8"]
    assert told["versions"][0] == {
        "version": "10",
        "verdict": "pass",
        "quarantined": None,
        "alias": "champion",
        "run": "f" * 32,
        "digest": "0" * 64,
        "datasets": {},
        "runtimes": ["mlx", "sklearn"],
        "memoryBytes": 300_000_000,
        "signed": False,
    }


def test_models_of_all_projects_are_read_from_the_store(tmp_path: Path) -> None:
    assert reconcile("init", ".", cwd=tmp_path).returncode == 0
    (tmp_path / ".mlops").mkdir(mode=0o700)
    with open_store(tmp_path / ".mlops/store.db") as store, store.writer("test"):
        store.record(Owned(MODEL, "vision.digits", "root", "0", {}, "confirm", OUTPUTS))
        store.record(Owned(Ref("Model", "audio", "genres"), "audio.genres", "root", "0", {}, "confirm", {}))
    assert reconcile("models", cwd=tmp_path).stdout.startswith("2 models in 2 projects, 1 with a version that passed\n")
    told = json.loads(reconcile("models", "--project", "vision", "-o", "json", cwd=tmp_path).stdout)
    assert [each["ref"] for each in told["models"]] == ["model/vision/digits"]
