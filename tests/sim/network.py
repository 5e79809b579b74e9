"""Links between actors: delay, loss, duplication, reordering, partitions.

An address is a chain's name and a node's number, so that several chains and their clients can share one network. An
actor is whatever takes payloads; it may refuse them while it is down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tests.sim.world import World


class Address(NamedTuple):
    """Who, on which chain."""

    chain: str
    number: int


Payload = tuple[object, ...]
"""A name and its arguments, such as `("get-body", height, block_id)`. Values are never mutated, so links share them."""


class Actor(Protocol):
    """Something with an address."""

    camp: str | None
    """Actors of different camps do not hear each other; without a camp, one hears everybody."""

    def receive(self, source: Address, payload: Payload) -> None:
        """A payload arrives."""


Tap = Callable[[Address, Address, Payload], None]


@dataclass(slots=True)
class LinkQuality:
    """How all links behave at present. Probabilities are per message."""

    least_delay_ms: int = 1
    mean_delay_ms: int = 5
    loss: float = 0.0
    duplication: float = 0.0
    straggling: float = 0.0
    """Chance that a message takes up to a second, and is overtaken by many."""


class Network:
    """Carries payloads between registered actors."""

    def __init__(self, world: World, *, ordered: bool = False) -> None:
        self._world = world
        self._ordered = ordered
        """Whether messages of one link stay in order and never come twice, as on TCP."""
        self._busy_until: dict[tuple[Address, Address, str | None], int] = {}
        self._actors: dict[Address, list[Actor]] = {}
        self._cut: set[tuple[Address, Address]] = set()
        self.quality = LinkQuality()
        self.sent = 0
        self.taps: list[Tap] = []
        """Called with everything that is sent, before anything is lost."""

    def register(self, address: Address, actor: Actor) -> None:
        """Connect an actor. Two actors may claim one address (twins); each payload reaches one or both of them."""
        self._actors.setdefault(address, []).append(actor)

    def cut(self, source: Address, target: Address) -> None:
        """Lose everything from `source` to `target` until further notice."""
        self._cut.add((source, target))

    def partition(self, groups: Sequence[Sequence[Address]]) -> None:
        """Cut all links between different groups."""
        for group in groups:
            for other in groups:
                if other is not group:
                    self._cut.update((source, target) for source in group for target in other)

    def heal(self) -> None:
        """Restore all links."""
        self._cut.clear()

    def is_cut(self, source: Address, target: Address) -> bool:
        """Whether that direction is cut."""
        return (source, target) in self._cut

    def send(self, source: Address, target: Address, payload: Payload, camp: str | None = None) -> None:
        """Put a payload on its way; it may arrive late, twice or never, and only within its `camp`."""
        self.sent += 1
        for tap in self.taps:
            tap(source, target, payload)
        quality, random = self.quality, self._world.random
        if (source, target) in self._cut or (quality.loss and random.random() < quality.loss):
            return
        if self._ordered:
            self._world.after(
                self._ordered_delay_ms(source, target, camp), lambda: self._arrive(source, target, payload, camp)
            )
            return
        copies = 2 if quality.duplication and random.random() < quality.duplication else 1
        for _ in range(copies):
            self._world.after(self._delay_ms(), lambda: self._arrive(source, target, payload, camp))

    def _delay_ms(self) -> int:
        quality, random = self.quality, self._world.random
        delay_ms = quality.least_delay_ms + int(random.random() * 2 * quality.mean_delay_ms)
        if quality.straggling and random.random() < quality.straggling:
            delay_ms += int(random.random() * 1000)
        return delay_ms

    def _ordered_delay_ms(self, source: Address, target: Address, camp: str | None) -> int:
        now_ms, link = self._world.now_ms, (source, target, camp)
        arrival_ms = max(self._busy_until.get(link, 0), now_ms + self._delay_ms())
        self._busy_until[link] = arrival_ms
        return arrival_ms - now_ms

    def _arrive(self, source: Address, target: Address, payload: Payload, camp: str | None) -> None:
        actors = self._actors.get(target, [])
        if camp is not None:
            actors = [actor for actor in actors if actor.camp in (None, camp)]
        if len(actors) < 2:
            for actor in actors:
                actor.receive(source, payload)
            return
        chosen = self._world.random.randrange(3)
        for at, actor in enumerate(actors):
            if chosen in (at, 2):
                actor.receive(source, payload)
