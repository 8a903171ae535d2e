"""Who changed what: asked once for each drift, told with all that is known and no more, and never in the way."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from reconciler.attribute import Attributions
from reconciler.controller import Context
from reconciler.drift import FIGHT
from reconciler.model import Attribution, Change, Drift, Observation, Ref
from reconciler.registry import Kinds
from reconciler.source.revision import last_change
from reconciler.testing.context import Lines, make_context
from reconciler.testing.fake import FakeTool
from reconciler.testing.widget import WidgetController
from tests.unit.test_drift import MINE, SIZE, back, one
from tests.unit.widgets import NOW, ref, there, widget

ADA = Attribution("ada", datetime(2026, 5, 1, 11, 3, 5, tzinfo=UTC), "Airflow's pages or API")


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (Attribution(), ""),
        (ADA, " by ada on 2026-05-01 11:03:05 UTC (Airflow's pages or API)"),
        (Attribution(when=ADA.when, channel="not committed to git"), " on 2026-05-01 11:03:05 UTC (not committed to git)"),
        (Attribution(channel="C", after=NOW, until=NOW + timedelta(minutes=2)), " between 2026-05-01 12:00:00 and 12:02:00 UTC (C)"),
        (Attribution(after=NOW, until=NOW + timedelta(days=1)), " between 2026-05-01 12:00:00 and 2026-05-02 12:00:00 UTC"),
        (Attribution(channel="C", until=NOW), " (C)"),
        (replace(ADA, after=NOW, until=NOW), " by ada on 2026-05-01 11:03:05 UTC (Airflow's pages or API)"),
    ],
)
def test_it_is_told_with_what_is_known(known: Attribution, said: str) -> None:
    assert str(known) == said


def test_the_plan_names_who_did_it() -> None:
    found = one((SIZE,), attributed={ref("a"): ADA})
    assert found.changes[0].note == "changed in the tool by ada on 2026-05-01 11:03:05 UTC (Airflow's pages or API)"
    told = one((SIZE,), lifecycle={"drift": "report"}, attributed={ref("a"): ADA})
    assert told.why.startswith("spec.size was changed in the tool by ada on 2026-05-01")


def test_a_fight_names_both_writers() -> None:
    fight = one((SIZE,), put_back=back(FIGHT), attributed={ref("a"): ADA})
    assert "and ada in the tool, last on 2026-05-01 11:03:05 UTC" in fight.why
    assert str(widget("a").location) in fight.why
    assert "and somebody in the tool; it was" in one((SIZE,), put_back=back(FIGHT)).why
    nameless = Attribution(channel="C", after=NOW, until=NOW)
    assert "and somebody in the tool, last between" in one((SIZE,), put_back=back(FIGHT), attributed={ref("a"): nameless}).why


class Knows(WidgetController):
    """A widget tool that keeps records."""

    def __init__(self) -> None:
        super().__init__(FakeTool())
        self.asked: list[list[Drift]] = []
        self.broken = False

    def attribution(self, drifts: Sequence[Drift], ctx: Context) -> Mapping[Ref, Attribution]:
        self.asked.append(list(drifts))
        if self.broken:
            raise RuntimeError("no answer")
        return {each.resource.ref: ADA for each in drifts} | {ref("stranger"): ADA}


class Scene:
    """Some widgets of which some have drifted, looked at again and again."""

    def __init__(self, folder: Path, controller: Any) -> None:
        self.now, self.controller = NOW, controller
        self.ctx = make_context(folder, now=lambda: self.now)
        self.kinds = Kinds(MappingProxyType({"Widget": controller}), MappingProxyType({}))
        self.known, self.since = Attributions(), None

    def look(self, drifted: Mapping[str, Change], looked_at: Sequence[str] = ("a", "b", "c")) -> Mapping[Ref, Attribution]:
        self.now += timedelta(minutes=1)
        seen: dict[Ref, Observation] = {ref(each): there(each) for each in looked_at}
        changes = {ref(name): (each,) for name, each in drifted.items()}
        return self.known.find(changes, {ref(each): widget(each) for each in looked_at}, seen, self.ctx, self.kinds, lambda _: self.since)


def test_a_tool_is_asked_once_for_all_and_once_for_each_drift(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Knows())
    assert scene.look({}) == {}
    calm = scene.now
    found = scene.look({"a": SIZE, "b": SIZE})
    assert set(found) == {ref("a"), ref("b")}
    assert (found[ref("a")].who, found[ref("a")].after, found[ref("a")].until) == ("ada", calm, scene.now)
    assert scene.look({"a": SIZE, "b": SIZE}) == found, "what was found stays, with the moment at which it was"
    assert [len(each) for each in scene.controller.asked] == [2]
    scene.look({"a": replace(SIZE, have=10), "b": SIZE})
    assert [each.resource.ref for each in scene.controller.asked[1]] == [ref("a")]
    scene.look({"b": SIZE})
    scene.look({"a": replace(SIZE, have=10), "b": SIZE})
    assert len(scene.controller.asked) == 3, "it was put right in between: that is another drift"
    scene.look({}, looked_at=["c"])
    scene.look({"a": replace(SIZE, have=10), "b": SIZE})
    assert len(scene.controller.asked) == 3, "a look at something else says nothing about it"


def test_a_tool_that_does_not_answer_costs_the_answer_only_and_is_asked_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Knows())
    scene.controller.broken = True
    assert scene.look({"a": SIZE}) == {}
    assert isinstance(scene.ctx.log, Lines)
    assert scene.ctx.log.lines[0][1] == "attribution_failed"
    scene.controller.broken = False
    assert scene.look({"a": SIZE})[ref("a")].who == "ada"


def test_a_kind_without_records_is_not_asked(tmp_path: Path) -> None:
    assert Scene(tmp_path, WidgetController(FakeTool())).look({"a": SIZE}) == {}


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "commit.gpgsign=false", *words], cwd=folder, check=True, capture_output=True)


def test_git_tells_who_changed_a_file_or_that_nobody_has_committed_it(tmp_path: Path) -> None:
    path = tmp_path / "data/d.csv.dvc"
    path.parent.mkdir()
    path.write_text("one\n")
    assert last_change(path) is None
    git(tmp_path, "init", "-q")
    edited = last_change(path)
    assert edited is not None
    assert (edited.who, edited.channel) == ("", "not committed to git")
    assert edited.when is not None
    assert abs(edited.when.timestamp() - path.stat().st_mtime) < 1
    git(tmp_path, "add", "-A")
    git(tmp_path, "-c", "user.name=Grace\x1b[31m", "-c", "user.email=g@example.org", "commit", "-qm", "x")
    committed = last_change(path)
    assert committed is not None
    assert committed.who.startswith("Grace")
    assert committed.who.isprintable()
    assert "<g@example.org>" in committed.who
    assert committed.channel.startswith("commit ")
    path.unlink()
    gone = last_change(path)
    assert gone == Attribution(channel="not committed to git")
    git(tmp_path, "-c", "user.name=Alan", "-c", "user.email=a@example.org", "commit", "-qam", "gone")
    assert getattr(last_change(path), "who", "") == "Alan <a@example.org>"
    assert last_change(tmp_path / "nowhere/at/all") is None


def test_git_runs_nothing_for_that(tmp_path: Path) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "clone/f.dvc"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch '{sprung}'\nexit 1\n")
    trap.chmod(0o755)
    path.parent.mkdir()
    path.write_text("one\n")
    git(path.parent, "init", "-q")
    git(path.parent, "add", "-A")
    git(path.parent, "-c", "user.name=Grace", "-c", "user.email=g@example.org", "commit", "-qm", "x")
    for name, value in {
        "core.fsmonitor": trap,
        "gpg.program": trap,
        "log.showSignature": "true",
        "diff.external": trap,
        "core.pager": trap,
        "core.sshCommand": trap,
    }.items():
        git(path.parent, "config", name, str(value))
    assert getattr(last_change(path), "who", "") == "Grace <g@example.org>"
    assert not sprung.exists()


def test_drift_that_nobody_can_explain_is_told_as_before() -> None:
    assert one((SIZE,), MINE).changes[0].note == "changed in the tool since it was applied"
