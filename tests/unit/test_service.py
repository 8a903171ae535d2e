"""`reconcile service install --print`: the text of both kinds of file, and whether what it says comes out as it was meant.

UPDATE_GOLDEN=1 writes the texts in tests/golden/service anew."""

from __future__ import annotations

import os
import plistlib
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.service import Target, program
from reconciler.errors import UsageError
from reconciler.platform.servicefile import Service, launchd, systemd
from tests.unit.test_cli import reconcile
from tests.unit.test_report_golden import compare_with

FOLDER = Path(__file__).parents[1] / "golden" / "service"
LOG = "/Users/ann/Library/Logs/toolkit.log"
PLAIN = Service(
    "toolkit", ("/opt/ml/bin/reconcile", "watch", "--every", "30s"), "/srv/toolkit", {"PATH": "/usr/bin:/bin", "MLOPS_PARALLELISM": "4"}
)
ODD = """/srv/a b "q" 's' 100% %h $HOME ${HOME} &<x> \\n ünï;=@"""
SECRETS = Service(
    "toolkit.vision",
    (f"{ODD}/bin/reconcile", "watch", "--every", "5m", "--manifests", f"{ODD}/manifests", "--selector", "team=nlp"),
    f"{ODD}/toolkit",
    {"PATH": f"{ODD}/bin:/bin"},
    {"MLOPS_STORE": "the URL holds a password, or may", "CHAT": "a manifest takes it from the environment"},
)
CASES = {"plain": PLAIN, "secrets": SECRETS}
printable = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cn", "Cf"]), max_size=20)


@pytest.mark.parametrize("case", CASES)
def test_both_files_are_written_as_agreed(case: str) -> None:
    compare_with(FOLDER / f"{case}.service", systemd(CASES[case]))
    compare_with(FOLDER / f"{case}.plist", launchd(CASES[case], LOG))


@given(st.lists(printable), printable, printable)
def test_whatever_is_in_a_path_comes_out_as_it_was(words: list[str], folder: str, value: str) -> None:
    service = Service("x", ("/opt/" + folder, *words), "/srv/" + folder, {"PATH": value, "A": "b"}, {"S": "secret"})
    unit = read_unit(systemd(service))
    assert without_shell(unit["argv"], 4) == [*service.argv]
    assert (Path(unit["WorkingDirectory"]), unit["env"]) == (Path(service.folder), dict(service.env))
    found = plistlib.loads(launchd(service, LOG).encode())
    assert (found["ProgramArguments"][4:], found["WorkingDirectory"]) == ([*service.argv], service.folder)
    assert found["EnvironmentVariables"] == dict(service.env)
    assert found["ProgramArguments"][3] == unit["EnvironmentFile"].removeprefix("%E/") == service.secrets_file


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("folder", ["plain", ODD.replace("/", ""), "100% $HOME é", "ends with a blank ", "ends with a backslash\\"])
def test_systemd_takes_the_unit(folder: str, tmp_path: Path) -> None:
    home = tmp_path / folder
    home.mkdir()
    script = home / "reconcile"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    for secrets in ({}, {"S": "secret"}):
        unit = tmp_path / "x.service"
        unit.write_text(systemd(Service("x", (str(script), "watch", "-f", str(home)), str(home), {"PATH": str(home)}, secrets)))
        asked = ["systemd-analyze", "verify", "--user", "--man=no", str(unit)]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)})
        assert (done.returncode, done.stderr.strip(), done.stdout) == (0, "", "")


def test_the_variables_of_the_file_reach_the_program_and_without_it_nothing_starts(tmp_path: Path) -> None:
    show = tmp_path / """it's a "program" with $HOME"""
    show.write_text('#!/bin/sh\nprintf "%s\\n" "$S" "$@"\n')
    show.chmod(0o700)
    service = Service("x", (str(show), "a b", "$S", ""), str(tmp_path), {}, {"S": "secret"})
    argv = plistlib.loads(launchd(service, LOG).encode())["ProgramArguments"]
    ask: dict[str, Any] = {"env": {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, "capture_output": True, "text": True, "timeout": 30}
    assert subprocess.run(argv, **ask).returncode != 0
    file = tmp_path / ".config" / service.secrets_file
    file.parent.mkdir(parents=True)
    file.write_text("S='p$w \"x\"'\n")
    done = subprocess.run(argv, **ask)
    assert (done.returncode, done.stdout) == (0, 'p$w "x"\na b\n$S\n\n'), done.stderr
    done = subprocess.run(read_unit(systemd(service))["argv"], **{**ask, "env": {"S": "1"}})
    assert (done.returncode, done.stdout) == (0, "1\na b\n$S\n\n"), done.stderr


def test_stopping_the_loop_ends_neither_services_nor_runs() -> None:
    unit, agent = read_unit(systemd(PLAIN)), plistlib.loads(launchd(PLAIN, LOG).encode())
    assert (unit["KillMode"], unit["KillSignal"], unit["Restart"], unit["OOMPolicy"]) == ("process", "SIGTERM", "on-failure", "continue")
    assert (agent["AbandonProcessGroup"], agent["KeepAlive"], agent["Umask"]) == (True, {"SuccessfulExit": False}, 0o077)


@pytest.mark.parametrize("name", ["", "a b", "a--b", "../x", "a@b", ".x", "x.", "a/b", "ünï"])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        Service(name, ("/x",), "/", {})


@pytest.mark.parametrize("wrong", ["a\nExecStartPre=/bin/rm", "\x1b", "\udcff", "\u2028"])
def test_what_could_break_out_of_its_line_is_refused(wrong: str) -> None:
    for service in ({"argv": ("/x", wrong)}, {"folder": f"/{wrong}"}, {"env": {"PATH": wrong}}):
        with pytest.raises(UsageError, match="cannot stand in a service file"):
            Service(**{"name": "x", "argv": ("/x",), "folder": "/", "env": {}, **service})  # type: ignore[arg-type]


# --- the command ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifests that take a secret from the environment."""
    folder = tmp_path_factory.mktemp("a tree")
    assert reconcile("init", ".", cwd=folder).returncode == 0
    (folder / "manifests" / "alerts.yaml").write_text(
        "apiVersion: reconciler.mlops/v1\nkind: AlertPolicy\nmetadata: {name: ops}\nspec:\n"
        "  receivers: [{name: chat, apprise: {fromEnv: CHAT_ADDRESS}}]\n  routes: [{receivers: [chat]}]\n"
    )
    return folder


def test_what_was_given_stands_in_the_file_and_means_the_same_anywhere(tree: Path) -> None:
    words = ["-f", "manifests", "--root", ".", "--state-dir", "../state", "--kind", "dataset", "--project", "hello", "--selector", "a=b"]
    said = reconcile(*words, "service", "install", "--print", "--target", "systemd", "--every", "5m", "-v", cwd=tree, MLOPS_PARALLELISM="3")
    assert said.returncode == 0, said.stderr
    unit = read_unit(said.stdout)
    assert unit["argv"] == [
        *(*program(), "watch", "--every", "5m", "--manifests", str(tree / "manifests"), "--project", "hello", "--kind", "dataset"),
        *("--selector", "a=b", "--state-dir", f"{tree}/../state", "--verbose"),
    ]
    assert Path(program()[0]).is_file()
    assert unit["WorkingDirectory"] == str(tree)
    assert (unit["env"]["MLOPS_PARALLELISM"], unit["env"]["PATH"]) == ("3", os.environ["PATH"])
    assert unit["EnvironmentFile"] == "%E/mlops-reconciler/mlops-reconciler.env"
    assert "CHAT_ADDRESS: a manifest takes it from the environment" in said.stdout
    assert "systemctl --user enable --now mlops-reconciler" in said.stderr
    agent = reconcile("service", "install", "--print", "--target", "launchd", cwd=tree, HOME="/Users/ann").stdout
    assert plistlib.loads(agent.encode())["StandardOutPath"] == "/Users/ann/Library/Logs/mlops-reconciler.log"


@pytest.mark.parametrize("target", list(Target))
@pytest.mark.parametrize("store", ["postgresql+psycopg://ann:canary@db/x", "postgresql+psycopg://db/x?password=canary"])
def test_no_secret_is_written(tree: Path, store: str, target: Target) -> None:
    env = {"MLOPS_STORE": store, "CHAT_ADDRESS": "slack://canary", "MLOPS_TOKEN": "canary", "MLOPS_STATE_DIR": "state"}
    said = reconcile("service", "install", "--print", "--name", "ops", "--target", target.value, cwd=tree, **env)
    assert said.returncode == 0, said.stderr
    assert "canary" not in said.stdout + said.stderr
    assert "MLOPS_STORE: the URL holds a password" in said.stdout
    assert "First: write CHAT_ADDRESS, MLOPS_STORE into ~/.config/mlops-reconciler/ops.env (mode 0600)" in said.stderr
    assert "MLOPS_TOKEN" not in said.stdout
    assert f"{tree}/state" in said.stdout


@pytest.mark.parametrize(
    ("store", "written"),
    [
        ("postgresql+psycopg://ann@db/x?host=/run/pg&sslmode=require", "postgresql+psycopg://ann@db/x?host=/run/pg&sslmode=require"),
        ("sqlite:///some/store.db", "sqlite:///{tree}/some/store.db"),
        ("store.db", "{tree}/store.db"),
    ],
)
def test_a_store_without_a_password_is_written_out(tree: Path, store: str, written: str) -> None:
    said = reconcile("service", "install", "--print", "--target", "systemd", cwd=tree, MLOPS_STORE=store)
    assert read_unit(said.stdout)["env"]["MLOPS_STORE"] == written.format(tree=tree), said.stderr


def test_what_the_unit_says_runs_with_nothing_else_around_it_and_ends_well_when_asked(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "a.yaml").write_text(
        "apiVersion: reconciler.mlops/v1\nkind: Platform\nmetadata: {name: p}\nspec: {installation: x}\n"
    )
    unit = read_unit(reconcile("service", "install", "--print", "--target", "systemd", cwd=tmp_path).stdout)
    ask: dict[str, Any] = {"cwd": unit["WorkingDirectory"], "env": {"HOME": str(tmp_path), **unit["env"]}}
    with subprocess.Popen(unit["argv"], stdout=subprocess.PIPE, text=True, umask=int(unit["UMask"], 8), **ask) as loop:
        try:
            assert loop.stdout is not None
            assert "+ platform/p  done" in loop.stdout.readline()
            loop.send_signal(signal.Signals[unit["KillSignal"]])
            assert loop.wait(60) == 0, "a wanted stop, after which nobody starts it again"
        finally:
            loop.kill()


def test_without_print_it_says_what_to_do_and_writes_nothing(tree: Path) -> None:
    said = reconcile("service", "install", "--target", "launchd", "--name", "ops", cwd=tree)
    assert (said.returncode, said.stdout) == (1, "")
    assert "error: this only prints a service file, and installs nothing" in said.stderr
    assert "`reconcile service install --print --target launchd --name ops > ~/Library/LaunchAgents/ops.plist && launchctl" in said.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--every", "soon"], "'soon' is not a duration"),
        (["--name", "a b"], "cannot be the name of a service"),
        (["--kind", "datset"], "did you mean Dataset?"),
        (["--project", "helo"], "there is no project 'helo'"),
        (["-f", "nowhere"], "there are no manifests at nowhere"),
        (["--target", "openrc"], "'openrc' is not one of"),
    ],
)
def test_what_would_fail_when_nobody_looks_is_said_now(words: list[str], message: str, tree: Path) -> None:
    said = reconcile("service", "install", "--print", *words, cwd=tree)
    assert (said.returncode, said.stdout) == (1, "")
    assert message in said.stderr


# --- systemd's rules, read from systemd.syntax(7) and systemd.service(5) ----------------------------------------------------


def read_unit(text: str) -> dict[str, Any]:
    """The settings of a unit as systemd understands them; `argv` and `env` as the program gets them."""
    found: dict[str, Any] = {"env": {}}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        assert not line.endswith("\\"), "would go on in the next line"
        if line.startswith("#") or not equals:
            continue
        value = value.strip(" ")
        if name == "ExecStart":
            first, *rest = [each.replace("%%", "%") for each in unquoted(value)]
            assert not set(first) & set("\\\"'"), "systemd takes no such path"
            found["argv"] = [first, *(each.replace("$$", "$") for each in rest)]
            assert all("$" not in each.replace("$$", "") for each in rest), "would be a variable"
        elif name == "Environment":
            (word,) = unquoted(value)
            key, _, content = word.replace("%%", "%").partition("=")
            found["env"][key] = content
        else:
            found[name] = value.replace("%%", "%")
    return found


def unquoted(text: str) -> list[str]:
    words, at = list[str](), 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        word, quote = "", text[at] if text[at] in "\"'" else ""
        at += len(quote)
        while at < len(text) and text[at] != (quote or " "):
            assert quote or text[at] not in "\"'", "a quote in the middle of a word"
            if text[at] == "\\":
                assert text[at + 1] in '\\"', "no other escape is written"
                at += 1
            word += text[at]
            at += 1
        assert quote == "" or text[at] == quote
        assert quote or word != ";", "would begin another command"
        words.append(word)
        at += len(quote)
        assert at >= len(text) or text[at] == " "
    return words


def without_shell(argv: list[str], words: int) -> list[str]:
    """Without the shell that starts a program whose path systemd refuses."""
    return argv[words:] if argv[:3] == ["/bin/sh", "-c", 'exec "$@"'] else argv
