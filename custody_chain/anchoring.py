"""Anchoring: verify what a relay delivers, in order, and let the region's snapshots in.

Invariants:
  * A block is anchored when all its snapshots have been delivered and match its roots, and never before (attack R6).
    Progress inside a block is state, so any relay can go on where another stopped.
  * Entries of blocks that are anchored are skipped, and so are snapshots that are in: a delivery may be repeated, and
    two relays may bring the same at once (attack R7).
  * A header counts only by its region's client type (attacks R1, R2, R5), which alone looks into it; heights may skip,
    and which objects complete a block is the type's word. A header from the future is refused for now
    (`future_header`, protocol rule 17), and so is one of a protocol version above the custody chain's own
    (`protocol_version_ahead`, protocol rule 8): the custody chain goes first, the regions follow.
  * A contradiction that is validly certified freezes the region, with both sides on chain, whoever brings it
    (attack R3); the delivery that shows it is applied, not refused, or the proof would be rolled back. What governance
    has judged by a recovery is refused (`misbehaviour_known`): each contradiction freezes a region once.
  * Roots alone decide anchoring: no snapshot can stop a region, and a block without snapshots whose root is not that of
    none is anchored with an alert (protocol rule 16).

Reference: protocol rules 16-20. Left out: what snapshots mean (`ingest`), who may submit (`policy`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from common.chain.application import BlockContext
from common.core.errors import Conflict, RuleBroken
from crosslink.lightclient.client_types import client_for
from crosslink.lightclient.delivery import (
    BlockDelivery,
    Delivery,
    MisbehaviourDelivery,
    SnapshotItem,
    verify_items,
)
from crosslink.lightclient.port import LightClient, Misbehaviour, Verdict, VerifiedBlock
from crosslink.lightclient.update import freeze, update
from crosslink.lightclient.verify import check_misbehaviour, check_usable, verify, verify_misbehaviour
from custody_chain import regions
from custody_chain.accountability import evidence_record, judged_as_if_not_frozen
from custody_chain.ingest import ingest, write_log
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment
from custody_chain.supervision.judging import judge_touched
from custody_chain.tables.deliveries import (
    DELIVERIES,
    HEADERS,
    AcceptedLine,
    Batch,
    CulpritsNamedLine,
    DeliveryKey,
    FrozenLine,
    HeaderKey,
    Origin,
)
from custody_chain.tables.regions import (
    FROZE,
    INCONSISTENT_BLOCKS,
    MISBEHAVIOURS,
    NAMED,
    REGIONS,
    Abandoned,
    AnchoredTip,
    InconsistentBlock,
    InconsistentKey,
    MisbehaviourKey,
    PartialBlock,
    Region,
    RegionFreeze,
    RegionKey,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where an operation stands, so that what it brought can be found again: transaction and operation number."""

    tx_id: bytes
    operation: int
    submitter: str


class Anchoring:
    """One `crosslink.submit` at work on one region."""

    def __init__(self, records: Records, context: BlockContext, source: Source, network: str) -> None:
        """Raises `NotFound('region_unknown')`."""
        record = regions.load(records, network)
        self._records = records
        self._context = context
        self._source = source
        self._network = network
        self._letters = record.region_letters
        self._state = regions.client_state(record)
        self._client: LightClient = client_for(self._state.client_type)
        self._frozen = False

    def submit(self, delivery: Delivery) -> None:
        """Take in the entries in order. Raises `Rejected`, which undoes all of them."""
        before = self._record()
        for number, entry in enumerate(delivery.blocks):
            if entry.header is None:
                self._continue(number, entry)
            else:
                self._block(number, entry, entry.header)
            if self._frozen:
                break
        record = self._record()
        if not self._frozen:
            self._put(replace(record, client=regions.kept_client(self._state)))
        if record.anchored.height != before.anchored.height or record.snapshots != before.snapshots:
            self._log_accepted(before.anchored.height, before.snapshots)

    def _record(self) -> Region:
        return regions.load(self._records, self._network)

    def _put(self, record: Region) -> None:
        self._records.put(REGIONS, RegionKey(self._network), record)

    def moment(self, height: int, index: int) -> Moment:
        """Where supervision stands, for alerts and anomalies."""
        return Moment(
            suite=self._context.genesis.suite,
            network=self._network,
            letters=self._letters,
            custody_height=self._context.height,
            custody_time_ms=self._context.time_ms,
            height=height,
            index=index,
        )

    def _log_accepted(self, first: int, snapshots: int) -> None:
        record = self._record()
        partial = record.partial
        line = AcceptedLine(
            from_height=first + 1,
            anchored_height=record.anchored.height,
            partial_height=None if partial is None else partial.height,
            snapshots=record.snapshots - snapshots,
            tx_id=self._source.tx_id.hex(),
            submitter=self._source.submitter,
        )
        write_log(self._records, self.moment(record.anchored.height, 0), line)

    def _held(self, height: int) -> bytes | None:
        return regions.anchored_id(self._records, self._network, height)

    def _block(self, number: int, entry: BlockDelivery, header: bytes) -> None:
        """An entry that brings a header: the next block, or one that is known already."""
        verified = verify(
            self._state,
            header,
            now_ms=self._context.time_ms,
            held=self._held,
            protocol_version=self._context.protocol_version,
        )
        misbehaviour = check_misbehaviour(self._state, verified, self._held)
        if misbehaviour is not None:
            self._refuse_judged(misbehaviour)
            self.freeze(misbehaviour, [header])
            return
        block, partial = verified.block, self._record().partial
        if verified.verdict is Verdict.KNOWN:
            if partial is not None and partial.height == block.height:
                self._deliver(number, partial, entry.snapshots)
            return
        if partial is not None:
            raise RuleBroken(
                "block_incomplete",
                "The block before is not completely delivered.",
                height=partial.height,
                delivered=partial.delivered,
            )
        self._state = update(self._state, verified)
        self._deliver(number, self._open_block(number, block), entry.snapshots)

    def _open_block(self, number: int, block: VerifiedBlock) -> PartialBlock:
        """From now on the region's snapshots are those of this block, the next after the anchored one."""
        record = self._record()
        self._records.add(HEADERS, HeaderKey(self._network, block.height), self._origin(number))
        partial = PartialBlock(
            height=block.height,
            id=block.id.hex(),
            time_ms=block.time_ms,
            commitments=block.commitments.hex(),
            delivered=self._taken_over(block.id.hex(), record.abandoned),
        )
        self._put(replace(record, partial=partial, abandoned=None))
        return partial

    def _taken_over(self, block_id: str, abandoned: Abandoned | None) -> int:
        """Snapshots of this block that were in before a recovery; pointers to those of another block are forgotten."""
        if abandoned is None:
            return 0
        if abandoned.id == block_id:
            return abandoned.delivered
        for key, _ in self._records.scan(DELIVERIES, abandoned.delivered, self._network, abandoned.height):
            self._records.delete(DELIVERIES, key)
        return 0

    def _continue(self, number: int, entry: BlockDelivery) -> None:
        """An entry that goes on with the block that is partly delivered."""
        record = self._record()
        partial, height = record.partial, entry.height or 0
        if partial is not None and partial.height == height:
            check_usable(self._state, self._context.time_ms)
            self._deliver(number, partial, entry.snapshots)
        elif height > record.anchored.height:
            raise RuleBroken(
                "header_gap", "The header of this block was not delivered.", height=height, tip=self._state.height
            )

    def _origin(self, entry: int) -> Origin:
        source = self._source
        return Origin(self._context.height, source.tx_id.hex(), source.operation, entry)

    def _deliver(self, number: int, partial: PartialBlock, items: Sequence[SnapshotItem]) -> None:
        """Check snapshots of the open block, take in those that are new, anchor when all are in."""
        height, done = partial.height, partial.delivered
        fresh, complete = self._verified(partial, items)
        if fresh:
            origin = self._origin(number)
            batch = Batch(origin.custody_height, origin.tx, origin.operation, origin.entry, done, len(fresh))
            self._records.add(DELIVERIES, DeliveryKey(self._network, height, done), batch)
        for index, item in enumerate(fresh, start=done):
            ingest(self._records, self.moment(height, index), partial.time_ms, item.data)
        if complete:
            self._anchor(partial)
        elif fresh:
            self._put(replace(self._record(), partial=replace(partial, delivered=done + len(fresh))))

    def _verified(self, partial: PartialBlock, items: Sequence[SnapshotItem]) -> tuple[Sequence[SnapshotItem], bool]:
        """The items that are not in yet, and whether the block is complete with them.

        Raises `Malformed` kinds (attacks R5, R6).
        """
        commitments, done = bytes.fromhex(partial.commitments), partial.delivered
        if items and items[0].proof is None and items[0].index == 0:
            whole = self._client.verify_objects(commitments, 0, [item.data for item in items], None)
            return items[done:], whole.complete
        fresh = [item for item in items if item.index >= done]
        if items and not fresh:
            return (), False
        delivered = verify_items(self._client, commitments, done, fresh)
        if delivered.contradictory:
            self._keep_inconsistent(partial)
        return fresh, delivered.complete

    def _keep_inconsistent(self, partial: PartialBlock) -> None:
        key, block = InconsistentKey(self._network, partial.height), InconsistentBlock(partial.commitments)
        self._records.put(INCONSISTENT_BLOCKS, key, block)
        judge_touched(self._records, self.moment(partial.height, 0))

    def _anchor(self, partial: PartialBlock) -> None:
        """The open block is complete."""
        record = self._record()
        regions.keep_anchored_id(self._records, record, partial.height, partial.id)
        tip = AnchoredTip(partial.height, partial.id, partial.time_ms)
        self._put(replace(record, anchored=tip, partial=None, blocks=record.blocks + 1))

    def misbehaviour(self, delivery: MisbehaviourDelivery) -> None:
        """Judge evidence that anybody brings. Raises `Rejected` if it proves nothing."""
        frozen, trusted = self._record().frozen, self._state
        if frozen is not None and not frozen.culprits:
            trusted = judged_as_if_not_frozen(trusted)
        headers = [delivery.first, delivery.second]
        proven = verify_misbehaviour(trusted, *headers, now_ms=self._context.time_ms)
        self._refuse_judged(proven)
        if frozen is None:
            self.freeze(proven, headers)
        elif proven.culprits:
            self._name(frozen, proven, headers)
        else:
            raise RuleBroken("frozen", "The region is frozen already, and this names nobody.", region=self._network)

    def _refuse_judged(self, proven: Misbehaviour) -> None:
        """A header that contradicts what a recovery has set it against, or a block on top of that, shows nothing new.

        Raises `Conflict('misbehaviour_known')`.
        """
        if regions.is_judged(self._record(), proven.settled_by):
            raise Conflict(
                "misbehaviour_known", "Governance has recovered the region from this already.", region=self._network
            )

    def _name(self, frozen: RegionFreeze, proven: Misbehaviour, headers: Sequence[bytes]) -> None:
        """Give names to a freeze that has none."""
        place = self._freeze_of(proven)
        named = replace(frozen, culprits=place.culprits, named_custody_height=self._context.height)
        self._put(replace(self._record(), frozen=named))
        evidence = evidence_record(proven, self._state.client_type, headers, place, None)
        self._records.put(MISBEHAVIOURS, MisbehaviourKey(self._network, self._context.height, NAMED), evidence)
        moment = self.moment(proven.height, 0)
        judge_touched(self._records, moment)
        write_log(self._records, moment, CulpritsNamedLine(height=proven.height, tx_id=self._source.tx_id.hex()))

    def _freeze_of(self, proven: Misbehaviour) -> RegionFreeze:
        return RegionFreeze(
            kind=proven.kind,
            network=proven.network,
            height=proven.height,
            first_id=proven.first_id.hex(),
            second_id=proven.second_id.hex(),
            culprits=tuple(culprit.name for culprit in proven.culprits),
            custody_height=self._context.height,
            time_ms=self._context.time_ms,
            tx_id=self._source.tx_id.hex(),
            submitter=self._source.submitter,
        )

    def freeze(self, proven: Misbehaviour, headers: Sequence[bytes]) -> None:
        """Freeze the region and keep the evidence in state (protocol rules 13 of the architecture and 20)."""
        self._frozen = True
        self._state = freeze(self._state, proven)
        frozen = self._freeze_of(proven)
        self._put(replace(self._record(), client=regions.kept_client(self._state), frozen=frozen))
        held = self._records.get(HEADERS, HeaderKey(self._network, proven.height))
        evidence = evidence_record(proven, self._state.client_type, headers, frozen, held)
        self._records.put(MISBEHAVIOURS, MisbehaviourKey(self._network, self._context.height, FROZE), evidence)
        moment = self.moment(proven.height, 0)
        judge_touched(self._records, moment)
        write_log(self._records, moment, FrozenLine(height=proven.height, tx_id=self._source.tx_id.hex()))
