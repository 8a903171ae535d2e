"""Who is let in: tokens, JWTs of an issuer, whoever is on this machine; and what is refused before anybody is asked who he is."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from reconciler.api.v1.authenticate import hashed, new_token
from reconciler.api.v1.limits import Limits
from tests.contract.api_lab import Lab, problem, until


@dataclass
class Provider:
    """An OpenID Connect provider of its own: a page that names its keys, and the keys."""

    keys: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    asked: list[str] = field(default_factory=list)
    away: bool = False

    def key(self, id_: str) -> Any:
        """Publish a new one."""
        self.keys[id_] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self.keys[id_]

    def page(self, path: str) -> dict[str, Any]:
        self.asked.append(path)
        if path.endswith("openid-configuration"):
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        told = ((id_, json.loads(RSAAlgorithm.to_jwk(key.public_key()))) for id_, key in self.keys.items())
        return {"keys": [{**each, "kid": id_, "use": "sig", "alg": "RS256"} for id_, each in told]}

    def token(self, signed_by: Any = None, id_: str = "one", algorithm: str = "RS256", **claims: Any) -> str:
        now = datetime.now(UTC)
        told = {
            "iss": self.url,
            "aud": "mlops",
            "sub": "u-1",
            "email": "ada@example.org",
            "exp": now + timedelta(minutes=5),
            "groups": ["ops"],
        }
        key = signed_by if signed_by is not None else self.keys.get(id_)
        body = {name: value for name, value in {**told, **claims}.items() if value is not None}
        return jwt.encode(body, key, algorithm=algorithm, headers={"kid": id_})


@contextmanager
def provider() -> Iterator[Provider]:
    found = Provider()
    found.key("one")

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(found.page(self.path)).encode()
            self.send_response(503 if found.away else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def installation(root: Path, api: str = "", limits: Limits | None = None) -> Iterator[Lab]:
    lab = Lab(root, api=f", api: {{{api}}}" if api else "", **({"limits": limits} if limits else {}))
    lab.project("p")
    with lab.looping():
        until(lambda: len(lab.house.store.statuses()) == 2, "the first pass")
        yield lab
    lab.house.store.close()


def test_a_token_opens_until_it_is_revoked_or_over_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    with installation(tmp_path) as lab:
        doors, now = lab.house.store.doors, lab.house.now()
        token, text = new_token("ci", "operator", frozenset({"p"}), actor="test", now=now)
        doors.add_token(token)
        with lab.client(text) as client:
            me = client.get("/me").json()
            assert (me["name"], me["grants"]) == ("ci", [{"role": "operator", "projects": ["p"]}])
            doors.revoke_token(token.id, "test")
            problem(client.get("/me"), 401)
        over, text = new_token("old", "admin", frozenset({"*"}), actor="test", now=now, expires=now)
        doors.add_token(over)
        with lab.client(text) as client:
            problem(client.get("/me"), 401)
        secret = text.split("_", 2)[2]
        kept = b"".join(path.read_bytes() for path in (tmp_path / "state").glob("store.db*"))
        assert secret.encode() not in kept
        assert hashed(secret).encode() in kept


@pytest.mark.parametrize(
    "text",
    ["x", "mlt_", "mlt_000000000000_" + "A" * 43, "mlt_zzz_" + "A" * 43, "A" * 9000, "a.b.c", "null", "\x00"],
    ids=["x", "head", "nobodys", "malformed", "long", "jwt", "null", "nul"],
)
def test_what_is_no_token_is_refused_alike(login: Lab, text: str) -> None:
    raw = f"Bearer {text}".encode("latin-1")
    if b"\x00" in raw:
        raw = b"Basic YTpi"
    with login.client() as client:
        refused = client.get("/status", headers=[(b"authorization", raw)])
        assert problem(refused, 401)["detail"] == "the token is not known, or good no longer"
        assert refused.headers["www-authenticate"].startswith("Bearer")


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with installation(tmp_path_factory.mktemp("login")) as found:
        yield found


def test_a_secret_of_another_token_opens_nothing(login: Lab) -> None:
    one, other = login.token("admin"), login.token("viewer")
    forged = "_".join([*one.split("_")[:2], other.split("_", 2)[2]])
    with login.client(forged) as client:
        problem(client.get("/me"), 401)


def test_only_on_this_machine_and_under_its_name_anybody_reads(login: Lab, tmp_path: Path) -> None:
    with login.client() as client:
        assert client.get("/status").status_code == 200
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            problem(client.get("/status", headers={header: "10.0.0.7"}), 401)
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::2]"):
            problem(client.get("/status", headers={"host": host}), 421)
    with installation(tmp_path, "anonymousRead: false, hosts: [mlops.example.org]") as lab:
        with lab.client() as client:
            problem(client.get("/status"), 401)
        with lab.client(lab.token("viewer")) as client:
            assert client.get("/status").status_code == 200
            assert client.get("/status", headers={"host": "mlops.example.org"}).status_code == 200
            problem(client.get("/status", headers={"host": "other.example.org"}), 421)


def test_pages_of_other_origins_can_do_nothing(login: Lab) -> None:
    with login.client(login.token("admin")) as client:
        read = client.get("/status", headers={"origin": "https://evil.example"})
        assert not [name for name in read.headers if name.startswith("access-control-")]
        asked = client.options("/reconcile", headers={"origin": "https://evil.example", "access-control-request-method": "POST"})
        assert asked.status_code in (403, 405)
        assert not [name for name in asked.headers if name.startswith("access-control-")]
        for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
            problem(client.post("/reconcile", headers=headers), 403)
        own = login.url.removeprefix("http://")
        assert client.post("/reconcile", headers={"origin": f"http://{own}", "sec-fetch-site": "same-origin"}).status_code == 202


def test_every_answer_is_safe_and_every_refusal_a_problem(login: Lab) -> None:
    with login.client(login.token("admin")) as client:
        answers: list[tuple[Callable[[], Any], int]] = [
            (lambda: client.get("/nothing"), 404),
            (lambda: client.put("/status"), 405),
            (lambda: client.get("/resources?limit=0"), 422),
            (lambda: client.post("/tokens", content=b"{"), 422),
            (lambda: client.post("/tokens", json={"name": "x", "more": 1}), 422),
            (lambda: client.post("/tokens", content=b"x" * (70 << 10)), 413),
            (lambda: client.post("/tokens", content=iter([b"x" * 1024] * 70)), 413),
        ]
        for ask, status in answers:
            answer = ask()
            problem(answer, status)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_who_asks_too_often_waits(tmp_path: Path) -> None:
    few = Limits(reads=0.5, read_burst=3, writes=0.5, write_burst=2, failures=0.5, failure_burst=2)
    with installation(tmp_path, limits=few) as lab:
        with lab.client(lab.token("admin")) as client, lab.client(lab.token("admin")) as other:
            assert [client.get("/me").status_code for _ in range(4)] == [200, 200, 200, 429]
            refused = client.get("/me")
            problem(refused, 429)
            assert 1 <= int(refused.headers["retry-after"]) <= 2
            assert other.get("/me").status_code == 200, "each has a rate of his own"
            assert [client.post("/reconcile").status_code for _ in range(3)] == [202, 202, 429]
        with lab.client("mlt_000000000000_" + "A" * 43) as client:
            assert [client.get("/me").status_code for _ in range(3)] == [401, 401, 429]


OIDC = (
    "oidc: {{issuer: '{url}', audience: mlops, username: email, roles: "
    "[{{value: ops, role: operator, projects: [p]}}, {{claim: realm.roles, value: boss, role: admin}}]}}"
)


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Provider]]:
    with provider() as found, installation(tmp_path_factory.mktemp("oidc"), OIDC.format(url=found.url)) as lab:
        yield lab, found


def test_a_jwt_of_the_issuer_grants_what_its_claims_say(issued: tuple[Lab, Provider]) -> None:
    lab, found = issued
    with lab.client(found.token()) as client:
        assert client.get("/me").json()["name"] == "ada@example.org"
        assert client.get("/me").json()["grants"] == [{"role": "operator", "projects": ["p"]}]
        assert client.post("/reconcile").status_code == 202
        problem(client.get("/tokens"), 403)
        assert lab.house.store.history(limit=1)[0].actor == "ada@example.org"
    with lab.client(found.token(groups=None, realm={"roles": ["boss"]})) as client:
        assert client.get("/tokens").status_code == 200
    with lab.client(found.token(groups=["others"])) as client:
        problem(client.get("/me"), 403)


def test_a_jwt_that_is_not_good_is_refused(issued: tuple[Lab, Provider]) -> None:
    lab, found = issued
    now, stranger = datetime.now(UTC), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(RSAAlgorithm.to_jwk(found.keys["one"].public_key()))["n"]
    good = found.token()
    head, body, sign = good.split(".")
    other = found.token(groups=["ops"], realm={"roles": ["boss"]}).split(".")[1]
    bad = {
        "expired": found.token(exp=now - timedelta(minutes=2)),
        "not yet valid": found.token(nbf=now + timedelta(minutes=5)),
        "for another": found.token(aud="other"),
        "of another": found.token(iss="https://other.example"),
        "without an end": found.token(exp=None),
        "without an audience": found.token(aud=None),
        "without a subject": found.token(sub=None),
        "forged": found.token(signed_by=stranger),
        "unknown key": found.token(signed_by=stranger, id_="two"),
        "none": found.token(signed_by="", algorithm="none"),
        "hmac by the public key": found.token(signed_by=public, algorithm="HS256"),
        "changed": f"{head}.{other}.{sign}",
        "cut": f"{head}.{body}.",
    }
    for why, text in bad.items():
        with lab.client(text) as client:
            assert client.get("/me").status_code == 401, why
    with lab.client(good) as client:
        assert client.get("/me").status_code == 200


def test_the_issuer_is_asked_rarely_and_may_be_away(issued: tuple[Lab, Provider]) -> None:
    lab, found = issued
    with lab.client(found.token()) as client:
        assert client.get("/me").status_code == 200
        before = len(found.asked)
        for number in range(5):
            stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            assert client.get("/me", headers={"authorization": f"Bearer {found.token(stranger, id_=str(number))}"}).status_code == 401
        assert len(found.asked) - before <= 2, "invented keys do not make us ask each time"
        found.away = True
        assert client.get("/me").status_code == 200, "known keys stay"
        found.away = False
