"""Rations what serving one peer may cost, in bytes read for it: a peer that asks without end gets no more (attack N3).

A ration belongs to a validator's key, or to all observers together: observers are whoever has a certificate of the
network's authority, under as many keys as they like, and must not have more of a validator's time than one peer has.
A ration outlives the channel, or reconnecting would refill it.

An honest peer in catch-up executes what it gets, which is slower than the ration. The wall clock is good enough here:
a jump refills at most one burst, or delays answers, which the peer then asks of others.

Left out: queues towards the peer (`transport`).
"""

from __future__ import annotations

from common.node.logic.node_events import PeerKey

BURST_BYTES = 64 * 1024 * 1024
BYTES_PER_MS = 48 * 1024
"""About 48 MB a second for one peer: three times what a node executes, a third of what one core reads."""
OBSERVERS: PeerKey = b""
"""The key of the ration of all observers."""


class Rations:
    """What may still be asked for, by validators' keys and `OBSERVERS`."""

    def __init__(self) -> None:
        self._left: dict[PeerKey, tuple[int, int]] = {}

    def allows(self, peer: PeerKey, now_ms: int) -> bool:
        """Whether the peer has anything left."""
        left, since_ms = self._left.get(peer, (BURST_BYTES, now_ms))
        left = min(left + max(now_ms - since_ms, 0) * BYTES_PER_MS, BURST_BYTES)
        self._left[peer] = (left, now_ms)
        return left > 0

    def take(self, peer: PeerKey, size_bytes: int) -> None:
        """The peer was given so much."""
        left, since_ms = self._left.get(peer, (BURST_BYTES, 0))
        self._left[peer] = (left - size_bytes, since_ms)
