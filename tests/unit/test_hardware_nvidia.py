"""NVIDIA GPUs and MLX on recorded answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.admission.values import Level
from reconciler.hardware import mlx
from reconciler.hardware.energy import Used, add
from reconciler.hardware.nvidia import Device, Reader, accelerators, level_of, look, words
from reconciler.hardware.probe import Silent

RECORDED = Path(__file__).parent.parent / "fixtures" / "hardware"
DEVICES = {name: [Device(**each) for each in found] for name, found in json.loads((RECORDED / "nvidia/devices.json").read_text()).items()}
MLX = json.loads((RECORDED / "mlx/device_info.json").read_text())


@pytest.mark.parametrize(
    ("reasons", "level"),
    [
        (0x0, Level.NOMINAL),
        (0x1, Level.NOMINAL),
        (0x4, Level.NOMINAL),
        (0x4 | 0x2 | 0x10 | 0x100, Level.NOMINAL),
        (0x20, Level.SERIOUS),
        (0x24, Level.SERIOUS),
        (0x8, Level.CRITICAL),
        (0x40, Level.CRITICAL),
        (0x80, Level.CRITICAL),
        (0x60, Level.CRITICAL),
    ],
)
def test_clock_reasons_table(reasons: int, level: Level) -> None:
    """The power cap (0x4) is how a GPU runs all day."""
    assert level_of(reasons) is level


def test_reasons_in_words() -> None:
    assert words(0) == "full clocks"
    assert words(0x24) == "power cap and thermal slowdown"
    assert words(0x4000) == "reason 0x4000"


def test_a_gpu_at_its_power_cap_is_not_hot() -> None:
    found = look(DEVICES["rtx-3090 at its power cap"], 0.0, {})
    (reading,) = found.readings
    assert reading.level is Level.NOMINAL
    assert reading.used == pytest.approx((67 - 65) / 30)
    assert reading.detail == "NVIDIA GeForce RTX 3090, 67 C of 95 C, power cap, 20.0 of 24.0 GiB"
    assert found.energy[0].watts == 349.0


def test_a_gpu_that_slows_down_for_heat_is_serious() -> None:
    found = look(DEVICES["rtx-4060-laptop hot"], 0.0, {})
    assert found.readings[0].level is Level.SERIOUS
    assert found.energy[0].joules is None, "laptops tell power only; it is summed"


def test_each_gpu_has_its_own_reading() -> None:
    found = look(DEVICES["a100 idle beside one that brakes"], 0.0, {})
    assert [(each.source, each.level) for each in found.readings] == [("nvidia.0", Level.NOMINAL), ("nvidia.1", Level.CRITICAL)]
    state = add(Used(), found.energy, 0.0)
    assert state.watts == pytest.approx(185.46)


def test_a_virtual_gpu_that_tells_nothing_is_unknown() -> None:
    found = look(DEVICES["virtual GPU that tells little"], 0.0, {})
    assert found.readings[0].level is Level.UNKNOWN
    assert found.energy == ()
    assert look([], 0.0, {}).silent == "the driver sees no GPU"


def test_accelerators_of_the_machine() -> None:
    found = accelerators(DEVICES["a100 idle beside one that brakes"])
    assert [(each.name, each.memory, each.unified) for each in found] == [("NVIDIA A100 80GB PCIe", 80 << 30, False)] * 2


class Nvml:
    """Answers as NVML does on a GPU that knows neither its energy nor why its clocks are low."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return {("gpu", 0): 44}[handle, sensor]

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 13420

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        return SimpleNamespace(total=8 << 30, used=1 << 30)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        raise self.NVMLError("Not Supported")

    nvmlDeviceGetCurrentClocksEventReasons = nvmlDeviceGetTotalEnergyConsumption


def test_what_a_gpu_does_not_support_is_none() -> None:
    reader = Reader(nvml=Nvml(), fixed={0: ("gpu", "Some GPU", 92, 97)})
    (found,) = reader()
    assert found == Device(0, "Some GPU", None, 44, 92, 97, 13420, None, 8 << 30, 1 << 30)


def test_without_a_driver_nothing_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(Silent, match="no NVIDIA driver"):
        Reader(tmp_path)()


@pytest.mark.parametrize(("name", "share"), [("M4 Pro", 0.78), ("M3 Ultra", 0.8125)])
def test_the_working_set_is_asked_never_assumed(name: str, share: float) -> None:
    found = mlx.device(MLX[name])
    assert found.metal
    assert found.working_set is not None
    assert found.memory is not None
    assert found.working_set / found.memory == pytest.approx(share, abs=0.001)
    assert found.largest_buffer == MLX[name]["max_buffer_length"]


def test_without_metal_there_is_no_limit() -> None:
    assert mlx.device(MLX["Linux"]) == mlx.Device("AMD EPYC")
    assert mlx.device({}) == mlx.Device()


def test_the_mlx_of_this_environment_answers_in_its_own_process() -> None:
    """Real MLX; this process does not import it."""
    found = mlx.ask_device()
    assert found["device_name"]
    assert isinstance(found["metal"], bool)


def test_what_a_process_holds_is_known_only_where_mlx_is_imported() -> None:
    import subprocess
    import sys

    program = """
from reconciler.hardware.mlx import held
print(held())
import mlx.core as mx
kept = mx.zeros((256, 1024)); mx.eval(kept)
print(held())
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert said[0] == "None"
    assert said[1].startswith("Held(active=")
