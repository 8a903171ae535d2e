"""What each run of a plan is expected to take."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconciler.admission.decide import decide
from reconciler.admission.ledger import Books
from reconciler.admission.values import Heat, Item, Lease, Level, Node, Past, Snapshot, ThermalModel
from reconciler.admit import Admission
from reconciler.model import Amounts, Demand, Limits, Ref
from reconciler.report.cost import cost_rows, cost_value, costs

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
GIB = 1 << 30
RUN, OTHER = Ref("Experiment", "p", "sweep", "a"), Ref("Experiment", "p", "sweep", "b")
MODEL = ThermalModel(resistance=0.02, tau=300.0, ambient=0.1)
"""10 W lead to 0.3 at rest, 40 W to 0.9."""


def admission(*, watts: int, model: ThermalModel | None = MODEL, running: int = 0) -> Admission:
    node = Node("here", Limits(16 * GIB, 8000, 0, None), heat=Heat(Level.NOMINAL, 0.3, None, 10.0, model))
    item = Item(RUN, "p", Amounts(2 * GIB, 1000, 0, watts), 5, NOW, seconds=600.0)
    leases = (Lease(OTHER, "p", "here", Amounts(GIB, 1000, 0, running), 5, NOW, NOW),) if running else ()
    snapshot = Snapshot(NOW, (node,), {}, leases, (item,), here="here")
    demand = Demand("batch", item.amounts, item.amounts, 600.0)
    books = Books(leases, (), {}, (), (), (), {}, Past(), {})
    return Admission(snapshot, decide(snapshot), books, {RUN: demand})


def test_heat_is_the_highest_point_of_the_forecast_beside_what_runs() -> None:
    alone = costs(admission(watts=20_000))[RUN].heat
    assert alone == pytest.approx(0.7 + (0.3 - 0.7) * 2.718281828 ** (-600 / 300), abs=1e-6)
    beside = costs(admission(watts=20_000, running=10_000))[RUN].heat
    assert alone is not None
    assert beside is not None
    assert beside > alone + 0.1
    assert cost_value(costs(admission(watts=20_000))[RUN])["heat"] == round(alone, 3)
    assert cost_rows(admission(watts=20_000), [RUN])[0][3] == "3.3 Wh, to 65% of throttling"


def test_what_is_not_known_is_not_told() -> None:
    for each in (admission(watts=0), admission(watts=20_000, model=None)):
        assert cost_value(costs(each)[RUN])["heat"] is None
    assert cost_rows(admission(watts=0), [RUN])[0][3] == ""
