"""Which of several nodes to ask: the one that served last, unless it lies, is behind or is down (attack R10).

Pure: time is an argument. Invariants:
  N1  A node that was caught lying is asked again only after a long pause that doubles with every lie.
  N2  There is always an answer: when every node is in a pause, the one whose pause ends first.
  N3  A node that works stays the one that is asked, so that connections stay warm and a cursor never jumps between
      views.

Left out: requests, and the decision what counts as a lie (`checking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class NodeFault(StrEnum):
    """Why a node is left for another."""

    DOWN = "down"
    BEHIND = "behind"
    REFUSED = "refused"
    LYING = "lying"


_PAUSE_MS = {NodeFault.DOWN: 1_000, NodeFault.BEHIND: 5_000, NodeFault.REFUSED: 10_000, NodeFault.LYING: 60_000}
"""First pause after a fault; doubles with every further fault of that kind without a success between."""

MAX_PAUSE_MS = 600_000


@dataclass(slots=True)
class _Node:
    url: str
    paused_until_ms: int = 0
    faults: int = 0
    lies: int = 0
    last_fault: NodeFault | None = None


class NodePool:
    """The nodes of one chain, by URL. Times are milliseconds of any one clock that does not go back."""

    def __init__(self, urls: list[str]) -> None:
        self._nodes = [_Node(url) for url in urls]
        self._current = 0

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self._nodes)

    def url(self, index: int) -> str:
        """Base URL of a node."""
        return self._nodes[index].url

    @property
    def current(self) -> int:
        """The node asked last."""
        return self._current

    def choose(self, now_ms: int) -> int:
        """The node to ask now (rules N2, N3)."""
        count = len(self._nodes)
        order = [(self._current + step) % count for step in range(count)]
        free = [index for index in order if self._nodes[index].paused_until_ms <= now_ms]
        self._current = free[0] if free else min(order, key=lambda index: self._nodes[index].paused_until_ms)
        return self._current

    def other(self, now_ms: int) -> int | None:
        """A free node that is not the current one, to compare with; None if there is none."""
        count = len(self._nodes)
        for step in range(1, count):
            index = (self._current + step) % count
            if self._nodes[index].paused_until_ms <= now_ms:
                return index
        return None

    def rotate(self) -> None:
        """Ask another node next, without blame: this one had nothing new for a whole wait."""
        self._current = (self._current + 1) % len(self._nodes)

    def succeeded(self, index: int) -> None:
        """The node gave something that proved right. Lies are not forgotten by it, only its other faults (N1)."""
        self._nodes[index].faults = 0
        self._nodes[index].paused_until_ms = 0
        self._nodes[index].last_fault = None

    def failed(self, index: int, fault: NodeFault, now_ms: int) -> int:
        """Note a fault and pause the node; the pause in ms."""
        node = self._nodes[index]
        node.last_fault = fault
        if fault is NodeFault.LYING:
            node.lies += 1
            count = node.lies
        else:
            node.faults += 1
            count = node.faults
        pause_ms = min(MAX_PAUSE_MS, _PAUSE_MS[fault] << min(count - 1, 16))
        node.paused_until_ms = max(node.paused_until_ms, now_ms + pause_ms)
        return pause_ms

    def describe(self, now_ms: int) -> list[dict[str, str | int | None]]:
        """For the status API."""
        return [
            {
                "url": node.url,
                "last_fault": node.last_fault.value if node.last_fault else None,
                "lies": node.lies,
                "paused_ms": max(0, node.paused_until_ms - now_ms),
            }
            for node in self._nodes
        ]
