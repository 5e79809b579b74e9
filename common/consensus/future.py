"""Messages of heights that are not open yet, kept until it is their turn.

Invariant: what one peer can make us keep is bounded in heights, number and bytes, and takes no room from another
peer's messages (attack C13). They are verified when their height opens, under that height's set (attacks C9, C18).
Left out: catching up when a peer is further ahead (the node's sync).
"""

from __future__ import annotations

from collections import deque

from common.consensus.messages import ConsensusMessage, NewView, Proposal
from common.consensus.params import MAX_HEIGHTS_AHEAD, MAX_KEPT_BYTES_PER_PEER, MAX_KEPT_MESSAGES_PER_PEER
from common.core.suite import HASH_SIZE


def kept_size_bytes(message: ConsensusMessage) -> int:
    """About what keeping it costs, without encoding it."""
    size = 512
    if isinstance(message, Proposal):
        size += HASH_SIZE * len(message.envelope_hashes)
    elif isinstance(message, NewView):
        size += kept_size_bytes(message.proposal) + 1024 * len(message.view_changes)
        size += sum(128 * len(change.prepared.signatures) for change in message.view_changes if change.prepared)
    return size


class FutureMessages:
    """A bounded queue for each peer."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[tuple[int, ConsensusMessage]]] = {}
        self._sizes: dict[int, int] = {}
        self._arrivals = 0
        self._shown: dict[int, int] = {}

    def is_further(self, sender: int, height: int) -> bool:
        """Whether `sender` shows a higher height than ever before: once for each."""
        if height <= self._shown.get(sender, 0):
            return False
        self._shown[sender] = height
        return True

    def forget_shown_heights(self) -> None:
        """Indexes name other members from now on."""
        self._shown.clear()

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def keep(self, message: ConsensusMessage, sender: int, open_height: int) -> bool:
        """Keep a message from `sender`; False if it is too far ahead or the sender's room is used up."""
        queue = self._queues.setdefault(sender, deque())
        size = kept_size_bytes(message)
        if message.height > open_height + MAX_HEIGHTS_AHEAD or len(queue) >= MAX_KEPT_MESSAGES_PER_PEER:
            return False
        if self._sizes.get(sender, 0) + size > MAX_KEPT_BYTES_PER_PEER:
            return False
        queue.append((self._arrivals, message))
        self._arrivals += 1
        self._sizes[sender] = self._sizes.get(sender, 0) + size
        return True

    def take(self, height: int) -> list[tuple[ConsensusMessage, int]]:
        """Remove and return the messages of `height` in order of arrival, with their senders; forget lower heights."""
        due: list[tuple[int, ConsensusMessage, int]] = []
        for sender, queue in self._queues.items():
            due += [(arrival, message, sender) for arrival, message in queue if message.height == height]
            later = deque(item for item in queue if item[1].height > height)
            self._queues[sender] = later
            self._sizes[sender] = sum(kept_size_bytes(message) for _, message in later)
        due.sort(key=lambda item: item[0])
        return [(message, sender) for _, message, sender in due]
