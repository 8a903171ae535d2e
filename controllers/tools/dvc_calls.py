"""Around every call to DVC: the wire log, and DVC's many exceptions as our two that matter."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

from reconciler.controller import Call
from reconciler.errors import ReconcilerError, Terminal, Transient

_LOADING = threading.Lock()
_USED = ("dvc_objects.fs.local", "dvc_objects.fs.generic", "dvc_data.hashfile.hash", "dvc_data.hashfile.db", "dvc_data.hashfile.build")


def load(*more: str) -> None:
    """Import what is used of DVC, one thread at a time; called before each lazy import of it.

    Its modules import each other in circles: two threads that come in at different places see each other's halves and fail."""
    with _LOADING:
        for name in (*_USED, *more):
            import_module(name)


@dataclass(slots=True)
class Called:
    """A call under way. `write` may be set to False when it turned out that there was nothing to do."""

    write: bool


class Calls:
    """Tells the wire log of each call and translates what it raises."""

    def __init__(self, wire: Callable[[Call], None]) -> None:
        self._wire = wire

    @contextmanager
    def __call__(self, method: str, target: str, write: bool = False) -> Iterator[Called]:
        called, began, status = Called(write), time.perf_counter(), "ok"
        try:
            yield called
        except BaseException as error:
            status = type(error).__name__
            if isinstance(error, ReconcilerError) or not isinstance(error, Exception):
                raise
            raise translated(error, method, target) from error
        finally:
            self._wire(Call("dvc", method, target, called.write, status, time.perf_counter() - began))


_NEEDS_A_PERSON = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "ConfigError", "RemoteConfigError", "AuthError", "RemoteMissingDepsError"}
)
_MAY_PASS = frozenset({"LockError", "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def translated(error: Exception, method: str, target: str) -> ReconcilerError:
    """Transient or Terminal. Told by the names of the classes, so that no SDK is imported for it; the text is the error's own."""
    names = {each.__name__ for each in type(error).__mro__}
    packages = {each.__module__.split(".")[0] for each in type(error).__mro__}
    what = f"dvc {method} {target}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    if isinstance(error, ModuleNotFoundError):
        return Terminal(f"the package '{error.name}' is not installed", hint="pip install 'mlops-reconciler[dvc]'")
    if "LockError" in names:
        return Transient(f"dvc {method} {target}: another DVC process holds the lock of this namespace", retry_after=5.0)
    if isinstance(error, OSError) and error.errno in _FULL:
        return Transient(what, retry_after=60.0, hint="the disk of the DVC cache is full")
    if isinstance(error, PermissionError) or names & _NEEDS_A_PERSON:
        return Terminal(what)
    if isinstance(error, OSError | TimeoutError) or names & _MAY_PASS or "httpx" in packages:
        return Transient(what)
    return Terminal(what)
