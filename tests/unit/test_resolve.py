"""From resources to a graph: references, rights, claims, cycles and order."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest
from pydantic import Field

from reconciler.model import Owned, Ref
from reconciler.registry import Kinds, discover
from reconciler.resolve import Graph, resolve
from reconciler.source.load import Loaded, load
from reconciler.validate import validate
from schemas.base import KindInfo, RefTo, ResourceName, Spec

HEAD = "apiVersion: reconciler.mlops/v1\n"


class LinkSpec(Spec):
    to: tuple[Annotated[ResourceName, RefTo("Link")], ...] = ()
    maybe: Annotated[ResourceName, RefTo("Link", optional=True)] | None = None
    named: dict[str, Annotated[ResourceName, RefTo("Link")]] = Field(default_factory=dict)
    whole: Annotated[ResourceName, RefTo("Beacon")] | None = None


class BeaconSpec(Spec):
    """Of the whole installation."""


LINK = KindInfo(name="Link", spec=LinkSpec, scope="project", prune="auto", summary="Refers to others.")
BEACON = KindInfo(name="Beacon", spec=BeaconSpec, scope="installation", prune="auto", summary="Is referred to.")
REAL = discover()
KINDS = Kinds({**REAL.controllers, **cast("Any", {each.name: SimpleNamespace(info=each) for each in (LINK, BEACON)})})

PLATFORM = f"{HEAD}kind: Platform\nmetadata: {{name: main}}\nspec:\n  installation: test\n"


def doc(kind: str, name: str, spec: str = "", project: str | None = "p") -> str:
    where = f", project: {project}" if project else ""
    return f"{HEAD}kind: {kind}\nmetadata: {{name: {name}{where}}}\nspec: {{{spec}}}\n"


def project(name: str = "p", spec: str = "") -> str:
    return doc("Project", name, f"path: code/{name}{', ' if spec else ''}{spec}", None)


def read(root: Path, *documents: str, source: str = "root") -> Loaded:
    path = root / source / "m.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("---\n".join(documents))
    return load([Path(source)], root=root, source=source)


def graph(root: Path, *documents: str, known: tuple[Owned, ...] = (), partial: bool = False) -> Graph:
    return solve(root, read(root, *documents), known=known, partial=partial)


def solve(root: Path, loaded: Loaded, *, known: tuple[Owned, ...] = (), partial: bool = False) -> Graph:
    validated = validate(loaded, KINDS, root=root)
    assert not validated.diagnostics
    return resolve(validated, KINDS, known={each.ref: each for each in known}, partial=partial)


def owned(kind: str, name: str, project: str | None = "p", **spec: Any) -> Owned:
    return Owned(Ref(kind, project, name), "id", "root", "digest", spec, "auto")


def told(found: Graph) -> list[tuple[str, str, str]]:
    return [(str(each.ref), each.path, each.reason) for each in found.diagnostics]


def names(found: Graph) -> list[str]:
    return [str(each) for each in found.resources]


# --- references and order ------------------------------------------------------------------------------------------


def test_order_is_by_level_then_by_name(tmp_path: Path) -> None:
    documents = [PLATFORM, project(), doc("Link", "c"), doc("Link", "a", "to: [b, c]"), doc("Link", "b", "to: [c]"), doc("Link", "d")]
    expected = ["platform/main", "project/p", "link/p/c", "link/p/d", "link/p/b", "link/p/a"]
    assert names(graph(tmp_path, *documents)) == expected
    assert names(graph(tmp_path, *reversed(documents))) == expected


def test_references_wherever_they_stand(tmp_path: Path) -> None:
    spec = "to: [b], maybe: c, named: {x: d}, whole: light"
    others = [doc("Link", each) for each in "bcd"]
    found = graph(tmp_path, PLATFORM, project(), doc("Link", "a", spec), *others, doc("Beacon", "light", project=None))
    resource = found.resources[Ref("Link", "p", "a")]
    assert [str(each) for each in resource.references] == ["link/p/b", "link/p/c", "link/p/d", "beacon/light"]
    assert [str(each) for each in resource.requires] == ["project/p"]
    assert [str(each) for each in found.resources[Ref("Project", None, "p")].requires] == ["platform/main"]
    assert resource.root == tmp_path / "code/p"


def test_a_dangling_reference_is_refused(tmp_path: Path) -> None:
    found = graph(tmp_path, PLATFORM, project(), doc("Link", "a", "to: [bee]"), doc("Link", "been"))
    assert told(found) == [("link/p/a", "spec.to.0", "NotFound")]
    assert found.diagnostics[0].hint == "Did you mean `been`?"
    assert str(found.diagnostics[0].location) == "root/m.yaml:15:13"
    assert found.refused == {Ref("Link", "p", "a")}
    assert not found.sources[0].complete


def test_an_optional_reference_may_dangle(tmp_path: Path) -> None:
    found = graph(tmp_path, PLATFORM, project(), doc("Link", "a", "maybe: gone"))
    assert not found.diagnostics
    assert found.resources[Ref("Link", "p", "a")].references == ()


def test_what_is_in_the_inventory_exists_for_a_part(tmp_path: Path) -> None:
    known = (owned("Link", "b"), owned("Project", "p", None, path="code/p"), owned("Platform", "main", None, installation="test"))
    part = graph(tmp_path, doc("Link", "a", "to: [b]"), known=known, partial=True)
    assert not part.diagnostics
    resource = part.resources[Ref("Link", "p", "a")]
    assert resource.references == (Ref("Link", "p", "b"),)
    assert resource.root == tmp_path / "code/p"
    whole = graph(tmp_path, doc("Link", "a", "to: [b]"), known=known)
    assert [reason for _, _, reason in told(whole)] == ["NotFound", "NotFound", "NoPlatform"]


def test_dependants_of_the_refused_are_blocked_and_the_rest_goes_on(tmp_path: Path) -> None:
    found = graph(
        tmp_path,
        PLATFORM,
        project(),
        doc("Link", "a", "to: [gone]"),
        doc("Link", "b", "to: [a]"),
        doc("Link", "c", "to: [b]"),
        doc("Link", "d"),
    )
    assert {str(each): blocked.reason for each, blocked in found.blocked.items()} == {
        "link/p/b": "DependencyInvalid",
        "link/p/c": "DependencyInvalid",
    }
    assert "link/p/a (root/m.yaml:12), which is refused" in found.blocked[Ref("Link", "p", "b")].why
    assert set(names(found)) == {"platform/main", "project/p", "link/p/b", "link/p/c", "link/p/d"}


def test_a_project_that_is_invalid_blocks_all_of_it(tmp_path: Path) -> None:
    loaded = read(tmp_path, PLATFORM, project().replace("path:", "psth:"), doc("Link", "a"))
    found = resolve(validate(loaded, KINDS, root=tmp_path), KINDS, known={}, partial=False)
    assert not found.diagnostics
    assert list(found.blocked) == [Ref("Link", "p", "a")]


# --- cycles --------------------------------------------------------------------------------------------------------


def test_a_cycle_is_refused_and_printed(tmp_path: Path) -> None:
    found = graph(
        tmp_path,
        PLATFORM,
        project(),
        *[doc("Link", name, f"to: [{to}]") for name, to in (("a", "b"), ("b", "c"), ("c", "a"), ("user", "a"), ("self", "self"))],
        doc("Link", "free"),
    )
    assert {str(each) for each in found.refused} == {"link/p/a", "link/p/b", "link/p/c", "link/p/self"}
    assert found.diagnostics[0].message == "it depends on itself: link/p/a -> link/p/b -> link/p/c -> link/p/a"
    assert [str(each) for each in found.blocked] == ["link/p/user"]
    assert "link/p/free" in names(found)


def test_a_long_cycle_ends(tmp_path: Path) -> None:
    count = 1000
    found = graph(tmp_path, PLATFORM, project(), *[doc("Link", f"n{n}", f"to: [n{(n + 1) % count}]") for n in range(count)])
    assert len(found.refused) == count
    assert "(988 more)" in found.diagnostics[0].message


# --- the installation ----------------------------------------------------------------------------------------------


def test_there_is_a_platform(tmp_path: Path) -> None:
    found = graph(tmp_path, project())
    assert [each.reason for each in found.diagnostics] == ["NoPlatform"]
    assert not found.sources[0].complete


def test_there_is_one_platform_and_the_incumbent_stays(tmp_path: Path) -> None:
    other = PLATFORM.replace("main", "other")
    assert graph(tmp_path, PLATFORM, other).refused == {Ref("Platform", None, "other")}
    assert graph(tmp_path, PLATFORM, other, known=(owned("Platform", "other", None),)).refused == {Ref("Platform", None, "main")}


@pytest.mark.parametrize("inner", ["code/p", "./code//p/", "code/p/deep", "code", "."])
def test_projects_do_not_nest(tmp_path: Path, inner: str) -> None:
    found = graph(tmp_path, PLATFORM, project(), doc("Project", "q", f"path: {inner}", None), doc("Link", "a", project="q"))
    assert told(found) == [("project/q", "spec.path", "PathClaimed")]
    assert list(found.blocked) == [Ref("Link", "q", "a")]


def test_neighbours_do_not_nest(tmp_path: Path) -> None:
    assert not graph(tmp_path, PLATFORM, project("p"), project("pp"), project("p-p")).diagnostics


def test_an_undeclared_project(tmp_path: Path) -> None:
    found = graph(tmp_path, PLATFORM, project("vision"), doc("Link", "a", project="visoin"))
    assert told(found) == [("link/visoin/a", "metadata.project", "NotFound")]
    assert found.diagnostics[0].hint == "Did you mean `vision`?"


SOURCES = "  sources: [{name: team, path: team, projects: [p], kinds: [Link]}]\n"


@pytest.mark.parametrize(
    ("granted", "document", "reasons"),
    [
        (SOURCES, doc("Link", "a"), []),
        (SOURCES, doc("Link", "a", project="q"), ["NotAllowed"]),
        (SOURCES, doc("Dataset", "a", "path: x"), ["NotAllowed"]),
        (SOURCES, doc("Beacon", "a", project=None), ["NotAllowed", "NotAllowed"]),
        ("", doc("Link", "a"), ["NotAllowed"]),
    ],
)
def test_a_source_names_only_what_it_is_granted(tmp_path: Path, granted: str, document: str, reasons: list[str]) -> None:
    root = read(tmp_path, PLATFORM + granted, project("p"), project("q"))
    found = solve(tmp_path, root + read(tmp_path, document, source="team"))
    assert [each.reason for each in found.diagnostics] == reasons
    assert {each.name: each.complete for each in found.sources} == {"root": True, "team": not reasons}


# --- what a project may use ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "fine"), [("[dataset/d]", True), ('["dataset/*"]', True), ("[dataset/e]", False), ("[experiment/d]", False)]
)
def test_a_dataset_of_another_project(tmp_path: Path, shares: str, fine: bool) -> None:
    documents = [
        PLATFORM,
        project("p"),
        project("q", f"shares: {shares}"),
        doc("Dataset", "d", "path: x", "q"),
        doc("Experiment", "e", "datasets: [q/d]"),
    ]
    found = graph(tmp_path, *documents)
    assert told(found) == ([] if fine else [("experiment/p/e", "spec.datasets.0", "NotShared")])
    if not fine:
        assert found.diagnostics[0].hint == 'add "dataset/d" to spec.shares of project q (root/m.yaml:12)'


@pytest.mark.parametrize(
    ("allow", "source", "fine"),
    [
        ("{hosts: [a.example.org]}", "url: 'https://a.example.org/x'", True),
        ("{hosts: [A.EXAMPLE.org]}", "url: 'https://a.example.org:8443/x'", True),
        ("{hosts: [a.example.org]}", "url: 'https://b.a.example.org/x'", False),
        ("{hosts: [a.example.org]}", "url: 'https://a.example.org.evil.org/x'", False),
        ("{hosts: ['s3://bucket']}", "s3: 's3://bucket/x'", True),
        ("{hosts: [bucket]}", "s3: 's3://bucket/x'", False),
        ("{}", "import: {repo: /srv/other, path: x}", False),
        ("{hosts: ['file:///srv']}", "import: {repo: /srv/other, path: x}", True),
        ("{hosts: ['file:///srv']}", "import: {repo: 'file:///srv/other', path: x}", True),
        ("{hosts: ['file:///srv']}", "import: {repo: /srvx/other, path: x}", False),
        ("{}", "import: {repo: vendor/repo, path: x}", True),
        ("{}", "import: {repo: vendor/../../q, path: x}", False),
        ("{hosts: [git.example.org]}", "import: {repo: 'git@git.example.org:o/r', path: x}", True),
        ("{}", "import: {repo: 'git@git.example.org:o/r', path: x}", False),
    ],
)
def test_hosts_are_denied_by_default(tmp_path: Path, allow: str, source: str, fine: bool) -> None:
    found = graph(tmp_path, PLATFORM, project("p", f"allow: {allow}"), doc("Dataset", "d", f"path: x, source: {{{source}}}"))
    assert [each.reason for each in found.diagnostics] == ([] if fine else ["NotAllowed"])


@pytest.mark.parametrize(
    ("allow", "remote", "reason"), [("{}", "far", ""), ("{}", "fra", "NotFound"), ("{remotes: [other]}", "far", "NotAllowed")]
)
def test_remotes(tmp_path: Path, allow: str, remote: str, reason: str) -> None:
    platform = PLATFORM + "  dvc: {remotes: [{name: far, url: /far}]}\n"
    found = graph(tmp_path, platform, project("p", f"allow: {allow}"), doc("Dataset", "d", f"path: x, remote: {remote}"))
    assert [each.reason for each in found.diagnostics] == ([reason] if reason else [])


@pytest.mark.parametrize(
    ("first", "second", "fine"),
    [
        ("data", "data", False),
        ("data", "data/x", False),
        ("data/x", "data", False),
        ("data/x", "./data//x/", False),
        ("data/x", "data/y", True),
        ("data", "data2", True),
    ],
)
def test_a_path_has_one_owner(tmp_path: Path, first: str, second: str, fine: bool) -> None:
    documents = [PLATFORM, project(), doc("Dataset", "a", f"path: {first}"), doc("Dataset", "b", f"path: {second}")]
    assert told(graph(tmp_path, *documents)) == ([] if fine else [("dataset/p/b", "spec.path", "PathClaimed")])
    kept = graph(tmp_path, *documents, known=(owned("Dataset", "b"),))
    assert told(kept) == ([] if fine else [("dataset/p/a", "spec.path", "PathClaimed")])


def test_the_same_path_in_two_projects_is_fine(tmp_path: Path) -> None:
    documents = [PLATFORM, project("p"), project("q"), doc("Dataset", "a", "path: data"), doc("Dataset", "a", "path: data", "q")]
    assert not graph(tmp_path, *documents).diagnostics


@pytest.mark.parametrize("path", [".git/hooks", "a/.dvc/cache", ".mlops", ".GIT/config"])
def test_reserved_folders(tmp_path: Path, path: str) -> None:
    assert told(graph(tmp_path, PLATFORM, project(), doc("Dataset", "a", f"path: {path}"))) == [("dataset/p/a", "spec.path", "NotAllowed")]
    assert told(graph(tmp_path, PLATFORM, doc("Project", "x", f"path: {path}", None))) == [("project/x", "spec.path", "NotAllowed")]


def test_kinds_that_a_project_allows(tmp_path: Path) -> None:
    documents = [PLATFORM, project("p", "allow: {kinds: [dataset]}"), doc("Dataset", "d", "path: x"), doc("Link", "a")]
    quota = doc("ResourceQuota", "r", "nominal: {cpu: 1}")
    assert told(graph(tmp_path, *documents, quota)) == [("link/p/a", "kind", "NotAllowed")]


def test_a_misspelt_kind_is_a_warning(tmp_path: Path) -> None:
    found = graph(tmp_path, PLATFORM, project("p", "allow: {kinds: [Datset]}"))
    assert [(each.severity, each.hint) for each in found.diagnostics] == [("warning", "Did you mean `Dataset`?")]
    assert found.sources[0].complete
    assert not found.refused


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    spec = "path: .git/x, remote: gone, source: {url: 'https://evil.org/x'}"
    paths = [path for _, path, _ in told(graph(tmp_path, PLATFORM, project("p", "allow: {kinds: []}"), doc("Dataset", "d", spec)))]
    assert paths == ["kind", "spec.path", "spec.remote", "spec.source.url"]
