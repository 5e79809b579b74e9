"""One moment of the custody chain: now or in the past, seen with one bearer's regions.

Invariants
  Q1  An answer comes from one moment of the custody chain (`ChainMoment`): figures, basis and proofs fit each other.
  Q2  Lagging, silent and expired follow from that moment's block time, never from a wall clock (protocol rule 19).
  Q3  Regions outside the bearer's scope do not exist here: neither their records nor what depends on them, but
      for what docs/supervision.md names ("Who may ask").
  Q4  Every answer says what it rests on: the regions concerned, their state, how far they were verified. It is complete
      only while all of them are active, no block of theirs was skipped, and nothing of theirs waits to be moved.
  Q5  What the answer returns can be proven. A question without a limit is never refused for its proofs: its page ends
      where they do, and the cursor goes on.

Left out: the questions themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, overload

import msgspec

from common.core.errors import NotFound, RuleBroken
from common.node.store.chain_moment import ChainMoment, height_at
from common.node.store.chain_store import ChainStore
from crosslink.lightclient.evidence_file import StateEntry
from custody_chain import regions
from custody_chain.evidence_making import own_evidence
from custody_chain.tables.regions import REGIONS, Region, RegionKey
from custody_chain.tables.table import K, R, Table
from custody_chain.tables.work import WORK

PAGE: Final = 200
"""Rows of a page if the question names no limit; with proofs fewer, as many as `MAX_PROVEN` has room for."""

_decode: Final = msgspec.json.Decoder().decode


class QueryMoment(ChainMoment):
    """What a question reads. `sees` says whether the bearer may know of a region."""

    def __init__(
        self, chain: ChainStore, sees: Callable[[str], bool], as_of_ms: int | None = None, *, proof: bool = False
    ) -> None:
        """Raises `NotFound('as_of_before_genesis')`."""
        super().__init__(chain, height_at(chain, as_of_ms), proof=proof)
        self.sees = sees
        self._regions: dict[str, Region] | None = None

    @overload
    def get(self, table: bytes) -> Any: ...
    @overload
    def get(self, table: Table[K, R], key: K) -> R | None: ...
    def get(self, table: Any, key: Any = None) -> Any:
        """A record of the state at this moment, or None; proven if proofs were asked for.

        An answer that shows records as they are reads them by path.
        """
        path, decode = (table, _decode) if isinstance(table, bytes) else (table.path(key), table.decode)
        value = self.read_proven(path)
        return None if value is None else decode(value)

    @overload
    def peek(self, table: bytes) -> Any: ...
    @overload
    def peek(self, table: Table[K, R], key: K) -> R | None: ...
    def peek(self, table: Any, key: Any = None) -> Any:
        """Like `get`, without a proof: names beside the figures that are proven."""
        path, decode = (table, _decode) if isinstance(table, bytes) else (table.path(key), table.decode)
        value = self.read(path)
        return None if value is None else decode(value)

    @overload
    def scan(self, prefix: bytes, start_after: bytes | None, limit: int) -> list[tuple[bytes, Any]]: ...
    @overload
    def scan(
        self, prefix: bytes, start_after: bytes | None, limit: int, table: Table[K, R]
    ) -> list[tuple[bytes, R]]: ...
    def scan(self, prefix: bytes, start_after: bytes | None, limit: int, table: Any = None) -> Any:
        """Paths and records below a prefix, in the order of paths; not proven, for not all are returned (Q3, Q5)."""
        decode = _decode if table is None else table.decode
        return [(path, decode(value)) for path, value in self.read_below(prefix, start_after, limit)]

    def index_get(self, key: bytes) -> Any:
        """An index value of the tip, decoded, or None. The index has no history; callers compare heights."""
        value = self.reader.index_get(key)
        return None if value is None else _decode(value)

    def index_scan(self, prefix: bytes, start_after: bytes | None, limit: int) -> list[tuple[bytes, Any]]:
        """Index values of the tip below a prefix, decoded."""
        return [(key, _decode(value)) for key, value in self.reader.index_scan(prefix, start_after, limit)]

    def regions(self) -> dict[str, Region]:
        """Records of all regions that the bearer sees, by network id, in order."""
        if self._regions is None:
            records = [value for _, value in self.scan(REGIONS.prefix(), None, regions.MAX_REGIONS, REGIONS)]
            self._regions = {item.network: item for item in records if self.sees(item.network)}
        return self._regions

    def region(self, network: str) -> Region:
        """One region's record. Raises `NotFound('region_unknown')`, also for one outside the bearer's scope."""
        record = self.regions().get(network)
        if record is None:
            raise NotFound("region_unknown", "There is no such region, or it is outside your scope.")
        if self.proven is not None:
            self.get(REGIONS, RegionKey(network))
        return record

    def basis(self, concerned: Iterable[str]) -> list[dict[str, Any]]:
        """What the answer rests on, one entry a region (Q4)."""
        records = self.regions()
        return [
            basis_entry(records[network], self.time_ms) | {"open_work": self._has_work(network)}
            for network in concerned
            if network in records
        ]

    def _has_work(self, network: str) -> bool:
        """Whether something of a region, or of several, waits to be moved to where it belongs or to be judged."""
        lanes = (network, self.reader.genesis.network)
        return any(self.scan(WORK.prefix(lane), None, 1) for lane in lanes)


def basis_entry(record: Region, now_ms: int) -> dict[str, Any]:
    """State, anchored block, lag, open anomalies and skipped blocks of one region."""
    anchored = record.anchored
    return {
        "region": record.network,
        "state": regions.derived_state(record, now_ms),
        "anchored_height": anchored.height,
        "block_id": anchored.id,
        "block_time_ms": anchored.time_ms,
        "lag_ms": regions.lag_ms(record, now_ms),
        "anomalies": record.anomalies_open,
        "gaps": [list(gap) for gap in record.gaps],
    }


def _is_whole(entry: dict[str, Any]) -> bool:
    return entry["state"] == "active" and not entry["gaps"] and not entry["open_work"]


class Questions:
    """Makes moments and envelopes for the routes."""

    def __init__(self, chain: ChainStore, sees: Callable[[str], bool]) -> None:
        """`sees`: whether the bearer may know of a region."""
        self._chain = chain
        self._sees = sees

    def answer(
        self,
        question: Callable[[QueryMoment], Any],
        *,
        as_of_ms: int | None = None,
        proof: bool = False,
        concerned: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        """Ask at one moment; return the envelope. `concerned` None means every region that the bearer sees.

        Raises what the question raises, `NotFound('as_of_before_genesis')`, `Gone` with `state_pruned` or
        `proof_pruned`, `RuleBroken('proof_of_genesis')`, `Malformed('proof_limit')`.
        """
        named = None if concerned is None else list(concerned)
        moment = QueryMoment(self._chain, self._sees, as_of_ms, proof=proof)
        data = question(moment)
        basis = moment.basis(moment.regions() if named is None else named)
        envelope = {
            "as_of_ms": moment.time_ms,
            "custody_height": moment.height,
            "complete": all(map(_is_whole, basis)),
            "basis": basis,
            "data": data,
        }
        return {**envelope, "evidence": self._evidence(moment)} if proof else envelope

    @staticmethod
    def _evidence(moment: QueryMoment) -> dict[str, Any] | None:
        """An evidence file of kind `state`; None if no value was read: an empty answer has no parts to prove."""
        if moment.height == 0:
            raise RuleBroken(
                "proof_of_genesis", "No header states what genesis holds; ask for the time of the first block or later."
            )
        if not moment.proven:
            return None
        entries = tuple(
            StateEntry(key.decode("ascii"), None if value is None else value.decode("utf-8"), proof.to_json())
            for key, value, proof in moment.proofs()
        )
        return own_evidence(moment.reader, moment.height, entries, None).to_json()
