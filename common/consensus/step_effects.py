"""Collects the effects of one step, in order."""

from __future__ import annotations

from common.consensus.effects import Effect, Persist
from common.consensus.vote_records import Record, encode_record


class StepEffects:
    """Effects in the order in which they must be performed."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        """Those since the last `take`."""

    def emit(self, effect: Effect) -> None:
        """Append one effect."""
        self.effects.append(effect)

    def persist(self, *records: Record) -> None:
        """Append a `Persist` of these records; everything behind it waits until they are durable."""
        self.effects.append(Persist(tuple([encode_record(record) for record in records])))

    def take(self) -> list[Effect]:
        """All effects since the last call."""
        effects, self.effects = self.effects, []
        return effects
