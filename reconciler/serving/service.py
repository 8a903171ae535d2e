"""The BentoML services that packages hold. Copied into the package as `mlops_model/service.py`, beside runtimes.py and package.json;
`bentoml serve` runs it there without anything else of ours.

`Model` answers with one of the model's own runtimes. `Own` is the class that the manifest names, as it is; it finds the model's files
through the environment variable MLOPS_MODEL."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bentoml

from .runtimes import BadInput, Predict, load

ABOUT: dict[str, Any] = json.loads(Path(__file__).with_name("package.json").read_text(encoding="utf-8"))
"""What package.py has noted: the model's tag, how it is loaded, the class."""
LONGEST = 3600
"""Seconds that one request may take: BentoML's own minute is not ours, callers have deadlines."""


def folder() -> Path:
    """Of the model's files, in BentoML's model store; MLOPS_MODEL, where it is set, names another place."""
    return Path(os.environ.get("MLOPS_MODEL") or Path(bentoml.models.get(ABOUT["model"]).path) / ABOUT["files"])


def _own() -> Any:
    """The class of the manifest. What it imports later, it still finds."""
    os.environ.setdefault("MLOPS_MODEL", str(folder()))
    source = str(Path(__file__).resolve().parent.parent)
    if source not in sys.path:
        sys.path.append(source)
    module, _, name = ABOUT["service"].partition(":")
    found = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise bentoml.exceptions.BentoMLException(f"there is no {name} in {module}")
        found = getattr(found, part)
    if not isinstance(found, bentoml.Service):
        raise bentoml.exceptions.BentoMLException(f"{module}:{name} is no BentoML service: decorate the class with `@bentoml.service`")
    return found


if ABOUT["service"]:
    Own = _own()
else:

    @bentoml.service(workers=1, traffic={"timeout": LONGEST})
    class Model:
        """Loads and answers in one thread: what MLX has not evaluated yet belongs to the thread that made it."""

        def __init__(self) -> None:
            self._thread = ThreadPoolExecutor(1, "model")
            self._answer: Predict = self._thread.submit(load, folder(), ABOUT["runtime"], ABOUT["how"], ABOUT["fields"]).result()

        @bentoml.api  # type: ignore[untyped-decorator]
        async def predict(self, instances: list[Any]) -> list[Any]:
            """One prediction for each instance."""
            try:
                return await asyncio.wrap_future(self._thread.submit(self._answer, instances))
            except BadInput as error:
                raise bentoml.exceptions.InvalidArgument(str(error)) from error
