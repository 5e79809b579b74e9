"""What waits to be sent to one peer: bounded, urgent first.

Invariants:
  Q1  At most `limit_bytes` wait (a single larger frame may wait alone).
  Q2  When room is needed, the oldest transactions go first, then the oldest sync answers; both are asked for again.
  Q3  Consensus messages are never dropped one by one: if they alone exceed the limit, the peer is too slow and its
      channel is given up as a whole. After a reconnect the node sends what still matters (protocol rule 3).

Leaves out: sockets (`link`).
Reference: effect contract F4 in `node_effects`; attacks N3, N5.
"""

from __future__ import annotations

from collections import deque

from common.core.errors import QuotaExceeded
from common.node.logic.node_effects import Channel

_DROPPED_FIRST = (Channel.TRANSACTIONS, Channel.SYNC)


class SendQueue:
    """Frames by channel; `dropped` counts what had to go."""

    __slots__ = ("_limit_bytes", "_queues", "dropped", "waiting_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._queues: tuple[deque[bytes], ...] = tuple([deque() for _ in Channel])
        self.waiting_bytes = 0
        self.dropped = 0

    def put(self, channel: Channel, frame: bytes) -> None:
        """Queue one frame, dropping older ones if need be. Raises QuotaExceeded('peer_too_slow') (Q3)."""
        size = len(frame)
        if self.waiting_bytes + size > self._limit_bytes:
            self._make_room(channel, size)
            if self.waiting_bytes and self.waiting_bytes + size > self._limit_bytes:
                if channel is Channel.CONSENSUS:
                    raise QuotaExceeded("peer_too_slow", "the peer does not take its consensus messages")
                self.dropped += 1
                return
        self._queues[channel].append(frame)
        self.waiting_bytes += size

    def _make_room(self, channel: Channel, size: int) -> None:
        for victim in _DROPPED_FIRST:
            queue = self._queues[victim]
            while queue and self.waiting_bytes + size > self._limit_bytes:
                self.waiting_bytes -= len(queue.popleft())
                self.dropped += 1
            if victim is channel:
                return

    def take(self, size_bytes: int) -> list[bytes]:
        """Remove and return the next frames: at least one if there is any, and no more than reach `size_bytes`."""
        taken: list[bytes] = []
        total = 0
        for queue in self._queues:
            while queue and total < size_bytes:
                frame = queue.popleft()
                total += len(frame)
                taken.append(frame)
        self.waiting_bytes -= total
        return taken
