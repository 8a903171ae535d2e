"""Linux's sensors on recorded files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.admission.values import Level
from reconciler.hardware import cgroup
from reconciler.hardware.detector import cpus, hybrid_cores, linux_chip
from reconciler.hardware.energy import Used, add
from reconciler.hardware.linux import (
    Monitor,
    Package,
    ZoneReader,
    monitors_look,
    packages_look,
    pressure_look,
    probes,
    read_packages,
    read_pressure,
    zones_look,
)
from reconciler.hardware.probe import Look, Silent
from reconciler.hardware.values import Reading

RECORDED = Path(__file__).parent.parent / "fixtures" / "hardware"


def zones(folder: str) -> dict[str, Reading]:
    look = zones_look(ZoneReader(RECORDED / folder)(), 0.0, {})
    return {each.source.removeprefix("linux.zone "): each for each in look.readings}


def monitors(folder: str) -> dict[str, Reading]:
    found = [Monitor(**each) for each in json.loads((RECORDED / folder / "monitors.json").read_text())]
    return {each.source.removeprefix("linux.hwmon "): each for each in monitors_look(found, 0.0, {}).readings}


def test_a_zone_is_judged_by_its_own_trip_points() -> None:
    found = zones("linux-arm")
    cpu = found["cpu-thermal 0"]
    assert (cpu.level, cpu.detail, cpu.used) == (Level.NOMINAL, "60 C of 80 C", pytest.approx(1 / 3))
    assert found["imx_thermal_zone 1"].level is Level.NOMINAL


def test_a_zone_with_a_critical_point_only_is_serious_ten_degrees_below() -> None:
    assert zones("linux-thinkpad")["acpitz 0"].level is Level.CRITICAL, "96 C of 99 C, and it was throttling"


def test_trip_points_that_nobody_filled_in_make_no_zone_nominal() -> None:
    found = zones("linux-desktop")
    assert {name: each.level for name, each in found.items()} == dict.fromkeys(found, Level.UNKNOWN)
    assert found["x86_pkg_temp 1"].detail == "54 C; no trip point says what is hot"
    assert found["acpitz 2"].level is Level.UNKNOWN, "16.8 C is not 4 degrees from being critical"
    assert "boards without this sensor" in found["acpitz 0"].detail
    assert found["iwlwifi_1 3"].detail == "no temperature"


def test_a_zone_gets_hot_between_two_looks(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "linux-arm", tmp_path / "m")
    reader = ZoneReader(tmp_path / "m")
    temperature = tmp_path / "m/sys/class/thermal/thermal_zone0/temp"
    seen = []
    for text in ("69999", "70000", "80000", "99999", "100000", "-274000", "nonsense"):
        temperature.write_text(text)
        seen.append(zones_look(reader(), 0.0, {}).readings[0].level)
    assert seen == [Level.NOMINAL, Level.FAIR, Level.SERIOUS, Level.SERIOUS, Level.CRITICAL, Level.UNKNOWN, Level.UNKNOWN]


def test_no_zones_are_silence_not_coolness(tmp_path: Path) -> None:
    with pytest.raises(Silent, match="no thermal zones"):
        ZoneReader(tmp_path)()


def test_monitors_use_the_lower_of_high_and_ten_below_critical() -> None:
    assert monitors("linux-thinkpad")["coretemp"].level is Level.CRITICAL
    found = monitors("linux-desktop")
    assert found["coretemp"].detail == "71 C of 90 C (Package id 0)", (
        "high = critical = 100: that is where the chip already slows itself down"
    )
    assert found["k10temp"].detail == "60 C of 90 C (Tctl)", "AMD's driver names no limit"
    assert found["amdgpu"].level is Level.NOMINAL


def test_an_offset_meant_for_fans_is_not_the_temperature() -> None:
    look = monitors_look([Monitor("k10temp", "Tctl", 97.0), Monitor("k10temp", "Tdie", 70.0)], 0.0, {})
    assert [each.detail for each in look.readings] == ["70 C of 90 C (Tdie)"]


def test_a_monitor_without_a_limit_is_unknown() -> None:
    assert monitors_look([Monitor("nouveau", "", 50.0, high=65261.85)], 0.0, {}).readings[0].level is Level.UNKNOWN


@pytest.mark.parametrize(
    ("some", "full", "level"),
    [
        (0.0, 0.0, Level.NOMINAL),
        (0.99, 0.0, Level.NOMINAL),
        (1.0, 0.0, Level.FAIR),
        (9.99, 4.99, Level.FAIR),
        (10.0, 0.0, Level.SERIOUS),
        (6.0, 5.0, Level.SERIOUS),
        (30.0, 19.9, Level.SERIOUS),
        (30.0, 20.0, Level.CRITICAL),
    ],
)
def test_pressure_table(some: float, full: float, level: Level) -> None:
    text = f"some avg10={some:.2f} avg60=0.00 avg300=0.00 total=0\nfull avg10={full:.2f} avg60=0.00 avg300=0.00 total=0\n"
    assert pressure_look(text, 0.0, {}).readings[0].level is level


@pytest.mark.parametrize(("name", "level"), [("calm", Level.NOMINAL), ("stalled", Level.CRITICAL)])
def test_recorded_pressure(name: str, level: Level) -> None:
    assert pressure_look((RECORDED / f"linux-psi/{name}.txt").read_text(), 0.0, {}).readings[0].level is level


def test_pressure_in_another_form_is_unknown() -> None:
    assert pressure_look("", 0.0, {}).readings[0].level is Level.UNKNOWN


def test_a_confined_process_is_told_its_own_pressure(tmp_path: Path) -> None:
    limits = cgroup.limits(RECORDED / "linux-cgroup2")
    assert pressure_look(read_pressure(tmp_path, limits.memory_folder), 0.0, {}).readings[0].level is Level.SERIOUS
    with pytest.raises(Silent, match="pressure stall"):
        read_pressure(tmp_path)


def test_limits_of_version_2_are_the_tightest_of_all_groups_above() -> None:
    found = cgroup.limits(RECORDED / "linux-cgroup2")
    assert (found.memory, found.cores) == (4 << 30, 1.5)
    assert found.memory_folder is not None
    assert found.cpu_folder is not None
    assert cgroup.usage(found.memory_folder) == 2 << 30, "inactive file cache can be given back"
    assert cgroup.busy(found.cpu_folder) == 12.5


def test_limits_of_version_1_in_a_container_that_sees_itself_as_the_top() -> None:
    found = cgroup.limits(RECORDED / "linux-cgroup1")
    assert (found.memory, found.cores) == (2 << 30, 0.5)
    assert found.memory_folder is not None
    assert found.cpu_folder is not None
    assert cgroup.usage(found.memory_folder) == 1 << 30
    assert cgroup.busy(found.cpu_folder) == 7.5


def test_unlimited_is_no_limit(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/\n1:cpu:/\n0::/\n")
    for name, text in (
        ("memory/memory.limit_in_bytes", "9223372036854771712"),
        ("cpu/cpu.cfs_quota_us", "-1"),
        ("memory.max", "max"),
        ("cpu.max", "max 100000"),
    ):
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cgroup.limits(tmp_path) == cgroup.Limits()
    assert cgroup.limits(tmp_path / "nothing here") == cgroup.Limits()


def test_the_energy_counter_goes_on_over_its_wrap() -> None:
    state = Used()
    for at, micro in ((0.0, 262_100_000_000), (1.0, 262_115_000_000), (2.0, 10_000_000)):
        state = add(state, packages_look([Package("package-0", micro, 262_143_328_850)], at, {}).energy, at)
    assert state.joules == pytest.approx(15.0 + 28.32885 + 10.0)
    assert state.watts == pytest.approx(38.32885)


def test_packages_are_read_without_their_parts_and_without_the_platform_they_are_in(tmp_path: Path) -> None:
    for folder, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:1", "psys")):
        path = tmp_path / "sys/class/powercap" / folder
        path.mkdir(parents=True)
        (path / "name").write_text(f"{name}\n")
        (path / "energy_uj").write_text("5000000\n")
        (path / "max_energy_range_uj").write_text("262143328850\n")
    assert read_packages(tmp_path) == (Package("package-0", 5000000, 262143328850),)


@pytest.fixture
def not_root() -> Iterator[None]:
    """Root may read every file, so it steps down for the test."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    yield
    os.seteuid(was)


def test_a_counter_for_root_only_says_how_to_open_it(not_root: None) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / "sys/class/powercap/intel-rapl:0"
        path.mkdir(parents=True)
        (path / "name").write_text("package-0")
        (path / "energy_uj").touch(mode=0o000)
        with pytest.raises(Silent, match="root only"):
            read_packages(Path(folder))


def test_a_machine_without_any_sensor_is_all_silence(tmp_path: Path) -> None:
    """A container: no zones, no pressure, no counters. hwmon is psutil's and reads the real machine."""
    looks = [each.look(0.0, {}) for each in probes(tmp_path) if each.name != "linux.hwmon"]
    assert [each.probe for each in looks if each.silent and not each.readings] == ["linux.zones", "linux.pressure", "linux.rapl"]


def test_the_probes_of_this_machine_answer_or_say_why_not() -> None:
    looks = [each.look(0.0, {}) for each in probes()]
    assert all(bool(each.silent) != bool(each.readings or each.energy) for each in looks), looks
    assert all(isinstance(each, Look) for each in looks)


def test_the_chip_and_its_kinds_of_cores(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nmodel name\t: 12th Gen Intel(R) Core(TM) i5-1240P\n")
    assert linux_chip(tmp_path) == "12th Gen Intel(R) Core(TM) i5-1240P"
    assert hybrid_cores(tmp_path) == (None, None)
    for kind, text in (("cpu_core", "0-3"), ("cpu_atom", "4-5,7")):
        (tmp_path / f"sys/devices/{kind}").mkdir(parents=True)
        (tmp_path / f"sys/devices/{kind}/cpus").write_text(f"{text}\n")
    for cpu, core in {0: 0, 1: 0, 2: 4, 3: 4, 4: 8, 5: 9, 7: 10}.items():
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "core_id").write_text(str(core))
    assert hybrid_cores(tmp_path) == (2, 3), "four threads are two cores"
    assert cpus("0-2,8") == [0, 1, 2, 8]
