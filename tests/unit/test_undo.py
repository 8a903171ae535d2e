"""What of an apply is taken back, as far as no tool is needed to tell: verdicts, numbers of applies, and what a loop's user is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.applied import Applied, Applying, applied, numbers
from reconciler.model import Adopt, Blocked, Create, Delete, Keep, Location, Owned, Ref, Resource, Source, Update
from reconciler.shard import Shard
from reconciler.state import AuditEntry, Store, open_store
from reconciler.undo import Scene, Turn, Turned, turned, verdicts
from reconciler.validate import Validated
from schemas.base import KindInfo
from schemas.experiment import KIND
from tests.golden.plans.cases import SEEN, resource
from tests.unit.test_cli_revisions import commit, say
from tests.unit.test_cli_revisions import tree as tree

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = Ref("Experiment", "vision", "probe")
PROBE = resource("experiment/vision/probe", ref=REF)
OWNED = Owned(REF, "1", "root", "d", {}, "confirm")


def line(action: str, ref: Ref = REF, glyph: str = "~", result: Any = "done", **detail: Any) -> AuditEntry:
    return AuditEntry(
        NOW, "ada", ref, action, result, glyph, {"apply": 2, "before": "aaaaaaa", **detail}, "bbbbbbb", Location("m/p.yaml", 1)
    )


def of(*lines: AuditEntry) -> Applied:
    return Applied(2, lines, "bbbbbbb", "aaaaaaa")


def told(turn: Turn | None, action: Any, *lines: AuditEntry, back: frozenset[Ref] = frozenset(), info: KindInfo = KIND) -> tuple[str, str]:
    turns = {REF: turn} if turn is not None else {}
    turn_of = Turned(turns, frozenset(), frozenset(turns), frozenset(), ())
    actions = {REF: action} if action is not None else {}
    scene = Scene(turn_of, actions, {"Experiment": info}, {"Experiment": "it ends"}, "aaaaaaa", back)
    [found] = verdicts(of(*lines), scene)
    return found.fate, found.why


DELETE = Delete(OWNED)
WAITS = Blocked(REF, "ConfirmDelete", "needs a yes", "confirm it", DELETE)
IN_USE = Blocked(REF, "InUse", "still used by model/vision/m", "remove the reference first", DELETE)
DARK = Blocked(REF, "ToolUnreachable", "mlflow is down")


@pytest.mark.parametrize(
    ("turn", "action", "lines", "fate", "why"),
    [
        ("changed", Update(PROBE, SEEN, ()), [line("update")], "takenBack", ""),
        ("removed", Adopt(PROBE, SEEN, ()), [line("delete")], "takenBack", ""),
        ("removed", Create(PROBE), [line("delete")], "takenBackBut", "purged"),
        ("added", DELETE, [line("create")], "takenBackBut", "stays in MLflow"),
        ("added", WAITS, [line("create")], "takenBackBut", "waits for a yes"),
        ("added", DELETE, [line("adopt")], "takenBackBut", "it was there before"),
        ("changed", Update(PROBE, SEEN, ()), [line("replace")], "takenBackBut", "made anew; MLflow has purged"),
        ("changed", Keep(REF), [line("update", changes=["spec.tags.a"])], "takenBackBut", "tags.a stays as it is"),
        ("added", IN_USE, [line("create")], "cannot", "still used by model/vision/m: remove the reference first"),
        ("added", Keep(REF, "prune was `never`"), [line("create")], "cannot", "never"),
        (None, Keep(REF), [line("update", putBack=["spec.tags.a"])], "cannot", "put back"),
        (None, Keep(REF), [line("update")], "cannot", "its manifest did not change"),
        (None, None, [line("delete-confirmed")], "cannot", "`git log -- m/p.yaml`"),
        (None, None, [line("adopt")], "cannot", "is in no manifest"),
        (None, None, [line("start", glyph="", why="drift")], "cannot", "drift"),
        ("changed", Update(PROBE, SEEN, ()), [line("update", source="team")], "cannot", "source team"),
        ("changed", DARK, [line("update")], "unknown", "mlflow is down"),
    ],
)
def test_each_thing_that_was_done_has_a_verdict(turn: Turn | None, action: Any, lines: list[AuditEntry], fate: str, why: str) -> None:
    found = told(turn, action, *lines)
    assert found[0] == fate
    assert why in found[1]


def test_what_was_taken_back_already_is_not_said_to_stay() -> None:
    lines = [line("update", changes=["spec.tags.a"])]
    assert told("changed", Keep(REF), *lines, back=frozenset({REF})) == ("takenBack", "")


def test_what_failed_was_not_done() -> None:
    assert verdicts(of(line("update", result="failed")), Scene(Turned({}, frozenset(), frozenset(), frozenset(), ()), {})) == ()


def _side(*resources: Resource[Any], refused: frozenset[Ref] = frozenset()) -> Validated:
    return Validated(resources, (), (Source("root", "aaaaaaa", True, 1, 1),), refused)


def _at(ref: Ref, file: str, digest: str) -> Resource[Any]:
    return resource("experiment/vision/probe", f"{file}:1", ref=ref, digest=digest)


def test_only_files_of_what_was_touched_or_what_that_needs_go_back() -> None:
    above, other, beside = Ref("Project", None, "vision"), Ref("Experiment", "vision", "other"), Ref("Experiment", "vision", "beside")
    old = [_at(REF, "a.yaml", "1"), _at(above, "b.yaml", "1"), _at(other, "c.yaml", "1")]
    new = [_at(REF, "a.yaml", "1"), _at(above, "b.yaml", "2"), _at(other, "c.yaml", "2")]
    inventory = {REF: Owned(REF, "1", "root", "1", {}, "confirm", references=(above,))}
    found = turned(of(line("update")), _side(*old), _side(*new, _at(beside, "b.yaml", "2")), inventory, frozenset({"b.yaml", "c.yaml"}))
    assert found.files == {"b.yaml"}, "the project's manifest changed what was done; the other experiment's did not"
    assert found.also == (beside,), "what goes back with it is named"
    wrong = turned(of(line("update")), _side(*old), _side(*new[1:], refused=frozenset({REF})), inventory, frozenset())
    assert REF not in wrong.turns, "what is wrong now is not gone"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store.db")


def _passes(store: Store, revision: str, *, writes: bool, shard: Shard | None = None, **others: str) -> int:
    """One pass; the number of its apply, where it wrote something."""
    here = Applying(store, {"root": revision, **others}, shard)
    here.follow()
    if not writes:
        return 0
    mark = dict(here.mark("root"))
    store.audit([AuditEntry(NOW, "ada", REF, "update", glyph="~", detail=mark, revision=revision)])
    return int(mark["apply"])


def test_an_apply_is_all_that_was_done_at_one_revision(store: Store) -> None:
    store.set_meta("applied_revision", "0000000")
    assert applied(store) is None
    assert [_passes(store, "aaaaaaa", writes=True), _passes(store, "aaaaaaa", writes=False), _passes(store, "aaaaaaa", writes=True)] == [
        1,
        0,
        1,
    ]
    _passes(store, "bbbbbbb", writes=False)
    assert _passes(store, "ccccccc", writes=True) == 2
    assert _passes(store, "aaaaaaa", writes=True) == 3, "back at an older one: not what was done there the first time"
    found = applied(store, 1)
    assert found is not None
    assert (found.revision, found.before, len(found.entries)) == ("aaaaaaa", "0000000", 2), "an older program applied that"
    last = applied(store, 2)
    assert last is not None
    assert last.before == "bbbbbbb", "nothing was to be done for it, and it was applied all the same"
    assert numbers(store) == [3, 2, 1]
    assert applied(store, 9) is None


def test_the_revision_that_an_older_program_was_at_is_not_before_itself(store: Store) -> None:
    store.set_meta("applied_revision", "aaaaaaa")
    _passes(store, "aaaaaaa", writes=True)
    found = applied(store)
    assert found is not None
    assert found.before == ""


def test_what_a_revision_does_not_say_is_an_apply_for_each_pass(store: Store) -> None:
    assert [_passes(store, each, writes=True) for each in ("", "", "aaaaaaa+dirty", "aaaaaaa+dirty")] == [1, 2, 3, 4]


def test_shards_that_are_at_different_commits_do_not_end_each_others_applies(store: Store) -> None:
    one, two = Shard(1, 2), Shard(2, 2)
    found = [
        _passes(store, "aaaaaaa", writes=True, shard=one),
        _passes(store, "bbbbbbb", writes=True, shard=two),
        _passes(store, "aaaaaaa", writes=True, shard=one),
    ]
    assert found == [1, 2, 1]


def test_a_commit_of_another_source_begins_an_apply(store: Store) -> None:
    found = [_passes(store, "aaaaaaa", writes=True, team=each) for each in ("1111111", "2222222", "2222222")]
    assert found == [1, 2, 2]


def test_the_log_of_a_long_time_is_read_as_far_as_it_takes(store: Store) -> None:
    _passes(store, "aaaaaaa", writes=True)
    here = Applying(store, {"root": "bbbbbbb"})
    here.follow()
    store.audit([AuditEntry(NOW, "ada", REF, "update", glyph="~", detail=here.mark("root"), revision="bbbbbbb") for _ in range(1500)])
    store.audit([AuditEntry(NOW, "ada", REF, "suspend") for _ in range(1200)])
    found = applied(store)
    assert found is not None
    assert (found.number, len(found.entries)) == (2, 1500)


def test_who_runs_a_loop_is_told_that_it_takes_up_saved_files(tree: Path) -> None:
    manifest = tree / "manifests/hello.yaml"
    (tree / "hello/data/more.csv").write_text("a\n1\n")
    more = manifest.read_text().split("---\n")[1].replace("flowers", "more")
    (tree / "manifests/more.yaml").write_text(more)
    commit(tree, "more")
    say("--wait", tree=tree)
    store = open_store(tree / ".mlops/store.db")
    with store.leader("ada", 30.0):
        dry = " ".join(say("undo", "--dry-run", tree=tree, code=3).split())
        assert "over this folder takes them up as they are saved" in dry
        assert "reconcile rollback --to" in dry
        said = json.loads(say("undo", "-o", "json", tree=tree, code=3))
    assert said["files"] == [{"path": "manifests/more.yaml", "does": "remove"}]
    assert not (tree / "manifests/more.yaml").exists()


def test_who_follows_a_repository_is_told_to_push(tree: Path) -> None:
    platform = tree / "manifests/platform.yaml"
    platform.write_text(platform.read_text().replace("spec:\n", "spec:\n  follow: {revision: release}\n", 1))
    commit(tree, "follow")
    say("--wait", tree=tree)
    manifest = tree / "manifests/hello.yaml"
    manifest.write_text(manifest.read_text().replace("settle: 0s", "settle: 0s\n  writeBack: file"))
    commit(tree, "write back")
    say("--wait", tree=tree)
    said = " ".join(say("undo", tree=tree).split())
    assert "commit this; push it to release of origin, which is followed." in said
    assert "reconcile rollback --to" in said
    assert "writeBack" not in manifest.read_text()
