"""Runs a project's program with the limits that it was granted: `python bootstrap.py ENTRYPOINT [ARGUMENT ...]`.

Executed by the project's own interpreter, so it uses the standard library only and no file of ours. It sets limits in numeric frameworks
the moment the program imports them, and notes their memory in $MLOPS_STATS; otherwise the program runs as if it had been started directly:
`__main__`, `sys.argv`, `sys.path[0]`, tracebacks and exit codes are its own."""

# pathlib is not used: paths stay the texts that they were, and nothing is imported that the program may not want
# ruff: noqa: PTH100, PTH105, PTH109, PTH110, PTH120, PTH123

from __future__ import annotations

import atexit
import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

INTERVAL = 1.0
"""Seconds between two notes of the frameworks' memory."""


def limit() -> int | None:
    """Bytes that a framework may use: what was granted less what the interpreter uses already, half of it at least. None = no limit."""
    granted = int(os.environ.get("MLOPS_MEMORY_LIMIT") or 0)
    if not granted:
        return None
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return max(granted // 2, granted - used)


def limit_mlx(mx: Any) -> None:
    """Source of the calls: MLX documentation, Memory Management. The cache of freed buffers counts towards the process."""
    size = limit()
    if size is None:
        return
    mx.set_memory_limit(size)
    mx.set_cache_limit(size // 4)
    if sys.platform == "darwin" and mx.metal.is_available():
        mx.set_wired_limit(min(size, mx.device_info().get("max_recommended_working_set_size", size)))


def read_mlx(mx: Any) -> dict[str, int]:
    """Bytes in use, their peak, and those kept for reuse."""
    return {"mlx_active": mx.get_active_memory(), "mlx_peak": mx.get_peak_memory(), "mlx_cache": mx.get_cache_memory()}


def read_torch(torch: Any) -> dict[str, int]:
    """Only of devices that the program itself has woken: asking must not create a CUDA context."""
    found = {}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda_active"], found["cuda_peak"] = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    if sys.platform == "darwin" and torch.backends.mps.is_available():
        found["mps_active"], found["mps_driver"] = torch.mps.current_allocated_memory(), torch.mps.driver_allocated_memory()
    return found


FRAMEWORKS: dict[str, tuple[Callable[[Any], None] | None, Callable[[Any], dict[str, int]]]] = {
    "mlx.core": (limit_mlx, read_mlx),
    "torch": (None, read_torch),  # its limit for Metal is an environment variable; CUDA has memory of its own
}


class Finder(importlib.abc.MetaPathFinder):
    """Stands before the usual finders and steps aside for all but the frameworks."""

    def __init__(self, stats: Stats | None) -> None:
        self.stats = stats
        self.searching: set[str] = set()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if name not in FRAMEWORKS or name in self.searching:
            return None
        self.searching.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.searching.discard(name)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = Loader(spec.loader, name, self.stats)
        return spec


class Loader(importlib.abc.Loader):
    """The framework's own loader, followed by our limit. It is put back before the program can see it."""

    def __init__(self, own: importlib.abc.Loader, name: str, stats: Stats | None) -> None:
        self.own, self.name, self.stats = own, name, stats

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.own
        module.__loader__ = self.own
        self.own.exec_module(module)
        prepare, read = FRAMEWORKS[self.name]
        try:
            if prepare is not None:
                prepare(module)
        except Exception as error:
            sys.stderr.write(f"mlops: no memory limit in {self.name}: {error!r}\n")
        if self.stats is not None:
            self.stats.add(module, read)


class Stats:
    """Writes the frameworks' memory to a file now and then, from a thread that does not keep the program alive, and at the end."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.sources: list[tuple[ModuleType, Callable[[Any], dict[str, int]]]] = []

    def add(self, module: ModuleType, read: Callable[[Any], dict[str, int]]) -> None:
        self.sources.append((module, read))
        if len(self.sources) == 1:
            threading.Thread(target=self.run, name="mlops-stats", daemon=True).start()
            atexit.register(self.write)

    def run(self) -> None:
        while True:
            time.sleep(INTERVAL)
            self.write()

    def write(self) -> None:
        found: dict[str, int] = {}
        for module, read in list(self.sources):
            try:
                found.update(read(module))
            except Exception:  # the framework may be half imported, or half gone
                continue
        staged = f"{self.path}.{os.getpid()}"
        try:
            with open(staged, "w", encoding="utf-8") as file:
                json.dump(found, file)
            os.replace(staged, self.path)
        except OSError:
            return


def run_script(path: str) -> None:
    """As `python PATH` does: in the namespace of the module `__main__` itself."""
    main = sys.modules["__main__"]
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    with open(path, "rb") as file:
        source = file.read()
    code = compile(source, path, "exec", dont_inherit=True)
    main.__dict__.clear()
    main.__dict__.update(
        {
            "__name__": "__main__",
            "__doc__": None,
            "__package__": None,
            "__loader__": importlib.machinery.SourceFileLoader("__main__", path),
            "__spec__": None,
            "__annotations__": {},
            "__builtins__": builtins,
            "__file__": path,
            "__cached__": None,
        }
    )
    exec(code, main.__dict__)


def run_module(name: str) -> None:
    """As `python -m NAME` does."""
    import runpy

    sys.path[0] = os.getcwd()
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def start(arguments: Sequence[str]) -> None:
    """Run the entrypoint; an exception that leaves it is shown without the frames of this file."""
    entrypoint = arguments[0]
    sys.argv = list(arguments)
    stats = os.environ.get("MLOPS_STATS")
    sys.meta_path.insert(0, Finder(Stats(stats) if stats else None))
    script = entrypoint.endswith(".py") or os.path.exists(entrypoint)
    try:
        (run_script if script else run_module)(entrypoint)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        trace, ours = error.__traceback__, start.__code__.co_filename
        while trace is not None and trace.tb_frame.f_code.co_filename in (ours, "<frozen runpy>"):
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        sys.exit(1)


if __name__ == "__main__":
    # in a namespace of its own: `__main__` belongs to the program
    _namespace: dict[str, Any] = {"__name__": "mlops_bootstrap", "__file__": __file__}
    with open(__file__, "rb") as _file:
        exec(compile(_file.read(), __file__, "exec"), _namespace)
    _namespace["start"](sys.argv[1:])
