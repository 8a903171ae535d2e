"""One pass of a process whose clock is wrong: `python -m tests.campaign.clock ROOT HOURS`. The house takes its clock as an argument."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.errors import ReconcilerError
from reconciler.house import open_house
from reconciler.loop import carry_out, propose
from reconciler.selection import Selection
from reconciler.settings import Settings


def main(root: Path, hours: float) -> None:
    def now() -> datetime:
        return datetime.now(UTC) + timedelta(hours=hours)

    os.chdir(root)
    try:
        house = open_house(Settings(root=root), actor="wrong clock", now=now)
        carry_out(propose(Selection(paths=(Path("manifests"),)), house), house)
        print(f"a pass {hours:+g} h away")
    except ReconcilerError as error:
        print(f"no pass {hours:+g} h away: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
