"""How many operations a leader puts into a block, so that executing it takes about 50 ms (protocol rule 14), and how
long it waits between blocks while its node is short of the processor.

The leader counts: what its last blocks took for each operation decides how many the next one gets. It counts its
thread's processor time, not the time that passes: on a busy machine smaller blocks would only cost more rounds for the
same work.

A block has a fixed cost at every node. Where the processor is short, as timers that come late show, many small blocks
keep each other waiting; fewer larger ones do not (docs/adr/0107). Where timers come in time nothing is waited for.

Both are local and advisory: validity never depends on them, only on the chain's own limits, and lateness is never voted
on. Left out: the limits themselves (`executor`), measuring (the driver of the node, `node_events`).
"""

from __future__ import annotations

from common.node.logic.node_events import Timer
from common.node.logic.node_outbox import NodeOutbox

MIN_OPERATIONS = 20
"""Even a very slow node makes progress with blocks of this many operations."""
_COUNTED_OPERATIONS = 10
"""Smaller blocks say little about the cost of an operation."""
_WEIGHT = 4
"""The newest block counts one part in four."""


class BlockBudget:
    """The number of operations of the next block."""

    def __init__(self, target_ms: int) -> None:
        self._target_ns = target_ms * 1_000_000
        self._operation_ns = 0

    def operations(self, most: int) -> int:
        """At most this many operations, of `most` that the chain allows."""
        if self._operation_ns <= 0:
            return most
        return max(min(self._target_ns // self._operation_ns, most), min(MIN_OPERATIONS, most))

    def took(self, operations: int, duration_ns: int) -> None:
        """A block of so many operations took so long. Without a stopwatch the duration is 0 and teaches nothing."""
        if operations < _COUNTED_OPERATIONS or duration_ns <= 0:
            return
        newest = duration_ns // operations
        if self._operation_ns <= 0:
            self._operation_ns = newest
        else:
            self._operation_ns = max(1, (self._operation_ns * (_WEIGHT - 1) + newest) // _WEIGHT)


MOST_INTERVAL_MS = 200
"""Blocks never wait longer for each other than this, however late the node is."""
_INTERVALS_OF_LAG = 32
_FREE_LAG_US = 1_500
"""The interval is so many times what the lag exceeds this: a timer's own resolution and the step that runs when it is
due say nothing. A lag of 2.3 ms leaves the interval at its least, one of 7.8 ms makes it the longest.
"""
_COUNTED_LATE_US = 100_000
"""What one timer can say at most: a machine that slept is not busy."""
_LAG_WEIGHT = 8
_TELLING = frozenset({Timer.BUILD, Timer.GOSSIP, Timer.STATUS, Timer.HEARTBEAT})
"""Timers that run often and wait for nothing but their time."""


class LoopLag:
    """How late this node's timers come, on average of the last few, and the interval between blocks that follows."""

    def __init__(self) -> None:
        self._lag_us = 0

    def came_late(self, timer: Timer, late_us: int) -> None:
        """A timer came so long after its time."""
        if timer not in _TELLING:
            return
        counted_us = max(0, min(late_us, _COUNTED_LATE_US))
        self._lag_us = (self._lag_us * (_LAG_WEIGHT - 1) + counted_us) // _LAG_WEIGHT

    def interval_ms(self, least_ms: int) -> int:
        """The time from the start of one block to the next, while less than a full block waits."""
        return max(least_ms, min(MOST_INTERVAL_MS, _INTERVALS_OF_LAG * (self._lag_us - _FREE_LAG_US) // 1000))


class BlockInterval:
    """The time from the start of one block to that of the next, as the leader of the next one keeps it: first the
    least, then what its lag adds (`Timer.BUILD`).
    """

    def __init__(self, outbox: NodeOutbox) -> None:
        self._outbox = outbox
        self._lag = LoopLag()
        self.came_late = self._lag.came_late
        self._started_height = 0
        self._stretch_ms = 0
        """What the lag adds to the interval that runs."""
        self._stretching = False

    def start(self, height: int, least_ms: int) -> None:
        """The block of this height was started; counted once a height."""
        if self._started_height >= height:
            return
        self._started_height = height
        self._stretch_ms = self._lag.interval_ms(least_ms) - least_ms
        self._stretching = False
        self._outbox.set_timer(Timer.BUILD, least_ms)

    def expired(self) -> None:
        """The least interval is over, or what the lag has added to it."""
        stretch_ms, self._stretch_ms = self._stretch_ms, 0
        self._stretching = stretch_ms > 0
        if self._stretching:
            self._outbox.set_timer(Timer.BUILD, stretch_ms)

    def runs(self, waiting: int, full: int) -> bool:
        """Whether a block must still wait while so many operations wait and a full block has `full`. A full one does
        not wait for a lag: it would not get any larger.
        """
        if not self._outbox.runs(Timer.BUILD):
            return False
        if not self._stretching or waiting < full:
            return True
        self._outbox.cancel_timer(Timer.BUILD)
        return False
