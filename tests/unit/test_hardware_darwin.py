"""macOS's sensors on recorded outputs. Nothing here has run on a Mac: docs/apple-silicon.md."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.admission.values import Level
from reconciler.hardware import darwin, darwin_native
from reconciler.hardware import darwin_text as text
from reconciler.hardware.darwin import (
    PARTS,
    MemoryPressure,
    ThermalPressure,
    energy_look,
    memory_look,
    memory_of_text,
    pmset_look,
    pressure_look,
    state_look,
)
from reconciler.hardware.detector import Mac, mac
from reconciler.hardware.energy import Used, add
from reconciler.hardware.probe import Probe, Silent, paced
from reconciler.hardware.values import Machine

RECORDED = Path(__file__).parent.parent / "fixtures" / "hardware"
NAME = darwin_native.THERMAL_PRESSURE
M4 = RECORDED / "macos-26.5-m4"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def m4(which: str) -> MemoryPressure:
    return memory_of_text(recorded(f"macos-26.5-m4/sysctl-{which}.txt"), recorded(f"macos-26.5-m4/vm_stat-{which}.txt"), "")


# --- heat ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "level", "word"),
    [
        (0, Level.NOMINAL, "nominal"),
        (1, Level.FAIR, "moderate"),
        (2, Level.SERIOUS, "heavy"),
        (3, Level.CRITICAL, "trapping"),
        (4, Level.CRITICAL, "sleeping"),
    ],
)
def test_thermal_pressure_table(state: int, level: Level, word: str) -> None:
    (reading,) = pressure_look(ThermalPressure(state, NAME), 0.0, {}).readings
    assert (reading.level, reading.detail, reading.used) == (level, word, None)


@pytest.mark.parametrize("state", [10, 20, 30, 40, 50, 5, 2**63])
def test_values_of_ios_and_others_are_refused(state: int) -> None:
    look = pressure_look(ThermalPressure(state, NAME), 0.0, {})
    assert look.readings[0].level is Level.UNKNOWN
    assert str(state) in look.silent


def test_a_virtual_mac_is_not_cool_it_is_unknown() -> None:
    assert pressure_look(ThermalPressure(0, NAME, virtual=True), 0.0, {}).readings[0].level is Level.UNKNOWN


def test_a_name_of_our_own_works_in_a_virtual_mac_and_is_told() -> None:
    (reading,) = pressure_look(ThermalPressure(2, "mlops.test.heat", virtual=True), 0.0, {}).readings
    assert (reading.level, reading.detail) == (Level.SERIOUS, "heavy (from mlops.test.heat)")


def test_the_name_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert darwin_native.notify_name() == NAME
    monkeypatch.setenv(darwin_native.TEST_NOTIFY_NAME, "mlops.test.heat")
    assert darwin_native.notify_name() == "mlops.test.heat"


@pytest.mark.parametrize(
    ("state", "level"), [(0, Level.NOMINAL), (1, Level.FAIR), (2, Level.SERIOUS), (3, Level.CRITICAL), (7, Level.UNKNOWN)]
)
def test_thermal_state_table(state: int, level: Level) -> None:
    assert state_look(state, 0.0, {}).readings[0].level is level


def test_a_note_of_pmset_is_unknown_never_cool() -> None:
    look = pmset_look(recorded("macos-26.5-m4/pmset-therm.txt"), 0.0, {})
    assert look.readings[0].level is Level.UNKNOWN
    assert look.silent


@pytest.mark.parametrize(
    ("output", "level"),
    [
        ("macos-intel/pmset-therm.txt", Level.NOMINAL),
        ("macos-intel/throttled.txt", Level.SERIOUS),
    ],
)
def test_values_of_pmset(output: str, level: Level) -> None:
    assert pmset_look(recorded(output), 0.0, {}).readings[0].level is level


@pytest.mark.parametrize(
    ("output", "level"),
    [
        ("Thermal Warning Level = 0", Level.NOMINAL),
        ("Thermal Warning Level = 5", Level.SERIOUS),
        ("Thermal Warning Level = 10", Level.CRITICAL),
        ("\tCPU_Speed_Limit \t= 49", Level.CRITICAL),
        ("Error:Failed to get thermal warning level with error code 0xe00002bc", Level.UNKNOWN),
        ("", Level.UNKNOWN),
    ],
)
def test_other_lines_of_pmset(output: str, level: Level) -> None:
    assert pmset_look(output, 0.0, {}).readings[0].level is level


# --- memory --------------------------------------------------------------------------------------------------------


def test_vm_stat_as_activity_monitor_counts() -> None:
    pages = text.vm_stat((M4 / "vm_stat-a.txt").read_text())
    assert pages == text.Pages(16384, anonymous=329559, purgeable=132, wired=218103, compressor=716251, swapouts=73343490)
    assert pages.used == (329559 - 132 + 218103 + 716251) * 16384
    assert text.vm_stat("Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free: 1.\n") is None


def test_swap_usage_and_memory_pressure_texts() -> None:
    assert text.swap_used("total = 14336.00M  used = 13262.06M  free = 1073.94M  (encrypted)") == round(13262.06 * 2**20)
    assert text.swap_used("total = 16.00G  used = 2.50G  free = 13.50G") == 5 << 29
    assert text.swap_used("") is None
    assert text.memory_pressure((M4 / "memory_pressure.txt").read_text()) == (25769803776, 38)
    assert text.memory_pressure("") == (None, None)


def test_level_2_with_swap_of_yesterday_is_fair_not_serious() -> None:
    """24 GiB M4: 13 GiB of swap in use, level 2, and not one page swapped out in 16 s."""
    first = memory_look(m4("a"), 0.0, {})
    second = memory_look(m4("b"), 16.0, first.carry)
    assert [each.readings[0].level for each in (first, second)] == [Level.FAIR, Level.FAIR]
    assert "swapping out 0.0 MiB/s" in second.readings[0].detail
    assert second.memory is not None
    assert second.memory.total == 24 << 30
    assert second.memory.swap_used == round(13262.06 * 2**20)
    assert second.memory.available == (24 << 30) - (335794 - 2 + 218094 + 714162) * 16384


def test_level_2_while_pages_are_swapped_out_is_serious() -> None:
    first, found = memory_look(m4("a"), 0.0, {}), m4("b")
    assert found.pages is not None
    more = replace(found, pages=replace(found.pages, swapouts=found.pages.swapouts + 16 * 100))
    assert memory_look(more, 16.0, first.carry).readings[0].level is Level.SERIOUS, "100 pages of 16 KiB a second are more than 1 MiB"
    few = replace(found, pages=replace(found.pages, swapouts=found.pages.swapouts + 16 * 10))
    assert memory_look(few, 16.0, first.carry).readings[0].level is Level.FAIR


def test_the_swap_trend_ends_some_seconds_after_the_last_page() -> None:
    found, at = m4("a"), 0.0
    look = memory_look(found, at, {})
    levels = []
    for second in range(1, 60):
        assert found.pages is not None
        found = replace(found, pages=replace(found.pages, swapouts=found.pages.swapouts + (640 if second <= 5 else 0)))
        look = memory_look(found, float(second), look.carry)
        levels.append(look.readings[0].level)
    assert levels[4] is Level.SERIOUS
    assert levels[-1] is Level.FAIR


@pytest.mark.parametrize(
    ("pressure", "free", "level"),
    [
        (1, 70, Level.NOMINAL),
        (1, 40, Level.NOMINAL),
        (1, 39, Level.FAIR),
        (1, 19, Level.SERIOUS),
        (2, 41, Level.FAIR),
        (2, 19, Level.SERIOUS),
        (4, 70, Level.CRITICAL),
        (3, 70, Level.UNKNOWN),
        (None, 70, Level.UNKNOWN),
        (1, None, Level.NOMINAL),
    ],
)
def test_memory_table(pressure: int | None, free: int | None, level: Level) -> None:
    assert memory_look(MemoryPressure(pressure, free, 16 << 30), 0.0, {}).readings[0].level is level


def test_the_indicator_that_is_no_percentage_changes_nothing() -> None:
    """vm.memory_pressure was 231 and then 449 at one level and one percentage."""
    a, b = m4("a"), m4("b")
    assert (a.pressure, a.free) == (b.pressure, b.free) == (2, 38)
    loaded = memory_of_text(recorded("macos-48gib-loaded/sysctl.txt"), "", "")
    assert (loaded.pressure, loaded.free, loaded.total, loaded.pages) == (2, 41, 48 << 30, None)
    look = memory_look(loaded, 0.0, {})
    assert look.readings[0].level is Level.FAIR
    assert look.memory is not None
    assert look.memory.available == 48 * (1 << 30) * 41 // 100, "without vm_stat the kernel's percentage has to do"


def test_memory_without_any_answer_is_silence() -> None:
    with pytest.raises(Silent):
        memory_of_text("", "", "")


# --- energy --------------------------------------------------------------------------------------------------------


def test_energy_is_the_sum_of_the_parts_that_this_chip_has() -> None:
    first = dict.fromkeys(PARTS, 1000) | {"gpu_sram_mj": None}
    second = {name: None if value is None else value + 3000 for name, value in first.items()}
    state = add(Used(), energy_look(first, 0.0, {}).energy, 0.0)
    state = add(state, energy_look(second, 2.0, {}).energy, 2.0)
    assert (state.joules, state.watts) == (pytest.approx(12.0), pytest.approx(6.0))
    assert energy_look(dict.fromkeys(PARTS), 0.0, {}).silent


# --- the machine ---------------------------------------------------------------------------------------------------


def machine(folder: str) -> Machine:
    found = text.sysctl(recorded(f"{folder}/cores.txt"))
    levels = tuple(
        (found.get(f"hw.perflevel{each}.name", ""), int(found[f"hw.perflevel{each}.physicalcpu"]))
        for each in range(int(found["hw.nperflevels"]))
    )
    return mac(
        Mac("26.5", found["machdep.cpu.brand_string"], int(found["hw.memsize"]), int(found["hw.ncpu"]), levels, True, "0.32.1"), "mini"
    )


@pytest.mark.parametrize(
    ("folder", "fast", "slow"),
    [("macos-26.5-m4", 4, 6), ("macos-15.5-m2max", 8, 4), ("macos-m5max", 18, 0)],
)
def test_cores_of_apple_silicon(folder: str, fast: int, slow: int) -> None:
    found = machine(folder)
    assert (found.performance_cores, found.efficiency_cores) == (fast, slow)
    assert found.metal
    assert found.neural_engine
    assert found.accelerators[0].unified
    assert found.accelerators[0].memory == found.memory


def test_an_intel_mac_has_no_unified_memory() -> None:
    found = mac(Mac("14.8", "Intel(R) Core(TM) i7-9750H", 16 << 30, 12), "old")
    assert (found.metal, found.neural_engine, found.accelerators, found.performance_cores) == (False, False, (), None)


def test_gpu_cores_and_low_power_from_texts() -> None:
    assert text.gpu_cores((M4 / "ioreg.txt").read_text()) == 14
    assert text.gpu_cores("") is None
    pmset = (M4 / "pmset.txt").read_text()
    assert text.low_power(pmset) is False
    assert text.low_power(pmset.replace("lowpowermode         0", "lowpowermode         1")) is True
    assert text.low_power(" powermode            1\n") is True
    assert text.low_power(" powermode            2\n") is False, "2 is high power"
    assert text.low_power("") is None


# --- the edges -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "darwin", reason="on a Mac these probes speak: see `reconcile doctor --hardware`")
def test_every_probe_of_macos_is_silent_elsewhere() -> None:
    looks = [each.look(0.0, {}) for each in darwin.probes()]
    assert all(each.silent and not each.readings for each in looks), looks


def test_the_layout_of_the_kernels_structure() -> None:
    """HOST_VM_INFO64_COUNT of revision 1 is 38 integers."""
    import ctypes

    assert ctypes.sizeof(darwin_native._VmStatistics64) == 38 * 4
    assert darwin_native._VmStatistics64.swapouts.offset == 120
    assert darwin_native._VmStatistics64.compressor.offset == 128


def test_a_program_is_run_once_in_a_while_and_its_failure_is_kept_as_long() -> None:
    clock, calls = [0.0], []

    def read() -> str:
        calls.append(clock[0])
        if len(calls) == 2:
            raise Silent("gone", "look")
        return "text"

    answer = paced(read, 30.0, lambda: clock[0])
    assert [answer(), answer()] == ["text", "text"]
    clock[0] = 30.0
    for _ in range(2):
        with pytest.raises(Silent, match="gone"):
            answer()
    clock[0] = 61.0
    assert answer() == "text"
    assert calls == [0.0, 30.0, 61.0]


def test_what_a_sensor_raises_is_silence() -> None:
    def broken() -> int:
        raise ZeroDivisionError

    look = Probe("x", "heat", broken, state_look).look(0.0, {"kept": 1.0})
    assert (look.silent, look.readings, look.carry) == ("ZeroDivisionError", (), {"kept": 1.0})
