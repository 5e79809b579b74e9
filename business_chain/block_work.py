"""Queued work of a business chain: what its blocks do when they begin, and the data objects that come of it.

A kind is one function: it does what the budget allows of an item and says what objects it made. What is queued and kept
is `common.chain.work`'s; a business chain has one lane, for it serves one market.

Left out: which operations queue what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from common.chain import work
from common.chain.application import BlockContext, Outcome, StateView

LANE: Final = "market"
MAX_UNITS: Final = 256
"""Units a block: a unit changes a few state values and makes one snapshot at most, so a share is below 100 ms."""


@dataclass(slots=True)
class BlockWork:
    """What a kind works with: the block, its state, and what was made so far."""

    context: BlockContext
    state: StateView
    _snapshots: list[bytes] = field(default_factory=list)
    _objects: list[tuple[str, int]] = field(default_factory=list)

    def made(self, object_id: str, version: int, snapshot: bytes) -> None:
        """The block makes this version of an object; `snapshot` is its canonical JSON."""
        self._objects.append((object_id, version))
        self._snapshots.append(snapshot)

    @property
    def outcome(self) -> Outcome:
        """What was made, in order."""
        return Outcome(tuple(self._snapshots), tuple(self._objects))


Kind = Callable[[BlockWork, work.Item, Any, work.Budget], Any]
"""Like `work.Worker`, with what it works with."""

KINDS: Final[Mapping[str, Kind]] = {}
"""What does each kind of item. None is queued yet by any operation."""


def take_up(context: BlockContext, state: StateView) -> Outcome:
    """Do this block's share of the queued work."""
    if not work.is_queued(state):
        return Outcome()
    block = BlockWork(context, state)

    def worker(kind: Kind) -> work.Worker:
        return lambda item, progress, budget: kind(block, item, progress, budget)

    workers = {name: worker(kind) for name, kind in KINDS.items()}
    work.take_up(state, (LANE,), MAX_UNITS, context.height, workers)
    return block.outcome
