"""Commit certificate: the proof that a quorum of one height's validators decided one block.

Invariants:
  * It is a list of commit signatures by distinct members over (type, genesis id, network, height, view, block id)
    (architecture decision 7, protocol rule 6), so no other message can pass for a commit vote (attack C10).
  * Member indexes strictly ascend: one list of votes has one encoding, and a vote cannot count twice (attacks C4, C8).
  * Verification raises with a named code and never returns a bare boolean.

Left out: which validator set is the right one for a height. The caller passes the set it trusts; here it is only
held against the header's commitment. The caller also compares the header's `genesis_id` and `network` with its
trust root (attack R4).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from common.core.codec import Reader
from common.core.errors import CertificateInvalid, CodecError, InvariantBroken
from common.core.header import Header
from common.core.suite import HASH_SIZE, MAX_SIGNATURE_BYTES, Suite
from common.core.validators import MAX_VALIDATORS, ValidatorSet

COMMIT_TAG: Final = "tongjian/vote/commit/v1"
MAX_CERTIFICATE_BYTES: Final = 64 + MAX_VALIDATORS * (6 + MAX_SIGNATURE_BYTES)
_WIRE_VERSION: Final = 1
_PLACE: Final = struct.Struct(">QQ")
_START: Final = struct.Struct(f">BQQ{HASH_SIZE}sH")
_SIGNATURE: Final = struct.Struct(">HI")


@dataclass(frozen=True, slots=True)
class Certificate:
    """Commit signatures of one block; indexes ascend strictly.

    Wire v1: u8 1 | u64 height | u64 view | b32 block_id | u16 count | (u16 index | blob signature)*.
    Golden bytes: `tests/vectors/certificate_v1.json`.
    """

    height: int
    view: int
    block_id: bytes
    signatures: tuple[tuple[int, bytes], ...]

    def encode(self) -> bytes:
        """Wire bytes."""
        return encode_signed(self.height, self.view, self.block_id, self.signatures)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse exactly one certificate. Raises `CodecError`; says nothing about whether it holds."""
        reader = Reader(data)
        if reader.u8() != _WIRE_VERSION:
            raise CodecError("certificate_version", "Unknown version of the certificate format.")
        height, view, block_id, count = reader.u64(), reader.u64(), reader.fixed(HASH_SIZE), reader.u16()
        if count > MAX_VALIDATORS:
            raise CodecError(
                "certificate_too_many", f"A certificate has at most {MAX_VALIDATORS} signatures.", count=count
            )
        signatures: list[tuple[int, bytes]] = []
        for _ in range(count):
            index = reader.u16()
            if signatures and index <= signatures[-1][0]:
                raise CodecError(
                    "certificate_order", "Member indexes of a certificate must ascend strictly.", index=index
                )
            signatures.append((index, reader.blob(MAX_SIGNATURE_BYTES)))
        reader.end()
        return cls(height, view, block_id, tuple(signatures))


def encode_signed(height: int, view: int, block_id: bytes, signatures: Sequence[tuple[int, bytes]]) -> bytes:
    """The wire bytes of a certificate. Raises `InvariantBroken` if a field does not fit."""
    if len(block_id) != HASH_SIZE:
        raise InvariantBroken("a certificate names no block")
    try:
        parts = [_START.pack(_WIRE_VERSION, height, view, block_id, len(signatures))]
        for index, signature in signatures:
            parts += (_SIGNATURE.pack(index, len(signature)), signature)
    except struct.error as error:
        raise InvariantBroken(f"a field of a certificate does not fit: {error}") from None
    return b"".join(parts)


def signed_prefix(genesis_id: bytes, network: str, height: int, view: int) -> bytes:
    """`b32 genesis_id | text8 network | u64 height | u64 view`, the start of everything signed (protocol rule 6)."""
    name = network.encode("ascii")
    return b"".join((genesis_id, bytes((len(name),)), name, _PLACE.pack(height, view)))


def commit_payload(suite: Suite, genesis_id: bytes, network: str, height: int, view: int, block_id: bytes) -> bytes:
    """The 32 bytes that a commit vote signs.

    `tagged_hash("tongjian/vote/commit/v1", b32 genesis_id | text8 network | u64 height | u64 view | b32 block_id)`.
    """
    return suite.tagged_hash(COMMIT_TAG, signed_prefix(genesis_id, network, height, view) + block_id)


def verify_certificate(suite: Suite, validators: ValidatorSet, header: Header, certificate: Certificate) -> None:
    """Return if `certificate` proves that a quorum of `validators` committed `header`.

    Cheap checks come first, so that garbage costs no signature verification. Every signature must hold, not only a
    quorum of them: an honest node never relays a bad one. Raises `CertificateInvalid` with
    `certificate_wrong_height`, `certificate_wrong_set`, `certificate_duplicate_signer`,
    `certificate_unknown_signer`, `certificate_too_few`, `certificate_wrong_block` or `certificate_bad_signature`
    (attacks C4, C7, C8, C9, R2).
    """
    if certificate.height != header.height:
        raise CertificateInvalid(
            "certificate_wrong_height", "The certificate is for another height.", height=header.height
        )
    if header.validators_hash != validators.hash(suite):
        raise CertificateInvalid(
            "certificate_wrong_set", "The header names another validator set.", height=header.height
        )
    previous = -1
    for index, _ in certificate.signatures:
        if index <= previous:
            raise CertificateInvalid(
                "certificate_duplicate_signer", "Signers must be distinct and ascend.", index=index
            )
        if index >= validators.size:
            raise CertificateInvalid("certificate_unknown_signer", "A signer is not in the set.", index=index)
        previous = index
    count, quorum = len(certificate.signatures), validators.quorum
    if count < quorum:
        raise CertificateInvalid("certificate_too_few", "Fewer signatures than a quorum.", count=count, quorum=quorum)
    if certificate.block_id != header.id(suite):
        raise CertificateInvalid(
            "certificate_wrong_block", "The certificate is for another block.", height=header.height
        )
    payload = commit_payload(
        suite, header.genesis_id, header.network, certificate.height, certificate.view, certificate.block_id
    )
    for index, signature in certificate.signatures:
        if not suite.verify(validators.members[index].public_key, payload, signature):
            raise CertificateInvalid("certificate_bad_signature", "A signature does not hold.", index=index)
