"""Used nonces: (first signer, nonce) commits at most once, rejected transactions included (protocol rules 9, 11, 12).

A set that only grows is authenticated by 16 chained-hash leaves, ``nonces/0`` … ``nonces/f`` in the authenticated
state, not by one leaf a member, so that a node joining from a checkpoint can hold the entries as plain data and
verify them against 16 values. The look-up itself is an index entry, written by the chain store with each block's
transactions.

    key    = tagged_hash("tongjian/nonce/v1", blob first signer (text) | blob nonce)
    bucket = first hex digit of key
    chain' = tagged_hash("tongjian/nonce-chain/v1", chain | key | transaction id),   32 zero bytes before the first
    leaf   = canonical JSON {"count": entries so far, "hash": chain in hex}

Left out: expiry (`transaction_rules`), the index (`chain_store`).
"""

from __future__ import annotations

from common.chain.application import StateReader, StateView
from common.core.codec import Writer, canonical_json, parse_json
from common.core.errors import InvariantBroken
from common.core.suite import Suite
from common.core.transaction import SignedTransaction

NONCE_TAG = "tongjian/nonce/v1"
CHAIN_TAG = "tongjian/nonce-chain/v1"
KEY_PREFIX = b"nonces/"
EMPTY_CHAIN = bytes(32)
_MAX_LEAF_BYTES = 256


def nonce_key(suite: Suite, signer: str, nonce: str) -> bytes:
    """The 32 bytes that stand for (first signer, nonce)."""
    return suite.tagged_hash(NONCE_TAG, Writer().blob(signer.encode()).blob(nonce.encode()).bytes())


def leaf_key(key: bytes) -> bytes:
    """The state key of the bucket to which a nonce key belongs."""
    return KEY_PREFIX + b"0123456789abcdef"[key[0] >> 4 : (key[0] >> 4) + 1]


def next_link(suite: Suite, chain: bytes, key: bytes, tx_id: bytes) -> bytes:
    """The chained hash after one more entry."""
    return suite.tagged_hash(CHAIN_TAG, chain + key + tx_id)


class NonceBuckets:
    """The chained hashes touched by one block; written once at its end, so a bucket costs one leaf however many
    entries it takes.
    """

    __slots__ = ("_buckets", "_state", "_suite")

    def __init__(self, suite: Suite, state: StateReader) -> None:
        self._suite = suite
        self._state = state
        self._buckets: dict[bytes, tuple[int, bytes]] = {}

    def add(self, tx: SignedTransaction) -> None:
        """Chain one transaction's (first signer, nonce), whatever became of it."""
        key = nonce_key(self._suite, tx.signers[0], tx.nonce)
        leaf = leaf_key(key)
        bucket = self._buckets.get(leaf)
        count, chain = self._load(leaf) if bucket is None else bucket
        self._buckets[leaf] = (count + 1, next_link(self._suite, chain, key, tx.id))

    def _load(self, key: bytes) -> tuple[int, bytes]:
        leaf = self._state.get(key)
        if leaf is None:
            return 0, EMPTY_CHAIN
        return decode_bucket(leaf)

    def write(self, state: StateView) -> None:
        """Put the touched leaves, in key order."""
        for key in sorted(self._buckets):
            count, chain = self._buckets[key]
            state.put(key, canonical_json({"count": count, "hash": chain.hex()}))


def decode_bucket(leaf: bytes) -> tuple[int, bytes]:
    """(entries so far, chained hash) of a bucket's leaf. Raises InvariantBroken: only this module writes these
    leaves.
    """
    value = parse_json(leaf, max_size=_MAX_LEAF_BYTES)
    if not isinstance(value, dict) or value.keys() != {"count", "hash"}:
        raise InvariantBroken("a leaf of used nonces is damaged")
    return int(value["count"]), bytes.fromhex(value["hash"])
