"""One moment of a chain, now or in the past, and the proofs of what is read of it: for the queries of either tier.

Invariants
  M1  An answer comes from one moment: its figures, its block and its proofs fit each other.
  M2  Time is the chain's: a moment in the past is the state after the last block that is not later than the asked
      time, never a reading of a wall clock (protocol rule 19).
  M3  What `read_proven` reads is proven if proofs were asked for, at every height whose tree this node keeps, absences
      too. A bounded number of values is proven.

Left out: records and their codecs, and the form of evidence (each tier's queries).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from common.core.errors import Malformed, NotFound
from common.core.state_proof import StateProof
from common.node.store.chain_reader import ChainReader
from common.node.store.chain_store import ChainStore

MAX_PROVEN: Final = 200
"""State values that one answer proves; a proof costs some 50 microseconds of the node's event loop."""


class ChainMoment:
    """What a question reads. `proven` holds what is to be proven, by key; None if no proofs were asked for."""

    def __init__(
        self, chain: ChainStore, height: int | None = None, *, proof: bool = False, most: int = MAX_PROVEN
    ) -> None:
        """After a height, or now. A height above the tip, or a pruned one, is refused when something is read.

        `most`: values that are proven at most.
        """
        self._chain = chain
        self._most = most
        self.reader: ChainReader = chain.moment()
        self.height = self.reader.tip().height if height is None else height
        self.proven: dict[bytes, bytes | None] | None = {} if proof else None
        self._past = self.height if self.height != self.reader.tip().height else None

    @property
    def time_ms(self) -> int:
        """Time of the block; at height 0 that of genesis. Raises NotFound."""
        return self.reader.tip().time_ms if self._past is None else _time_of(self.reader, self._past)

    def read_proven(self, key: bytes) -> bytes | None:
        """The authenticated value at this moment, or None; proven if proofs were asked for.

        Raises `NotFound`, `Gone`, `Malformed('proof_limit')`.
        """
        value = self.read(key)
        self.prove(key, value)
        return value

    def read(self, key: bytes) -> bytes | None:
        """The same without a proof: names beside the figures that are proven. Raises `NotFound`, `Gone`."""
        return self.reader.state_get(key) if self._past is None else self.reader.state_at(key, self._past)

    def read_below(self, prefix: bytes, start_after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """Keys and values below a prefix, ascending; not proven, for not all are returned. Raises as `read`."""
        return self.reader.state_scan(prefix, start_after, limit, self._past)

    def prove(self, key: bytes, value: bytes | None) -> None:
        """Have a value proven that was read. Raises `Malformed('proof_limit')`."""
        if self.proven is None:
            return
        if len(self.proven) >= self._most and key not in self.proven:
            raise Malformed("proof_limit", "One answer proves fewer values than that; ask for less.", limit=self._most)
        self.proven[key] = value

    @property
    def room(self) -> int:
        """How many more values this answer may prove; without proofs there is no bound."""
        return sys.maxsize if self.proven is None else self._most - len(self.proven)

    def proofs(self) -> Iterator[tuple[bytes, bytes | None, StateProof]]:
        """Keys and values to be proven, in the order of reading, with their proofs. Raises `Gone('proof_pruned')`."""
        for key, value in (self.proven or {}).items():
            yield key, value, self._chain.prove_in(self.reader, key, self.height)


def height_at(chain: ChainReader, time_ms: int | None) -> int:
    """Height of the last block not later than a time, of the tip for None (M2).

    Raises `NotFound('as_of_before_genesis')`.
    """
    tip = chain.tip()
    if time_ms is None or time_ms >= tip.time_ms:
        return tip.height
    if time_ms < chain.genesis.time_ms:
        raise NotFound("as_of_before_genesis", "The chain did not exist then.", since_ms=chain.genesis.time_ms)
    low, high = 0, tip.height
    while high - low > 1:
        middle = (low + high) // 2
        if _time_of(chain, middle) <= time_ms:
            low = middle
        else:
            high = middle
    return low


def _time_of(chain: ChainReader, height: int) -> int:
    return chain.header(height).time_ms if height else chain.genesis.time_ms
