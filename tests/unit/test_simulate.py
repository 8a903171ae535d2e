"""The simulator: its physics and its bookkeeping against hand-made cases, the built-in scenarios against the goals of the reference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest

from reconciler.admission.decide import decide
from reconciler.admission.simulate.account import Outcome, jain
from reconciler.admission.simulate.compare import CUBIC, Case, Played, goals, play, policies
from reconciler.admission.simulate.plant import GIB, Plant, PlantSpec
from reconciler.admission.simulate.policy import FIRST_COME, FULL, MEMORY, NONE, UNRESERVED, Policy
from reconciler.admission.simulate.replay import read_trace, scenario_of
from reconciler.admission.simulate.run import EPOCH, STOPPING, simulate
from reconciler.admission.simulate.scenario import SCENARIOS, Scenario, Work, fairness, linear, overload, thermal
from reconciler.admission.values import Decision, Level, Preemption, Quota, Rules, Snapshot
from reconciler.errors import InvalidManifest
from reconciler.model import Ref
from reconciler.model.demand import NOTHING, Amounts, Limits
from tests import forked

ROOT = Path(__file__).parents[2]
QUEUES = ROOT / "examples" / "queues"


def work(
    at: float = 0, seconds: float = 600, memory: float = 4, cpu: float = 1, watts: float = 10, project: str = "a", priority: int = 5
) -> Work:
    amounts = Amounts(round(memory * GIB), round(cpu * 1000), 0, round(watts * 1000))
    return Work(project, at, amounts, priority, seconds, seconds)


def machine(*jobs: Work, heat: bool = False, hours: float = 10, **spec: float) -> Scenario:
    """A machine of 64 GiB with nothing reserved; over when all is done."""
    plant = replace(PlantSpec(system=0), **spec)  # type: ignore[arg-type]
    return Scenario("test", hours, plant, work=jobs, heat=heat, reserve=NOTHING, margin=0.0, drain=True)


# --- the plant -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [1.0, 3.0])
def test_an_overloaded_chip_is_held_at_its_throttle_point(exponent: float) -> None:
    plant = Plant(PlantSpec(exponent=exponent), Random(0))
    for _ in range(3 * 3600):
        plant.advance(1.5 * plant.spec.sustained, 0.0, 1.0)
    seen = []
    for _ in range(3600):
        plant.advance(1.5 * plant.spec.sustained, 0.0, 1.0)
        seen.append((plant.die, plant.watts, plant.frequency))
    assert max(die for die, _, _ in seen) <= plant.spec.trip + 2
    assert sum(watts for _, watts, _ in seen) / len(seen) == pytest.approx(plant.spec.sustained, rel=0.06)
    share = (plant.spec.sustained - plant.spec.idle) / (1.5 * plant.spec.sustained)
    assert sum(each for _, _, each in seen) / len(seen) == pytest.approx(share ** (1 / exponent), rel=0.08)
    assert plant.hot
    assert plant.read()[2] >= Level.SERIOUS


def test_what_the_chip_can_give_off_for_ever_does_not_throttle_it() -> None:
    plant = Plant(PlantSpec(), Random(0))
    for _ in range(6 * 3600):
        plant.advance(0.97 * plant.spec.sustained - plant.spec.idle, 0.0, 1.0)
    assert not plant.hot
    assert plant.die == pytest.approx(plant.spec.air + 0.97 * (plant.spec.trip - plant.spec.air), abs=0.1)


def test_swapping_slows_down_by_what_is_not_in_memory() -> None:
    plant = Plant(PlantSpec(system=4 * GIB), Random(0))
    assert plant.speed(60 * GIB, 1.0) == 1.0
    assert plant.speed(66 * GIB, 1.0) == pytest.approx(1 / (1 + 40 * (1 - 64 / 70)))
    assert plant.speed(0.0, 24.0) == pytest.approx(0.5)
    levels = [plant.pressure(each * GIB) for each in (50, 59, 61, 70)]
    assert levels == [Level.NOMINAL, Level.FAIR, Level.SERIOUS, Level.CRITICAL]


# --- the bookkeeping -----------------------------------------------------------------------------------------------


def test_work_alone_takes_as_long_as_it_says() -> None:
    found = simulate(machine(work(at=100, seconds=900)), FULL)
    assert (found.submitted, found.finished, found.preemptions) == (1, 1, 0)
    assert found.seconds == pytest.approx(1000)
    assert found.work_hours == pytest.approx(0.25)
    assert found.projects["a"].wait_p95 == 0
    assert found.projects["a"].share == pytest.approx(max(4 / 64, 1 / 12) * 0.9, rel=1e-3)


def test_what_does_not_fit_waits_for_what_is_before_it() -> None:
    found = simulate(machine(work(memory=40, seconds=600), work(at=60, memory=40, seconds=300)), FULL)
    assert found.seconds == pytest.approx(900)
    assert found.projects["a"].wait_p95 == pytest.approx(540)
    assert found.overcommitted == 0
    assert found.utilisation["memory"] == pytest.approx(40 / 64)


def test_without_admission_both_run_and_swap() -> None:
    found = simulate(machine(work(memory=40, seconds=600), work(memory=40, seconds=600)), NONE)
    slow = 1 + 40 * (1 - 64 / 80)
    assert found.seconds == pytest.approx(600 * slow, rel=1e-3)
    assert found.overcommitted == pytest.approx(found.seconds, rel=1e-3)


def test_what_can_never_start_is_rejected_and_does_not_hold_up_the_end() -> None:
    found = simulate(machine(work(memory=100), work(memory=100, at=50), work(seconds=60)), FULL)
    assert (found.finished, found.rejected) == (1, 2)
    assert found.projects["a"].rejected == 2
    assert found.seconds < 300


@dataclass
class Scripted:
    """`decide` without pauses of its own, with one further act each at given seconds."""

    acts: dict[float, Callable[[Decision, Ref], Decision]]
    done: set[float] = field(default_factory=set)

    def __call__(self, snapshot: Snapshot) -> Decision:
        decision, now = replace(decide(snapshot), pauses=(), resumes=()), (snapshot.now - EPOCH).total_seconds()
        for at, act in self.acts.items():
            if now >= at and at not in self.done and snapshot.leases:
                self.done.add(at)
                decision = act(decision, snapshot.leases[0].ref)
        return decision


def test_paused_work_goes_on_where_it_was() -> None:
    script = Scripted({200.0: lambda made, ref: replace(made, pauses=(ref,)), 500.0: lambda made, ref: replace(made, resumes=(ref,))})
    noise = tuple(work(at=at, seconds=1, memory=0.1, project="b") for at in (200.0, 500.0))
    found = simulate(machine(work(seconds=600), *noise), Policy("scripted", "", script))
    assert script.done == {200.0, 500.0}
    assert found.finished == 3
    assert found.seconds == pytest.approx(900)


def test_stopped_work_begins_again_and_what_it_had_done_is_lost() -> None:
    other = Ref("Experiment", "b", "queue", "000002")
    script = Scripted({200.0: lambda made, ref: replace(made, preemptions=(Preemption(ref, other, "for the test"),))})
    found = simulate(machine(work(seconds=600), work(at=200.0, seconds=1, memory=0.1, project="b")), Policy("scripted", "", script))
    assert (found.finished, found.preemptions) == (2, 1)
    assert found.seconds == pytest.approx(200 + STOPPING + 600, abs=1)
    assert found.work_hours == pytest.approx(601 / 3600, rel=1e-3)


def watched(policy: Policy) -> Policy:
    """Fails as soon as more is granted than there is, or a name stands twice."""

    def check(snapshot: Snapshot) -> Decision:
        names = [each.ref for each in (*snapshot.leases, *snapshot.queue)]
        assert len(names) == len(set(names))
        decision = policy.decide(snapshot)
        held: Amounts = NOTHING
        for lease in (*snapshot.leases, *decision.grants):
            held = held.plus(lease.amounts)
        if decision.grants:  # what runs may take more than its lease later, which leaves less to give away
            assert held.within(snapshot.nodes[0].free_of_us())
        return decision

    return replace(policy, decide=check)


@pytest.mark.parametrize("rules", [Rules(), Rules(preemption=False)], ids=["with pre-emption", "without"])
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_nothing_is_lost_and_nothing_granted_twice(name: str, rules: Rules) -> None:
    scenario = replace(SCENARIOS[name](3, 2.0), rules=rules)
    found = simulate(scenario, watched(FULL))
    assert found.finished > 0
    assert found.submitted == sum(each.submitted for each in found.projects.values())
    last = found.points[-1]
    assert last.at >= 0.99 * found.seconds
    assert found.submitted - found.finished - found.rejected == pytest.approx(last.running + last.waiting, abs=12)
    assert found.overcommitted == 0


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_same_seed_gives_the_same_and_another_one_another(name: str) -> None:
    one, again, other = (simulate(SCENARIOS[name](seed, 1.0), FULL) for seed in (5, 5, 6))
    assert one == again
    assert one.projects != other.projects


def test_hash_seeds_do_not_matter() -> None:
    """Sets and dictionaries of strings change their order between processes; figures must not."""
    code = (
        "from reconciler.admission.simulate.run import simulate; from reconciler.admission.simulate.policy import FULL\n"
        "from reconciler.admission.simulate.scenario import fairness; o = simulate(fairness(0, 3.0), FULL)\n"
        "print(o.jain, o.finished, sorted(o.projects.items()))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


# --- figures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "index"), [([1, 1, 1], 1.0), ([1, 0, 0, 0], 0.25), ([2, 1], 0.9), ([], 1.0), ([0, 0], 1.0), ([3], 1.0)])
def test_jains_index(values: list[float], index: float) -> None:
    assert jain(values) == pytest.approx(index)


def played(name: str, outcome: Outcome, scenario: Scenario, policy: Policy) -> Played:
    return Played(Case(name, CUBIC, scenario, policy), outcome)


def test_a_goal_that_is_missed_is_told_so() -> None:
    scenario = thermal(0, 0.5)
    good = simulate(scenario, FULL)
    bad = replace(
        good,
        hot=0.02,
        overshoot=3.0,
        gates_per_hour=20.0,
        finished=1,
        stretch_p95=1.2,
        turnaround_p95=9.0,
        overcommitted=4.0,
        work_hours=0.1,
    )
    base = replace(good, finished=10, work_hours=5.0, turnaround_p95=2.0)
    found = goals([played("none", base, scenario, NONE), played("memory", base, scenario, MEMORY), played("full", bad, scenario, FULL)])
    assert len(found) == 8
    assert not any(each.met for each in found), [each for each in found if each.met]
    assert all(each.met for each in goals([played("memory", good, scenario, MEMORY), played("full", good, scenario, FULL)]))


# --- the goals of the reference ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_days() -> Outcome:
    return simulate(fairness(0), FULL)


def test_six_projects_that_never_run_dry_share_fairly_for_two_days(two_days: Outcome) -> None:
    assert two_days.seconds == 48 * 3600
    assert len(two_days.projects) == 6
    assert two_days.jain >= 0.95
    assert two_days.utilisation[two_days.scarcest] >= 0.88
    assert all(each.wait_p95 > 0 for each in two_days.projects.values())


def test_it_is_the_reservation_that_makes_it_fair(two_days: Outcome) -> None:
    for policy in (FIRST_COME, UNRESERVED):
        found = simulate(fairness(0, 12.0), policy)
        assert found.jain < 0.65
        assert min(each.share for each in found.projects.values()) < 0.02 < 0.1 < min(each.share for each in two_days.projects.values())


def test_heat_admission_keeps_a_machine_cool_that_memory_alone_lets_throttle() -> None:
    scenario = thermal(1, 6.0)
    full, memory = simulate(scenario, FULL), simulate(scenario, MEMORY)
    assert memory.hot > 0.1
    assert max(full.hot, full.serious) <= 0.01
    assert full.overshoot <= 2.0
    assert full.gates_per_hour <= 12 < full.flips_per_hour
    assert full.finished >= 0.8 * memory.finished
    assert full.work_hours >= 0.8 * memory.work_hours
    assert full.stretch_p95 is not None
    assert full.stretch_p95 <= 1.05
    assert full.overcommitted == memory.overcommitted == 0


def test_without_admission_an_overloaded_machine_swaps_itself_to_a_stop() -> None:
    scenario = overload(0, 3.0)
    none, full = simulate(scenario, NONE), simulate(scenario, FULL)
    assert full.finished >= 5 * max(1, none.finished)
    assert none.overcommitted > 3600
    assert full.overcommitted == 0


@pytest.mark.full
@pytest.mark.parametrize("seed", range(5))
def test_every_seed_meets_the_goals_but_the_one_that_cannot_be_met(seed: int) -> None:
    """A machine whose power is linear in its frequency does the same work per joule throttled or not: nothing to gain there."""
    found = goals(play(policies(thermal(seed))))
    assert len(found) == 9
    missed = [each for each in found if not each.met]
    assert {each.name for each in missed} <= {"throughput of memory-only kept, power ~f"}
    assert all(float(each.measured.split()[0]) >= 0.94 for each in missed)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(5))
def test_every_seed_is_fair(seed: int) -> None:
    for scenario in (fairness(seed), replace(fairness(seed), quotas={})):
        found = simulate(scenario, FULL)
        assert found.jain >= 0.95
        assert found.utilisation[found.scarcest] >= 0.88


def test_the_linear_machine_differs_in_its_power_only() -> None:
    scenario = thermal(0, 1.0)
    assert replace(linear(scenario).plant, exponent=scenario.plant.exponent) == scenario.plant


# --- traces and the command ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "valid dictionary"),
        ('{"at": 0, "project": "a"}', "Field required"),
        ('{"at": -1, "project": "a", "seconds": 1}', "greater than or equal to 0"),
        ('{"at": 0, "project": "a", "seconds": 0}', "greater than 0"),
        ('{"at": 0, "project": "A B", "seconds": 1}', "match pattern"),
        ('{"at": 0, "project": "a", "seconds": 1, "memory": "2 gigs"}', "is not a quantity"),
        ('{"at": 0, "project": "a", "seconds": 1, "priority": 11}', "less than or equal to 10"),
        ('{"at": 0, "project": "a", "seconds": 1, "memmory": "2Gi"}', "Extra inputs"),
        ('{"at": NaN, "project": "a", "seconds": 1}', "finite"),
        ('{"at": 0, "project": "a", "seconds": Infinity}', "finite"),
        ('{"at": 1e300, "project": "a", "seconds": 1}', "less than or equal to"),
    ],
)
def test_a_wrong_line_is_named_with_its_place(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    path.write_text(f'# a comment\n{{"at": 0, "project": "a", "seconds": 1}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(InvalidManifest) as caught:
        read_trace(path)
    (found,) = caught.value.diagnostics
    assert (found.location.file, found.location.line) == (str(path), 4)
    assert said in found.message
    assert found.hint


@pytest.mark.parametrize(("content", "said"), [(b"", "holds no work"), (b"# only this\n", "holds no work"), (b"\xff\xfe", "is not UTF-8")])
def test_a_file_that_is_no_trace_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidManifest, match=said):
        read_trace(path)
    with pytest.raises(InvalidManifest, match="cannot be read"):
        read_trace(tmp_path / "nowhere.jsonl")


def test_a_trace_becomes_work_with_the_priority_of_its_project(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    path.write_text(
        '{"at": 9, "project": "b", "seconds": 5, "priority": 2}\n'
        '{"at": 3, "project": "a", "seconds": 60, "memory": "2Gi", "cpu": "500m", "watts": "7", '
        '"peakMemory": "1Gi", "meanWatts": "8500m"}\n',
        encoding="utf-8",
    )
    quotas = {"a": Quota("a", priority=8)}
    first, second = scenario_of(read_trace(path), quotas, name="t", capacity=Limits(8 * GIB, 4000), reserve=NOTHING).work
    assert (first.project, first.priority, first.amounts) == ("a", 8, Amounts(2 * GIB, 500, 0, 7000))
    assert (first.true_memory, first.true_watts, first.declared_seconds) == (GIB, 8.5, 60)
    assert (second.at, second.priority, second.true_watts) == (9, 2, 0.0)


def reconcile(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return forked.reconcile("simulate", *words, cwd=cwd, env=os.environ)


def test_the_example_queue_under_two_sets_of_quotas(tmp_path: Path) -> None:
    words = (
        "-f",
        str(QUEUES / "equal-shares.yaml"),
        "--quota",
        str(QUEUES / "diffusion-first.yaml"),
        "--trace",
        str(QUEUES / "working-day.jsonl"),
    )
    machine = ("--memory", "64Gi", "--cpu", "12", "--cooling", "54")
    done = reconcile(*words, *machine, "-o", "json", "--plot", "plots", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert (found["formatVersion"], found["kind"]) == (1, "simulation")
    assert [each["label"] for each in found["cases"]] == ["present quotas", "diffusion-first.yaml"]
    lines = len(read_trace(QUEUES / "working-day.jsonl"))
    for case in found["cases"]:
        assert (case["submitted"], case["finished"], case["rejected"], case["overcommittedSeconds"]) == (lines, lines, 0, 0)
        assert sum(each["finished"] for each in case["projects"].values()) == lines
    before, after = (case["projects"] for case in found["cases"])
    assert before != after
    assert found["plots"] == ["plots/working-day.png", "plots/working-day.html"]
    assert (tmp_path / "plots" / "working-day.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page = (tmp_path / "plots" / "working-day.html").read_text(encoding="utf-8")
    assert "<script src=" not in page
    assert "diffusion-first.yaml" in page
    assert sorted(each.name for each in tmp_path.iterdir()) == ["plots"]


def test_a_built_in_queue_prints_goals_beside_figures(tmp_path: Path) -> None:
    done = reconcile("--generate", "thermal", "--hours", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "of 9 goals met" in done.stdout.splitlines()[0]
    assert "time at serious or worse" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("Next: ")
    assert "simulating full, power ~f ..." in done.stderr
    assert not list(tmp_path.iterdir())


def test_quotas_that_nothing_fits_into_reject_it(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(
        "apiVersion: reconciler.mlops/v1\nkind: ResourceQuota\nmetadata: {name: q, project: a}\nspec: {nominal: {memory: 1Gi}}\n",
        encoding="utf-8",
    )
    (tmp_path / "t.jsonl").write_text('{"at": 0, "project": "a", "seconds": 60, "memory": "2Gi"}\n', encoding="utf-8")
    done = reconcile("--quota", "small.yaml", "--trace", "t.jsonl", "--memory", "16Gi", "--cpu", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 rejected" in done.stdout.splitlines()[0]
    assert "never starts" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "simulate needs one queue"),
        (("--generate", "thermal", "--trace", "x"), "simulate needs one queue"),
        (("--generate", "thermal", "--memory", "8Gi"), "go with --trace"),
        (("--trace", "t.jsonl"), "there are no quotas"),
        (("--trace", "t.jsonl", "--quota", "gone.yaml"), "there is nothing at"),
        (("--trace", "t.jsonl", "--quota", "wrong.yaml"), "is not a quantity"),
        (("--trace", "t.jsonl", "--quota", "empty.yaml"), "there is no ResourceQuota"),
        (("--generate", "thermal", "--quota", "fine.yaml", "--hours", "0"), "hours"),
    ],
)
def test_a_command_that_makes_no_sense_says_why(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"at": 0, "project": "a", "seconds": 60}\n', encoding="utf-8")
    text = "apiVersion: reconciler.mlops/v1\nkind: ResourceQuota\nmetadata: {{name: q, project: a}}\nspec: {{nominal: {{memory: {}}}}}\n"
    (tmp_path / "wrong.yaml").write_text(text.format("2gigs"), encoding="utf-8")
    (tmp_path / "fine.yaml").write_text(text.format("2Gi"), encoding="utf-8")
    (tmp_path / "empty.yaml").write_text("", encoding="utf-8")
    done = reconcile(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
