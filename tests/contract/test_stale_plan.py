"""A plan that somebody else overtook is made again, never carried out."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.converge import converge
from reconciler.errors import StalePlan
from reconciler.loop import carry_out, propose
from reconciler.selection import Selection
from tests.contract.crash_child import house_in, tool_in

HEAD = "apiVersion: reconciler.mlops/v1\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "code").mkdir()
    text = [
        f"{HEAD}kind: Platform\nmetadata: {{name: x}}\nspec: {{installation: stale}}\n",
        f"{HEAD}kind: Project\nmetadata: {{name: p}}\nspec: {{path: code}}\n",
        f"{HEAD}kind: Widget\nmetadata: {{name: one, project: p}}\nspec: {{}}\n",
    ]
    (tmp_path / "manifests" / "all.yaml").write_text("---\n".join(text))
    return tmp_path


def test_an_overtaken_plan_is_refused_and_writes_nothing(root: Path) -> None:
    selection, tool = Selection((root / "manifests",)), tool_in(root)
    slow, quick = house_in(root, tool), house_in(root, tool)
    overtaken = propose(selection, slow)
    converge(selection, quick)
    things = (root / "things.json").read_text()
    with pytest.raises(StalePlan):
        carry_out(overtaken, slow)
    assert (root / "things.json").read_text() == things


def test_a_pass_makes_an_overtaken_plan_again(root: Path) -> None:
    selection, tool = Selection((root / "manifests",)), tool_in(root)
    slow, quick = house_in(root, tool), house_in(root, tool)
    told: list[int] = []

    def overtake(proposal: object) -> None:
        told.append(1)
        converge(selection, quick)

    report = converge(selection, slow, on_proposal=overtake)
    assert told == [1]
    assert [each.outcome for each in report.results] == [None, None, None], "the other pass had done it all"
    assert propose(selection, slow).plan.writes == ()


def test_the_next_plan_after_ones_own_pass_is_not_stale(root: Path) -> None:
    selection, house = Selection((root / "manifests",)), house_in(root, tool_in(root))
    for _ in range(3):
        carry_out(propose(selection, house), house)
