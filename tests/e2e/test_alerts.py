"""From a manifest tree to a message: what fails is told, what is mended too; the commands; a loop that is killed, and its successor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.alert_lab import SECRET, Inbox, listening, until
from tests.e2e.installation import RECONCILE, Installation, dataset, project, start

WORDS = "dataset/p/words"


def _policy(inbox: Inbox, extra: str = "") -> str:
    hook = f"{{url: '{inbox.url}/hook', secret: {{fromEnv: HOOK_SECRET}}}}"
    head = "apiVersion: reconciler.mlops/v1\nkind: AlertPolicy\nmetadata: {name: ops}\nspec:\n"
    receivers = f"  receivers:\n    - {{name: ops, webhook: {hook}}}\n    - {{name: chat, apprise: {{fromEnv: CHAT}}}}\n"
    return f"{head}{receivers}  routes: [{{receivers: [ops, chat], changes: [delete]}}]\n{extra}"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with listening() as found:
        yield found


@pytest.fixture
def here(tmp_path: Path, inbox: Inbox) -> Installation:
    """A dataset without data, and a policy. No tool is needed for either."""
    found = start(tmp_path / "root", "http://127.0.0.1:9", "alerts")
    found.env = {"HOOK_SECRET": SECRET, "CHAT": f"{inbox.url.replace('http', 'json')}/chat/"}
    found.write(
        {
            "manifests/data.yaml": "---\n".join([project("p"), dataset("words", "p", "words.csv")]),
            "manifests/alerts.yaml": _policy(inbox),
            "code/p/readme": "nothing yet\n",
        }
    )
    return found


def test_a_failure_is_told_and_so_is_its_end(here: Installation, inbox: Inbox) -> None:
    assert here.run("--dry-run").code == 0
    assert inbox.requests == []
    assert here.run().code == 1
    assert inbox.told() == [[(WORDS, "firing")]]
    assert here.status()["alertpolicy/ops"]["message"] == "2 receivers, 1 route"
    (chat,) = inbox.bodies("/chat/")
    assert chat["title"].startswith("critical: dataset/p/words: nothing is at 'words.csv'")
    assert "manifests/data.yaml:" in chat["message"]
    shown = here.ok("alerts").out
    assert shown.startswith("1 alert fires: 1 critical.")
    assert "chat, ops" in shown
    assert here.run().code == 1  # again: nothing new
    here.write({"code/p/words.csv": "a\n1\n"})
    here.ok()
    assert inbox.told() == [[(WORDS, "firing")], [(WORDS, "resolved")]]
    assert here.ok("alerts").out.startswith("Nothing fires.")
    told = json.loads(here.ok("alerts", "--all", "-o", "json").out)
    assert [(each["ref"], each["told"]) for each in told["alerts"]] == [(WORDS, {"chat": "sent", "ops": "sent"})]
    assert {each["state"] for each in told["deliveries"]} == {"sent"}
    quiet = len(inbox.requests)
    before = _store(here)
    here.ok()
    assert len(inbox.requests) == quiet
    assert _store(here) == before


def _store(here: Installation) -> list[tuple[str, str]]:
    """Everything that alerting has written, as text."""
    import sqlite3

    with sqlite3.connect(here.root / ".mlops" / "store.db") as store:
        tables = ("alerts", "deliveries", "delivery_parts", "silences", "alert_marks")
        return [(name, repr(store.execute(f"select * from {name}").fetchall())) for name in tables]


def test_a_manifest_that_is_wrong_is_told_too_and_a_deletion_where_it_is_asked_for(here: Installation, inbox: Inbox) -> None:
    here.write({"code/p/words.csv": "a\n1\n", "code/p/more.csv": "a\n1\n", "manifests/more.yaml": dataset("more", "p", "more.csv")})
    here.ok()
    here.write({"manifests/more.yaml": dataset("more", "p", "more.csv").replace("settle: 0s", "settle: soon")})
    here.run()
    assert inbox.told() == [[("dataset/p/more", "firing")]]
    assert inbox.bodies()[0]["alerts"][0]["reason"] == "InvalidManifest"
    (here.root / "manifests" / "more.yaml").unlink()
    held = here.run()
    assert held.code == 3
    here.ok("--confirm", "dataset/p/more")
    assert inbox.told()[1:] == [[("dataset/p/more", "resolved")], []]
    assert [(each["ref"], each["action"]) for each in inbox.bodies()[-1]["changes"]] == [("dataset/p/more", "delete")]


def test_the_commands(here: Installation, inbox: Inbox) -> None:
    here.ok("alerts", "test", "ops")  # before it is applied: as its manifest declares it
    assert [body["alerts"][0]["reason"] for body in inbox.bodies()] == ["Test"]
    inbox.status = 500
    ran = here.run("alerts", "test", "ops", "--receiver", "ops")
    assert (ran.code, ran.out) == (1, "ops: it answered 500\n")
    inbox.status = 204
    assert "did you mean ops" in here.run("alerts", "test", "opps").err
    assert "has no receiver 'mail'" in here.run("alerts", "test", "ops", "--receiver", "mail").err
    inbox.requests.clear()

    here.write({"code/p/words.csv": "a\n1\n", "manifests/alerts.yaml": _policy(inbox, "  groupWait: 0s\n")})
    here.ok()
    silent = here.ok("silence", "words", "--for", "2h", "--why", "the disk is full")
    assert silent.out.startswith(f"Silent about {WORDS} for 2h (")
    here.ok("silence", "dataset/p/o*", "--reason", "Term*", "--why", "the disk is full")
    here.write({"manifests/other.yaml": dataset("other", "p", "nowhere.csv")})
    here.run()
    assert inbox.requests == []
    shown = here.ok("alerts").out
    assert "ops (silenced)" in shown
    assert "the disk is full" in shown
    assert here.ok("unsilence", "words").out == f"No longer silent about {WORDS}.\n"
    here.run()
    assert inbox.requests == []
    here.ok("unsilence", "--all")
    here.run()
    assert inbox.told() == [[("dataset/p/other", "firing")]]
    for wrong in (("silence", "--why", "xyz"), ("silence", "words", "--why", "xyz", "--for", "soon"), ("unsilence",), ("unsilence", "abc")):
        ran = here.run(*wrong)
        assert ran.code == 1
        assert ran.err.startswith("error: ")


def test_a_secret_that_is_missing_makes_the_policy_degraded(here: Installation, inbox: Inbox) -> None:
    del here.env["CHAT"]
    here.run()
    told = here.status()["alertpolicy/ops"]
    assert (told["health"], told["message"]) == ("Degraded", "chat: the environment variable CHAT is not set")
    assert {ref for message in inbox.told() for ref, _ in message} == {WORDS, "alertpolicy/ops"}
    here.env["CHAT"] = f"{inbox.url.replace('http', 'json')}/chat/"
    here.run()
    assert [each["title"].split(":")[1] for each in inbox.bodies("/chat/")] == [" dataset/p/words"]  # not its own trouble


@pytest.mark.parametrize("delay", [0.0, 0.4, 0.8])
def test_a_loop_that_is_killed_loses_and_repeats_nothing(here: Installation, inbox: Inbox, delay: float) -> None:
    here.write({"manifests/alerts.yaml": _policy(inbox, "  groupWait: 0s\n  groupInterval: 0s\n")})
    loop = subprocess.Popen(
        [RECONCILE, "watch", "--every", "1s"], cwd=here.root, env=here.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: len(_accepted(inbox)) == 1, 40.0)
        here.write({"code/p/words.csv": "a\n1\n"})
        time.sleep(0.3 + delay)  # somewhere between the change and the message that all is well
    finally:
        os.kill(loop.pid, signal.SIGKILL)
        loop.wait()
    here.ok()
    told = _accepted(inbox)
    assert [phase for _, phase in told] == ["firing", "resolved"]
    assert len({name for name, _ in told}) == 1


def _accepted(inbox: Inbox) -> list[tuple[str, str]]:
    """(id, phase) of every alert that a receiver which checks would act on."""
    return [(each["id"], each["phase"]) for body in inbox.accepted() for each in body["alerts"]]
