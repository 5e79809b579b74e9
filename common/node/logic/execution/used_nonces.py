"""Used nonces: (first signer, nonce) commits at most once, rejected transactions included (protocol rules 9, 11, 12).

A set that only grows is authenticated by 16 chained-hash leaves, ``nonces/0`` … ``nonces/f`` in the authenticated
state, not by one leaf a member, so that a node joining from a checkpoint can hold the entries as plain data and
verify them against 16 values. The look-up itself is an index entry, written by the chain store with each block's
transactions.

    key    = tagged_hash("tongjian/nonce/v1", blob first signer (text) | blob nonce)
    bucket = first hex digit of key
    chain' = tagged_hash("tongjian/nonce-chain/v1", chain | entries of one block), 32 zero bytes before the first
             an entry is key | transaction id, in block order
    leaf   = canonical JSON {"count": entries so far, "hash": chain in hex}

Left out: expiry (`transaction_rules`), the index (`chain_store`).
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from common.chain.application import StateReader, StateView
from common.core.errors import InvariantBroken
from common.core.suite import Suite

NONCE_TAG = "tongjian/nonce/v1"
CHAIN_TAG = "tongjian/nonce-chain/v1"
KEY_PREFIX = b"nonces/"
EMPTY_CHAIN = bytes(32)
_u32 = struct.Struct(">I").pack


class _Leaf(msgspec.Struct, forbid_unknown_fields=True):
    """Fields in ascending order, so that encoding gives canonical JSON."""

    count: int
    hash: str


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Leaf).decode


def nonce_key(suite: Suite, signer: str, nonce: str) -> bytes:
    """The 32 bytes that stand for (first signer, nonce)."""
    signed, named = signer.encode(), nonce.encode()
    return suite.tagged_hash(NONCE_TAG, b"".join((_u32(len(signed)), signed, _u32(len(named)), named)))


def leaf_key(digit: int) -> bytes:
    """The state key of a bucket, 0 to 15."""
    return KEY_PREFIX + b"%x" % digit


class NonceBuckets:
    """The chained hashes as blocks go on: a bucket costs one step a block and one leaf, however many entries it takes.

    `state` has the leaves to begin with; None is a chain without transactions.
    """

    __slots__ = ("_buckets", "_entries", "_state", "_suite")

    def __init__(self, suite: Suite, state: StateReader | None) -> None:
        self._suite = suite
        self._state = state
        self._entries: dict[int, list[bytes]] = {}
        self._buckets: dict[int, tuple[int, bytes]] = {}

    def add(self, key: bytes, tx_id: bytes) -> None:
        """Enter a transaction of the block by its nonce key, whatever became of it."""
        self._entries.setdefault(key[0] >> 4, []).append(key + tx_id)

    def end_block(self) -> None:
        """Chain what was entered."""
        for digit, entries in self._entries.items():
            count, chain = self.bucket(digit)
            step = self._suite.tagged_hash(CHAIN_TAG, b"".join((chain, *entries)))
            self._buckets[digit] = count + len(entries), step
        self._entries.clear()

    def bucket(self, digit: int) -> tuple[int, bytes]:
        """(entries so far, chained hash) after the last block that ended."""
        bucket = self._buckets.get(digit)
        if bucket is None:
            leaf = None if self._state is None else self._state.get(leaf_key(digit))
            bucket = (0, EMPTY_CHAIN) if leaf is None else decode_bucket(leaf)
        return bucket

    def write(self, state: StateView) -> None:
        """End the block, and put the touched leaves in key order."""
        self.end_block()
        for digit, (count, chain) in sorted(self._buckets.items()):
            state.put(leaf_key(digit), _encode(_Leaf(count, chain.hex())))


def decode_bucket(leaf: bytes) -> tuple[int, bytes]:
    """(entries so far, chained hash) of a bucket's leaf. Raises InvariantBroken: only this module writes these
    leaves.
    """
    try:
        value = _decode(leaf)
        return value.count, bytes.fromhex(value.hash)
    except (msgspec.DecodeError, ValueError):
        raise InvariantBroken("a leaf of used nonces is damaged") from None
