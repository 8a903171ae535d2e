"""From manifests to resources. The wording of each mistake is in the gallery, tests/golden/bad."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.model import NOWHERE, Owned, Ref
from reconciler.registry import Kinds, discover
from reconciler.source.load import Loaded, load
from reconciler.validate import Validated, steps_to, validate
from schemas.base import KindInfo, SecretRef, Spec, Strict

HEAD = "apiVersion: reconciler.mlops/v1\n"
KINDS = discover()


class Login(Strict):
    user: str
    password: SecretRef


class FakeSpec(Spec):
    login: tuple[Login, ...] = ()
    count: int = 0
    either: str | int | None = None


def fails(spec: FakeSpec) -> Iterator[tuple[str, str]]:
    raise RuntimeError("no such thing")
    yield "", ""


FAKE = KindInfo(name="Fake", spec=FakeSpec, scope="installation", prune="auto", summary="A kind for tests.", check=fails)


def dataset(name: str, *, path: str = "", extra: str = "") -> str:
    return f"{HEAD}kind: Dataset\nmetadata: {{name: {name}, project: p}}\nspec: {{path: {path or name}}}\n{extra}"


def read(root: Path, files: Mapping[str, str], source: str = "root") -> Loaded:
    for name, text in files.items():
        path = root / source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load([Path(source)], root=root, source=source)


def check(root: Path, text: str, *kinds: KindInfo, source: str = "root") -> Validated:
    known = Kinds(cast("Any", {each.name: SimpleNamespace(info=each) for each in kinds})) if kinds else KINDS
    return validate(read(root, {"m.yaml": text}, source), known, root=root)


def test_a_resource_is_what_its_manifest_says(tmp_path: Path) -> None:
    text = dataset("a", extra="lifecycle: {prune: never, suspend: true}\n").replace("project: p}", "project: p, labels: {team: x}}")
    (resource,) = check(tmp_path, text).resources
    assert resource.ref == Ref("Dataset", "p", "a")
    assert (resource.prune, resource.lifecycle.suspend, resource.labels, resource.source) == ("never", True, {"team": "x"}, "root")
    assert (str(resource.location), resource.root) == ("root/m.yaml:1", tmp_path)


def test_the_kind_says_how_it_is_pruned(tmp_path: Path) -> None:
    assert check(tmp_path, dataset("a")).resources[0].prune == "confirm"


def test_the_digest_is_of_the_meaning(tmp_path: Path) -> None:
    first = check(tmp_path, dataset("a", path="x")).resources[0].digest
    same = f"# a comment\nspec:\n    push: false\n    path: 'x'\nmetadata: {{project: p, name: a}}\nkind: Dataset\n{HEAD}"
    assert check(tmp_path, same).resources[0].digest == first
    assert check(tmp_path, dataset("a", path="y")).resources[0].digest != first
    assert check(tmp_path, dataset("a", path="x", extra="lifecycle: {suspend: true}\n")).resources[0].digest != first


def test_what_is_wrong_but_known_is_refused_not_forgotten(tmp_path: Path) -> None:
    wrong = dataset("a").replace("path:", "psth:")
    twice = dataset("b", extra="kind: Dataset\n")
    validated = check(tmp_path, f"{wrong}---\n{twice}---\n{dataset('c')}")
    assert validated.refused == {Ref("Dataset", "p", "a"), Ref("Dataset", "p", "b")}
    assert [each.ref.name for each in validated.resources] == ["c"]
    (source,) = validated.sources
    assert not source.complete
    assert source.why_incomplete.startswith("root/m.yaml:")


def test_a_warning_does_not_make_a_source_incomplete(tmp_path: Path) -> None:
    validated = check(tmp_path, dataset("a"))
    assert validated.sources[0].complete
    assert not validated.diagnostics


def test_the_first_of_two_stays(tmp_path: Path) -> None:
    validated = check(tmp_path, f"{dataset('a', path='one')}---\n{dataset('a', path='two')}")
    assert [each.spec.path for each in validated.resources] == ["one"]
    assert not validated.refused
    assert [each.reason for each in validated.diagnostics] == ["Duplicate"]


def test_a_wrong_one_holds_its_name(tmp_path: Path) -> None:
    """Otherwise correcting the first would move the resource from the second to the first."""
    validated = check(tmp_path, f"{dataset('a').replace('path:', 'psth:')}---\n{dataset('a')}")
    assert not validated.resources
    assert validated.refused == {Ref("Dataset", "p", "a")}


@pytest.mark.parametrize(("incumbent", "stays"), [("", "root"), ("team", "team"), ("root", "root"), ("gone", "root")])
def test_the_incumbent_source_stays(tmp_path: Path, incumbent: str, stays: str) -> None:
    both = read(tmp_path, {"a.yaml": dataset("a")}) + read(tmp_path, {"a.yaml": dataset("a")}, source="team")
    ref = Ref("Dataset", "p", "a")
    validated = validate(both, KINDS, root=tmp_path, incumbents={ref: Owned(ref, "1", incumbent, "", {}, "auto")})
    assert [each.source for each in validated.resources] == [stays]
    assert {each.name: each.complete for each in validated.sources} == {"root": stays == "root", "team": stays == "team"}


@pytest.mark.parametrize("same", ["digest", "file"])
def test_a_copy_does_not_take_over_what_was_applied(tmp_path: Path, same: str) -> None:
    """A copied manifest in a file that sorts earlier must not change the live thing."""
    before = check(tmp_path, dataset("a")).resources[0]
    (tmp_path / "two").mkdir()
    copy = dataset("a").replace("{path: a}", "{path: a, type: model}")
    both = read(tmp_path / "two", {"a-copy.yaml": copy, "b.yaml": dataset("a")})
    digest = before.digest if same == "digest" else ""
    applied = Owned(before.ref, "1", "root", digest, {}, "auto", location=both.manifests[1].location if same == "file" else NOWHERE)
    validated = validate(both, KINDS, root=tmp_path / "two", incumbents={before.ref: applied})
    assert [each.spec.type for each in validated.resources] == ["data"]
    assert [each.reason for each in validated.diagnostics] == ["Duplicate"]


@pytest.mark.parametrize("kind", ["Platform", "Project", "ResourceQuota"])
def test_rights_come_from_the_root_source_only(tmp_path: Path, kind: str) -> None:
    text = (Path(__file__).parents[2] / "manifests" / "kinds" / kind.lower() / "minimal.yaml").read_text()
    validated = check(tmp_path, text, source="team")
    assert not validated.resources
    assert "root source only" in validated.diagnostics[0].message
    assert check(tmp_path, text).resources


def test_a_broken_plugin_is_named(tmp_path: Path) -> None:
    validated = validate(read(tmp_path, {"a.yaml": dataset("a")}), Kinds({}, {"Dataset": "No module named dvc"}), root=tmp_path)
    assert [(each.message, each.hint) for each in validated.diagnostics] == [
        ("the kind Dataset could not be loaded", "No module named dvc")
    ]


def test_a_check_that_fails_is_a_diagnostic(tmp_path: Path) -> None:
    validated = check(tmp_path, f"{HEAD}kind: Fake\nmetadata: {{name: a}}\n", FAKE)
    assert [each.message for each in validated.diagnostics] == ["the check of kind Fake failed: RuntimeError: no such thing"]


@pytest.mark.parametrize(
    "value", ["canary", "7", "[canary]", "{fromEnv: 'can ary'}", "{fromFile: [canary]}", "{from: canary}", "yes", "2027-01-01"]
)
def test_a_secret_is_never_shown(tmp_path: Path, value: str) -> None:
    text = f"{HEAD}kind: Fake\nmetadata: {{name: a}}\nspec: {{login: [{{user: u, password: {value}}}]}}\n"
    validated = check(tmp_path, text, FAKE)
    assert validated.diagnostics
    shown = "".join(str(each) for each in validated.diagnostics)
    assert not any(word in shown.replace("m.yaml:4:", "") for word in ("canary", "can ary", "`7`", "`yes`", "2027"))


def test_what_looks_like_a_secret_is_not_shown_either(tmp_path: Path) -> None:
    text = f"{HEAD}kind: Experiment\nmetadata: {{name: a, project: p}}\nspec: {{runs: {{entrypoint: t.py, env: {{API_TOKEN: 123456}}}}}}\n"
    validated = check(tmp_path, text)
    assert [each.path for each in validated.diagnostics] == ["spec.runs.env.API_TOKEN"]
    assert "123456" not in str(validated.diagnostics[0])


def test_true_is_no_number(tmp_path: Path) -> None:
    validated = check(tmp_path, f"{HEAD}kind: Fake\nmetadata: {{name: a}}\nspec: {{count: on}}\n", FAKE)
    assert "YAML reads `on` as true or false" in validated.diagnostics[-1].message


def test_one_message_for_each_field(tmp_path: Path) -> None:
    text = f"{HEAD}kind: Fake\nmetadata: {{name: a}}\nspec: {{either: [1], count: x, login: [{{user: [], passwort: 1}}]}}\n"
    paths = [each.path for each in check(tmp_path, text, FAKE).diagnostics]
    assert len(paths) == len(set(paths))
    assert set(paths) == {"spec.either", "spec.count", "spec.login.0.user", "spec.login.0.passwort"}


@pytest.mark.parametrize(
    ("path", "data", "steps"),
    [
        ("a.b", {"a": {"b": 1}}, ("a", "b")),
        ("tags.mlflow.note", {"tags": {"mlflow.note": 1}}, ("tags", "mlflow.note")),
        ("a.0.b", {"a": [{"b": 1}]}, ("a", 0, "b")),
        ("a.7.b", {"a": [{"b": 1}]}, ("a", "7", "b")),
        ("gone.below", {}, ("gone", "below")),
    ],
)
def test_steps_to(path: str, data: Any, steps: tuple[str | int, ...]) -> None:
    assert steps_to(path, data) == steps
