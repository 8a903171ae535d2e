"""macOS's C interfaces through ctypes: microseconds, no subprocess, no root. Nothing here runs elsewhere; importing it is harmless.

Never run on a Mac yet; docs/apple-silicon.md says how to check it there."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

from reconciler.hardware.darwin_text import Pages
from reconciler.hardware.probe import Silent

THERMAL_PRESSURE = "com.apple.system.thermalpressurelevel"
"""Undocumented name, five levels, stable since 10.10; powermetrics shows the same."""
TEST_NOTIFY_NAME = "MLOPS_TEST_NOTIFY_NAME"
"""Environment variable with another name to listen to, so that heat can be told by `notifyutil -s NAME 2` (Bazel's idea)."""
_LIBSYSTEM = "/usr/lib/libSystem.B.dylib"
_HOST_VM_INFO64 = 4
"""mach/host_info.h."""


@cache
def _system() -> ctypes.CDLL:
    if sys.platform != "darwin":
        raise Silent("this is not macOS")
    return ctypes.CDLL(_LIBSYSTEM, use_errno=True)


def sysctl_bytes(name: str) -> bytes:
    """Value of a sysctl. Raises OSError for one that this system does not have."""
    library, size = _system(), ctypes.c_size_t(0)
    if library.sysctlbyname(name.encode(), None, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        raise OSError(ctypes.get_errno(), f"sysctl {name}: {os.strerror(ctypes.get_errno())}")
    buffer = ctypes.create_string_buffer(size.value)
    if library.sysctlbyname(name.encode(), buffer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        raise OSError(ctypes.get_errno(), f"sysctl {name}: {os.strerror(ctypes.get_errno())}")
    return buffer.raw[: size.value]


def sysctl_int(name: str) -> int | None:
    """An integer sysctl of any width; None for one that this system does not have."""
    try:
        return int.from_bytes(sysctl_bytes(name), sys.byteorder)
    except OSError:
        return None


def sysctl_text(name: str) -> str:
    """A string sysctl; empty for one that this system does not have."""
    try:
        return sysctl_bytes(name).rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""


def notify_name() -> str:
    """The notification that is listened to."""
    return os.environ.get(TEST_NOTIFY_NAME) or THERMAL_PRESSURE


@cache
def _notify_token(name: str) -> int:
    token = ctypes.c_int()
    status = _system().notify_register_check(name.encode(), ctypes.byref(token))
    if status != 0:
        raise OSError(f"notify_register_check({name}) answered {status}")
    return token.value


def notify_state(name: str) -> int:
    """State of a Darwin notification (notify.h). Raises OSError when the system refuses."""
    state = ctypes.c_uint64()
    status = _system().notify_get_state(ctypes.c_int(_notify_token(name)), ctypes.byref(state))
    if status != 0:
        raise OSError(f"notify_get_state({name}) answered {status}")
    return state.value


@cache
def _process_info() -> tuple[Any, int]:
    """(objc_msgSend's library, the NSProcessInfo of this process)."""
    _system()
    ctypes.CDLL("/System/Library/Frameworks/Foundation.framework/Foundation")
    library = ctypes.CDLL("/usr/lib/libobjc.A.dylib")
    library.objc_getClass.restype = library.sel_registerName.restype = ctypes.c_void_p
    kind = library.objc_getClass(b"NSProcessInfo")
    if not kind:
        raise OSError("Foundation has no NSProcessInfo")
    return library, int(_send(library, kind, "processInfo", ctypes.c_void_p))


def _send(library: Any, target: int, selector: str, result: Any) -> Any:
    """`[target selector]`. On arm64 objc_msgSend must be called with the method's own prototype, never as a variadic function."""
    prototype = ctypes.CFUNCTYPE(result, ctypes.c_void_p, ctypes.c_void_p)
    return prototype(("objc_msgSend", library))(target, library.sel_registerName(selector.encode()))


def thermal_state() -> int:
    """NSProcessInfo.thermalState: 0 nominal, 1 fair, 2 serious, 3 critical."""
    library, info = _process_info()
    return int(_send(library, info, "thermalState", ctypes.c_long))


def low_power_mode() -> bool | None:
    """NSProcessInfo.lowPowerModeEnabled (macOS 12 and newer); None where it cannot be asked."""
    try:
        library, info = _process_info()
        return bool(_send(library, info, "isLowPowerModeEnabled", ctypes.c_bool))
    except (OSError, AttributeError):
        return None


class _VmStatistics64(ctypes.Structure):
    """vm_statistics64 of mach/vm_statistics.h, up to what macOS 10.9 has; later fields come after it."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("free", "active", "inactive", "wired")),
        *((name, ctypes.c_uint64) for name in ("zero_filled", "reactivations", "pageins", "pageouts", "faults")),
        *((name, ctypes.c_uint64) for name in ("cow", "lookups", "hits", "purges")),
        *((name, ctypes.c_uint32) for name in ("purgeable", "speculative")),
        *((name, ctypes.c_uint64) for name in ("decompressions", "compressions", "swapins", "swapouts")),
        *((name, ctypes.c_uint32) for name in ("compressor", "throttled", "external", "internal")),
        ("uncompressed", ctypes.c_uint64),
    )


@cache
def _host() -> int:
    _system().mach_host_self.restype = ctypes.c_uint32
    return int(_system().mach_host_self())  # each call takes a right of the port: once is enough


@cache
def _page_size() -> int:
    size = ctypes.c_ulong()
    if _system().host_page_size(ctypes.c_uint32(_host()), ctypes.byref(size)) != 0:
        raise OSError("host_page_size failed")
    return size.value


def pages() -> Pages:
    """host_statistics64(HOST_VM_INFO64): what `vm_stat` prints."""
    found = _VmStatistics64()
    count = ctypes.c_uint32(ctypes.sizeof(found) // 4)
    if _system().host_statistics64(ctypes.c_uint32(_host()), _HOST_VM_INFO64, ctypes.byref(found), ctypes.byref(count)) != 0:
        raise OSError("host_statistics64 failed")
    return Pages(_page_size(), found.internal, found.purgeable, found.wired, found.compressor, found.swapouts)


def swap_used() -> int | None:
    """Bytes of swap in use: vm.swapusage is a struct xsw_usage (total, available, used as 64 bits)."""
    try:
        return int.from_bytes(sysctl_bytes("vm.swapusage")[16:24], sys.byteorder)
    except OSError:
        return None
