"""What the shell offers after TAB, over a real installation: a Store, overlays, a git repository."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.cli.app import build
from tests.contract.git_lab import git
from tests.unit.test_cli import reconcile
from tests.unit.test_cli_import import REST

PLATFORM = """apiVersion: reconciler.mlops/v1
kind: Platform
metadata: {name: platform}
spec:
  installation: here
  sources: [{name: team, git: {url: URL, revision: main}, projects: [other]}]
"""
SPACE = " "


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with one of each kind that needs no service, two environments, and something that is suspended and silenced."""
    tree = tmp_path_factory.mktemp("completion") / "tree"
    team = tree.with_name("team")
    (team / "manifests").mkdir(parents=True)
    (team / "manifests/.gitkeep").touch()
    repository(team, "one")
    assert reconcile("init", str(tree), cwd=tree.parent).returncode == 0
    secret = tree / "secret"
    secret.write_text("hush")
    secret.chmod(0o600)
    (tree / "manifests/platform.yaml").write_text(PLATFORM.replace("URL", str(team)))
    (tree / "manifests/hello.yaml").write_text(REST.replace("SECRET", str(secret)))
    for folder in ("manifests/overlays/dev", "overlays/prod", "manifests/.hidden/overlays/none", "manifests/overlays/dev/overlays/deeper"):
        (tree / folder).mkdir(parents=True)
    repository(tree, "first")
    subprocess.run(["git", "-C", str(tree), "branch", "feature/x"], check=True)
    for words in (
        (),
        ("suspend", "flowers", "--reason", "a look"),
        ("silence", "dataset/hello/flowers", "--why", "a disk"),
        ("keys", "create", "--project", "hello"),
    ):
        done = reconcile(*words, cwd=tree)
        assert done.returncode == 0, done.stdout + done.stderr
    return tree


def repository(folder: Path, message: str) -> None:
    for words in (["init", "-qb", "main"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", message]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)


def offered(words: str, cwd: Path) -> list[str]:
    env = {"_RECONCILE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(SPACE))}
    return reconcile(cwd=cwd, **env).stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("reconcile --env ", ["dev", "prod"]),
        ("reconcile watch --env pr", ["prod"]),
        ("reconcile envs ", ["base", "dev", "prod"]),
        ("reconcile envs dev p", ["prod"]),
        ("reconcile compare h", ["hello"]),
        ("reconcile --selector ", ["team=nlp"]),
        ("reconcile --confirm data", ["dataset/hello/flowers"]),
        ("reconcile --base f", ["feature/x"]),
        ("reconcile review --base m", ["main"]),
        ("reconcile review --forge git", ["gitea", "github", "gitlab"]),
        ("reconcile rollback --source t", ["team"]),
        ("reconcile import --tool s", ["serve", "store"]),
        ("reconcile import dataset ", ["hello/flowers"]),
        ("reconcile alerts test o", ["ops"]),
        ("reconcile alerts test ops --receiver ", ["chat"]),
        ("reconcile resume ", ["dataset/hello/flowers"]),
        ("reconcile unsilence data", ["dataset/hello/flowers"]),
        ("reconcile schema p", ["platform", "project", "patch", "policy"]),
        ("reconcile explain dataset.se", ["dataset.settle"]),
        ("reconcile explain dataset.lifecycle.pr", ["dataset.lifecycle.prune"]),
        ("reconcile keys create --project h", ["hello"]),
        ("reconcile worker ", []),
    ],
)
def test_names_are_offered(words: str, found: list[str], made: Path) -> None:
    assert offered(words, made) == found


def test_keys_that_are_good_are_offered(made: Path) -> None:
    [key] = json.loads(reconcile("keys", "list", "-o", "json", cwd=made).stdout)["keys"]
    assert offered("reconcile keys revoke ", made) == [key["id"]]


def test_revisions_at_which_all_was_ready_are_offered(made: Path, tmp_path: Path) -> None:
    for name in ("manifests", "hello"):
        shutil.copytree(made / name, tmp_path / name)
    platform = tmp_path / "manifests/platform.yaml"
    platform.write_text(platform.read_text().split("  sources")[0])
    repository(tmp_path, "first")
    done = reconcile("--wait", "--timeout", "60s", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert offered("reconcile rollback --to ", tmp_path) == [git(tmp_path, "rev-parse", "HEAD")[:7]]


def test_the_line_says_where_to_look(made: Path) -> None:
    for words in (
        "reconcile --root tree status data",
        "reconcile status --root tree data",
        "reconcile --state-dir tree/.mlops status data",
    ):
        assert offered(words, made.parent) == ["dataset/hello/flowers"], words
    for words in (
        "reconcile -f tree/manifests --env ",
        "reconcile validate --root tree --env ",
        "reconcile validate -f tree/manifests --env ",
    ):
        assert offered(words, made.parent) == ["dev", "prod"], words


def test_where_nothing_is_or_all_is_broken_nothing_is_offered_and_nothing_made(made: Path, tmp_path: Path) -> None:
    for words in ("reconcile --env ", "reconcile status ", "reconcile keys revoke ", "reconcile rollback --source ", "reconcile --base "):
        assert offered(words, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    broken = tmp_path / "broken"
    shutil.copytree(made / "manifests", broken / "manifests")
    (broken / ".mlops").mkdir()
    (broken / ".mlops/store.db").write_text("this is no database")
    assert offered("reconcile status ", broken) == []
    assert offered("reconcile --env ", broken) == ["dev"]


FREE = {
    "--reason",
    "--why",
    "--note",
    "--for",
    "--timeout",
    "--every",
    "--expires",
    "--grace",
    "--limit",
    "--top",
    "--lines",
    "--listen",
    "--shard",
}
FREE |= {
    "--seed",
    "--hours",
    "--memory",
    "--watts",
    "--priority",
    "--duration",
    "--cpu",
    "--gpu",
    "--cooling",
    "--reserve",
    "--header",
    "--rows",
    "--conf",
    "--number",
    "--commit",
}
FREE |= {"--api", "--repository", "--name", "--plan-digest"}
"""Options with words, numbers and ids that nobody can know before."""
PATHS = {"--manifests", "--root", "--state-dir", "--wire-log", "--out", "--quota", "--trace", "--plot", "--data", "--to", "--sarif"}
CHOICES = {"--output", "--generate", "--scope", "--target", "--role"}
"""Of words that the option itself lists."""


def test_every_option_that_names_something_completes() -> None:
    """A new option has to say how its names are completed, or stand among those that name nothing."""
    missing = []

    def look(command: object, path: str) -> None:
        for each in getattr(command, "params", ()):
            named = getattr(each, "opts", ["?"])[-1]
            if named.startswith("--") and not getattr(each, "is_flag", False) and getattr(each, "_custom_shell_complete", None) is None:
                missing.append((path, named))
        for name, below in getattr(command, "commands", {}).items():
            look(below, f"{path} {name}")

    look(build(), "reconcile")
    assert [each for each in missing if each[1] not in FREE | PATHS | CHOICES] == []
