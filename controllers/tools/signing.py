"""Signatures over a model's files: OpenSSF Model Signing, version 1, with an EC key (P-256) and no service of others.

Source: the OMS specification (github.com/ossf/model-signing-spec) and model-signing 1.1. Its import costs 0.3 s, so it is done late."""

from __future__ import annotations

import hashlib
import importlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.errors import Terminal

_MEANINGS = (
    (re.compile(r"Hash mismatch for \\?'([^'\\]*)"), r"\1 was changed"),
    (re.compile(r"Missing files in model [^:]*: ([^\"]*)"), r"\1 is missing"),
    (re.compile(r"Extra files found in model [^:]*: ([^\"]*)"), r"\1 was added"),
    (re.compile(r"Key mismatch"), "it was made with another key"),
)
"""What model-signing says -> what it means."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What signing gives; none of it is secret."""

    content: bytes
    """The signature file: a Sigstore bundle as JSON."""
    public_key: str
    """PEM."""
    fingerprint: str
    """SHA-256 of the public key (SubjectPublicKeyInfo), as 64 hex digits: who signed."""


def sign(folder: Path, private_key: str) -> Signature:
    """Sign all files of the folder. `private_key` is an unencrypted EC key as PEM; it is not in any error.

    Raises Terminal when it is no such key, or the folder cannot be read."""
    public_key, fingerprint = public_of(private_key)
    with _private() as place:
        key, written = place / "key", place / "signature"
        key.touch(mode=0o600)
        key.write_text(private_key, encoding="utf-8")
        try:
            _config("signing").use_elliptic_key_signer(private_key=key).sign(folder, written)
        except (ValueError, OSError) as error:
            raise Terminal(f"the model's files cannot be signed: {type(error).__name__}") from None
        return Signature(written.read_bytes(), public_key, fingerprint)


def verify(folder: Path, signature: bytes, public_key: str) -> None:
    """Return when the signature is of this key and covers exactly the files of the folder; raise Terminal that says what differs."""
    with _private() as place:
        key, written = place / "key", place / "signature"
        key.write_text(public_key, encoding="utf-8")
        written.write_bytes(signature)
        config = _config("verifying")
        try:
            config.use_elliptic_key_verifier(public_key=key).verify(folder, written)
        # whatever is wrong with foreign bytes: a bundle that is no JSON, a key that is no key, a file that was changed
        except Exception as error:
            raise Terminal(
                f"the signature does not cover the model's files: {_words(error)}",
                hint="restore the files that were signed, or register the model anew",
            ) from None


def public_of(private_key: str) -> tuple[str, str]:
    """Public key as PEM, and its fingerprint. Raises Terminal for anything but an unencrypted P-256 key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    wrong = Terminal(
        "the signing key is not an unencrypted EC private key (P-256) in PEM",
        hint="make one with `openssl ecparam -name prime256v1 -genkey -noout`",
    )
    try:
        key = load_pem_private_key(private_key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise wrong from None  # its own words could quote the text
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise wrong
    public = key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), hashlib.sha256(der).hexdigest()


def fingerprint_of(public_key: str) -> str:
    """Fingerprint of a public key in PEM, as `Signature.fingerprint`. Raises Terminal when it is none."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        key = load_pem_public_key(public_key.encode())
    except ValueError as error:
        raise Terminal("not a public key in PEM") from error
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    for pattern, meaning in _MEANINGS:
        if found := pattern.search(text):
            return found.expand(meaning)
    return text[:200] or type(error).__name__


@contextmanager
def _private() -> Iterator[Path]:
    """A folder that only we enter, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="mlops-sign-") as name:
        yield Path(name)


def _config(module: str) -> Any:
    """The `Config` of model_signing's module for signing or for verifying."""
    try:
        hashing = importlib.import_module("model_signing.hashing").Config()
        # its default leaves .git, .gitattributes and the like unsigned: files that a model's own code could read
        return (
            importlib.import_module(f"model_signing.{module}")
            .Config()
            .set_hashing_config(hashing.set_ignored_paths(paths=[], ignore_git_paths=False))
        )
    except ImportError as error:
        raise Terminal("model-signing is not installed", hint="pip install 'mlops-reconciler[serving]'") from error
