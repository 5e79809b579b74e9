"""Work that is left over: bounded, resumable, in the authenticated state, a few units of it in every block.

What one operation causes may be without bound: a corrected code moves a million positions, thousands of freezes end on
one day. The operation queues an item; blocks work it off when they begin, and the node makes blocks for it while no
transaction does (protocol rule 27).

State: ``work/<lane>/<kind>/<key>`` holds `{"progress": …}`, canonical JSON. A *lane* is for whom the work is (a region,
a market); lanes share a block evenly. A *kind* says which function does it. The key is a step of a path, as the kind
writes it.

Invariants:
  Q1  A block does at most so many units, however much is queued and whoever queued it. Finishing an item is one.
  Q2  Every lane with work gets its share; what one leaves over is the next one's. They take turns in being first.
  Q3  Within a lane items are done in the order of their paths, each wholly before the next. An item that a block cannot
      finish is kept with its progress, and every block with a unit left for it makes progress.
  Q4  All of it is a function of the state and the height (invariant A1 of the application port).

Left out: what kinds there are and what a unit is (each tier), when a block is made for it (the node; parameter
`work_interval_ms`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from common.core.codec import canonical_json
from common.core.errors import InvariantBroken

PREFIX: Final = b"work/"


class Scanner(Protocol):
    """What finding work needs of a state."""

    def scan(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` entries below a prefix, ascending."""
        ...


class Store(Scanner, Protocol):
    """What queueing and doing work needs of a state."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        ...

    def put(self, key: bytes, value: bytes) -> None:
        """Set a value."""
        ...

    def delete(self, key: bytes) -> None:
        """Remove a value."""
        ...


class Item(NamedTuple):
    """One piece of work."""

    lane: str
    kind: str
    key: str

    @property
    def path(self) -> bytes:
        """Its key in the state."""
        return PREFIX + "/".join(self).encode("ascii")


@dataclass(slots=True)
class Budget:
    """Units that are left in this block for a lane."""

    units: int

    def take(self) -> bool:
        """Use one unit, if there is one."""
        if self.units <= 0:
            return False
        self.units -= 1
        return True


class Done(NamedTuple):
    """What a worker returns when nothing of an item is left."""


DONE: Final = Done()

Worker = Callable[[Item, Any, Budget], Any]
"""Does what the budget allows of an item, given its progress; returns its progress now, or `DONE`. `DONE` needs a unit:
without one the item stays as it was and is taken up again, when the worker has to find nothing left of it."""


def queue(state: Store, item: Item, progress: Any = None) -> None:
    """Have an item done. One that is queued already keeps its progress."""
    if state.get(item.path) is None:
        state.put(item.path, canonical_json({"progress": progress}))


def is_queued(state: Scanner, lane: str | None = None) -> bool:
    """Whether any work is left, or any of a lane."""
    return bool(state.scan(PREFIX if lane is None else PREFIX + lane.encode("ascii") + b"/", 1))


def take_up(state: Store, lanes: Sequence[str], units: int, height: int, workers: Mapping[str, Worker]) -> None:
    """Do up to `units` of the queued work of these lanes. Raises `InvariantBroken` for a kind that has no worker."""
    busy = sorted(lane for lane in lanes if is_queued(state, lane))
    if not busy:
        return
    share, rest = divmod(units, len(busy))
    first = height % len(busy)
    for lane in busy[first:] + busy[:first]:
        budget = Budget(share + rest)
        _take_up_lane(state, lane, budget, workers)
        rest = budget.units


def _take_up_lane(state: Store, lane: str, budget: Budget, workers: Mapping[str, Worker]) -> None:
    """Do a lane's work until it or the budget ends."""
    for path, value in state.scan(PREFIX + lane.encode("ascii") + b"/", budget.units):
        if budget.units <= 0:
            return
        item = Item(*path.decode("ascii").split("/")[1:])
        worker = workers.get(item.kind)
        if worker is None:
            raise InvariantBroken(f"work of the kind {item.kind} is queued, and nothing does it")
        before = msgspec.json.decode(value)["progress"]
        progress = worker(item, before, budget)
        if progress is DONE and budget.take():
            state.delete(path)
            continue
        if progress is not DONE and progress != before:
            state.put(path, canonical_json({"progress": progress}))
        return
