"""What the pages about results are made of: values -> markup. What comes from outside is never markup."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reconciler.dashboard import parts, plots
from reconciler.dashboard.pages import compare, deployments, experiments, models, monitors, workflows
from reconciler.model import Ref
from reconciler.views.tools import page_of, public

BAD = "<script>alert(1)</script>"
SAFE = "&lt;script&gt;alert(1)&lt;/script&gt;"
LINKS = [{"tool": "mlflow", "title": "MLflow", "url": "http://127.0.0.1:5000/#/experiments/1"}]
NONE_YET = {"total": 0, "totals": {}}


def of(kind: str, name: str = "x", **more: Any) -> dict[str, Any]:
    """A resource as the API tells it."""
    ref = f"{kind}/vision/{name}"
    basis = {"ref": ref, "project": "vision", "name": name, "health": "Healthy", "message": BAD, "links": LINKS, "below": NONE_YET}
    return {**basis, "outputs": {}, "declared": {"spec": {}}, **more}


def run(label: str, value: float | None, **more: Any) -> dict[str, Any]:
    basis = {"ref": f"experiment/vision/e#{label}", "label": label, "id": f"id-{label}", "value": value, "place": 1, "params": {"lr": BAD}}
    return {**basis, "seconds": 90.0, "peakMemoryBytes": 2048, "joules": 12.5, "url": "http://127.0.0.1:5000/#/runs/1", **more}


def board(ref: str, metric: str, goal: str, *values: float) -> dict[str, Any]:
    runs = [run(f"r{number}", value) for number, value in enumerate(values)]
    return {"ref": ref, "metric": metric, "goal": goal, "finished": len(runs), "runs": runs, "links": LINKS}


def window(**more: Any) -> dict[str, Any]:
    basis: dict[str, Any] = {"end": "2026-03-01T12:00:00Z", "verdict": "fail", "rows": 1200, "labels": 3, "why": BAD, "driftedColumns": 2}
    return {**basis, "columns": 8, "checks": [], "measured": {}, "scores": {}, "report": None, **more}


def monitor(*windows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**of("monitor"), "windows": list(windows), "breach": None, "before": None, **more}


def target(**more: Any) -> dict[str, Any]:
    basis: dict[str, Any] = {"version": "2", "role": "stable", "weight": 90, "ready": 2, "requests": 1000, "errors": 0, "runtime": BAD}
    return {**basis, "p50Seconds": 0.0123, "p95Seconds": None, "labels": 0, "right": None, "run": "a" * 32, **more}


def safe(text: str) -> str:
    assert "<script" not in text
    assert SAFE in text
    return text


# --- experiments ---------------------------------------------------------------------------------------------------


def test_experiments_say_how_their_runs_are_and_lead_to_the_tool() -> None:
    below = {"total": 3, "totals": {"Healthy": 2, "Degraded": 1}}
    text = safe(experiments.experiments({"items": [of("experiment", below=below, declared={"spec": {"techniques": ["lora"]}})]}))
    assert text.index("Degraded</span> 1") < text.index("Healthy</span> 2")
    assert 'href="http://127.0.0.1:5000/#/experiments/1"' in text
    assert "lora" in text


def test_a_leaderboard_has_what_each_run_reached_and_took() -> None:
    value = {**board("experiment/vision/e", "accuracy", "maximize", 0.9), "finished": 5}
    text = safe(experiments.board(value))
    for each in ("1. r0", "0.9", "1.5 min", "2.0 KiB", "12.5 J", "and 4 more finished runs"):
        assert each in text


def test_those_that_are_measured_alike_stand_side_by_side_the_best_first() -> None:
    some = [
        board("experiment/a/x", "loss", "minimize", 0.5),
        board("experiment/b/y", "loss", "minimize", 0.2),
        board("experiment/b/z", "loss", "maximize", 0.9),  # the other sense: it is another measure
        board("experiment/c/w", "accuracy", "maximize", 0.9),
    ]
    assert [(metric, [each["ref"] for each in found]) for metric, found in experiments.shared(some)] == [
        ("loss", ["experiment/b/y", "experiment/a/x"])
    ]
    assert "b/y" in experiments.compared("loss", some[:2])
    assert experiments.shared([]) == []


# --- models --------------------------------------------------------------------------------------------------------


def model(*versions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**of("model"), "alias": "champion", "version": "2", "run": "b" * 32, "datasets": {BAD: "c" * 32}, "versions": versions, **more}


def version(number: str, **more: Any) -> dict[str, Any]:
    basis: dict[str, Any] = {
        "version": number,
        "verdict": "pass",
        "quarantined": None,
        "alias": None,
        "run": f"id-r{number}",
        "datasets": {},
    }
    return {**basis, "runtimes": ["torch"], "memoryBytes": 1024, "signed": True, **more}


def test_models_tell_alias_data_and_verdicts() -> None:
    some = {"items": [model(version("2", alias="champion"), version("1", quarantined=BAD))]}
    text = safe(models.models(some))
    for each in ("champion", "version 2", "1 <span", "quarantined", "passes", "c" * 8 + "</code>"):
        assert each in text
    assert "c" * 9 not in text
    assert SAFE in safe(models.versions(some))
    assert "none passed yet" in models.models({"items": [model(version=None, run=None)]})


def test_versions_are_held_against_the_one_that_has_the_alias() -> None:
    some = {"items": [model(version("2", alias="champion", run="id-r0"), version("1", run="id-r1"))]}
    boards = {"items": [board("experiment/vision/e", BAD, "maximize", 0.8, 0.4)], "trouble": ""}
    text = safe(models.comparison(some, boards))
    assert text.count("-50 %") == 1
    assert "MLflow is away" in models.comparison(some, {"items": [], "trouble": "MLflow is away"})
    assert "runs fill this" in models.comparison(some, {"items": [], "trouble": ""})


# --- deployments ---------------------------------------------------------------------------------------------------


def test_traffic_is_told_in_words_too() -> None:
    now = {"ongoing": 3, "waiting": 1, "load": 3.4, "idleSeconds": 2.0}
    served = {
        "ref": "deployment/vision/d",
        "off": "",
        "traffic": now,
        "targets": [target(), target(version="3", role="canary", weight=10, errors=30)],
    }
    text = safe(deployments.traffic({"items": [served], "trouble": ""}))
    for each in ("90 % to v2 (stable), 10 % to v3 (canary)", "12.3 ms", "30 (3 %)", "3 requests in hand, 1 wait for a replica", "none"):
        assert each in text
    assert re.search(r'class="bad">30 ', text)


def test_a_gateway_that_is_away_hides_nothing_else() -> None:
    served = {"ref": "deployment/vision/d", "off": "", "traffic": None, "targets": [target(ready=None, requests=None, errors=None)]}
    text = deployments.traffic({"items": [served], "trouble": f"the gateway does not answer {BAD}"})
    assert 'role="alert"' in safe(text)
    assert "90 % to v2" in text
    off = {**served, "off": BAD, "targets": []}
    off_text = safe(deployments.traffic({"items": [off], "trouble": ""}))
    assert "<table" not in off_text
    assert "No version gets" not in off_text


# --- monitors ------------------------------------------------------------------------------------------------------


def test_a_monitor_tells_its_last_window() -> None:
    value = {"items": [monitor(window(verdict="pass"), window()), {**monitor(), "ref": "monitor/vision/new", "health": "Degraded"}]}
    text = safe(monitors.monitors(value, "vision"))
    assert text.index("vision/new") < text.index("vision/x"), "the worst first"
    for each in ("fails", "2 of 8 columns", "none yet", "project=vision&amp;monitor=monitor%2Fvision%2Fx"):
        assert each in text


def test_the_one_that_is_shown_is_asked_for_or_in_breach() -> None:
    quiet, seen, bad = {**monitor(), "ref": "q"}, {**monitor(window()), "ref": "s"}, {**monitor(), "ref": "b", "breach": {}}
    assert monitors.chosen([quiet, seen], "")["ref"] == "s"  # type: ignore[index]
    assert monitors.chosen([quiet, seen, bad], "")["ref"] == "b"  # type: ignore[index]
    assert monitors.chosen([quiet, seen, bad], "q")["ref"] == "q"  # type: ignore[index]
    assert monitors.chosen([], "q") is None


def test_a_breach_tells_why_and_what_helps() -> None:
    found = {
        "since": "2026-03-01T12:00:00Z",
        "failing": {"drift": BAD},
        "causes": ["other units"],
        "done": [],
        "suggestions": ["train again"],
    }
    text = safe(monitors.breach(monitor(breach=found)))
    assert "other units" in text
    assert "again" in text
    assert "Done" not in text
    over = {**found, "ended": "2026-03-02T12:00:00Z"}
    assert "The last breach began" in monitors.breach(monitor(before=over))
    assert monitors.breach(monitor()) == ""


def test_windows_and_their_numbers() -> None:
    table = safe(monitors.table(monitor(window(report="http://127.0.0.1:8000/projects/1/reports/2"))))
    assert 'href="http://127.0.0.1:8000/projects/1/reports/2"' in table
    assert monitors.share(window()) == 25.0
    assert monitors.share(window(columns=None)) is None
    assert monitors.time(window()) == "03-01 12:00"
    some = [window(scores={"a": 0.1}), window(scores={"a": 0.2, "b": 0.5}), window()]
    assert monitors.lines(some, "scores") == [("b", [None, 0.5, None]), ("a", [0.1, 0.2, None])]


# --- workflows -----------------------------------------------------------------------------------------------------

LAST = {
    "id": BAD,
    "state": "failed",
    "ended": "2026-03-01T12:00:00Z",
    "seconds": 90.0,
    "url": None,
    "failure": {"task": "train", "why": BAD},
}
PLAN: dict[str, Any] = {
    "last": LAST,
    "next": None,
    "paused": False,
    "schedule": None,
    "timezone": "UTC",
    "runs": [LAST] * 2,
    "triggers": ["dataset/digits"],
}


def test_a_workflow_tells_its_last_run_and_its_next() -> None:
    each = of("workflow", declared={"spec": {"tasks": [{"name": "a"}, {"name": BAD, "needs": ["a"]}]}})
    text = safe(workflows.one(each, PLAN))
    for word in ("failed", "1.5 min", "by trigger", "dataset/digits", "Why it failed", "Runs before"):
        assert word in text
    assert "paused" in workflows.following({**PLAN, "paused": True})
    assert "0 3 * * *" in workflows.following({**PLAN, "next": "2026-03-02T03:00:00Z", "schedule": "0 3 * * *"})
    assert workflows.following({**PLAN, "triggers": []}) == "by hand"
    assert "has not run yet" in workflows.one(each, None)


def test_tasks_stand_in_the_order_in_which_they_may_start() -> None:
    needs = {"publish": ("judge",), "a": (), "b": ("elsewhere",), "judge": ("a", "b")}
    assert parts.levels(needs) == [["a", "b"], ["judge"], ["publish"]]
    assert parts.levels({"x": ("y",), "y": ("x",)}) == [["x", "y"]]
    training = {"template": "training", "training": {"experiment": "e", "model": "m"}, "tasks": [{"name": "tell", "needs": ["model"]}]}
    assert parts.levels(workflows.needs(training)) == [["experiment"], ["model"], ["tell"]]
    assert workflows.needs({"template": "model-comparison", "comparison": {"models": []}}) == {"model-comparison": ()}


def test_tasks_that_ask_for_room_are_those_of_workflows() -> None:
    ref = f"workflow/vision/w#{BAD}"
    running = [{"ref": ref, "since": "2026-03-01T12:00:00Z"}, {"ref": "experiment/vision/e#r", "since": "2026-03-01T12:00:00Z"}]
    waiting = [{"ref": "workflow/vision/w#later", "message": "waits for 2 GiB"}]
    text = safe(workflows.tasks({"running": running, "waiting": waiting, "aside": []}))
    assert "waits for 2 GiB" in text
    assert "experiment/" not in text


# --- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draw",
    [
        experiments.experiments,
        models.models,
        models.versions,
        deployments.deployments,
        lambda value: deployments.traffic({**value, "trouble": ""}),
        lambda value: monitors.monitors(value, ""),
        lambda value: workflows.overview(value["items"], {}),
        lambda value: workflows.tasks({"running": [], "waiting": [], "aside": []}),
    ],
)
def test_what_is_empty_says_what_would_fill_it(draw: Any) -> None:
    text = draw({"items": []})
    assert 'class="empty"' in text
    assert len(text) > 60


def test_links_lead_to_http_only() -> None:
    text = parts.links([{"tool": "mlflow", "title": BAD, "url": "javascript:alert(1)"}])
    assert "href" not in safe(str(text))
    assert "href" not in parts.links([])


def test_no_name_from_outside_is_a_key_of_a_chart() -> None:
    """NiceGUI takes the value of a key that begins with a colon for a program."""

    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(keys, value.values()))
        return set().union(*map(keys, value)) if isinstance(value, list) else set()

    made = (
        plots.bars([":bad"], [1.0], ":bad", ["red"]),
        plots.scatter(":bad", ":bad", [(":bad", [(":bad", 1.0, 2.0)])]),
        plots.lines([":bad"], [(":bad", [None])], ":bad"),
        plots.columns([":bad"], [1.0], ":bad", ["red"]),
    )
    assert not any(each.startswith(":") for one in made for each in keys(one))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://ann:secret@127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ("https://mlflow.example.org/base/?token=x#y", "https://mlflow.example.org/base"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("javascript:alert(1)", ""),
        ("ftp://x", ""),
        ("http://x:port", ""),
        ("", ""),
    ],
)
def test_an_address_that_is_shown_has_no_credentials(url: str, shown: str) -> None:
    assert public(url) == shown


def test_where_a_tool_has_something() -> None:
    bases = {"mlflow": "http://m", "airflow": "http://a", "evidently": "http://e", "ray": "http://r"}
    found = {
        ("Experiment", ""): "http://m/#/experiments/1%2F",
        ("Model", ""): "http://m/#/models/1%2F",
        ("Workflow", ""): "http://a/dags/1%2F",
        ("Monitor", ""): "http://e/projects/1%2F",
        ("Deployment", ""): "http://r/#/serve",
    }
    for (kind, key), url in found.items():
        assert page_of(Ref(kind, "p", "n", key), "1/", bases) == (_tool(url, bases), url)
    assert page_of(Ref("Experiment", "p", "n", "r"), "ab", bases, "7") == ("mlflow", "http://m/#/experiments/7/runs/ab")
    assert page_of(Ref("Dataset", "p", "n"), "1", bases) is None
    assert page_of(Ref("Experiment", "p", "n"), "", bases) is None
    assert page_of(Ref("Experiment", "p", "n"), "1", {}) is None


def _tool(url: str, bases: dict[str, str]) -> str:
    return next(tool for tool, base in bases.items() if url.startswith(base))


def test_techniques_side_by_side_hold_foreign_text_as_text() -> None:
    entry = {
        **{"place": 1, "technique": "<script>x</script>", "pareto": True, "value": 0.9, "seconds": 20.0, "joules": 360.0, "wattHours": 0.1},
        **{"energySource": "sensors", "peakMemoryBytes": 2**30, "perWattHour": 9.0, "perSecond": 0.045, "perGiB": 0.9, "runs": 2},
        **{
            "run": "experiment/p/e#a",
            "id": "1",
            "medianSeconds": 20.0,
            "medianJoules": 360.0,
            "experiments": ["experiment/p/e"],
            "ids": ["1"],
        },
    }
    group = {"metric": "accuracy", "goal": "maximize", "data": {"p/<b>": "d"}, "hardware": None, "judged": [], "techniques": [entry]}
    shown = compare.side_by_side(group)
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "not dominated" in shown
    assert "0.1 Wh" in shown
    spent = {
        "project": "p",
        "finished": 3,
        "failed": 1,
        "seconds": 60.0,
        "timedRuns": 4,
        "wattHours": 0.25,
        "meteredRuns": 1,
        "peakMemoryBytes": None,
    }
    value = {"projects": [spent], "comparisons": [], "alone": [group], "trouble": "MLflow is away"}
    assert "0.25 Wh (of 1 of 4 runs)" in compare.projects(value)
    assert "MLflow is away" in compare.head(value)
    assert "accuracy (higher is better)" in compare.alone(value)
    assert compare.options("accuracy", [entry])["series"][0]["data"] == [{"name": "<script>x</script>", "value": [20.0, 0.9]}]
