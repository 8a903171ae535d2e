"""The Model kind against a real MLflow server: the contract, and what is particular to the registry."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.model import ModelController
from reconciler.controller import Context
from reconciler.errors import Conflict, Terminal, Transient
from reconciler.model import Present, Ref, Resource, Update
from reconciler.model.serving import TrialResult
from reconciler.testing import ServicesAt, make_context, make_resource
from reconciler.testing.contract import LostAnswerContract, OwnershipContract, ToolContract
from reconciler.testing.exporting import ExportContract
from reconciler.testing.moving import MovesContract
from reconciler.testing.steps import Pass, owned_as
from schemas.model import KIND
from tests.contract.model_lab import Tracking, digest, leave, model_files, pairs
from tests.contract.proxy import losing_the_first
from tests.contract.test_experiment import nowhere

pytestmark = pytest.mark.xdist_group("mlflow")

SPEC: dict[str, Any] = {"description": "Reads **digits** ✓", "tags": {"team": "nlp", "with.dots": "Größe"}}


@pytest.fixture(scope="module")
def shared(mlflow_url: str) -> tuple[Tracking, str]:
    """One experiment with one finished run, for all models of this file."""
    tracking, name = Tracking(mlflow_url), f"e{os.getpid():x}-{time.time_ns() // 1_000_000:x}"
    tracking.run(tracking.experiment(name), name, "rank8-s0", model_files(), accuracy=0.93)
    return tracking, name


class TestModel(ExportContract, MovesContract, LostAnswerContract, OwnershipContract, ToolContract):
    most_calls = 5

    @pytest.fixture
    def controller(self) -> ModelController:
        return ModelController()

    @pytest.fixture
    def ctx(self, tmp_path: Path, shared: tuple[Tracking, str]) -> Context:
        self.server, self.experiment = shared
        ctx = make_context(tmp_path, services=ServicesAt({"mlflow": self.server.url}))
        ctx.memo(Ref("Experiment", "demo", self.experiment))["settled"] = "so"
        leave(ctx, self.make("any").spec, TrialResult(digest(model_files()), "sklearn", p95=0.004, memory=64 << 20))
        return ctx

    def make(self, name: str, **spec: Any) -> Resource[Any]:
        given = {"experiment": self.experiment, **SPEC, **spec}
        return make_resource(KIND, name, given, labels={"tier": "gold"}, references=[Ref("Experiment", "demo", self.experiment)])

    def changed(self, resource: Resource[Any]) -> Resource[Any]:
        spec = {"experiment": self.experiment, "description": "Other", "tags": {"team": "cv", "owner": "ann"}, "alias": "live"}
        given = {"labels": {"tier": "silver", "new": "label"}, "references": resource.references}
        return make_resource(KIND, resource.ref.name, spec, **given)

    def drift(self, ctx: Context, resource: Resource[Any], seen: Present) -> str:
        self.server.post("registered-models/set-tag", name=seen.external_id, key="team", value="somebody else's")
        return "spec.tags.team"

    @contextmanager
    def down(self, ctx: Context) -> Iterator[Context]:
        yield replace(ctx, services=ServicesAt({"mlflow": nowhere()}), clients={})

    @contextmanager
    def losing(self, ctx: Context) -> Iterator[Context]:
        with losing_the_first("registered-models/create", self.server.url) as url:
            yield replace(ctx, services=ServicesAt({"mlflow": url}), clients={})

    def twins(self, ctx: Context, resource: Resource[Any]) -> int:
        name = f"demo.{resource.ref.name}"
        assert len(self.server.versions(name)) == 1
        return len(self.server.call("GET", "registered-models/search", filter=f"name = '{name}'").get("registered_models", []))

    def stranger(self, ctx: Context, name: str) -> Iterator[Any]:
        self.server.post("registered-models/create", name=f"demo.{name}", tags=pairs({"team": "theirs"}))
        while True:
            yield self.server.model(f"demo.{name}")

    def by_hand(self, ctx: Context, resource: Resource[Any]) -> str:
        name = f"demo.{resource.ref.name}"
        self.server.post("registered-models/create", name=name, tags=pairs({"owner": "bob"}))
        return name

    def test_a_create_whose_answer_was_lost_is_found_by_the_next_pass(self, engine: Pass, name: str) -> None:
        """The name is registered by then; what follows from it is still to be done."""
        resource = self.make(name)
        with self.losing(engine.ctx) as ctx, pytest.raises(Transient):
            replace(engine, ctx=ctx).create(resource)
        assert engine.see(resource).mark is not None
        assert [each.path for each in engine.update(resource)] == ["versions.new"]
        assert self.twins(engine.ctx, resource) == 1

    # --- what is particular to the registry ---

    def test_one_version_with_its_marks_and_the_alias(self, engine: Pass, name: str) -> None:
        engine.create(self.make(name))
        model = self.server.model(f"demo.{name}")
        tags = {each["key"]: each["value"] for each in model["tags"]}
        assert tags["mlops.installation"] == "contract"
        assert tags["mlops.ref"] == f"model/demo/{name}"
        assert (tags["team"], tags["with.dots"], model["description"]) == ("nlp", "Größe", SPEC["description"])
        assert tags["mlops.project"] == "demo"
        assert self.server.aliases(f"demo.{name}") == {"champion": "1"}

    def test_one_tag_by_hand_is_one_write_to_put_right(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        self.drift(engine.ctx, resource, engine.create(resource))
        watched, calls = engine.recorded()
        watched.update(resource)
        assert [each.target for each in calls if each.write] == ["registered-models/set-tag"]

    def test_tags_and_aliases_that_people_add_are_theirs(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        self.server.post("registered-models/set-tag", name=f"demo.{name}", key="note", value="mine")
        self.server.post("registered-models/alias", name=f"demo.{name}", alias="mine", version="1")
        assert engine.diff(resource) == ()
        engine.update(self.changed(resource))
        assert {"key": "note", "value": "mine"} in self.server.model(f"demo.{name}")["tags"]
        assert self.server.aliases(f"demo.{name}") == {"mine": "1", "live": "1"}

    def test_a_tag_dropped_from_the_manifest_is_removed(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        smaller = replace(self.make(name, tags={"team": "nlp"}), last=ModelController().desired(resource))
        assert [(each.path, each.want) for each in engine.update(smaller)] == [("spec.tags.with.dots", None)]
        assert "with.dots" not in {each["key"] for each in self.server.model(f"demo.{name}")["tags"]}

    def test_a_description_that_nobody_declares_is_the_peoples(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        silent = make_resource(KIND, name, {"experiment": self.experiment}, references=resource.references)
        engine.create(silent)
        self.server.call("PATCH", "registered-models/update", name=f"demo.{name}", description="by ann")
        assert engine.diff(silent) == ()

    def test_an_alias_moved_by_hand_is_moved_back(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        source = self.server.call("GET", "model-versions/get", name=f"demo.{name}", version="1")["model_version"]
        other = self.server.post("model-versions/create", name=f"demo.{name}", source=source["source"], run_id=source["run_id"])
        self.server.post("registered-models/alias", name=f"demo.{name}", alias="champion", version=other["model_version"]["version"])
        assert engine.see(resource).outputs["version"] == "1", "what was moved by hand is never served"
        assert [(each.path, each.have, each.want) for each in engine.update(resource)] == [("alias.champion", "2", "1")]
        assert self.server.aliases(f"demo.{name}") == {"champion": "1"}

    def test_an_alias_deleted_by_hand_comes_back(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        self.server.call("DELETE", "registered-models/alias", name=f"demo.{name}", alias="champion")
        assert [each.path for each in engine.update(resource)] == ["alias.champion"]
        assert self.server.aliases(f"demo.{name}") == {"champion": "1"}

    def test_a_version_deleted_by_hand_is_registered_again(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        self.server.call("DELETE", "model-versions/delete", name=f"demo.{name}", version="1")
        assert engine.see(resource).outputs["version"] == ""
        engine.update(resource)
        assert self.server.aliases(f"demo.{name}") == {"champion": "2"}, "no number is given twice"

    def test_renamed_by_hand_is_drift_and_makes_no_twin(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        made = engine.create(resource)
        self.server.post("registered-models/rename", name=f"demo.{name}", new_name=f"demo.{name}.renamed")
        seen = engine.see(resource)
        changes = engine.controller.diff(resource, seen)
        assert [each.path for each in changes] == ["metadata.name"]
        for _ in range(2):  # the second time after a crash that nobody noted
            engine.done(engine.controller.apply(Update(resource, seen, changes), engine.fresh()))
        assert engine.see(resource).external_id == made.external_id
        assert engine.diff(resource) == ()

    def test_a_mark_taken_away_by_hand_protects_from_our_delete(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        seen = engine.create(resource)
        self.server.call("DELETE", "registered-models/delete-tag", name=seen.external_id, key="mlops.ref")
        assert engine.see(resource).mark is None
        with pytest.raises(Conflict):
            engine.controller.delete(owned_as(resource, seen.external_id), engine.fresh())

    def test_another_installation_on_the_same_server_is_not_ours(self, engine: Pass, name: str, tmp_path: Path) -> None:
        resource = self.make(name)
        self.server.post(
            "registered-models/create", name=f"demo.{name}", tags=pairs({"mlops.ref": f"model/demo/{name}", "mlops.installation": "other"})
        )
        seen = engine.see(resource)
        assert seen.mark is not None
        assert seen.mark.installation == "other"
        with pytest.raises(Conflict):
            engine.delete(resource, seen.external_id)

    def test_without_its_gates_it_is_not_exported(self, engine: Pass, name: str) -> None:
        """The Store is lost: a manifest of what MLflow alone says would let every run pass."""
        engine.create(self.make(name))
        with pytest.raises(Terminal, match="must pass is not known"):
            ModelController().export(f"demo/{name}", engine.fresh())

    def test_a_model_of_somebody_elses_is_exported_with_the_experiment_of_its_version(self, engine: Pass, name: str) -> None:
        self.by_hand(engine.ctx, self.make(name))
        with pytest.raises(Terminal, match="which experiment it comes from"):
            ModelController().export(f"demo/{name}", engine.fresh())
        home = self.server.post("experiments/create", name=f"demo/{name}-runs")["experiment_id"]
        run = self.server.post("runs/create", experiment_id=home)["run"]["info"]["run_id"]
        self.server.post("model-versions/create", name=f"demo.{name}", source=f"mlflow-artifacts:/{home}/{run}/artifacts/model", run_id=run)
        manifest = ModelController().export(f"demo/{name}", engine.fresh())
        assert (manifest["lifecycle"], manifest["spec"]["experiment"]) == ({"adopt": True}, f"{name}-runs")
