"""How many operations a leader puts into a block, so that executing it takes about 50 ms (protocol rule 14).

The leader counts: what its last blocks took for each operation decides how many the next one gets. It counts its
thread's processor time, not the time that passes: on a busy machine smaller blocks would only cost more rounds for the
same work. Local and advisory; validity never depends on it, only on the chain's own limits.

Left out: the limits themselves (`executor`), the interval between blocks (`block_assembly`).
"""

from __future__ import annotations

MIN_OPERATIONS = 20
"""Even a very slow node makes progress with blocks of this many operations."""
_COUNTED_OPERATIONS = 10
"""Smaller blocks say little about the cost of an operation."""
_WEIGHT = 4
"""The newest block counts one part in four."""


class BlockBudget:
    """The number of operations of the next block."""

    def __init__(self, target_ms: int, most_operations: int) -> None:
        self._target_ns = target_ms * 1_000_000
        self._most = most_operations
        self._operation_ns = 0

    @property
    def operations(self) -> int:
        """At most this many operations."""
        if self._operation_ns <= 0:
            return self._most
        return max(min(self._target_ns // self._operation_ns, self._most), min(MIN_OPERATIONS, self._most))

    def took(self, operations: int, duration_ns: int) -> None:
        """A block of so many operations took so long. Without a stopwatch the duration is 0 and teaches nothing."""
        if operations < _COUNTED_OPERATIONS or duration_ns <= 0:
            return
        newest = duration_ns // operations
        if self._operation_ns <= 0:
            self._operation_ns = newest
        else:
            self._operation_ns = max(1, (self._operation_ns * (_WEIGHT - 1) + newest) // _WEIGHT)
