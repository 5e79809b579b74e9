"""The time that the parts of a node see: one value a step (invariant N3 of `node`).

Left out: measuring time, which the driver of the node does (`node_events`, V1).
"""

from __future__ import annotations


class StepClock:
    """The wall clock as of the event that is being absorbed, in milliseconds since the Unix epoch."""

    __slots__ = ("now_ms",)

    def __init__(self) -> None:
        self.now_ms = 0
