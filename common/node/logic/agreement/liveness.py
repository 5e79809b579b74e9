"""Signs of life: an empty block when the chain was idle for long enough, and our tip to the peers when it is quiet.

Left out: building the block (`block_assembly`), catching up (`sync`).
"""

from __future__ import annotations

from collections.abc import Callable

from common.node.logic.node_effects import Channel
from common.node.logic.node_events import Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.wire.peer_messages import Status
from common.node.store.chain_store import ChainStore

STATUS_DELAY_MS = 200
"""The chain counts as quiet so long after a commit."""


class Heartbeat:
    """Whether an empty block is overdue by our clock: a heartbeat after its parent, or sooner while work is queued
    (protocol rules 4 and 27). `empty_after_ms` says how long after the committed tip one is due.
    """

    def __init__(self, chain: ChainStore, outbox: NodeOutbox, empty_after_ms: Callable[[], int]) -> None:
        self._chain = chain
        self._outbox = outbox
        self._empty_after_ms = empty_after_ms
        self.due = False

    def arm(self, now_ms: int, *, just_committed: bool) -> None:
        """Wait for the tip to grow old enough; never longer than that takes, if the clock jumped back.

        If a tip that was committed just now looks older already, our clock is ahead (or we catch up): then wait the
        whole time, or this node would find every leader late (attack C15).
        """
        self.due = False
        whole_ms = self._empty_after_ms()
        left_ms = self._chain.tip().time_ms + whole_ms - now_ms
        if left_ms <= 0:
            left_ms = whole_ms if just_committed else 0
        self._outbox.set_timer(Timer.HEARTBEAT, min(left_ms, whole_ms))

    def timer_expired(self, now_ms: int) -> None:
        """Due, unless the clock says otherwise."""
        if now_ms >= self._chain.tip().time_ms + self._empty_after_ms():
            self.due = True
        else:
            self.arm(now_ms, just_committed=False)


class QuietStatus:
    """Tells the peers our tip once nothing more happens, in case one of them missed the end of a height."""

    def __init__(self, chain: ChainStore, outbox: NodeOutbox) -> None:
        self._chain = chain
        self._outbox = outbox
        self._seen_height = -1

    def committed(self) -> None:
        """The chain moved."""
        if not self._outbox.runs(Timer.STATUS):
            self._wait()

    def timer_expired(self) -> None:
        """Quiet now? If not, wait again: one timer for any number of blocks."""
        tip = self._chain.tip()
        if tip.height != self._seen_height:
            self._wait()
        else:
            self._outbox.broadcast(Status(tip.height, tip.block_id), Channel.SYNC)

    def _wait(self) -> None:
        self._seen_height = self._chain.tip().height
        self._outbox.set_timer(Timer.STATUS, STATUS_DELAY_MS)
