"""Signatures over a model's files, with the real model-signing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from controllers.tools.signing import Signature, fingerprint_of, public_of, sign, verify
from reconciler.errors import Terminal
from tests.contract.model_folders import adding


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes = b"") -> str:
    how = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode()


@pytest.fixture(scope="module")
def key() -> str:
    return pem(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = adding(tmp_path / "model")
    (folder / "deep").mkdir()
    (folder / "deep" / "weights.bin").write_bytes(b"\0" * 100)
    return folder


def test_what_was_signed_is_verified_wherever_it_lies(model: Path, key: str, tmp_path: Path) -> None:
    signature = sign(model, key)
    assert signature.fingerprint == fingerprint_of(signature.public_key) == public_of(key)[1]
    shutil.copytree(model, tmp_path / "elsewhere")
    verify(tmp_path / "elsewhere", signature.content, signature.public_key)
    assert sorted(path.name for path in model.iterdir()) == ["deep", "mlops.json", "model.py"]


def changed(model: Path) -> None:
    (model / "deep" / "weights.bin").write_bytes(b"\1" * 100)


def missing(model: Path) -> None:
    (model / "model.py").unlink()


def added(model: Path) -> None:
    (model / "extra.py").touch()


def hidden(model: Path) -> None:
    (model / ".git").mkdir()
    (model / ".git" / "hook").touch()


def linked(model: Path) -> None:
    (model / "link").symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (changed, "deep/weights.bin was changed"),
        (missing, "model.py is missing"),
        (added, "extra.py was added"),
        (hidden, ".git/hook was added"),
        (linked, "symlink"),
    ],
)
def test_what_differs_is_named(model: Path, key: str, harm: Callable[[Path], None], said: str) -> None:
    signature = sign(model, key)
    harm(model)
    with pytest.raises(Terminal, match="the signature does not cover the model's files") as told:
        verify(model, signature.content, signature.public_key)
    assert said in told.value.message


def test_another_key_and_bytes_that_are_no_signature(model: Path, key: str) -> None:
    signature = sign(model, key)
    other = public_of(pem(ec.generate_private_key(ec.SECP256R1())))[0]
    with pytest.raises(Terminal, match="made with another key"):
        verify(model, signature.content, other)
    forged = Signature(signature.content.replace(b'"sig"', b'"gis"'), signature.public_key, signature.fingerprint)
    for content, public in (
        (b"", other),
        (b"{}", other),
        (b"\xff\0", other),
        (signature.content, "no key"),
        (forged.content, forged.public_key),
    ):
        with pytest.raises(Terminal):
            verify(model, content, public)


def test_keys_of_another_sort_are_refused_and_never_shown(model: Path, key: str) -> None:
    wrong = [
        "no key",
        key[:120],
        public_of(key)[0],
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(65537, 2048)),
        pem(ec.generate_private_key(ec.SECP256R1()), b"password"),
    ]
    for each in wrong:
        with pytest.raises(Terminal, match=r"not an unencrypted EC private key \(P-256\)") as told:
            sign(model, each)
        chain: BaseException | None = told.value
        while chain is not None:
            assert not any(line in repr(chain) for line in each.splitlines() if len(line) > 20)
            chain = None if chain.__suppress_context__ else chain.__cause__ or chain.__context__


def test_the_key_leaves_no_file(model: Path, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    sign(model, key)
    assert not list((tmp_path / "tmp").iterdir())
