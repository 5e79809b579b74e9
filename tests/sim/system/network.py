"""What carries bytes between simulated processes: links with delay, loss, reordering, partitions and clogs.

Two kinds of traffic share it. *Frames* travel on a channel between two validators: in order, as TLS gives them, but
any of them may be lost (event contract V3); consensus and gossip frames may also come twice or late. *Requests* are
HTTP exchanges: one that is lost ends in a time-out or a reset connection.

Left out: bandwidth; bytes (a payload is never split).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.sim.world import World

Arrival = Callable[[], None]


@dataclass(slots=True)
class Quality:
    """How all links behave at present. Probabilities are per message, times in milliseconds."""

    delay_ms: int = 4
    """Mean one-way delay."""
    loss: float = 0.0
    duplication: float = 0.0
    straggling: float = 0.0
    """Chance that a message takes up to a second, and is overtaken by many where the channel allows it."""


@dataclass(slots=True)
class SystemNetwork:
    """Links between named processes."""

    world: World
    quality: Quality = field(default_factory=Quality)
    starve: Callable[[bytes], bool] | None = None
    """Says of a frame whether it is lost because of what it is."""
    _cut: set[tuple[str, str]] = field(default_factory=set)
    _clogged: dict[tuple[str, str], int] = field(default_factory=dict)
    _busy_until: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def cut(self, source: str, target: str) -> None:
        """Lose everything in that direction until `heal`."""
        self._cut.add((source, target))

    def partition(self, groups: Sequence[Sequence[str]], *, one_way: bool = False) -> None:
        """Cut all links from the first group to the others; back as well, unless `one_way`."""
        for other in groups[1:]:
            for one in groups[0]:
                for two in other:
                    self._cut.add((one, two))
                    if not one_way:
                        self._cut.add((two, one))

    def clog(self, source: str, target: str, delay_ms: int) -> None:
        """Make a link so slow."""
        self._clogged[source, target] = delay_ms

    def heal(self) -> None:
        """Restore all links."""
        self._cut.clear()
        self._clogged.clear()

    def is_cut(self, source: str, target: str) -> bool:
        """Whether that direction is cut."""
        return (source, target) in self._cut

    def delay_ms(self, source: str, target: str) -> int:
        """Draw a delay for one message."""
        quality, random = self.quality, self.world.random
        delay_ms = 1 + int(random.random() * 2 * quality.delay_ms) + self._clogged.get((source, target), 0)
        if quality.straggling and random.random() < quality.straggling:
            delay_ms += int(random.random() * 1000)
        return delay_ms

    def is_lost(self, source: str, target: str) -> bool:
        """Draw whether one message is lost."""
        loss = self.quality.loss
        return (source, target) in self._cut or (loss > 0 and self.world.random.random() < loss)

    def frame(self, source: str, target: str, channel: int, arrive: Arrival, *, ordered: bool) -> None:
        """Send one frame; an `ordered` one keeps its place behind everything sent before it on that channel."""
        if self.is_lost(source, target):
            return
        delay_ms = self.delay_ms(source, target)
        duplication = self.quality.duplication
        if not ordered:
            if duplication and self.world.random.random() < duplication:
                self.world.after(self.delay_ms(source, target), arrive)
            if self.quality.straggling:
                self.world.after(delay_ms, arrive)
                return
        lane = (source, target, channel)
        arrival_ms = max(self._busy_until.get(lane, 0), self.world.now_ms + delay_ms)
        self._busy_until[lane] = arrival_ms
        self.world.after(arrival_ms - self.world.now_ms, arrive)
