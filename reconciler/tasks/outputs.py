"""What a step tells later tasks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def tell(found: Mapping[str, Any]) -> None:
    """Write the outputs of this task. Outside a workflow they are printed."""
    place = os.environ.get("MLOPS_OUTPUTS")
    if place:
        Path(place).write_text(json.dumps(dict(found)), encoding="utf-8")
    else:
        print(json.dumps(dict(found)))  # noqa: T201
