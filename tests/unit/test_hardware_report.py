"""`reconcile doctor --hardware`: what it prints of machines that are not here, and of this one."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.admission.values import Heat, Level
from reconciler.hardware.probe import Energy, Look
from reconciler.hardware.values import Accelerator, Machine, Reading, Sample
from reconciler.report.hardware import hardware_json, hardware_text
from tests import forked

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MAC = Machine(
    name="mini",
    system="macOS 26.5",
    chip="Apple M4 Pro",
    memory=48 << 30,
    cores=14.0,
    performance_cores=10,
    efficiency_cores=4,
    accelerators=(Accelerator("Apple M4 Pro", 48 << 30, 20, unified=True),),
    metal=True,
    neural_engine=True,
    mlx="0.32.4",
    working_set=40200896512,
    largest_buffer=30150672384,
    low_power=False,
    on_battery=True,
)
HEAVY = Look("darwin.thermalpressure", (Reading("darwin.thermalpressure", "heat", Level.SERIOUS, detail="heavy"),))
SWAPPING = Look("darwin.memory", (Reading("darwin.memory", "memory", Level.FAIR, 0.4, "pressure 2, 38 % free"),))
POWER = Look("darwin.energy", energy=(Energy("ioreport", 12.0),))
GONE = Look("darwin.pmset", silent="pmset has recorded nothing", hint="ask elsewhere")
SAMPLE = Sample(
    AT, Heat(Level.SERIOUS, None, AT, 31.4, source="darwin.thermalpressure"), Level.FAIR, 48 << 30, 10 << 30, 1 << 30, 3.5, 31.4, 100.0
)
LOOKS = (HEAVY, SWAPPING, POWER, GONE)


def test_a_hot_mac() -> None:
    assert hardware_text(MAC, SAMPLE, LOOKS, width=120).splitlines() == [
        "Heat is serious (darwin.thermalpressure). Memory pressure is fair.",
        "",
        "mini:",
        "  chip           Apple M4 Pro, macOS 26.5",
        "  cores          14 (10 performance, 4 efficiency), 3.5 in use",
        "  memory         48.0 GiB, 10.0 GiB free for new work, 1.0 GiB of swap in use",
        "  accelerator    Apple M4 Pro, 20 cores, shares the memory",
        "  Metal          yes",
        "  Neural Engine  yes",
        "  MLX            0.32.4, recommended working set 37.4 GiB, largest array 28.1 GiB",
        "  power          31.4 W now, low-power mode off, on battery",
        "",
        "Sensors:",
        "  darwin.thermalpressure  heat    serious   heavy",
        "  darwin.memory           memory  fair      pressure 2, 38 % free, 40% of the headroom used",
        "  darwin.energy           power   speaks    ioreport",
        "  darwin.pmset            silent            pmset has recorded nothing",
        "                                            ask elsewhere",
        "",
        "Next: let it cool down; `reconcile queue` says what waits for that.",
    ]


def test_unknown_heat_is_said_plainly_with_its_cause_and_its_consequence() -> None:
    bare = Machine("box", "Linux 6.18", "AMD EPYC", 8 << 30, 2.0)
    sample = Sample(AT, Heat(), Level.NOMINAL, 8 << 30, 6 << 30)
    zones = Look("linux.zones", silent="no thermal zones (container or VM)")
    said = hardware_text(bare, sample, (zones,))
    assert said.startswith("Heat is unknown: no thermal zones (container or VM). Admission looks at quotas and memory only.")
    assert "MLX            not installed" in said
    assert "power          not measured" in said
    assert "Sensors: none are asked." in hardware_text(bare, sample, ())


def test_colour_changes_no_column() -> None:
    plain, coloured = hardware_text(MAC, SAMPLE, LOOKS, width=120), hardware_text(MAC, SAMPLE, LOOKS, width=120, color=True)
    assert plain != coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal(width: int) -> None:
    long = Look("nvidia", (Reading("nvidia.0", "heat", Level.NOMINAL, 0.4, "NVIDIA GeForce RTX 4060 Laptop GPU, 67 C of 95 C, power cap"),))
    assert max(map(len, hardware_text(MAC, SAMPLE, (long, GONE), width=width).splitlines())) <= max(width, 80)


def test_what_a_driver_says_cannot_drive_the_terminal() -> None:
    evil = Look("nvidia", (Reading("nvidia.0", "heat", Level.NOMINAL, detail="GPU\x1b[2J\n"),))
    said = hardware_text(replace(MAC, name="a\x1b]0;x\x07"), SAMPLE, (evil,))
    assert "\x1b" not in said
    assert "\x07" not in said


def test_json_for_programs() -> None:
    found = json.loads(hardware_json(MAC, SAMPLE, LOOKS, note="n"))
    assert (found["formatVersion"], found["kind"], found["note"]) == (1, "hardware", "n")
    assert found["machine"]["working_set"] == 40200896512
    assert found["heat"] == {"level": "serious", "used": None, "since": "2026-03-01T12:00:00Z", "source": "darwin.thermalpressure"}
    assert found["memory"]["available"] == 10 << 30
    assert [each["name"] for each in found["probes"]] == ["darwin.thermalpressure", "darwin.memory", "darwin.energy", "darwin.pmset"]
    assert found["probes"][0]["readings"][0]["level"] == "serious"


# --- the command ---------------------------------------------------------------------------------------------------


def reconcile(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return forked.reconcile(*words, cwd=cwd, env={key: value for key, value in os.environ.items() if not key.startswith("MLOPS_")})


def platform(folder: Path, sensors: str) -> None:
    (folder / "manifests").mkdir()
    (folder / "manifests" / "platform.yaml").write_text(
        "apiVersion: reconciler.mlops/v1\nkind: Platform\nmetadata: {name: here}\n"
        f"spec: {{installation: here, mlflow: {{managed: false, endpoint: 'http://127.0.0.1:9'}}, admission: {{sensors: {sensors}}}}}\n"
    )


def test_doctor_shows_this_machine_and_changes_nothing(tmp_path: Path) -> None:
    done = reconcile("doctor", "--hardware", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Heat is ")
    assert "linux.pressure" in done.stdout or "darwin.memory" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_doctor_plays_the_trace_of_the_platform(tmp_path: Path) -> None:
    (tmp_path / "hot.jsonl").write_text('{"at": 0, "level": "serious", "used": 1.2, "watts": 35}')
    platform(tmp_path, "{trace: hot.jsonl}")
    done = reconcile("doctor", "--hardware", "-o", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["heat"]["level"], found["watts"]) == ("serious", 35.0)
    assert "hot.jsonl" in found["note"]


def test_doctor_names_a_trace_that_cannot_be_played(tmp_path: Path) -> None:
    platform(tmp_path, "{trace: gone.jsonl}")
    done = reconcile("doctor", "--hardware", cwd=tmp_path)
    assert done.returncode == 1
    assert "gone.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_works_beside_a_broken_manifest(tmp_path: Path) -> None:
    platform(tmp_path, "sometimes")
    done = reconcile("doctor", "--hardware", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Sensors:" in done.stdout
