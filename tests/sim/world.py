"""Simulated time: a queue of things to come, one source of randomness, one trace.

Everything in a simulation happens in `World.run`, in an order that the seed decides. The same seed gives the same
trace, which the digest proves.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from random import Random

Action = Callable[[], None]


class World:
    """Clock in milliseconds since the start, agenda, randomness, trace."""

    def __init__(self, seed: int, *, keep_trace: bool = False) -> None:
        self.random = Random(seed)
        self.now_ms = 0
        self.happened = 0
        self._agenda: list[tuple[int, int, Action]] = []
        self._planned = 0
        self._digest = hashlib.sha256()
        self._lines: list[str] | None = [] if keep_trace else None

    def after(self, delay_ms: int, action: Action) -> None:
        """Let `action` happen in `delay_ms`; what was planned first for one instant happens first."""
        self._planned += 1
        heapq.heappush(self._agenda, (self.now_ms + max(0, delay_ms), self._planned, action))

    def note(self, line: str) -> None:
        """Add a line to the trace."""
        self._digest.update(b"%d %s\n" % (self.now_ms, line.encode()))
        if self._lines is not None:
            self._lines.append(f"{self.now_ms:>7} ms  {line}")

    @property
    def trace_digest(self) -> str:
        """Hash of everything that was noted so far."""
        return self._digest.hexdigest()

    @property
    def lines(self) -> list[str]:
        """The trace, if it was kept."""
        return self._lines or []

    def run(self, until_ms: int, finished: Callable[[], bool]) -> bool:
        """Let things happen until `finished`, or nothing is left before `until_ms`; return whether it finished."""
        while not finished():
            if not self._agenda or self._agenda[0][0] > until_ms:
                self.now_ms = until_ms
                return finished()
            self.now_ms, _, action = heapq.heappop(self._agenda)
            self.happened += 1
            action()
        return True
