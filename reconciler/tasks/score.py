"""One model on one table: `python -m reconciler.tasks.score SPEC.json METRIC`, where the file holds a TrialSpec.

The model is loaded and asked as in its trial (`reconciler.serving.trial`); what it makes of the data is told to later tasks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from reconciler.model.packaging import TrialSpec
from reconciler.serving.trial import Moved, trial
from reconciler.tasks.outputs import tell


def main() -> None:
    spec = TrialSpec(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    try:
        found = trial(spec)
    except Moved as error:
        raise SystemExit(f"the data is not what it was when this run began: {error}") from None
    if found.why:
        raise SystemExit(found.why)
    metric = sys.argv[2]
    if metric not in found.metrics:
        raise SystemExit(f"the data gives no {metric}: it gives {', '.join(sorted(found.metrics)) or 'nothing'}")
    tell({"metric": found.metrics[metric], "rows": found.rows, "p95": found.p95, "memory": found.memory})
    print(f"{metric} {found.metrics[metric]:.4f} on {found.rows} rows")  # noqa: T201


if __name__ == "__main__":
    main()
