"""How long a pass waits for a tool that says when to come back."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.apply import LONGEST_ASKED, LONGEST_WAIT, _retrying
from reconciler.errors import Transient
from reconciler.events import silent
from tests.unit.widgets import ref


@pytest.mark.parametrize(("asked", "least", "most"), [(2.0, 2.0, 2.0), (86400.0, LONGEST_ASKED, LONGEST_ASKED), (None, 0.1, LONGEST_WAIT)])
def test_a_tool_is_given_what_it_asks_for_within_reason(asked: float | None, least: float, most: float) -> None:
    here: Any = SimpleNamespace(stop=threading.Event(), tell=silent)
    outcome = SimpleNamespace(exception=lambda: Transient("later", retry_after=asked))
    state: Any = SimpleNamespace(outcome=outcome, attempt_number=1)
    assert least <= _retrying(ref("a"), here).wait(state) <= most
