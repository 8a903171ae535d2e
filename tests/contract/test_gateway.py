"""The gateway, one request at a time: who may ask, what is refused and how, what an answer says."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from reconciler.gateway import keys
from reconciler.model.serving import BOUNDS, Bounds, PredictionLog
from tests.contract.gateway_lab import EXAMPLE, INPUT, TOKEN, Lab, lab, route, target, until

pytestmark = pytest.mark.xdist_group("gateway")
NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def up() -> Iterator[Lab]:
    """One gateway for all of these tests, with a route for each thing that they try."""
    with lab() as found:
        found.replica("p.n.1")
        found.replica("p.free.1", input={})
        found.routes(
            route("n", target("p.n.1"), limits=Bounds(body=2000, batch=10, timeout=1.0)),
            route("logged", target("p.n.1"), predictions=PredictionLog(log=True)),
            route("free", target("p.free.1"), auth="none", limits=Bounds(timeout=1.0, queue=2)),
            route("rated", target("p.n.1"), limits=Bounds(rate=0.5, burst=2)),
            route("idle", target("p.n.1"), off="project p is inactive"),
            route("down", target("p.none.1")),
            route("n", target("p.n.1"), project="q"),
        )
        found.start()
        yield found


def ask(up: Lab, path: str = "/predict/p/n", key: str = TOKEN, **request: Any) -> httpx.Response:
    """A prediction of one instance, unless `request` says otherwise."""
    request = request or {"json": {"instances": [{"x": 1}]}}
    with up.client(key) as client:
        return client.post(path, **request)


def refused(answer: httpx.Response, status: int, says: str = "") -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert says in found["detail"]
    assert found["requestId"] == answer.headers["x-request-id"]
    return found


# --- answers -----------------------------------------------------------------------------------------------------------


def test_answer_says_which_version_it_came_from(up: Lab) -> None:
    answer = ask(up, json={"instances": [{"x": 1}, {"x": -2.5}]})
    assert answer.status_code == 200
    assert answer.json() == {"predictions": [2, -5.0], "model": "p/model", "version": "1"}
    told = {name: answer.headers[name] for name in ("x-model-version", "x-model-run", "x-deployment-revision", "content-type")}
    assert told == {
        "x-model-version": "1",
        "x-model-run": "run-1",
        "x-deployment-revision": "p.n.1-digest",
        "content-type": "application/json",
    }
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_logged_predictions_have_ids_and_labels_find_them(up: Lab) -> None:
    path = "/predict/p/logged"
    first = ask(up, path, json={"instances": [{"x": 1}, {"x": 2}]}, headers={"x-request-id": "mine-1"}).json()
    assert first["ids"] == ["mine-1-0", "mine-1-1"]
    labels = [{"id": first["ids"][0], "label": 2}, {"id": first["ids"][1], "label": 3}]
    assert ask(up, "/feedback/p/logged", json={"labels": labels}).json() == {"labels": 2}
    stats = up.state()["routes"]["p/logged"]["apps"]["p.n.1"]
    assert (stats["labels"], stats["correct"], stats["absolute_error"]) == (2, 1, 1.0)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"labels": []},
        {"labels": [1]},
        {"labels": [{"id": "a"}]},
        {"labels": [{"id": "", "label": 1}]},
        {"labels": [{"id": 1, "label": 1}]},
        [],
    ],
)
def test_labels_that_are_none(up: Lab, body: Any) -> None:
    refused(ask(up, "/feedback/p/logged", json=body), 422, "labels")


def test_trace_and_request_id_go_on_to_the_replica(up: Lab) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"traceparent": f"00-{trace}-{parent}-01", "tracestate": "a=1,b=2", "x-request-id": "abc.1"}
    answer = ask(up, "/predict/p/free", json={"instances": [{"x": 1, "do": "trace"}]}, headers=headers)
    seen = answer.json()["predictions"][0]
    assert answer.headers["x-request-id"] == seen["x-request-id"] == "abc.1"
    assert seen["tracestate"] == "a=1,b=2"
    assert re.fullmatch(f"00-{trace}-(?!{parent})[0-9a-f]{{16}}-01", seen["traceparent"])
    assert "authorization" not in seen


@pytest.mark.parametrize(
    "given", ["", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "ff-" + "a" * 32 + "-" + "b" * 16 + "-01", "x"]
)
def test_a_trace_is_begun_where_there_is_none(up: Lab, given: str) -> None:
    headers = {"traceparent": given, "tracestate": "a=1", "x-request-id": 'forged" status=200'}
    answer = ask(up, "/predict/p/free", json={"instances": [{"x": 1, "do": "trace"}]}, headers=headers)
    seen = answer.json()["predictions"][0]
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", seen["traceparent"])
    assert "tracestate" not in seen
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


# --- keys --------------------------------------------------------------------------------------------------------------


def test_who_may_ask_what(up: Lab) -> None:
    mine, others, reader = up.key("p"), up.key("q"), up.key("p", "models")
    assert ask(up, key=mine).status_code == 200
    with httpx.Client(base_url=up.url, trust_env=False) as client:
        assert client.post("/predict/p/n", json={"instances": [{"x": 1}]}, headers={"x-api-key": mine}).status_code == 200
        for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": f"Basic {mine}"}, {"x-api-key": mine[:-1]}):
            answer = client.post("/predict/p/n", json={"instances": [{"x": 1}]}, headers=headers)
            refused(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Bearer")
    refused(ask(up, key=others), 403, "another project")
    refused(ask(up, key=reader), 403, "predict")


def test_what_others_have_cannot_be_found_out(up: Lab) -> None:
    """A key for another project is told the same of what is there and of what is not; so is who has no key."""
    others = up.key("q")
    for key in (others, ""):
        there, not_there = ask(up, "/predict/p/n", key), ask(up, "/predict/p/nothing", key)
        assert there.status_code == not_there.status_code
        assert there.json()["detail"] == not_there.json()["detail"]
    refused(ask(up, "/predict/q/nothing", others), 404)
    with up.client(others) as client:
        assert {each["deployment"] for each in client.get("/models").json()} == {"q/n", "p/free"}
        shown = client.get("/openapi.json").json()["paths"]
        assert "/predict/q/n" in shown
        assert "/predict/p/n" not in shown
        told = client.get("/readyz")
        assert told.status_code == 503
        assert "p/down" not in told.text
    with up.client("") as client:
        assert "/predict/p/n" not in client.get("/openapi.json").text
        assert "/predict/p/free" in client.get("/openapi.json").text


def test_a_public_route_asks_for_no_key(up: Lab) -> None:
    assert ask(up, "/predict/p/free", key="").status_code == 200
    assert ask(up, "/predict/p/free", key=up.key("q")).status_code == 200


def test_a_revoked_key_ends_at_once(up: Lab) -> None:
    key = up.key("p")
    assert ask(up, key=key).status_code == 200
    keys.revoke(up.state_dir, key.split("_")[1])
    refused(ask(up, key=key), 401)


def test_only_the_platform_sees_its_state(up: Lab) -> None:
    for key, status in ((up.key("*", "metrics"), 403), (up.key("p"), 403), ("", 401), (TOKEN, 200)):
        with up.client(key) as client:
            assert client.get("/-/state").status_code == status
    for key, status in ((up.key("*", "metrics"), 200), (up.key("p"), 403), ("", 401)):
        with up.client(key) as client:
            assert client.get("/metrics").status_code == status


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b'{"instances": [NaN]}', 400, "NaN"),
        (b'{"instances": [{"x": 1e999}]}', 400, "double"),
        (b'{"instances": [{"x": 1, "x": 2}]}', 400, "twice"),
        (b'{"instances": [{"x": ' + b"[" * 900 + b"]" * 900 + b"}]}", 400, "deeper"),
        (b'\xff{"instances": []}', 400, "UTF-8"),
        (b"[]", 422, "$"),
        (b"{}", 422, "instances"),
        (b'{"instances": {}}', 422, "instances"),
        (b'{"instances": []}', 422, "1 to 10"),
        (b'{"instances": [{"x": 1}], "extra": 1}', 422, "extra"),
        (b'{"instances": [' + b",".join([b'{"x": 1}'] * 11) + b"]}", 422, "1 to 10"),
        (b'{"instances": [{"x": 1}, {"x": "1"}]}', 422, "instances[1].x"),
        (b'{"instances": [{"x": 1, "y": 1}]}', 422, "instances[0]"),
        (b'{"instances": [' + b" " * 2000 + b"]}", 413, "2000 bytes"),
    ],
)
def test_bodies_that_no_model_sees(up: Lab, content: bytes, status: int, says: str) -> None:
    before = up.state()["routes"]["p/n"]["apps"]["p.n.1"]["requests"]
    refused(ask(up, content=content, headers={"content-type": "application/json"}), status, says)
    assert up.state()["routes"]["p/n"]["apps"]["p.n.1"]["requests"] == before


def test_other_methods_types_and_paths(up: Lab) -> None:
    refused(ask(up, content=b"x=1", headers={"content-type": "application/x-www-form-urlencoded"}), 415, "application/json")
    refused(ask(up, content=b"{}", headers={"content-type": "application/json", "content-encoding": "gzip"}), 415)
    with up.client() as client:
        answer = client.get("/predict/p/n")
        refused(answer, 405)
        assert answer.headers["allow"] == "POST"
        refused(client.get("/predict"), 404)
        refused(client.get("/docs"), 404)


def test_a_body_without_a_length_is_read_no_further_than_its_limit(up: Lab) -> None:
    """An endless chunked body: the answer comes although the client never stops."""
    with socket.create_connection(("127.0.0.1", up.port), timeout=10) as connection:
        head = f"POST /predict/p/n HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + (b"3e8\r\n" + b" " * 1000 + b"\r\n") * 3)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_slow_client_is_answered_and_holds_nobody_up(up: Lab) -> None:
    with socket.create_connection(("127.0.0.1", up.port), timeout=10) as connection:
        head = f"POST /predict/p/n HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 100\r\n\r\n"
        connection.sendall(head.encode() + b'{"inst')
        assert ask(up).status_code == 200
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_rate_is_of_each_key(up: Lab) -> None:
    first, second = up.key("p"), up.key("p")
    assert [ask(up, "/predict/p/rated", first).status_code for _ in range(3)] == [200, 200, 429]
    answer = ask(up, "/predict/p/rated", first)
    refused(answer, 429, "0.5 requests")
    assert 1 <= int(answer.headers["retry-after"]) <= 2
    assert ask(up, "/predict/p/rated", second).status_code == 200


def test_what_is_off_or_down_says_so_at_once(up: Lab) -> None:
    started = time.monotonic()
    for path, says in (("/predict/p/idle", "project p is inactive"), ("/predict/p/down", "no replica of p/down is up")):
        answer = ask(up, path)
        refused(answer, 503, says)
        assert int(answer.headers["retry-after"]) >= 1
    assert time.monotonic() - started < 0.9


# --- replicas that fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "status", "says", "counted"),
    [
        ("fail", 502, "status 500", True),
        ("object", 502, "not a list", True),
        ("short", 502, "0 predictions for 1", True),
        ("nan", 502, "NaN", True),
        ("refuse", 422, "refused", False),
        ("sleep", 504, "within 1 s", True),
    ],
)
def test_an_answer_that_is_none(up: Lab, do: str, status: int, says: str, counted: bool) -> None:
    before = up.state()["routes"]["p/free"]["apps"]["p.free.1"]
    answer = ask(up, "/predict/p/free", json={"instances": [{"x": 3, "do": do}]})
    refused(answer, status, says)
    assert "secret internals" not in answer.text
    after = up.state()["routes"]["p/free"]["apps"]["p.free.1"]
    assert after["errors"] - before["errors"] == after["requests"] - before["requests"] == counted
    assert after["ongoing"] == 0


def test_a_replica_that_refuses_what_its_own_schema_allows_has_failed(up: Lab) -> None:
    refused(ask(up, json={"instances": [{"x": 3, "do": "refuse"}]}), 502, "status 400")


# --- line by line ------------------------------------------------------------------------------------------------------


def lines(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_each_line_gets_its_answer(up: Lab) -> None:
    content = b'{"x": 1}\r\n\n{"x": "a"}\nnonsense\n{"x": NaN}\n{"x": 2}'
    found = lines(ask(up, "/predict/p/logged/batch", content=content, headers={**NDJSON, "x-request-id": "b"}))
    assert [each.get("prediction") for each in found] == [2, None, None, None, 4]
    assert [each["id"] for each in found if "id" in each] == ["b-0-0", "b-0-1"]
    assert [each["error"]["status"] for each in found if "error" in each] == [422, 400, 400]


def test_no_lines_are_no_answers(up: Lab) -> None:
    assert lines(ask(up, "/predict/p/n/batch", content=b"\n \n", headers=NDJSON)) == []


def test_many_lines_come_and_go_in_parts(up: Lab) -> None:
    def some() -> Iterator[bytes]:
        for number in range(3000):
            yield b'{"x": %d}\n' % number

    assert [each["prediction"] for each in lines(ask(up, "/predict/p/n/batch", content=some(), headers=NDJSON))] == [
        2 * n for n in range(3000)
    ]


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        ("/predict/p/n/batch", b"{}", {"content-type": "text/plain"}, 415),
        ("/predict/p/n/batch", b'"' + b"a" * 3000 + b'"', NDJSON, 413),
        ("/predict/p/down/batch", b'{"x": 1}\n', NDJSON, 503),
        ("/predict/p/idle/batch", b'{"x": 1}\n', NDJSON, 503),
        ("/predict/p/nothing/batch", b'{"x": 1}\n', NDJSON, 404),
    ],
)
def test_batches_that_are_refused(up: Lab, path: str, content: bytes, headers: dict[str, str], status: int) -> None:
    refused(ask(up, path, content=content, headers=headers), status)


def test_a_batch_without_an_end_ends(up: Lab) -> None:
    """The whole is bounded too; what was answered stands, and the last line says why there is no more."""

    line = b'{"x": 1, "do": "%s"}\n' % (b"-" * 20)
    head = f"POST /predict/p/n/batch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", up.port), timeout=20) as connection:
        connection.sendall(head.encode())

        def send() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"%x\r\n" % (100 * len(line)) + 100 * line + b"\r\n")

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        found = b""
        with contextlib.suppress(ConnectionResetError):  # he never stops, so the connection cannot end in peace
            while part := connection.recv(1 << 16):
                found += part
        sending.join(10)
    assert not sending.is_alive()
    assert found.count(b'{"prediction":2}') > 1000
    assert b'"status":413' in found[-400:]


# --- what it tells -----------------------------------------------------------------------------------------------------


def test_models_are_told_with_all_that_went_into_them(up: Lab) -> None:
    with up.client(up.key("p")) as client:
        found = {each["deployment"]: each for each in client.get("/models").json()}
        assert set(found) == {"p/n", "p/logged", "p/free", "p/rated", "p/idle", "p/down"}
        serving = {"model": "p/model", "version": "1", "run": "run-1", "revision": "p.n.1-digest", "datasets": {"digits": "d1"}}
        assert found["p/n"]["targets"] == [{**serving, "runtime": "sklearn", "role": "stable", "weight": 100, "ready": 1}]
        one = client.get("/models/p/n").json()
        assert one["input"] == INPUT
        assert client.post("/predict/p/n", json=one["example"]).json()["predictions"] == [2 * each["x"] for each in EXAMPLE]
        assert client.get("/models/p/n/ready").json() == {"ready": True}
        refused(client.get("/models/p/down/ready"), 503, "none of its replicas")
        refused(client.get("/models/p/idle/ready"), 503, "inactive")
        down = client.get("/readyz")
        assert [each["path"] for each in refused(down, 503, "1 of 7")["errors"]] == ["p/down"]


def test_metrics_are_those_of_the_state(up: Lab) -> None:
    assert ask(up).status_code == 200
    with up.client() as client:
        text = client.get("/metrics").text
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(found['mlops_gateway_requests_total{route="p/n",status="200",version="1"}']) >= 1
    assert float(found['mlops_gateway_ready_replicas{revision="p.n.1-di",route="p/n",version="1"}']) == 1
    took = up.state()["routes"]["p/n"]["apps"]["p.n.1"]
    assert len(took["latency"]) == len(BOUNDS) + 1
    assert sum(took["latency"]) == took["requests"]
    assert "mlops_gateway_predictions_dropped_total 0.0" in text


def test_log_has_one_line_for_each_request_and_no_secret(up: Lab) -> None:
    key = up.key("p")
    ask(up, key=key, json={"instances": [{"x": 987654321}]}, headers={"x-request-id": "in-the-log"})
    until(lambda: any(each.get("request") == "in-the-log" for each in up.lines()))
    line = next(each for each in up.lines() if each.get("request") == "in-the-log")
    assert (line["status"], line["path"], line["version"], line["attempts"]) == (200, "/predict/p/n", "1", 1)
    assert line["key"] == key.split("_")[1]
    assert TOKEN not in up.log()
    assert key.split("_")[2] not in up.log()
    assert "987654321" not in up.log()
