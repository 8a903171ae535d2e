"""The Experiment kind against a real MLflow server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from controllers.experiment import ExperimentController
from reconciler.controller import Context
from reconciler.errors import Conflict, Terminal, Transient
from reconciler.model import KNOWN_AFTER_APPLY, Health, Present, Ref, Replace, Resource, Unknown, Update
from reconciler.testing import ServicesAt, make_context, make_resource
from reconciler.testing.contract import LostAnswerContract, OwnershipContract, ReplaceContract, ToolContract
from reconciler.testing.exporting import ExportContract
from reconciler.testing.moving import MovesContract
from reconciler.testing.steps import Pass, owned_as
from schemas.experiment import KIND
from tests.contract.proxy import answering, losing_the_first

pytestmark = pytest.mark.xdist_group("mlflow")

SPEC: dict[str, Any] = {
    "description": "Ranks **against** loss ✓",
    "tags": {"team": "nlp", "with.dots": "Größe"},
    "metric": {"name": "loss", "goal": "minimize"},
    "techniques": ["lora", "quantization"],
}


class Server:
    """MLflow as a person with a client of his own uses it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=f"{url}/api/2.0/mlflow/experiments/", trust_env=False, timeout=60)

    def post(self, path: str, **body: Any) -> Any:
        return self._http.post(path, json=body).raise_for_status().json()

    def get(self, id: str) -> Any:
        return self._http.get("get", params={"experiment_id": id}).raise_for_status().json()["experiment"]

    def tags(self, id: str) -> dict[str, str]:
        return {each["key"]: each["value"] for each in self.get(id).get("tags", [])}

    def named(self, name: str) -> list[Any]:
        found: list[Any] = self.post("search", filter=f"name = '{name}'", max_results=10).get("experiments", [])
        return found


def nowhere() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


class TestExperiment(ExportContract, MovesContract, LostAnswerContract, OwnershipContract, ToolContract, ReplaceContract):
    most_calls = 2

    @pytest.fixture
    def controller(self) -> ExperimentController:
        return ExperimentController()

    @pytest.fixture
    def ctx(self, tmp_path: Path, mlflow_url: str) -> Context:
        self.server = Server(mlflow_url)
        return make_context(tmp_path, services=ServicesAt({"mlflow": mlflow_url}))

    def make(self, name: str, **spec: Any) -> Resource[Any]:
        return make_resource(KIND, name, {**SPEC, **spec}, labels={"tier": "gold"})

    def changed(self, resource: Resource[Any]) -> Resource[Any]:
        spec = {"description": "Other", "tags": {"team": "cv", "owner": "ann"}, "techniques": ["lora"]}
        return make_resource(KIND, resource.ref.name, spec, labels={"tier": "silver", "new": "label"})

    def other_form(self, resource: Resource[Any]) -> Resource[Any]:
        return self.make(resource.ref.name, artifactLocation="s3://elsewhere/experiments")

    def drift(self, ctx: Context, resource: Resource[Any], seen: Present) -> str:
        self.server.post("set-experiment-tag", experiment_id=seen.external_id, key="team", value="somebody else's")
        return "spec.tags.team"

    @contextmanager
    def down(self, ctx: Context) -> Iterator[Context]:
        yield replace(ctx, services=ServicesAt({"mlflow": nowhere()}), clients={})

    @contextmanager
    def losing(self, ctx: Context) -> Iterator[Context]:
        with losing_the_first("experiments/create", self.server.url) as url:
            yield replace(ctx, services=ServicesAt({"mlflow": url}), clients={})

    def twins(self, ctx: Context, resource: Resource[Any]) -> int:
        return len(self.server.named(resource.ref.path))

    def stranger(self, ctx: Context, name: str) -> Iterator[Any]:
        made = self.server.post("create", name=f"demo/{name}", tags=[{"key": "team", "value": "theirs"}])["experiment_id"]
        while True:
            yield self.server.get(made)

    def by_hand(self, ctx: Context, resource: Resource[Any]) -> str:
        return str(self.server.post("create", name=resource.ref.path, tags=[{"key": "owner", "value": "bob"}])["experiment_id"])

    # --- what is particular to MLflow ---

    def test_marks_and_fields_are_tags(self, engine: Pass, name: str) -> None:
        seen = engine.create(self.make(name))
        tags = self.server.tags(seen.external_id)
        assert tags["mlops.installation"] == "contract"
        assert tags["mlops.ref"] == f"experiment/demo/{name}"
        assert (tags["team"], tags["with.dots"], tags["mlflow.note.content"]) == ("nlp", "Größe", SPEC["description"])
        assert self.server.get(seen.external_id)["name"] == f"demo/{name}"

    def test_a_create_is_one_write(self, engine: Pass, name: str) -> None:
        watched, calls = engine.recorded()
        watched.create(self.make(name))
        assert [each.target for each in calls if each.write] == ["experiments/create"]

    def test_one_tag_by_hand_is_one_write_to_put_right(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        self.drift(engine.ctx, resource, engine.create(resource))
        watched, calls = engine.recorded()
        watched.update(resource)
        assert [each.target for each in calls if each.write] == ["experiments/set-experiment-tag"]

    def test_tags_that_people_add_are_theirs(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        seen = engine.create(resource)
        self.server.post("set-experiment-tag", experiment_id=seen.external_id, key="note", value="mine")
        assert engine.diff(resource) == ()
        engine.update(self.changed(resource))
        assert self.server.tags(seen.external_id)["note"] == "mine"

    def test_a_tag_dropped_from_the_manifest_is_removed(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        seen = engine.create(resource)
        smaller = replace(self.make(name, tags={"team": "nlp"}), last=ExperimentController().desired(resource))
        assert [(each.path, each.want) for each in engine.update(smaller)] == [("spec.tags.with.dots", None)]
        assert "with.dots" not in self.server.tags(seen.external_id)

    def test_a_description_that_nobody_declares_is_the_peoples(self, engine: Pass, name: str) -> None:
        resource = make_resource(KIND, name)
        seen = engine.create(resource)
        self.server.post("set-experiment-tag", experiment_id=seen.external_id, key="mlflow.note.content", value="by ann")
        assert engine.diff(resource) == ()

    def test_deleted_in_mlflow_is_shown_and_restored_with_its_runs(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        seen = engine.create(resource)
        self.server.post("delete", experiment_id=seen.external_id)
        gone = engine.see(resource)
        assert engine.controller.health(resource, gone).health is Health.MISSING
        assert [each.path for each in engine.update(resource)] == ["lifecycleStage"]
        assert self.server.get(seen.external_id)["lifecycle_stage"] == "active"

    def test_renamed_by_hand_is_drift_and_makes_no_twin(self, engine: Pass, name: str) -> None:
        """The same is left by a replacement that was killed after its first step."""
        resource = self.make(name)
        made = engine.create(resource)
        self.server.post("update", experiment_id=made.external_id, new_name=f"demo/{name}@renamed")
        many = [self.make(f"{name}-{number}") for number in range(8)]
        seen = engine.look(resource, *many)[resource.ref]
        assert isinstance(seen, Present)
        assert [each.path for each in engine.controller.diff(resource, seen)] == ["metadata.name"]
        engine.done(engine.controller.apply(Update(resource, seen, engine.controller.diff(resource, seen)), engine.fresh()))
        assert engine.see(resource).external_id == made.external_id
        assert engine.diff(resource) == ()

    def test_a_mark_taken_away_by_hand_protects_from_our_delete(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        seen = engine.create(resource)
        self.server.post("delete-experiment-tag", experiment_id=seen.external_id, key="mlops.ref")
        assert engine.see(resource).mark is None
        with pytest.raises(Conflict):
            engine.controller.delete(owned_as(resource, seen.external_id), engine.fresh())

    def test_another_installation_on_the_same_server_is_not_ours(self, engine: Pass, name: str, tmp_path: Path) -> None:
        theirs = replace(engine, ctx=make_context(tmp_path / "other", installation="other", services=engine.ctx.services))
        resource = self.make(name)
        made = theirs.create(resource)
        seen = engine.see(resource)
        assert seen.mark is not None
        assert seen.mark.installation == "other"
        many = [self.make(f"{name}-{number}") for number in range(8)]
        assert resource.ref not in engine.look(*many)
        with pytest.raises(Conflict):
            engine.delete(resource, made.external_id)

    def test_dataset_versions_are_written_and_an_unknown_one_is_not(self, engine: Pass, name: str) -> None:
        data = Ref("Dataset", "demo", "digits")
        resource = replace(self.make(name, datasets=["digits"]), references=(data,), inputs={data: {"digest": "aa11"}})
        seen = engine.create(resource)
        assert self.server.tags(seen.external_id)["mlops.dataset.digits"] == "aa11"
        newer = replace(resource, inputs={data: {"*": KNOWN_AFTER_APPLY}})
        assert [(each.path, each.want) for each in engine.diff(newer)] == [("spec.datasets.digits", KNOWN_AFTER_APPLY)]
        assert [each.path for each in engine.update(replace(resource, inputs={data: {"digest": "bb22"}}))] == ["spec.datasets.digits"]

    def test_a_replaced_experiment_keeps_its_runs_under_another_name(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        first = engine.create(resource)
        engine.replace(self.other_form(resource))
        old = self.server.get(first.external_id)
        assert old["lifecycle_stage"] == "deleted"
        assert old["name"] == f"demo/{name}@replaced-{first.external_id}"
        assert "mlops.ref" not in self.server.tags(first.external_id)

    def test_a_replacement_can_be_tried_again(self, engine: Pass, name: str) -> None:
        seen, other = engine.create(self.make(name)), self.other_form(self.make(name))
        action = Replace(other, seen, engine.controller.diff(other, seen))
        made = engine.done(engine.controller.apply(action, engine.fresh()))
        assert engine.done(engine.controller.apply(action, engine.fresh())) == made
        assert engine.diff(other) == ()

    def test_what_people_made_is_found_and_exported_to_be_taken_over(self, engine: Pass, name: str) -> None:
        made = self.by_hand(engine.ctx, self.make(name))
        controller, ctx = ExperimentController(), engine.fresh()
        assert f"demo/{name}" in controller.found(ctx)
        assert not {"Default"} & set(controller.found(ctx))
        for told in (f"demo/{name}", made):
            manifest = controller.export(told, ctx)
            assert manifest["lifecycle"] == {"adopt": True}
        exported = make_resource(KIND, name, manifest["spec"], labels=manifest["metadata"]["labels"])
        engine.update(exported, adopt=True)
        assert engine.diff(exported) == ()

    def test_one_of_ours_that_was_renamed_is_still_what_its_mark_says(self, engine: Pass, name: str) -> None:
        seen = engine.create(self.make(name))
        self.server.post("update", experiment_id=seen.external_id, new_name=f"{name}-by-hand")
        manifest = ExperimentController().export(f"{name}-by-hand", engine.fresh())
        assert manifest["metadata"]["name"] == name
        assert "lifecycle" not in manifest

    def test_a_name_of_no_project_is_refused(self, engine: Pass, name: str) -> None:
        self.server.post("create", name=name)
        with pytest.raises(Terminal, match="belongs to no project"):
            ExperimentController().export(name, engine.fresh())

    def test_runs_that_nobody_can_name_are_not_given_up(self, engine: Pass, name: str) -> None:
        """The Store is lost: what MLflow alone says of an experiment with runs of ours would let them go."""
        seen = engine.create(self.make(name))
        body = {"experiment_id": seen.external_id, "tags": [{"key": "mlops.installation", "value": engine.ctx.installation}]}
        httpx.post(f"{self.server.url}/api/2.0/mlflow/runs/create", json=body, trust_env=False).raise_for_status()
        with pytest.raises(Terminal, match="which runs it must hold"):
            ExperimentController().export(f"demo/{name}", engine.fresh())

    @pytest.mark.parametrize(("text", "status"), [("<html>hello</html>", 200), ("[]", 200), ('{"message": "no"}', 503), ("", 404)])
    def test_something_else_at_the_address_is_never_absent(self, engine: Pass, name: str, text: str, status: int) -> None:
        with answering(text, status) as url:
            broken = replace(engine, ctx=replace(engine.ctx, services=ServicesAt({"mlflow": url})))
            for count in (1, 8):
                asked = [self.make(f"{name}-{number}") for number in range(count)]
                try:
                    seen = broken.look(*asked)
                except Transient:
                    continue
                assert all(isinstance(seen[each.ref], Unknown) for each in asked)

    def test_an_empty_object_is_not_an_empty_listing(self, engine: Pass, name: str) -> None:
        """A key that is missing from the answer is Unknown: every real MLflow lists at least its Default experiment."""
        with answering("{}") as url:
            broken = replace(engine, ctx=replace(engine.ctx, services=ServicesAt({"mlflow": url})))
            with pytest.raises(Transient):
                broken.look(*(self.make(f"{name}-{number}") for number in range(8)))

    def test_a_repeated_restore_is_fine(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        seen = engine.create(resource)
        self.server.post("delete", experiment_id=seen.external_id)
        gone = engine.see(resource)
        action = Update(resource, gone, engine.diff(resource))
        for _ in range(2):
            engine.done(engine.controller.apply(action, engine.fresh()))
        assert engine.diff(resource) == ()
