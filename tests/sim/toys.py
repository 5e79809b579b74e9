"""Small stand-ins for what surrounds consensus: a cheap signature suite, validator sets, blocks without meaning.

The suite is for tests only: everybody who knows a public key can sign for it. It is deterministic and about fifty times
as fast as Ed25519, which is what thousands of simulated networks need.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from common.consensus.events import ChainTip
from common.core import merkle
from common.core.block import Block
from common.core.errors import Malformed
from common.core.header import Header
from common.core.suite import Suite, parse_hex
from common.core.transaction import envelope_hash
from common.core.validators import Validator, ValidatorSet

NETWORK: Final = "beijing"
GENESIS_ID: Final = hashlib.sha256(b"a network for tests").digest()
GENESIS_TIME_MS: Final = 1_700_000_000_000
EMPTY: Final = hashlib.sha256(b"").digest()


@lru_cache(maxsize=256)
def _tag(tag: str) -> bytes:
    digest = hashlib.sha256(tag.encode("ascii")).digest()
    return digest + digest


class CheapSuite:
    """SHA-256, and signatures that anybody could make. Deterministic."""

    name: Final = "cheap-sha256"
    key_prefix: Final = "cheap"
    hash_size: Final = 32

    def hash(self, data: bytes) -> bytes:
        """SHA-256."""
        return hashlib.sha256(data).digest()

    def tagged_hash(self, tag: str, data: bytes) -> bytes:
        """As in every suite."""
        return hashlib.sha256(_tag(tag) + data).digest()

    def sign(self, seed: bytes, message: bytes) -> bytes:
        """16 bytes."""
        return hashlib.sha256(self.public_key(seed) + message).digest()[:16]

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Whether `sign` made it."""
        return hashlib.sha256(public_key + message).digest()[:16] == signature

    def public_key(self, seed: bytes) -> bytes:
        """32 bytes."""
        return _cheap_key(seed)

    def check_public_key(self, public_key: bytes) -> None:
        """Raises `Malformed` on a wrong length."""
        if len(public_key) != 32:
            raise Malformed("public_key_length", "A cheap key has 32 bytes.")

    def format_key(self, public_key: bytes) -> str:
        """`cheap:<hex>`."""
        return f"{self.key_prefix}:{public_key.hex()}"

    def parse_key(self, text: str) -> bytes:
        """Inverse of `format_key`."""
        prefix, _, digits = text.partition(":")
        if prefix != self.key_prefix:
            raise Malformed("public_key_prefix", "A cheap key starts with 'cheap:'.")
        return parse_hex(digits, "public_key", 32)


@lru_cache(maxsize=1024)
def _cheap_key(seed: bytes) -> bytes:
    return hashlib.sha256(b"key of " + seed).digest()


CHEAP: Final[Suite] = CheapSuite()


def seed_of(number: int) -> bytes:
    """The seed of validator `number`."""
    return number.to_bytes(32, "big")


@lru_cache(maxsize=256)
def validator_set(numbers: tuple[int, ...], suite: Suite = CHEAP) -> ValidatorSet:
    """A set of the validators with these numbers, in this order."""
    return ValidatorSet(
        tuple(Validator(f"node-{number}", f"market-{number}", suite.public_key(seed_of(number))) for number in numbers)
    )


def genesis_tip() -> ChainTip:
    """Where every toy chain starts."""
    return ChainTip(0, GENESIS_ID, GENESIS_TIME_MS)


def toy_block(
    tip: ChainTip,
    validators: ValidatorSet,
    proposer: int,
    *,
    envelopes: tuple[bytes, ...] = (b"a transaction",),
    time_ms: int = 0,
    next_validators: ValidatorSet | None = None,
    suite: Suite = CHEAP,
) -> Block:
    """A block on top of `tip`. Its "execution" is the hash of parent and envelopes."""
    hashes = [envelope_hash(suite, envelope) for envelope in envelopes]
    state_root = suite.hash(tip.block_id + b"".join(hashes))
    header = Header(
        protocol_version=1,
        network=NETWORK,
        genesis_id=GENESIS_ID,
        height=tip.height + 1,
        time_ms=max(tip.time_ms + 1, time_ms),
        parent_id=tip.block_id,
        proposer=proposer,
        tx_root=merkle.root(suite.hash, hashes),
        tx_count=len(envelopes),
        receipt_root=EMPTY,
        receipt_count=0,
        snapshot_root=EMPTY,
        snapshot_count=0,
        change_root=EMPTY,
        change_count=0,
        state_root=state_root,
        validators_hash=validators.hash(suite),
        next_validators_hash=(next_validators or validators).hash(suite),
    )
    return Block(header, envelopes)


def executes_to_header(block: Block, tip: ChainTip, suite: Suite = CHEAP) -> bool:
    """Whether the toy execution of the body gives the header's state root."""
    hashes = [envelope_hash(suite, envelope) for envelope in block.envelopes]
    return block.header.state_root == suite.hash(tip.block_id + b"".join(hashes))
