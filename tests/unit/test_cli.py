"""The command line without any tool: what it understands, refuses and loads."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.options import Globals
from reconciler.cli.pass_ import link_base, timeout_seconds
from reconciler.cli.refs import parse_ref
from reconciler.errors import UsageError
from reconciler.model import Ref
from reconciler.registry import discover
from reconciler.report.doctor import Check, doctor_text
from reconciler.report.json import plan_json, report_json, status_json
from reconciler.schema import any_schema, fields, find, kind_schema, walk
from tests import forked
from tests.golden.plans.cases import CASES, ref

ROOT = Path(__file__).parents[2]
KINDS = discover()
KNOWN = [
    Ref("Platform", None, "toolkit"),
    Ref("Project", None, "vision"),
    Ref("Dataset", "vision", "digits"),
    Ref("Dataset", "audio", "digits"),
    Ref("Experiment", "vision", "probe"),
    Ref("Experiment", "vision", "probe", "r8"),
]


def reconcile(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MLOPS_", "GITHUB_", "CI"))}
    return forked.reconcile(*words, cwd=cwd, env={**clean, **env})


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("experiment/vision/probe", 4),
        ("Experiments/vision/probe", 4),
        ("vision/probe", 4),
        ("probe", 4),
        ("probe#r8", 5),
        ("project/vision", 1),
        ("platform/toolkit", 0),
        ("dataset/audio/digits", 3),
    ],
)
def test_a_ref_may_be_as_short_as_it_is_unique(text: str, index: int) -> None:
    assert parse_ref(text, KINDS, KNOWN) == KNOWN[index]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("digits", "could be 2 resources", "dataset/audio/digits, dataset/vision/digits"),
        ("prob", "there is no resource 'prob'", "did you mean experiment/vision/probe"),
        ("zzz", "there is no resource 'zzz'", "reconcile status --all"),
    ],
)
def test_a_ref_that_fits_nothing_or_much_names_the_candidates(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_ref(text, KINDS, KNOWN)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_ref_spelled_in_full_need_not_exist_where_that_is_allowed() -> None:
    assert parse_ref("dataset/vision/gone", KINDS, KNOWN, must_exist=False) == Ref("Dataset", "vision", "gone")
    with pytest.raises(UsageError):
        parse_ref("dataset/gone", KINDS, KNOWN, must_exist=False)


def test_help_loads_none_of_the_heavy_packages() -> None:
    code = (
        "import sys; sys.argv = ['reconcile', '--help']\n"
        "from reconciler.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sorted({each.split('.')[0] for each in sys.modules}))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    loaded = set(said.rsplit("LOADED", 1)[1].split())
    assert not loaded & {
        "rich",
        "pydantic",
        "sqlalchemy",
        "httpx",
        "deepdiff",
        "yaml",
        "psutil",
        "mlflow",
        "dvc",
        "controllers",
        "structlog",
    }


def test_every_command_has_a_short_help_and_examples() -> None:
    from docs.generate import cli_page

    page = cli_page()
    for section in page.split("\n## ")[1:]:
        name = section.split("\n")[0]
        assert "Usage: reconcile" in section, name
        if "COMMAND [ARGS]" not in section and name != "reconcile platform status":
            assert "Example" in section, name
        assert all(len(line) <= 100 for line in section.split("\n")), name


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("reconcile sta", "status"),
        ("reconcile explain exp", "experiment"),
        ("reconcile --kind Exp", "Experiment"),
        ("reconcile platform logs ml", "mlflow"),
    ],
)
def test_the_shell_is_offered_what_fits(words: str, offered: str, tmp_path: Path) -> None:
    env = {"_RECONCILE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert reconcile(cwd=tmp_path, **env).stdout.split() == [offered]


def test_init_writes_a_tree_that_is_valid_and_overwrites_nothing(tmp_path: Path) -> None:
    assert reconcile("init", "My Tree!", cwd=tmp_path).returncode == 0
    tree = tmp_path / "My Tree!"
    assert "installation: my-tree" in (tree / "manifests/platform.yaml").read_text()
    said = reconcile("validate", cwd=tree)
    assert (said.returncode, said.stdout) == (0, "Valid: 4 resources in 2 files.\n")
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    again = reconcile("init", "My Tree!", cwd=tmp_path)
    assert again.returncode == 1
    assert "is there already; nothing was written" in again.stderr
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


def test_a_dry_run_of_a_new_tree_plans_everything_and_writes_nothing(tmp_path: Path) -> None:
    reconcile("init", ".", cwd=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    said = reconcile("--dry-run", "--detailed-exitcode", "-o", "json", cwd=tmp_path)
    assert said.returncode == 2, said.stderr
    assert said.stderr == ""
    assert json.loads(said.stdout)["totals"]["create"] == 4
    assert "4 resources; nothing was read: the services have not been started yet\n" in reconcile("--dry-run", cwd=tmp_path).stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_global_options_may_stand_on_either_side(tmp_path: Path) -> None:
    reconcile("init", "a", cwd=tmp_path)
    for words in (["-f", "a/manifests", "--root", "a", "validate"], ["validate", "-f", "a/manifests", "--root", "a"]):
        said = reconcile(*words, cwd=tmp_path)
        assert said.stdout == "Valid: 4 resources in 2 files.\n", said.stderr


def test_an_option_of_the_bare_command_does_not_vanish_before_a_command(tmp_path: Path) -> None:
    said = reconcile("--dry-run", "delete", "x", cwd=tmp_path)
    assert said.returncode == 1
    assert "--dry-run before `delete` would do nothing" in said.stderr
    said = reconcile("-o", "json", "status", cwd=tmp_path)
    assert said.returncode == 1
    assert "--output before `status` would do nothing" in said.stdout


@pytest.mark.parametrize(("habit", "ours"), [("plan", "reconcile --dry-run"), ("apply", "reconcile"), ("drift", "reconcile diff")])
def test_what_other_tools_call_it_is_understood_as_a_question(tmp_path: Path, habit: str, ours: str) -> None:
    said = reconcile(habit, cwd=tmp_path)
    assert said.returncode == 1
    assert f"write `{ours}`" in said.stderr
    assert "Did you mean" not in said.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["validate"], "there are no manifests at manifests"),
        (["explain", "datset"], "did you mean Dataset?"),
        (["explain", "dataset.pth"], "did you mean dataset.path?"),
        (["--dry-run", "--timeout", "soon"], "'soon' is not a duration"),
        (["status", "nope"], "there is no resource 'nope' here"),
        (["resume", "nope"], "there are no manifests at manifests"),
        (["platform", "logs", "nope"], "nope is not one of the services"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_with_a_way_on(words: list[str], message: str, tmp_path: Path) -> None:
    said = reconcile(*words, cwd=tmp_path)
    assert said.returncode == 1
    assert message in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dryrun"], "no such option: --dryrun (Possible options: --dry-run)"),
        (["statsu"], "did you mean 'status'?"),
        (["--dry-run", "-o", "xml"], "invalid value for '-o' / '--output': 'xml' is not one of"),
        (["history", "--limit", "many"], "invalid value for '--limit'"),
        (["explain"], "missing argument"),
        (["platform", "logs"], "`reconcile platform logs --help` tells how it is used"),
        (["platform"], "Usage: reconcile platform"),
    ],
)
def test_a_misused_command_line_does_not_look_like_pending_changes(words: list[str], message: str, tmp_path: Path) -> None:
    said = reconcile(*words, cwd=tmp_path)
    assert said.returncode == 1
    assert message.lower() in (said.stderr + said.stdout).lower()


def test_a_misused_command_line_is_json_where_json_was_asked_for(tmp_path: Path) -> None:
    said = reconcile("--nope", "-o", "json", cwd=tmp_path)
    assert said.returncode == 1
    assert json.loads(said.stdout)["message"] == "no such option: --nope"


def test_errors_are_json_where_json_was_asked_for(tmp_path: Path) -> None:
    said = reconcile("validate", "-o", "json", cwd=tmp_path)
    assert said.returncode == 1
    assert json.loads(said.stdout)["kind"] == "error"


def test_mistakes_are_shown_with_their_place_and_fail(tmp_path: Path) -> None:
    reconcile("init", ".", cwd=tmp_path)
    file = tmp_path / "manifests/hello.yaml"
    file.write_text(file.read_text().replace("path: data", "pth: data"))
    said = reconcile("validate", cwd=tmp_path)
    assert said.returncode == 1
    assert re.search(r"manifests/hello.yaml:\d+:\d+  dataset/hello/flowers\n  spec.pth: unknown field", said.stdout)
    assert "1 error in 1 file" in said.stdout


def test_explain_and_schema_agree_with_the_schemas(tmp_path: Path) -> None:
    said = reconcile("explain", "experiment.runs.seeds", cwd=tmp_path).stdout
    assert said == "Experiment  spec.runs.seeds  (list of integer, default [0])\n  One run for each.\n"
    assert json.loads(reconcile("schema", cwd=tmp_path).stdout) == json.loads(json.dumps(any_schema(KINDS.kinds.values())))


@pytest.mark.parametrize("kind", KINDS.kinds)
def test_every_field_can_be_explained(kind: str) -> None:
    info = KINDS.kinds[kind]
    for each in walk(fields(info)):
        assert find(info, each.path) is not None, each.path
        assert each.type not in ("any", ""), each.path


@pytest.mark.parametrize("kind", KINDS.kinds)
def test_json_schema_takes_the_examples_and_refuses_what_is_wrong(kind: str) -> None:
    import jsonschema
    import yaml

    check = jsonschema.Draft7Validator(any_schema(KINDS.kinds.values()))
    jsonschema.Draft7Validator.check_schema(kind_schema(KINDS.kinds[kind]))
    for file in sorted((ROOT / "manifests" / "kinds" / kind.lower()).glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            found = [f"{each.json_path}: {each.message}" for each in check.iter_errors(document)]
            assert not found, (file, found)
            wrong: Any = {**document, "spec": {**document["spec"], "speling": 1}}
            assert list(check.iter_errors(wrong)), file


def test_ctrl_c_once_stops_after_the_current_writes_and_twice_at_once(tmp_path: Path) -> None:
    script = (
        "import time\n"
        "from reconciler.cli.pass_ import stop_on_signal\n"
        "with stop_on_signal() as stop:\n"
        "    print('ready', flush=True)\n"
        "    stop.wait(30)\n"
        "    print('stopped', flush=True)\n"
        "    time.sleep(30)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopped\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert time.monotonic() - began < 20


def test_pull_request_links_come_from_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_REPOSITORY", "GITHUB_SHA", "GITHUB_SERVER_URL", "CI_PROJECT_URL", "CI_COMMIT_SHA"):
        monkeypatch.delenv(name, raising=False)
    assert link_base() == ""
    monkeypatch.setenv("GITHUB_REPOSITORY", "team/toolkit")
    monkeypatch.setenv("GITHUB_SHA", "3f9c2e1")
    assert link_base() == "https://github.com/team/toolkit/blob/3f9c2e1/"


def test_selection_from_options_refuses_what_does_not_exist(tmp_path: Path) -> None:
    asked = Globals(manifests=(tmp_path,), kind=("datasets",), selector=("team=nlp",), project=("vision",))
    selection = asked.selection(asked.settings(), KINDS)
    assert (selection.kinds, dict(selection.labels), selection.projects) == (frozenset({"Dataset"}), {"team": "nlp"}, frozenset({"vision"}))
    assert selection.partial
    for wrong in (Globals(manifests=(tmp_path,), kind=("datsets",)), Globals(manifests=(tmp_path,), selector=("team",))):
        with pytest.raises(UsageError):
            wrong.selection(wrong.settings(), KINDS)
    assert timeout_seconds("5m") == 300


def test_doctor_tells_what_is_missing_and_how_to_get_it() -> None:
    said = doctor_text([Check("git", "missing", "not found", "apt install git"), Check("disk", "ok", "9 GiB")])
    assert said.startswith("1 thing is missing.")
    assert "apt install git" in said


def test_every_key_of_the_json_formats_is_documented() -> None:
    page = re.sub(r"```.*?```", "", (ROOT / "docs/reference/plan-json.md").read_text(), flags=re.DOTALL)
    texts = [plan_json(each, all_=True) for each in CASES.values()]
    from tests.unit.test_report_done import ABOUT, BAD, GOOD, STATUSES, about_value

    texts += [report_json(GOOD), report_json(BAD), status_json(STATUSES, about=about_value(ABOUT))]
    told = set(re.findall(r"[A-Za-z]+", " ".join(re.findall(r"`([^`]+)`", page))))
    free = {"mlflow", "dvc", "postgres", "artifactLocation"}
    for text in texts:
        assert _keys(json.loads(text)) - told - free == set()


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_keys, value.values()), set())
    return set().union(*map(_keys, value)) if isinstance(value, list) else set()


def test_generated_docs_are_fresh() -> None:
    from docs.generate import main

    assert main(["--check"]) == 0


def test_refs_in_cases_are_written_as_they_print() -> None:
    assert str(ref("experiment/p/name#key")) == "experiment/p/name#key"
