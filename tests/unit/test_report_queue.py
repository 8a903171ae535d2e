"""`queue`, `top` and `why`: what they say of a snapshot, and the commands on a real Store."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.admission.decide import decide
from reconciler.admission.forecast import explained
from reconciler.admission.remedy import remedies
from reconciler.admission.values import Expected, Heat, Level, Reason, Remedy, Snapshot, Verdict
from reconciler.model import Amounts, Condition, Health, Learned, Location, Owned, Progress, Ref, Status
from reconciler.report.admission import (
    WORDS,
    admission_lines,
    amount,
    delay_lines,
    family_lines,
    memory,
    needs,
    part,
    soon,
    verdict_value,
)
from reconciler.report.queue import ends, queue_json, queue_text, used
from reconciler.report.top import top_json, top_lines, top_text
from reconciler.report.why import TAIL, Why, causes_of, why_json, why_text
from reconciler.state import Queued, open_store
from tests.unit.admission_world import NOW, G, amounts, item, lease, mac, quota, ref, snapshot
from tests.unit.test_cli import reconcile

WARM = replace(mac(64, 12, heat=Heat(Level.FAIR, 0.62, NOW, 14.0)), reserve=amounts(6), system=amounts(2), outside=amounts(1))


def busy() -> Snapshot:
    return snapshot(
        item("r16-s1", "lora", 6.2, cpu=1, waited=180, seconds=600),
        item("r16-s2", "lora", 6.2, cpu=1, waited=170, seconds=600),
        item("huge", "clip", 70, waited=20),
        item("m1", "maml", 3, waited=5, seconds=100),
        leases=(
            lease("r8-s1", "lora", 6, cpu=1, seconds=900, ran=600),
            lease("s3", "maml", 9, cpu=2, seconds=4000, ran=240),
            lease("old", "lora", 3, seconds=60, ran=600),
        ),
        quotas=(quota("lora", 10, borrowing=0), quota("maml", 8), quota("clip", 12)),
        nodes=(WARM,),
    )


def verdicts(taken: Snapshot) -> dict[Ref, Verdict]:
    return explained(taken, decide(taken))


def line_of(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("memory", 6 * G + G // 5, "6.2 GiB"),
        ("memory", 10 * G, "10 GiB"),
        ("memory", 300 << 20, "300 MiB"),
        ("memory", 3 << 40, "3 TiB"),
        ("cpu", 1000, "1 core"),
        ("cpu", 2500, "2.5 cores"),
        ("gpu", 500, "0.5 GPU"),
        ("watts", 18_000, "18 W"),
    ],
)
def test_amounts(name: str, value: int, told: str) -> None:
    assert amount(name, value) == told


def test_amounts_together() -> None:
    assert needs(Amounts(6 * G, 1000, 0, 15_000)) == "6 GiB, 1 core, 15 W"
    assert needs(Amounts()) == "nothing"
    assert part("memory", 9 * G + G // 10, 10 * G) == "9.1 of 10 GiB"
    assert part("memory", 20 << 20, 40 << 20) == "20 of 40 MiB"
    assert part("cpu", 4000, 12_000) == "4 of 12 cores"
    assert memory(0) == "0 MiB"


@pytest.mark.parametrize(
    ("first", "middle", "last", "told"),
    [
        (240, 360, 540, "in about 6 min (4-9)"),
        (60, 480, 2280, "in about 8 min (1-38)"),
        (30, 45, 70, "in about 45 s (30-70)"),
        (5400, 7200, 10_800, "in about 2 h (1.5-3)"),
        (86_400, 3 * 86_400, 5 * 86_400, "in about 3 d (1-5)"),
        (360, 360, 360, "in about 6 min"),
        (0, 2, 5, "in a few seconds"),
    ],
)
def test_when_something_is_expected(first: float, middle: float, last: float, told: str) -> None:
    at, earliest, latest = (NOW + timedelta(seconds=each) for each in (middle, first, last))
    assert soon(Expected(at, earliest, latest), NOW) == told


def test_every_reason_has_words() -> None:
    assert WORDS.keys() == set(Reason)


# --- the dry run ---------------------------------------------------------------------------------------------------


def expected(minutes: float) -> Expected:
    at = NOW + timedelta(minutes=minutes)
    return Expected(at, at - timedelta(minutes=2), at + timedelta(minutes=3))


def test_lines_of_one_resource() -> None:
    who, other = ref("r16", "lora"), ref("m1", "maml")
    waits = Verdict(who, Reason.WAITING_FOR_MEMORY, "needs 6.2 GiB of memory; 0.9 GiB free", blockers=(ref("r8", "lora"), other))
    assert admission_lines(who, Verdict(who, Reason.ADMITTED, "starts on mac", "mac"), NOW) == ["would start now"]
    assert admission_lines(who, replace(waits, expected=expected(6)), NOW, {other: 125.0}) == [
        "would start in about 6 min (4-9), behind r8, experiment/maml/e#m1: needs 6.2 GiB of memory; 0.9 GiB free",
        "delays experiment/maml/e#m1 by about 2 min",
    ]
    assert admission_lines(who, waits, NOW)[0].startswith("would start later; when is not known, behind r8")
    never = Verdict(who, Reason.EXCEEDS_MACHINE, "needs 70 GiB of memory; mac can give 58 GiB at most")
    assert admission_lines(who, never, NOW) == ["would never start: needs 70 GiB of memory; mac can give 58 GiB at most"]


def test_lines_of_a_family_stay_few() -> None:
    ready = [Verdict(ref(f"a{n}"), Reason.ADMITTED, "", "mac") for n in range(5)]
    later = [Verdict(ref(f"b{n}"), Reason.WAITING_FOR_QUOTA, "short", position=n + 1, expected=expected(10 + n)) for n in range(30)]
    never = Verdict(ref("c"), Reason.EXCEEDS_QUOTA, "too large")
    lines = family_lines([never, *later, *ready], NOW)
    assert lines[0] == "would start now: a0, a1, a2 and 2 more"
    assert lines[1] == "b0 would start in about 10 min (8-13): short"
    assert lines[2] == "b1 would start in about 11 min (9-14)", "the same sentence is not told twice"
    assert lines[4] == "27 more runs after that, the last in about 39 min (37-42)"
    assert lines[5] == "c would never start: too large"
    assert len(lines) == 6
    assert family_lines([], NOW) == []


def test_who_is_delayed_most_comes_first() -> None:
    found = {ref(name): seconds for name, seconds in (("a", 40.0), ("b", 4000.0), ("c", 300.0), ("d", 31.0))}
    assert delay_lines(found)[0] == "delays experiment/a/e#b by about 67 min"
    assert delay_lines(found)[-1] == "delays 1 more by less"


def test_foreign_text_cannot_act_on_the_terminal() -> None:
    evil = Verdict(ref("x"), Reason.WAITING_FOR_HEAT, "hot \x1b[2J\u202e")
    assert "\x1b" not in admission_lines(ref("x"), evil, NOW)[0]


def test_a_verdict_for_programs() -> None:
    told = verdict_value(verdicts(busy())[ref("r16-s1", "lora")], {ref("m1", "maml"): 61.4})
    assert told["reason"] == "WaitingForQuota"
    assert told["admitted"] is False
    assert told["delays"] == [{"ref": "experiment/maml/e#m1", "seconds": 61}]
    assert told["expected"]["earliest"] <= told["expected"]["at"] <= told["expected"]["latest"]
    assert told["expected"]["at"].endswith("Z")


# --- queue ---------------------------------------------------------------------------------------------------------


def test_the_queue_begins_with_the_outcome_and_ends_with_what_to_do() -> None:
    text = queue_text(busy(), verdicts(busy()), width=120)
    first, *_, last = text.splitlines()
    assert first == (
        "3 running, 2 waiting, 1 to start with the next pass, 1 can never start.   memory 27 of 64 GiB · cpu 4 of 12 cores · heat fair"
    ).replace("cpu 4", "cpu 3")
    assert last == "Next: `reconcile why experiment/lora/e#r16-s1` tells what would let it start now."
    assert re.search(r"^1 +experiment/lora/e#r16-s1 +lora +6.2 GiB, 1 core +3 min +.*\(.*\) +quota$", text, re.MULTILINE)
    assert "held by" in text
    assert "next pass" in line_of(text, "m1 ")
    assert "never" in line_of(text, "e#huge")
    assert text.count("lora has 10 GiB nominal") == 1, "two that wait for the same are told why once"


def test_how_leases_end() -> None:
    assert ends(lease("x", ran=600, seconds=900), NOW) == "in about 5 min"
    assert ends(lease("x", ran=600, seconds=60), NOW) == "any moment (9 min late)"
    assert ends(lease("x"), NOW) == "not known"
    assert ends(lease("x", paused=True, seconds=60), NOW) == "paused"
    assert ends(lease("x", ending=True), NOW) == "is being stopped"
    assert ends(lease("x", work="serving", seconds=60), NOW) == "-"


def test_an_empty_queue_says_so_and_warns() -> None:
    taken = snapshot(nodes=(mac(16, heat=Heat()),))
    text = queue_text(taken, {}, warnings=("no sensor tells the heat of this machine",))
    assert text.splitlines()[0] == "Nothing runs and nothing waits.   memory 0 of 16 GiB · heat unknown"
    assert text.splitlines()[1] == "warning: no sensor tells the heat of this machine"


def test_a_long_queue_is_cut_unless_asked_for() -> None:
    taken = snapshot(*(item(f"r{n}", memory=16, waited=n) for n in range(100)))
    found = {each.ref: decide(taken).explain(each.ref) for each in taken.queue}
    text = queue_text(taken, found)
    assert "60 more wait (`--all`)." in text
    assert "more wait" not in queue_text(taken, found, all_=True)


def test_no_colour_unless_asked_for_and_names_fit_narrow_terminals() -> None:
    assert "\x1b" not in queue_text(busy(), verdicts(busy()), width=60)
    assert "\x1b[31m" in queue_text(busy(), verdicts(busy()), color=True)
    long = snapshot(item("x" * 80, memory=32))
    assert "…" in queue_text(long, verdicts(long), width=60)


def test_the_queue_for_programs() -> None:
    told = json.loads(queue_json(busy(), verdicts(busy()), warnings=("w",)))
    assert (told["formatVersion"], told["kind"], told["at"], told["warnings"]) == (1, "queue", "2026-03-02T12:00:00Z", ["w"])
    assert [each["ref"] for each in told["waiting"]] == [
        "experiment/maml/e#m1",
        "experiment/lora/e#r16-s1",
        "experiment/lora/e#r16-s2",
        "experiment/clip/e#huge",
    ]
    assert told["waiting"][1]["amounts"] == {"memory": round(6.2 * G), "cpu": 1.0, "gpu": 0.0, "watts": 0.0}
    assert told["waiting"][1]["waitedSeconds"] == 180
    running = {each["ref"]: each for each in told["running"]}
    assert running["experiment/lora/e#r8-s1"]["expectedEnd"] == "2026-03-02T12:05:00Z"
    assert running["experiment/lora/e#old"]["expectedEnd"] == told["at"], "never in the past"
    node = told["nodes"][0]
    assert (node["heat"], node["headroomUsed"], node["leased"]["memory"]) == ("fair", 0.62, 18 * G)


# --- top -----------------------------------------------------------------------------------------------------------


def test_what_is_borrowed_is_what_others_lend() -> None:
    quotas = (quota("a", 4), quota("b", 12), quota("c", 8, lending=2), quota("d", 8, cohort=""))
    taken = snapshot(leases=(lease("x", "a", 10), lease("y", "b", 2)), quotas=quotas, nodes=(mac(64),))
    lines = {each.project: each for each in top_lines(taken)}
    assert lines["a"].borrowed == 6 * G
    assert sum(each.lent for each in lines.values()) == 6 * G
    assert lines["b"].lent == 5 * G, "in proportion: 10 GiB idle against 2 GiB that may be lent"
    assert lines["c"].lent == G
    assert lines["d"].lent == 0
    assert lines["a"].share == pytest.approx(6 / 18)
    assert lines["b"].share == 0


def test_top_shows_machine_and_projects() -> None:
    text = top_text(busy(), width=120)
    machine, parts, _, heads, *_ = text.splitlines()
    assert machine == (
        "mac  memory [####......] 27 of 64 GiB   cpu [##........] 3 of 12 cores   heat fair (62% of its headroom used), 14 W"
    )
    assert parts == "  memory: leases 18 GiB, services 2 GiB, other programs 1 GiB, reserve 6 GiB"
    assert heads.split() == ["PROJECT", "COHORT", "RESOURCE", "NOMINAL", "IN", "USE", "BORROWED", "LENT", "RUNNING", "WAITING", "SHARE"]
    assert re.search(r"^maml +team +memory +8 GiB +9 GiB +1 GiB +- +1 +1 ", text, re.MULTILINE)
    assert "COHORT" not in top_text(busy(), width=80), "a narrow terminal keeps what matters most"
    assert used(WARM, busy().leases).memory == 27 * G


def test_top_without_quotas_and_with_a_filter() -> None:
    assert "No project has a quota" in top_text(snapshot())
    loose = snapshot(leases=(lease("x", "b", 2, cpu=1),), nodes=(mac(8, 4),))
    assert re.search(r"^b +- +memory +- +2 GiB", top_text(loose), re.MULTILINE)
    assert "maml" not in top_text(busy(), projects=("lora",))


def test_top_for_programs() -> None:
    told = json.loads(top_json(busy()))
    maml = next(each for each in told["projects"] if each["project"] == "maml")
    assert maml["resources"]["memory"] == {"nominal": 8 * G, "used": 9 * G, "borrowed": G, "lent": 0}
    assert maml["resources"]["cpu"] == {"nominal": None, "used": 2.0, "borrowed": 0.0, "lent": 0.0}
    assert (maml["running"], maml["waiting"], told["kind"]) == (1, 1, "top")


# --- why -----------------------------------------------------------------------------------------------------------


def why_waits(name: str, project: str, measured: Learned | None = None) -> Why:
    taken = busy()
    who = ref(name, project)
    waiting = next(each for each in taken.queue if each.ref == who)
    return Why(who, None, waiting, verdicts(taken)[who], remedies(taken, who, measured))


def test_why_something_waits() -> None:
    text = why_text(why_waits("r16-s1", "lora", Learned(runs=5, memory=round(5.8 * G), peaks=(round(5.8 * G),))), NOW, width=110)
    lines = text.splitlines()
    assert re.fullmatch(
        r"experiment/lora/e#r16-s1 waits \(3 min so far, position 1, expected start \d\d:\d\d, between \d\d:\d\d and \d\d:\d\d\)", lines[0]
    )
    assert "  held by experiment/lora/e#old" in lines
    assert "It would start now with one of (each checked by deciding again):" in lines
    assert "quota nominal.memory 10Gi -> 15.5Gi" in text
    assert "(its measured peak is 5.8 GiB)" in line_of(text, "Not advised: resources.memory")
    assert lines[-1].startswith("Next: ")


def test_why_something_can_never_start() -> None:
    text = why_text(why_waits("huge", "clip"), NOW)
    assert text.splitlines()[0] == "experiment/clip/e#huge can never start"
    assert "It could start with one of" in text


def test_why_something_that_starts_next_does_not_run_yet() -> None:
    assert "starts with the next pass" in why_text(why_waits("m1", "maml"), NOW)


def test_a_remedy_that_does_not_work_is_told_as_such() -> None:
    why = replace(why_waits("r16-s1", "lora"), remedies=(Remedy("priority 5 -> 10", "room is what it lacks", works=False),))
    assert "Not enough: priority 5 -> 10 (room is what it lacks)" in why_text(why, NOW)
    assert "Nothing that was tried would let it start now." in why_text(why, NOW)
    assert "No change of its priority" in why_text(replace(why, remedies=()), NOW)


def test_why_something_runs_or_is_stopped() -> None:
    running = replace(lease("r8", seconds=900, ran=600), queued=NOW - timedelta(seconds=720))
    text = why_text(Why(running.ref, lease=running), NOW)
    assert text.splitlines()[0] == "experiment/a/e#r8 runs on mac (since 10 min, after 2 min in the queue, ends in about 5 min)"
    stopping = Why(running.ref, lease=replace(running, ending=True), why_stopped="b takes back what is its own")
    assert "is being stopped" in why_text(stopping, NOW)
    assert "because: b takes back what is its own" in why_text(stopping, NOW)
    assert json.loads(why_json(stopping, NOW))["whyStopped"] == "b takes back what is its own"


def status(who: Ref, health: Health = Health.HEALTHY, message: str = "", *, reason: str = "", stalled: bool = False) -> Status:
    ready = health is Health.HEALTHY
    conditions = [Condition("Ready", ready, reason or str(health), message, NOW - timedelta(hours=2))]
    conditions += [Condition("Stalled", True, "RunFailed", message)] if stalled else []
    return Status(who, health, tuple(conditions), location=Location("runs.yaml", 14), message=message)


DATA, PARENT, CHILD, DRIVEN = Ref("Dataset", "a", "d"), Ref("Experiment", "a", "e"), ref("r8"), Ref("Model", "a", "m")


def test_why_something_is_ready() -> None:
    text = why_text(Why(DATA, status(DATA)), NOW)
    assert text.splitlines()[0] == "dataset/a/d is Ready for 2 h"
    assert json.loads(why_json(Why(DATA, status(DATA)), NOW))["state"] == "ready"


def test_why_a_run_failed_shows_the_end_of_its_output() -> None:
    tail = "\n".join(f"line {n}" for n in range(40)) + "\nMemoryError \x1b[31m"
    ended = Progress("1f", str(CHILD), "ended", exit_code=3, why="exit 3", tail=tail)
    found = Why(CHILD, status(CHILD, Health.DEGRADED, "failed: exit 3", stalled=True), progress=ended)
    text = why_text(found, NOW)
    assert text.splitlines()[0] == "experiment/a/e#r8 is Degraded for 2 h"
    assert "    | MemoryError \\x1b[31m" in text
    assert text.count("    | line") == TAIL - 1
    assert text.splitlines()[-1].startswith("Next: it is tried again when its manifest changes")
    assert json.loads(why_json(found, NOW))["output"]["exitCode"] == 3


def test_the_chain_of_causes_ends_at_its_root() -> None:
    statuses = {
        DRIVEN: status(DRIVEN, Health.PROGRESSING, "waits for experiment/a/e"),
        PARENT: status(PARENT, Health.DEGRADED, "1 of 2 runs failed"),
        CHILD: status(CHILD, Health.DEGRADED, "failed: exit 3", stalled=True),
        ref("ok"): status(ref("ok")),
        DATA: status(DATA, Health.MISSING, "the file data.csv is not there"),
    }
    needed = {DRIVEN: (PARENT,), PARENT: (DATA,), DATA: ()}
    causes = causes_of(DRIVEN, statuses, needed)
    assert [(each.status.ref, each.depth, each.child) for each in causes] == [(PARENT, 1, False), (DATA, 2, False), (CHILD, 2, True)]
    text = why_text(Why(DRIVEN, statuses[DRIVEN], causes=causes), NOW, width=120)
    assert "  needs experiment/a/e, which is Degraded: 1 of 2 runs failed" in text
    assert "    needs dataset/a/d, which is Missing: the file data.csv is not there" in text
    assert "    part: experiment/a/e#r8 is Degraded: failed: exit 3" in text
    assert text.splitlines()[-1] == "Next: `reconcile why dataset/a/d`: it stands at the end of the chain."
    assert [each.status.ref for each in causes_of(CHILD, statuses, needed)] == [DATA], "a run needs what its experiment needs"


def test_a_circle_of_causes_ends() -> None:
    statuses = {each: status(each, Health.PROGRESSING, "waits") for each in (DATA, PARENT)}
    assert len(causes_of(DATA, statuses, {DATA: (PARENT,), PARENT: (DATA,)})) == 1


def test_what_was_never_reconciled() -> None:
    assert "has not been reconciled yet" in why_text(Why(DATA), NOW)
    assert json.loads(why_json(Why(DATA), NOW))["state"] == "unknown"


# --- the commands on a Store ---------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """An installation of 16 GiB without sensors: one standing reservation, and a queue."""
    platform = {
        "installation": "t",
        "mlflow": {"managed": False, "endpoint": "http://127.0.0.1:9"},
        "admission": {"capacity": {"memory": "16Gi", "cpu": 8}, "memoryReserve": "1Gi", "sensors": "none"},
    }
    now = datetime.now(UTC)
    state = tmp_path / ".mlops"
    state.mkdir(mode=0o700)
    with open_store(state / "store.db") as store, store.writer("test"):
        for who, spec in (
            (Ref("Platform", None, "t"), platform),
            (Ref("ResourceQuota", "a", "share"), {"nominal": {"memory": "8Gi"}}),
        ):
            store.record(Owned(who, str(who), "root", "d", spec, "never"))
        serving = replace(lease("serve", "a", 6, work="serving", preemptible=False), since=now, queued=now)
        store.work.grant([serving])
        waiting = replace(item("next", "a", 4, seconds=60), since=now - timedelta(minutes=3))
        detail: dict[str, Any] = {"declared": True, "asked": [4 * G, 0, 0, 0]}
        store.work.put_queue([Queued(waiting, template="t", detail=detail), Queued(replace(waiting, ref=ref("small"), amounts=amounts(1)))])
        store.put_statuses([status(DATA), status(CHILD, Health.DEGRADED, "failed: exit 3", stalled=True)])
    return tmp_path


def files(folder: Path) -> dict[str, tuple[int, int]]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def test_queue_top_and_why_on_a_store_that_they_leave_alone(installed: Path) -> None:
    before = files(installed)
    said = reconcile("queue", cwd=installed)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("1 running, 1 waiting, 1 to start with the next pass.")
    assert "no sensor" in said.stdout
    assert "8 GiB nominal" in said.stdout
    said = reconcile("top", cwd=installed)
    assert re.search(r"^a +- +memory +8 GiB +6 GiB +- +- +1 +2", said.stdout, re.MULTILINE), said.stdout + said.stderr
    said = reconcile("why", "a/e#next", cwd=installed)
    assert said.stdout.startswith("experiment/a/e#next waits (3 min so far, position 1"), said.stdout + said.stderr
    assert "quota nominal.memory 8Gi -> 10Gi" in said.stdout
    assert "resources.memory 4Gi -> 1776Mi" in said.stdout, "what is charged less the margin of 15 %"
    assert reconcile("why", "dataset/a/d", cwd=installed).stdout.startswith("dataset/a/d is Ready for")
    assert "failed: exit 3" in reconcile("why", "e#r8", cwd=installed).stdout
    assert reconcile("why", "e#serve", cwd=installed).stdout.startswith("experiment/a/e#serve runs on ")
    assert files(installed) == before


def test_the_commands_as_json(installed: Path) -> None:
    told = json.loads(reconcile("queue", "-o", "json", cwd=installed).stdout)
    assert [each["position"] for each in told["waiting"]] == [None, 1]
    assert told["nodes"][0]["capacity"]["memory"] == 16 * G
    why = json.loads(reconcile("why", "e#next", "-o", "json", cwd=installed).stdout)
    assert why["state"] == "waiting"
    assert any(each["works"] for each in why["remedies"])
    assert json.loads(reconcile("top", "-o", "json", cwd=installed).stdout)["projects"][0]["resources"]["memory"]["used"] == 6 * G


def test_a_name_that_is_not_there_and_a_place_without_installation(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    said = reconcile("why", "e#nxt", cwd=installed)
    assert said.returncode == 1
    assert "there is no resource 'e#nxt' here" in said.stderr
    empty = tmp_path_factory.mktemp("empty")
    said = reconcile("queue", "--state-dir", str(empty / "s"), cwd=empty)
    assert said.returncode == 1
    assert "nothing is installed here yet" in said.stderr


def test_watching_ends_with_ctrl_c(installed: Path) -> None:
    code = "from reconciler.cli import main; main()"
    running = subprocess.Popen(
        [sys.executable, "-c", code, "queue", "--watch"], cwd=installed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("MLOPS_")},
    )  # fmt: skip
    try:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("1 running")
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=20)
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
    assert running.returncode == 0
    assert "\x1b" not in rest, "a pipe gets plain text"
