"""NVIDIA GPUs through NVML (nvidia-ml-py): why the clocks are held down, temperature against its thresholds, energy, memory.

Bits: nvmlClocksEventReasons* of nvml.h."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.admission.values import Level
from reconciler.hardware.probe import Carry, Energy, Look, Probe, Silent
from reconciler.hardware.scale import plausible, used
from reconciler.hardware.values import Accelerator, Reading

SW_THERMAL = 0x20
HW_SLOWDOWN, HW_THERMAL, POWER_BRAKE = 0x08, 0x40, 0x80
REASONS = {
    0x001: "idle",
    0x002: "application clocks",
    0x004: "power cap",
    HW_SLOWDOWN: "hardware slowdown",
    0x010: "sync boost",
    SW_THERMAL: "thermal slowdown",
    HW_THERMAL: "hardware thermal slowdown",
    POWER_BRAKE: "power brake",
    0x100: "display clocks",
}
"""The software power cap (0x4) is how a GPU runs at its rated power all day: it is not heat."""
DRIVER = ("dev/nvidiactl", "dev/dxg")
"""Device files of the driver, on Linux and below WSL: without one, NVML need not be loaded."""


@dataclass(frozen=True, slots=True)
class Device:
    """Raw reading of one GPU; None = this GPU or driver does not tell."""

    index: int
    name: str
    reasons: int | None = None
    celsius: int | None = None
    slowdown: int | None = None
    """Celsius at which the GPU slows down."""
    shutdown: int | None = None
    milliwatts: int | None = None
    millijoules: int | None = None
    """Since the driver was loaded."""
    memory_total: int = 0
    memory_used: int = 0


@dataclass
class Reader:
    """Keeps NVML open from the first reading on; opening it costs tens of milliseconds."""

    root: Path = Path("/")
    nvml: Any = None
    fixed: dict[int, tuple[Any, str, int | None, int | None]] | None = None
    """Index -> handle, name, thresholds: these do not change."""

    def __call__(self) -> tuple[Device, ...]:
        if self.fixed is None:
            self.fixed = self._open()
        return tuple(self._device(index, *each) for index, each in self.fixed.items())

    def _open(self) -> dict[int, tuple[Any, str, int | None, int | None]]:
        if not any((self.root / each).exists() for each in DRIVER):
            raise Silent("no NVIDIA driver")
        try:
            import pynvml  # type: ignore[import-untyped]
        except ImportError:
            raise Silent("nvidia-ml-py is not installed", "pip install 'mlops-reconciler[hardware]'") from None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise Silent(f"NVML: {error}", "the driver's library libnvidia-ml.so.1 must be visible here (containers: --gpus all)") from None
        self.nvml = pynvml
        found = {}
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = pynvml.nvmlDeviceGetName(handle)
            limits = (
                self._ask(pynvml.nvmlDeviceGetTemperatureThreshold, handle, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
                self._ask(pynvml.nvmlDeviceGetTemperatureThreshold, handle, pynvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN),
            )
            found[index] = (handle, name if isinstance(name, str) else name.decode(), *limits)
        return found

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What NVML answers; None for what this GPU does not support."""
        try:
            return call(*arguments)
        except self.nvml.NVMLError:
            return None

    def _device(self, index: int, handle: Any, name: str, slowdown: int | None, shutdown: int | None) -> Device:
        ask, nvml = self._ask, self.nvml
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        return Device(
            index,
            name,
            reasons=ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle),
            celsius=ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            slowdown=slowdown,
            shutdown=shutdown,
            milliwatts=ask(nvml.nvmlDeviceGetPowerUsage, handle),
            millijoules=ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle),
            memory_total=0 if memory is None else int(memory.total),
            memory_used=0 if memory is None else int(memory.used),
        )


def look(devices: Sequence[Device], at: float, carry: Carry) -> Look:
    """Every GPU: the level by what holds its clocks down, the headroom by its temperature."""
    if not devices:
        return Look("nvidia", silent="the driver sees no GPU")
    energy = tuple(
        Energy(f"gpu {each.index}", None if each.millijoules is None else each.millijoules / 1000, _watts(each))
        for each in devices
        if each.millijoules is not None or each.milliwatts is not None
    )
    return Look("nvidia", tuple(map(_reading, devices)), energy)


def _watts(device: Device) -> float | None:
    return None if device.milliwatts is None else device.milliwatts / 1000


def _reading(device: Device) -> Reading:
    share = None
    if device.celsius is not None and plausible(device.celsius) and device.slowdown:
        share = used(device.celsius, device.slowdown)
    level = Level.UNKNOWN if device.reasons is None else level_of(device.reasons)
    limit = f" of {device.slowdown} C" if device.slowdown else ""
    said = [
        device.name,
        "no temperature" if device.celsius is None else f"{device.celsius} C{limit}",
        "clock reasons not told" if device.reasons is None else words(device.reasons),
        f"{device.memory_used / 2**30:.1f} of {device.memory_total / 2**30:.1f} GiB" if device.memory_total else "",
    ]
    return Reading(f"nvidia.{device.index}", "heat", level, share, ", ".join(filter(None, said)))


def level_of(reasons: int) -> Level:
    """Thermal slowdown by software is SERIOUS, by hardware or a power brake CRITICAL; everything else is not heat."""
    if reasons & (HW_THERMAL | HW_SLOWDOWN | POWER_BRAKE):
        return Level.CRITICAL
    return Level.SERIOUS if reasons & SW_THERMAL else Level.NOMINAL


def words(reasons: int) -> str:
    """The reasons by name; unknown bits as a number."""
    named = [word for bit, word in REASONS.items() if reasons & bit]
    rest = reasons & ~sum(REASONS)
    return " and ".join([*named, *([f"reason 0x{rest:x}"] if rest else [])]) or "full clocks"


def accelerators(devices: Sequence[Device]) -> tuple[Accelerator, ...]:
    """The GPUs as parts of the machine."""
    return tuple(Accelerator(each.name, each.memory_total) for each in devices)


def probe(root: Path = Path("/")) -> Probe[Any]:
    """The probe for all GPUs of this machine."""
    return Probe("nvidia", "heat", Reader(root), look)
