"""Rations what serving one peer may cost, in bytes read for it: a peer that asks without end gets no more (attack N3).

An exhausted ration outlives the channel, or reconnecting would refill it, but not the second in which it refills by
itself: whoever comes under ever new keys leaves nothing behind.

An honest peer in catch-up executes what it gets, which is slower than the ration. The wall clock is good enough here:
a jump refills at most one burst, or delays answers, which the peer then asks of others.

Left out: queues towards the peer (`transport`).
"""

from __future__ import annotations

from common.node.logic.node_events import PeerKey

BURST_BYTES = 64 * 1024 * 1024
BYTES_PER_MS = 48 * 1024
"""About 48 MB a second for one peer: three times what a node executes, a third of what one core reads."""
REMEMBERED = 256
"""Rations above which the full ones are forgotten: more than the validators of two sets."""


class Rations:
    """What each peer may still ask for."""

    def __init__(self) -> None:
        self._left: dict[PeerKey, tuple[int, int]] = {}

    def allows(self, peer: PeerKey, now_ms: int) -> bool:
        """Whether the peer has anything left."""
        if peer not in self._left and len(self._left) >= REMEMBERED:
            self._left = {key: ration for key, ration in self._left.items() if _refilled(ration, now_ms) < BURST_BYTES}
        left = _refilled(self._left.get(peer, (BURST_BYTES, now_ms)), now_ms)
        self._left[peer] = (left, now_ms)
        return left > 0

    def take(self, peer: PeerKey, size_bytes: int) -> None:
        """The peer was given so much."""
        left, since_ms = self._left.get(peer, (BURST_BYTES, 0))
        self._left[peer] = (left - size_bytes, since_ms)


def _refilled(ration: tuple[int, int], now_ms: int) -> int:
    left, since_ms = ration
    return min(left + max(now_ms - since_ms, 0) * BYTES_PER_MS, BURST_BYTES)
