"""One installation, one environment: the loop over overlays, and what keeps one environment from being applied over another."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.converge import converge
from reconciler.environment import KEY
from reconciler.errors import UsageError
from reconciler.house import House
from reconciler.loop import Proposal, carry_out, propose
from reconciler.selection import Selection
from reconciler.testing import FakeTool
from tests.contract.crash_child import house_in
from tests.contract.test_loop import HEAD, Loop, names, until


def overlay(loop: Loop, env: str, name: str, size: int, where: str = "manifests/overlays") -> None:
    path = loop.root / where / env / f"{name.replace('*', 'all')}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{HEAD}kind: Widget\nmetadata: {{name: "{name}", project: p}}\nspec: {{size: {size}}}\n')


@pytest.mark.parametrize("where", ["manifests/overlays", "overlays"])
def test_a_saved_patch_is_acted_on_at_once(tmp_path: Path, where: str) -> None:
    loop = Loop(tmp_path)
    loop.widget("one")
    loop.widget("two")
    overlay(loop, "dev", "*", 2, where)
    overlay(loop, "prod", "*", 9, where)
    with loop.running(every=3600, env="dev"):
        until(lambda: loop.sizes() == {"one": 2, "two": 2}, "made as the environment has it")
        until(lambda: bool(loop.reports), "the end of the pass")
        overlay(loop, "dev", "one", 5, where)
        until(lambda: loop.sizes() == {"one": 5, "two": 2}, "the precise patch")
        assert names(loop.reports[-1]) in ({"one"}, set()), "a pass over what it concerns, or over everything"
        overlay(loop, "dev", "*", 3, where)
        until(lambda: loop.sizes() == {"one": 5, "two": 3}, "the wide patch, where it has the last word")
        (tmp_path / where / "dev" / "one.yaml").unlink()
        until(lambda: loop.sizes() == {"one": 3, "two": 3}, "the precise patch is gone")


def test_a_patch_that_breaks_leaves_what_stands(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.widget("one")
    overlay(loop, "dev", "one", 2)
    with loop.running(every=3600, env="dev"):
        until(lambda: loop.sizes() == {"one": 2}, "made")
        until(lambda: bool(loop.reports), "the end of the pass")
        (tmp_path / "manifests/overlays/dev/one.yaml").write_text("kind: [\n")
        until(lambda: any(each.proposal.refused for each in loop.reports), "told")
        assert loop.sizes() == {"one": 2}, "neither deleted nor as the manifest has it without its patch"
        overlay(loop, "dev", "one", 4)
        until(lambda: loop.sizes() == {"one": 4}, "mended")


@pytest.fixture
def here(tmp_path: Path) -> Loop:
    loop = Loop(tmp_path)
    loop.widget("one")
    for number, env in enumerate(("dev", "prod"), start=2):
        overlay(loop, env, "*", number)
    return loop


def asked(here: Loop, env: str = "", switch: bool = False) -> Selection:
    return Selection((here.root / "manifests",), env=env, switch=switch)


def proposed(here: Loop, house: House, env: str) -> Proposal:
    return propose(asked(here, env), house)


def test_another_environment_is_refused_before_anything_is_written(here: Loop) -> None:
    house = house_in(here.root, here.tool)
    converge(asked(here, "dev"), house)
    assert here.sizes() == {"one": 2}
    writes, stood = house.wire.writes, proposed(here, house, "dev")
    for env, said in (("prod", "environment prod is asked for"), ("", "no environment is named")):
        with pytest.raises(UsageError, match=f"{said}, and this installation is of environment dev"):
            converge(asked(here, env), house)
        with pytest.raises(UsageError, match=said):
            carry_out(proposed(here, house, env), house)
        assert [each.reason for each in proposed(here, house, env).diagnostics] == ["OtherEnvironment"], "a plan shows it, and warns"
    assert (house.wire.writes, here.sizes()) == (writes, {"one": 2})
    assert stood.diagnostics == ()


def test_it_is_switched_by_saying_so(here: Loop) -> None:
    house = house_in(here.root, here.tool)
    converge(asked(here, "dev"), house)
    assert proposed(here, house, "prod").plan.writes
    assert propose(asked(here, "prod", switch=True), house).diagnostics == ()
    converge(asked(here, "prod", switch=True), house)
    assert (here.sizes(), house.store.meta(KEY)) == ({"one": 3}, "prod")
    [entry] = [each for each in house.store.history() if each.action == "switch"]
    assert dict(entry.detail) == {"from": "dev", "to": "prod"}
    converge(asked(here, switch=True), house)
    assert here.sizes() == {"one": 1}, "without any environment"
    converge(asked(here), house)


def test_a_first_pass_that_was_cut_short_has_chosen_all_the_same(here: Loop) -> None:
    house = house_in(here.root, here.tool)
    stopped = replace(proposed(here, house, "dev"))
    carry_out(replace(stopped, plan=replace(stopped.plan, actions=())), house)
    with pytest.raises(UsageError, match="of environment dev"):
        converge(asked(here), house)


def test_what_was_applied_before_there_were_environments_is_of_none(here: Loop) -> None:
    house = house_in(here.root, here.tool)
    converge(asked(here), house)
    with closing(sqlite3.connect(house.settings.state / "store.db")) as store, store:
        store.execute("delete from meta where key = ?", (KEY,))
    with pytest.raises(UsageError, match="environment prod is asked for, and this installation is of none"):
        converge(asked(here, "prod"), house)
    converge(asked(here), house)


def test_a_part_is_applied_in_the_environment_too(here: Loop) -> None:
    house = house_in(here.root, FakeTool())
    selection = replace(asked(here, "dev"), projects=frozenset({"p"}))
    report = converge(selection, house)
    assert {ref.name: each.spec.size for ref, each in report.proposal.resources.items() if ref.kind == "Widget"} == {"one": 2}
    with pytest.raises(UsageError, match="of environment dev"):
        converge(replace(selection, env=""), house)
