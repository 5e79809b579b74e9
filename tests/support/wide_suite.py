"""A suite for tests that shares no size with the default one but the digest's: 65-byte keys, 70-byte signatures.

So are those of SM2: a point with its prefix, and a signature in DER of up to 72 bytes. Hash: BLAKE2s.
"""

from __future__ import annotations

import hashlib
from typing import Final

from common.core.errors import Malformed
from common.core.suite import ED25519_SHA256, HASH_SIZE, Suite, parse_hex

_KEY_START: Final = b"\x04"
_SIGNATURE_START: Final = b"\x30\x44\x02\x20\x02\x20"


class WideSuite:
    """Ed25519 underneath, in other clothes."""

    name: Final = "wide-blake2s"
    key_prefix: Final = "wide"
    hash_size: Final = HASH_SIZE

    def hash(self, data: bytes) -> bytes:
        return hashlib.blake2s(data).digest()

    def tagged_hash(self, tag: str, data: bytes) -> bytes:
        start = self.hash(tag.encode())
        return self.hash(start + start + data)

    def sign(self, seed: bytes, message: bytes) -> bytes:
        return _SIGNATURE_START + ED25519_SHA256.sign(seed, self.hash(message))

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        if len(public_key) != 65 or not signature.startswith(_SIGNATURE_START):
            return False
        return ED25519_SHA256.verify(public_key[1:33], self.hash(message), signature[len(_SIGNATURE_START) :])

    def public_key(self, seed: bytes) -> bytes:
        key = ED25519_SHA256.public_key(seed)
        return _KEY_START + key + self.hash(key)

    def check_public_key(self, public_key: bytes) -> None:
        if len(public_key) != 65 or public_key[33:] != self.hash(public_key[1:33]):
            raise Malformed("public_key_length", "A key of this suite has 65 bytes.")
        ED25519_SHA256.check_public_key(public_key[1:33])

    def format_key(self, public_key: bytes) -> str:
        return f"{self.key_prefix}:{public_key.hex()}"

    def parse_key(self, text: str) -> bytes:
        prefix, _, digits = text.partition(":")
        if prefix != self.key_prefix:
            raise Malformed("public_key_prefix", "A public key of this suite starts with 'wide:'.")
        public_key = parse_hex(digits, "public_key")
        self.check_public_key(public_key)
        return public_key


WIDE: Final[Suite] = WideSuite()
