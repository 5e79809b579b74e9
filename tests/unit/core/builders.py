"""Small, fixed values for the tests of `common.core`. Seeds are public; never use them elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from common.core import merkle
from common.core.certificate import Certificate, commit_payload
from common.core.genesis import Genesis, build_genesis
from common.core.header import Header
from common.core.suite import ED25519_SHA256, Suite
from common.core.transaction import envelope_hash, sign_envelope
from common.core.validators import Validator, ValidatorSet

SUITE: Suite = ED25519_SHA256
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
"""L, the order of Ed25519's prime-order subgroup (RFC 8032 section 5.1)."""


def seed(number: int) -> bytes:
    """Test seed."""
    return number.to_bytes(32, "big")


def key_text(number: int) -> str:
    """Public key of a test seed in text form."""
    return SUITE.format_key(SUITE.public_key(seed(number)))


def validator_set(size: int, first_seed: int = 1000) -> ValidatorSet:
    """Validators `node-0`, `node-1`, …, each with the key of its own seed."""
    return ValidatorSet(
        tuple(Validator(f"node-{at}", "market", SUITE.public_key(seed(first_seed + at))) for at in range(size))
    )


def transaction(**changes: Any) -> dict[str, Any]:
    """A transaction by the signer of seed 1."""
    value: dict[str, Any] = {
        "network": "beijing",
        "genesis": "11" * 32,
        "signers": [key_text(1)],
        "nonce": "n-1",
        "expires_at_height": 1200,
        "operations": [
            {
                "type": "registration.transfer",
                "business_id": "b-1",
                "occurred_at_ms": 1_700_000_000_000,
                "product": "BJ000001.ESVUFR2601",
                "from_account": "A1",
                "to_account": "A2",
                "quantity": 100,
            }
        ],
    }
    value.update(changes)
    return value


def envelope(**changes: Any) -> bytes:
    """A canonical envelope by the signer of seed 1."""
    return sign_envelope(transaction(**changes), [seed(1)], SUITE)


def genesis(validators: ValidatorSet | None = None) -> Genesis:
    """A business chain's genesis with four validators."""
    return build_genesis(
        network="beijing",
        tier="business",
        suite=SUITE,
        time_ms=1_700_000_000_000,
        validators=validators or validator_set(4),
        application={"name": "示例市场", "region_letters": "BJ"},
    )


def header(validators: ValidatorSet, envelopes: tuple[bytes, ...] = (), **changes: Any) -> Header:
    """Header of block 1 over the given envelopes."""
    chain = genesis(validators)
    value = Header(
        protocol_version=1,
        network=chain.network,
        genesis_id=chain.id,
        height=1,
        time_ms=chain.time_ms + 1000,
        parent_id=chain.id,
        proposer=1 % validators.size,
        tx_root=merkle.root(SUITE.hash, [envelope_hash(SUITE, item) for item in envelopes]),
        tx_count=len(envelopes),
        receipt_root=merkle.root(SUITE.hash, []),
        receipt_count=0,
        snapshot_root=merkle.root(SUITE.hash, []),
        snapshot_count=0,
        change_root=merkle.root(SUITE.hash, []),
        change_count=0,
        state_root=SUITE.hash(b"state"),
        validators_hash=validators.hash(SUITE),
        next_validators_hash=validators.hash(SUITE),
    )
    return replace(value, **changes)


def commit_signature(header_: Header, member_seed: int, view: int = 0) -> bytes:
    """One member's commit signature for a header."""
    payload = commit_payload(SUITE, header_.genesis_id, header_.network, header_.height, view, header_.id(SUITE))
    return SUITE.sign(seed(member_seed), payload)


def certificate(header_: Header, signers: list[int], view: int = 0, first_seed: int = 1000) -> Certificate:
    """Certificate by the members at the given indexes of `validator_set`."""
    signatures = tuple((index, commit_signature(header_, first_seed + index, view)) for index in signers)
    return Certificate(header_.height, view, header_.id(SUITE), signatures)


def malleated(signature: bytes) -> bytes:
    """The same Ed25519 signature with S + L in place of S: equal modulo the group order, other bytes."""
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    return signature[:32] + scalar.to_bytes(32, "little")
