"""The leaderboard as text and JSON, from values."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from reconciler.model import Ref
from reconciler.model.ranking import Ranked, Ranking
from reconciler.report.leaderboard import leaderboard_json, leaderboard_text

MIB = 1 << 20


def run(label: str, value: float | None, **params: str) -> Ranked:
    ref = Ref("Experiment", "lora", "rank-sweep", label)
    return Ranked(ref, f"id-{label}", value, params, {"accuracy": value or 0.0}, seconds=3.42, peak_memory=49 * MIB)


BOARD = Ranking(
    Ref("Experiment", "lora", "rank-sweep"),
    "accuracy",
    "maximize",
    (run("rank8-s0", 0.93125, rank="8", seed="0"), run("rank2-s0", 0.9, rank="2", seed="0"), run("rank0-s0", None, rank="0", seed="0")),
)
EMPTY = Ranking(Ref("Experiment", "vision", "later"), "loss", "minimize")


def test_text() -> None:
    assert leaderboard_text([BOARD, EMPTY]).splitlines() == [
        "3 finished runs in 1 experiment of 1 project",
        "",
        "lora/rank-sweep   accuracy, higher is better",
        "  1  rank8-s0  0.93125  3.4 s  49 MiB  rank 8, seed 0",
        "  2  rank2-s0      0.9  3.4 s  49 MiB  rank 2, seed 0",
        "  -  rank0-s0        -  3.4 s  49 MiB  rank 0, seed 0",
        "",
        "1 experiment has no finished run. Next: `reconcile leaderboard -o json` has every metric and the ids in MLflow.",
    ]


def test_only_the_best() -> None:
    assert leaderboard_text([BOARD], top=1).splitlines()[2:5] == [
        "lora/rank-sweep   accuracy, higher is better",
        "  1  rank8-s0  0.93125  3.4 s  49 MiB  rank 8, seed 0",
        "  and 2 more",
    ]


def test_nothing_finished_says_what_to_do() -> None:
    assert leaderboard_text([EMPTY]).startswith("1 experiment, and no run of them has finished yet.\nNext: ")
    assert leaderboard_text([]).startswith("No experiment is declared.")


def test_foreign_text_cannot_act_on_the_terminal() -> None:
    shown = leaderboard_text([Ranking(BOARD.ref, "acc\x1b[31m", "maximize", (run("a", 1.0, note="x\x1b[2J"),))])
    assert "\x1b" not in shown


def test_json_has_everything() -> None:
    told = json.loads(leaderboard_json([BOARD, EMPTY], at=datetime(2026, 1, 2, tzinfo=UTC)))
    assert (told["formatVersion"], told["kind"], told["at"]) == (1, "leaderboard", "2026-01-02T00:00:00Z")
    board, empty = told["experiments"]
    assert (board["ref"], board["metric"], board["goal"], board["finished"]) == ("experiment/lora/rank-sweep", "accuracy", "maximize", 3)
    assert [(each["place"], each["label"], each["value"]) for each in board["runs"]] == [
        (1, "rank8-s0", 0.93125),
        (2, "rank2-s0", 0.9),
        (None, "rank0-s0", None),
    ]
    assert board["runs"][0]["peakMemoryBytes"] == 49 * MIB
    assert board["runs"][0]["params"] == {"rank": "8", "seed": "0"}
    assert empty["runs"] == []
