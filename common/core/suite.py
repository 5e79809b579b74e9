"""Cryptographic suites: the only module that names an algorithm.

A chain chooses its suite in genesis. Everything else passes a `Suite` around and length-prefixes keys and
signatures, so that a second suite (SM2 with SM3) is added here and nowhere else.

Invariants:
  * `verify` answers the same on every node: one library (libsodium through PyNaCl), strict verification, fixed
    lengths (attack E3).
  * A public key enters the system through `parse_key` or `check_public_key`, which refuse points of small order,
    outside the prime-order subgroup, or not canonically encoded.
  * `tagged_hash(tag, data) = H(H(tag) || H(tag) || data)`, as in BIP 340, keeps hashes of different structures
    apart (attack E4).

References: RFC 8032 section 5.1, BIP 340 "Design", ed25519-speccheck. Left out: TLS, key files and AEAD
(`cryptography` does those).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from nacl import bindings
from nacl.exceptions import BadSignatureError

from common.core.errors import InvariantBroken, Malformed

if TYPE_CHECKING:
    from hashlib import _Hash

HASH_SIZE: Final = 32
MAX_KEY_BYTES: Final = 256
MAX_SIGNATURE_BYTES: Final = 256

_ED25519_KEY_BYTES: Final = 32
_ED25519_SIGNATURE_BYTES: Final = 64
_ED25519_PREFIX: Final = "ed25519"


class Suite(Protocol):
    """A hash, a signature scheme and the text format of keys. Seeds are 32 secret bytes."""

    @property
    def name(self) -> str:
        """Name in genesis documents, e.g. `ed25519-sha256`."""

    @property
    def key_prefix(self) -> str:
        """Prefix of public keys in text, e.g. `ed25519`."""

    @property
    def hash_size(self) -> int:
        """Bytes of a digest; 32 in every suite, because wire formats use b32 fields."""

    def hash(self, data: bytes) -> bytes:
        """Digest of `data`."""

    def tagged_hash(self, tag: str, data: bytes) -> bytes:
        """`H(H(tag) || H(tag) || data)`."""

    def sign(self, seed: bytes, message: bytes) -> bytes:
        """Sign `message` (bytes of any length) with the key of `seed`."""

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the signature holds, strictly; never raises, whatever the bytes."""

    def public_key(self, seed: bytes) -> bytes:
        """Public key of a seed."""

    def check_public_key(self, public_key: bytes) -> None:
        """Raise `Malformed` unless the key is well formed and safe to enrol."""

    def format_key(self, public_key: bytes) -> str:
        """Text form `<prefix>:<lowercase hex>`."""

    def parse_key(self, text: str) -> bytes:
        """Bytes of a key in text form; raises `Malformed` on any other text and on unsafe keys."""


class _TagStates(dict[str, "_Hash"]):
    """SHA-256 behind a tag's two digests, by tag; tags are constants of the protocol, so there are few."""

    def __missing__(self, tag: str) -> _Hash:
        digest = hashlib.sha256(tag.encode("ascii")).digest()
        state = self[tag] = hashlib.sha256(digest + digest)
        return state


_TAG_STATES: Final = _TagStates()


@lru_cache(maxsize=1024)
def _ed25519_keypair(seed: bytes) -> tuple[bytes, bytes]:
    """(public key, secret key in libsodium's form). Cached: expanding a seed costs as much as signing."""
    if len(seed) != 32:
        raise Malformed("seed_length", "An Ed25519 seed has 32 bytes.", length=len(seed))
    return bindings.crypto_sign_seed_keypair(seed)


def _check_ed25519_key(public_key: bytes) -> None:
    if len(public_key) != _ED25519_KEY_BYTES:
        raise Malformed("public_key_length", "An Ed25519 public key has 32 bytes.", length=len(public_key))
    if not bindings.crypto_core_ed25519_is_valid_point(public_key):
        raise Malformed(
            "public_key_unsafe",
            "The public key is not the canonical encoding of a point of the prime-order subgroup.",
        )


@lru_cache(maxsize=65536)
def _parse_ed25519_key(text: str) -> bytes:
    prefix, separator, digits = text.partition(":")
    if prefix != _ED25519_PREFIX or not separator:
        raise Malformed("public_key_prefix", "A public key of this suite starts with 'ed25519:'.")
    public_key = parse_hex(digits, "public_key")
    _check_ed25519_key(public_key)
    return public_key


class Ed25519Sha256:
    """Ed25519 (RFC 8032, libsodium's strict verification) and SHA-256."""

    name: Final = "ed25519-sha256"
    key_prefix: Final = _ED25519_PREFIX
    hash_size: Final = HASH_SIZE

    def hash(self, data: bytes) -> bytes:
        """SHA-256."""
        return hashlib.sha256(data).digest()

    def tagged_hash(self, tag: str, data: bytes) -> bytes:
        """SHA-256 with the tag's two digests absorbed beforehand (cached)."""
        state = _TAG_STATES[tag].copy()
        state.update(data)
        return state.digest()

    def sign(self, seed: bytes, message: bytes) -> bytes:
        """64-byte deterministic signature. Raises `Malformed` if the seed has not 32 bytes."""
        return bindings.crypto_sign(message, _ed25519_keypair(seed)[1])[:_ED25519_SIGNATURE_BYTES]

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Strict: S < L, canonical key, and neither key nor R of small order (attack E3)."""
        if len(public_key) != _ED25519_KEY_BYTES or len(signature) != _ED25519_SIGNATURE_BYTES:
            return False
        try:
            bindings.crypto_sign_open(signature + message, public_key)
        except BadSignatureError:
            return False
        return True

    def public_key(self, seed: bytes) -> bytes:
        """32-byte public key. Raises `Malformed` if the seed has not 32 bytes."""
        return _ed25519_keypair(seed)[0]

    def check_public_key(self, public_key: bytes) -> None:
        """Raises `Malformed` with `public_key_length` or `public_key_unsafe`."""
        _check_ed25519_key(public_key)

    def format_key(self, public_key: bytes) -> str:
        """`ed25519:<64 lowercase hex digits>`."""
        return f"{_ED25519_PREFIX}:{public_key.hex()}"

    def parse_key(self, text: str) -> bytes:
        """Cached by text.

        Raises `Malformed` (`public_key_prefix`, `hex_invalid`, `public_key_length`, `public_key_unsafe`).
        """
        return _parse_ed25519_key(text)


def parse_hex(text: str, field: str, size: int | None = None) -> bytes:
    """Bytes of a lowercase hex string (of exactly `size` bytes, if given); there is one spelling of every value.

    Raises `Malformed` with `hex_invalid` or `hex_length`, naming the field.
    """
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if data.hex() != text:
        raise Malformed("hex_invalid", f"{field} is not lowercase hex.", field=field)
    if size is not None and len(data) != size:
        raise Malformed("hex_length", f"{field} has {len(data)} bytes, not {size}.", field=field, length=len(data))
    return data


ED25519_SHA256: Final[Suite] = Ed25519Sha256()

DEFAULT_SUITE: Final[Suite] = ED25519_SHA256
"""What a chain is founded with, and keys are made for, unless something else is named."""

_SUITES: Final[dict[str, Suite]] = {}


def register_suite(suite: Suite) -> None:
    """Make a suite known by its name. Raises `InvariantBroken` if the name is taken, or digests have not 32 bytes."""
    if suite.name in _SUITES or suite.hash_size != HASH_SIZE:
        raise InvariantBroken(f"the suite {suite.name} cannot be registered")
    _SUITES[suite.name] = suite


register_suite(ED25519_SHA256)


def suite_named(name: str) -> Suite:
    """The suite of that name. Raises `Malformed('unknown_suite')`."""
    suite = _SUITES.get(name)
    if suite is None:
        raise Malformed("unknown_suite", "This node does not know the cryptographic suite.", suite=name[:64])
    return suite
