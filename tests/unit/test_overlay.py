"""Patches of an environment over manifests: RFC 7386, whom a patch is for, and who has the last word."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import UsageError
from reconciler.model import Ref, Resource
from reconciler.overlay import merge, overlay
from reconciler.registry import discover
from reconciler.selection import Selection
from reconciler.settings import Settings
from reconciler.source.load import load
from reconciler.source.read import Desired, read
from reconciler.validate import Checks

KINDS = discover()
HEAD = "apiVersion: reconciler.mlops/v1\n"
APPENDIX_A = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]


@pytest.mark.parametrize(("original", "patch", "result"), APPENDIX_A)
def test_every_example_of_the_rfc(original: str, patch: str, result: str) -> None:
    before = json.loads(original)
    assert merge(before, json.loads(patch)) == json.loads(result)
    assert before == json.loads(original), "what was given is not changed"


# --- a tree ----------------------------------------------------------------------------------------------------------

PLATFORM = f"""{HEAD}kind: Platform
metadata: {{name: platform}}
spec: {{installation: test SOURCES}}
---
{HEAD}kind: Project
metadata: {{name: vision}}
spec: {{path: vision}}
---
{HEAD}kind: Project
metadata: {{name: speech}}
spec: {{path: speech}}
"""


def dataset(name: str, of: str = "vision", spec: str = "versions: 10", labels: str = "") -> str:
    more = f", labels: {{{labels}}}" if labels else ""
    return f"{HEAD}kind: Dataset\nmetadata: {{name: {name}, project: {of}{more}}}\nspec: {{path: {name}, {spec}}}\n"


def patch(name: str, of: str | None = "vision", spec: str = "", kind: str = "Dataset", more: str = "") -> str:
    project = "" if of is None else f', project: "{of}"'
    return f'{HEAD}kind: "{kind}"\nmetadata: {{name: "{name}"{project}}}\n{more}{f"spec: {{{spec}}}" if spec else ""}\n'


def tree(root: Path, files: Mapping[str, str], sources: str = "") -> Path:
    told = {"manifests/platform.yaml": PLATFORM.replace(" SOURCES", f", sources: [{sources}]" if sources else ""), **files}
    for name, text in told.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name in ("vision", "speech"):
        (root / name).mkdir(exist_ok=True)
    return root


def desired(root: Path, env: str = "dev", *paths: str, checks: Checks | None = None, root_paths: str = "") -> Desired:
    selection = Selection(tuple(root / each for each in paths or ("manifests",)), env=env)
    return read(selection, KINDS, Settings(root=root), {}, root_paths, checks=checks)


def one(found: Desired, name: str, of: str = "vision") -> Resource[Any]:
    return found.graph.resources[Ref("Dataset", of, name)]


def versions(found: Desired) -> dict[str, int]:
    return {ref.path: each.spec.versions for ref, each in found.graph.resources.items() if ref.kind == "Dataset"}


BOTH = {
    "manifests/vision/data.yaml": f"{dataset('a')}---\n{dataset('b', labels='size: big')}",
    "manifests/speech/data.yaml": dataset("a", "speech"),
}


def test_without_an_environment_nothing_is_patched(tmp_path: Path) -> None:
    tree(tmp_path, {**BOTH, "manifests/overlays/dev/x.yaml": patch("*", "*", "versions: 1")})
    assert set(versions(desired(tmp_path, "")).values()) == {10}


def test_a_patch_changes_what_it_names(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            **BOTH,
            "manifests/overlays/dev/x.yaml": patch("a", spec="versions: 2, settle: 0s"),
            "manifests/overlays/prod/x.yaml": patch("b", spec="versions: 3"),
        },
    )
    found = desired(tmp_path)
    assert versions(found) == {"vision/a": 2, "vision/b": 10, "speech/a": 10}
    assert found.diagnostics == ()
    assert str(one(found, "a").location) == "manifests/vision/data.yaml:1", "its place is that of its manifest"
    assert [str(each.location) for each in one(found, "a").patches] == ["manifests/overlays/dev/x.yaml:1"]
    assert one(found, "b").patches == ()
    assert one(found, "a").digest != one(desired(tmp_path, ""), "a").digest
    assert versions(desired(tmp_path, "prod")) == {"vision/a": 10, "vision/b": 3, "speech/a": 10}


def test_the_precise_has_the_last_word_wherever_it_stands(tmp_path: Path) -> None:
    wide = [
        patch("*", "*", "versions: 1"),
        patch("*", "vision", "versions: 2"),
        patch("*", "*", "versions: 3", more="selector: {size: big}\n"),
    ]
    precise = patch("a", "vision", "versions: 4")
    for number, texts in enumerate([(*wide, precise), (precise, *reversed(wide))]):
        tree(tmp_path / str(number), {**BOTH, "manifests/overlays/dev/x.yaml": "---\n".join(texts)})
        # of a project before by label: it says more of whom it is for
        assert versions(desired(tmp_path / str(number))) == {"vision/a": 4, "vision/b": 2, "speech/a": 1}


def test_the_inner_overlay_has_the_last_word(tmp_path: Path) -> None:
    inner = {"manifests/vision/overlays/dev/x.yaml": patch("*", "*", "versions: 2")}
    outer = {
        "manifests/overlays/dev/x.yaml": patch("*", "*", "versions: 1"),
        "overlays/dev/x.yaml": patch("*", "*", "versions: 0, settle: 1s"),
    }
    tree(tmp_path, {**BOTH, **inner, **outer})
    found = desired(tmp_path)
    assert versions(found) == {"vision/a": 2, "vision/b": 2, "speech/a": 1}
    assert one(found, "a").spec.settle == "1s", "what only the outermost says stands"


def test_any_kind_and_lifecycle_and_labels(tmp_path: Path) -> None:
    text = f'{HEAD}kind: "*"\nmetadata: {{name: "*", project: "*", labels: {{env: dev, size: null}}}}\nlifecycle: {{prune: never}}\n'
    tree(tmp_path, {**BOTH, "manifests/overlays/dev/x.yaml": text})
    found = desired(tmp_path)
    assert {each.prune for ref, each in found.graph.resources.items() if ref.project} == {"never"}
    assert dict(one(found, "b").labels) == {"env": "dev"}
    assert {each.prune for ref, each in found.graph.resources.items() if not ref.project} == {"confirm"}, (
        "what belongs to no project is not meant"
    )
    tree(tmp_path, {"manifests/overlays/dev/x.yaml": text.replace(', project: "*"', "")})
    assert {each.prune for ref, each in desired(tmp_path).graph.resources.items() if not ref.project} == {"never"}


def test_what_only_an_environment_has(tmp_path: Path) -> None:
    more = {"manifests/overlays/dev/resources/more.yaml": dataset("more"), "manifests/overlays/dev/x.yaml": patch("*", "*", "versions: 1")}
    tree(tmp_path, {**BOTH, **more})
    assert versions(desired(tmp_path, "dev"))["vision/more"] == 1
    assert "vision/more" not in versions(desired(tmp_path, ""))


def test_an_environment_that_is_not_there_stops_everything(tmp_path: Path) -> None:
    tree(tmp_path, {**BOTH, "manifests/overlays/prod/x.yaml": patch("a", spec="versions: 1")})
    with pytest.raises(UsageError) as caught:
        desired(tmp_path, "prdo")
    assert (caught.value.message, caught.value.hint) == ("there is no environment 'prdo'", "did you mean prod?")
    shutil.rmtree(tmp_path / "manifests/overlays")
    with pytest.raises(UsageError, match="there is no environment 'prod'"):
        desired(tmp_path, "prod")


@pytest.mark.parametrize("paths", [("manifests/vision",), ("manifests/vision/data.yaml",)])
def test_a_part_of_the_tree_is_patched_as_the_whole_is(tmp_path: Path, paths: tuple[str, ...]) -> None:
    more = {
        "overlays/dev/x.yaml": patch("a", spec="versions: 1"),
        "manifests/overlays/dev/x.yaml": patch("a", "speech", "versions: 2") + "---\n" + patch("b", spec="versions: 2"),
    }
    tree(tmp_path, {**BOTH, **more})
    loaded = load([tmp_path / each for each in paths], root=tmp_path, env="dev", whole=False)
    part = overlay(loaded, KINDS, root=tmp_path)
    found = {each.data["metadata"]["name"]: each.data["spec"]["versions"] for each in part.manifests}  # type: ignore[call-overload, index]
    assert found == {"a": 1, "b": 2}
    assert {path: number for path, number in versions(desired(tmp_path)).items() if "vision" in path} == {"vision/a": 1, "vision/b": 2}
    assert part.diagnostics == (), "what is not read is not missing"


def test_a_part_need_not_have_the_environment_and_the_whole_must(tmp_path: Path) -> None:
    tree(tmp_path, {**BOTH, "manifests/speech/overlays/dev/x.yaml": patch("a", "speech", "versions: 1")})
    assert desired(tmp_path, "dev", "manifests/vision", root_paths="manifests").selection.part
    shutil.rmtree(tmp_path / "manifests/speech/overlays")
    with pytest.raises(UsageError, match="there is no environment 'dev'"):
        desired(tmp_path, "dev", "manifests/vision", root_paths="manifests")


def test_an_overlay_is_no_manifest(tmp_path: Path) -> None:
    tree(tmp_path, {**BOTH, "manifests/overlays/dev/x.yaml": patch("a", spec="versions: 1")})
    (said,) = [str(each) for each in desired(tmp_path, "", "manifests/overlays/dev").diagnostics]
    assert "cannot be read without those" in said
    assert "`--env NAME` applies them" in said


def test_one_patch_is_for_all_nine_projects() -> None:
    root = Path(__file__).parents[2]
    found = read(Selection((root / "manifests",), env="workstation"), KINDS, Settings(root=root), {})
    assert found.diagnostics == ()
    assert found.installation == "mlops-workstation"
    quotas = {ref.project: each.spec.nominal.memory for ref, each in found.graph.resources.items() if ref.kind == "ResourceQuota"}
    assert len(quotas) == 9
    assert {project for project, memory in quotas.items() if memory == "8Gi"} == quotas.keys() - {"lora-finetuning"}
    assert quotas["lora-finetuning"] == "16Gi"


# --- rights ----------------------------------------------------------------------------------------------------------

TEAM = "{name: team, projects: [speech], path: teams/speech}"


def test_a_source_patches_its_own_manifests_only(tmp_path: Path) -> None:
    files = {
        "manifests/vision/data.yaml": dataset("a"),
        "teams/speech/data.yaml": dataset("a", "speech"),
        "teams/speech/overlays/dev/x.yaml": patch("*", "*", "versions: 1") + "---\n" + patch("a", "vision", "versions: 1"),
        "manifests/overlays/dev/x.yaml": patch("*", "*", "versions: 2") + "---\n" + patch("a", "speech", "versions: 2"),
    }
    tree(tmp_path, files, TEAM)
    found = desired(tmp_path)
    assert versions(found) == {"vision/a": 2, "speech/a": 1}
    told = [(str(each.location), each.message) for each in found.diagnostics]
    assert told == [
        (
            "manifests/overlays/dev/x.yaml:8:18",
            "it patches nothing: dataset/speech/a is declared by source team, in teams/speech/data.yaml:1",
        ),
        (
            "teams/speech/overlays/dev/x.yaml:8:18",
            "it patches nothing: dataset/vision/a is declared by source root, in manifests/vision/data.yaml:1",
        ),
    ]
    assert [each.complete for each in found.graph.sources] == [False, False]


def test_a_source_does_not_name_environments(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {"teams/speech/data.yaml": dataset("a", "speech"), "teams/speech/overlays/dev/x.yaml": patch("a", "speech", "versions: 1")},
        TEAM,
    )
    with pytest.raises(UsageError, match="no environment"):
        desired(tmp_path)
    (tmp_path / "manifests/overlays/dev").mkdir(parents=True)
    assert versions(desired(tmp_path)) == {"speech/a": 1}


def test_a_clone_among_the_manifests_does_not_speak_for_the_root(tmp_path: Path) -> None:
    git = "{name: team, projects: [speech], git: {url: /srv/team.git, checkout: manifests/team}}"
    takeover = f"{HEAD}kind: Platform\nmetadata: {{name: platform}}\nspec: {{installation: stolen, sources: null}}\n"
    files = {
        "manifests/vision/data.yaml": dataset("a"),
        "manifests/team/overlays/dev/x.yaml": patch("*", "*", "versions: 1") + "---\n" + takeover,
        "manifests/overlays/dev/keep": "",
        ".mlops/sources/team.json": json.dumps({"source": "team", "commit": "1" * 40}),
    }
    tree(tmp_path, files, git)
    found = desired(tmp_path)
    assert (found.installation, versions(found)) == ("test", {"vision/a": 10})
    # Declared by the environment itself, which the clone tries to take back.
    declared = f"{HEAD}kind: Platform\nmetadata: {{name: platform}}\nspec: {{sources: [{git}]}}\n"
    tree(tmp_path, {"manifests/overlays/dev/sources.yaml": declared})
    found = desired(tmp_path)
    assert (found.installation, versions(found)) == ("test", {"vision/a": 10})


def test_a_repository_has_overlays_of_its_own(tmp_path: Path) -> None:
    clone = ".mlops/sources/team"
    files = {
        ".mlops/sources/team.json": json.dumps({"source": "team", "commit": "1" * 40}),
        f"{clone}/deploy/data.yaml": f"{dataset('a', 'speech')}---\n{dataset('b', 'speech')}",
        f"{clone}/overlays/dev/x.yaml": patch("*", "*", "versions: 1, push: false"),
        f"{clone}/deploy/overlays/dev/x.yaml": patch("b", "speech", "versions: 2"),
        "manifests/overlays/dev/x.yaml": patch("*", "*", "versions: 5"),
    }
    tree(tmp_path, files, "{name: team, projects: [speech], path: deploy, git: {url: /srv/team.git}}")
    found = desired(tmp_path)
    assert versions(found) == {"speech/a": 1, "speech/b": 2}
    assert [(each.severity, each.location.file) for each in found.diagnostics] == [("warning", "manifests/overlays/dev/x.yaml")]


def test_what_is_looked_up_does_not_depend_on_an_overlay_that_is_gone(tmp_path: Path) -> None:
    tree(tmp_path, BOTH)
    selection = Selection((tmp_path / "manifests",), env="dev", part=True)
    assert read(selection, KINDS, Settings(root=tmp_path), {}).graph.resources


def test_a_link_out_of_an_overlay_is_refused(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {**BOTH, "manifests/overlays/dev/x.yaml": patch("a", spec="versions: 1"), "elsewhere/y.yaml": patch("b", spec="versions: 1")},
    )
    (tmp_path / "manifests/overlays/dev/y.yaml").symlink_to(tmp_path / "elsewhere/y.yaml")
    found = desired(tmp_path)
    assert "the link leads out" in str(found.diagnostics[0])
    assert versions(found) == {}, "whom it is for is not known, so nothing is done about any of them"


# --- what is remembered ----------------------------------------------------------------------------------------------


def test_what_was_checked_for_one_environment_is_not_taken_for_another(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            **BOTH,
            "manifests/overlays/dev/x.yaml": patch("a", spec="versions: 1"),
            "manifests/overlays/prod/x.yaml": patch("a", spec="versions: 2"),
        },
    )
    (tmp_path / ".mlops").mkdir()
    checks, seen = Checks(), []
    for env in ("dev", "prod", "", "dev"):
        seen.append(versions(desired(tmp_path, env, checks=checks))["vision/a"])
    (tmp_path / "manifests/overlays/dev/x.yaml").write_text(patch("a", spec="versions: 7"))
    seen.append(versions(desired(tmp_path, "dev", checks=checks))["vision/a"])
    assert seen == [1, 2, 10, 1, 7]
    assert one(desired(tmp_path, "dev", checks=checks), "a").spec is one(desired(tmp_path, "dev", checks=checks), "a").spec, (
        "unchanged: not checked again"
    )
