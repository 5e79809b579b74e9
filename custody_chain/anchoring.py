"""Anchoring: verify what a relay delivers, in order, and let the region's snapshots in.

Invariants:
  * A block is anchored when all its snapshots have been delivered and match its roots, and never before (attack R6).
    Progress inside a block is state, so any relay can go on where another stopped.
  * Entries of blocks that are anchored are skipped, and so are snapshots that are in: a delivery may be repeated, and
    two relays may bring the same at once (attack R7).
  * A header counts only by its region's light client (attacks R1, R2, R5). A header from the future is refused for now
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
from typing import Any

from common.chain.application import BlockContext
from common.core import merkle
from common.core.errors import Conflict, RuleBroken
from common.core.header import Header
from common.core.suite import Suite
from common.core.validators import ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.delivery import (
    BlockDelivery,
    Delivery,
    MisbehaviourDelivery,
    SnapshotItem,
    verify_items,
)
from crosslink.lightclient.messages import HeaderMessage
from crosslink.lightclient.misbehaviour import SAME_HEIGHT, Misbehaviour
from crosslink.lightclient.port import LightClient, client_for
from crosslink.lightclient.verify import Verdict, check_usable, verify_snapshots
from custody_chain import regions, state
from custody_chain.accountability import evidence_entry, judged_as_if_not_frozen
from custody_chain.ingest import ingest, write_log
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment, raise_alert


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
        self._letters: str = record["region_letters"]
        self._state = ClientState.from_json(record["client"])
        self._client: LightClient = client_for(self._state.client_type)
        self._suite: Suite = self._state.algorithms
        self._open: Header | None = None
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
            self._put({**record, "client": self._state.to_json()})
        if record["anchored"]["height"] != before["anchored"]["height"] or record["snapshots"] != before["snapshots"]:
            self._log_accepted(before["anchored"]["height"], before["snapshots"])

    def _record(self) -> dict[str, Any]:
        return regions.load(self._records, self._network)

    def _put(self, record: dict[str, Any]) -> None:
        self._records.put(state.region(self._network), record)

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
        partial = record["partial"]
        entry = {
            "type": "accepted",
            "from_height": first + 1,
            "anchored_height": record["anchored"]["height"],
            "partial_height": None if partial is None else partial["height"],
            "snapshots": record["snapshots"] - snapshots,
            "tx_id": self._source.tx_id.hex(),
            "submitter": self._source.submitter,
        }
        write_log(self._records, self.moment(record["anchored"]["height"], 0), entry)

    def _block(self, number: int, entry: BlockDelivery, encoded: bytes) -> None:
        """An entry that brings a header: the next block, or one that is known already."""
        message = self._client.decode(encoded, entry.certificate, entry.next_validators)
        header = message.header
        known = regions.anchored_id(self._records, self._network, header.height)
        verified = self._client.verify(
            self._state,
            message,
            now_ms=self._context.time_ms,
            known_id=known,
            newest_version=self._context.protocol_version,
        )
        misbehaviour = self._client.check_misbehaviour(self._state, verified)
        if misbehaviour is not None:
            below = regions.anchored_id(self._records, self._network, header.height - 1)
            self._refuse_judged(*((held, misbehaviour.second_id) for held in (misbehaviour.first_id, below)))
            self.freeze(misbehaviour, [message])
            return
        partial = self._record()["partial"]
        if verified.verdict is Verdict.KNOWN:
            if partial is not None and partial["height"] == header.height:
                self._deliver(number, header, entry.snapshots)
            return
        if partial is not None:
            raise RuleBroken(
                "block_incomplete",
                "The block before is not completely delivered.",
                height=partial["height"],
                delivered=partial["delivered"],
                count=partial["count"],
            )
        self._state = self._client.update(self._state, verified)
        self._open_block(number, header, verified.block_id)
        self._deliver(number, header, entry.snapshots)

    def _open_block(self, number: int, header: Header, block_id: bytes) -> None:
        """From now on the region's snapshots are those of this block, the next after the anchored one."""
        record = dict(self._record())
        delivered = self._taken_over(header.height, block_id.hex(), record.pop("abandoned", None))
        self._records.add_index(state.header(self._network, header.height), self._pointer(number))
        partial = {
            "height": header.height,
            "id": block_id.hex(),
            "time_ms": header.time_ms,
            "header": header.encode().hex(),
            "delivered": delivered,
            "count": header.snapshot_count,
        }
        self._put({**record, "partial": partial})

    def _taken_over(self, height: int, block_id: str, abandoned: dict[str, Any] | None) -> int:
        """Snapshots of this block that were in before a recovery; pointers to those of another block are forgotten."""
        if abandoned is None:
            return 0
        if abandoned["id"] == block_id:
            return int(abandoned["delivered"])
        for key in self._records.scan_index(state.deliveries_of(self._network, height), abandoned["delivered"]):
            self._records.put_index(key, None)
        return 0

    def _continue(self, number: int, entry: BlockDelivery) -> None:
        """An entry that goes on with the block that is partly delivered."""
        record = self._record()
        partial, height = record["partial"], entry.height or 0
        if partial is not None and partial["height"] == height:
            check_usable(self._state, self._context.time_ms)
            self._deliver(number, Header.decode(bytes.fromhex(partial["header"])), entry.snapshots)
        elif height > record["anchored"]["height"]:
            raise RuleBroken(
                "header_gap", "The header of this block was not delivered.", height=height, tip=self._state.height
            )

    def _pointer(self, entry: int) -> dict[str, Any]:
        source = self._source
        return {
            "custody_height": self._context.height,
            "tx": source.tx_id.hex(),
            "operation": source.operation,
            "entry": entry,
        }

    def _deliver(self, number: int, header: Header, items: Sequence[SnapshotItem]) -> None:
        """Check snapshots of the open block against its root, take in those that are new, anchor when all are in."""
        partial = self._record()["partial"]
        done, count = partial["delivered"], header.snapshot_count
        if count == 0:
            self._check_empty(header, items)
            self._anchor(header.height)
            return
        fresh = self._verified(header, done, items)
        if fresh:
            pointer = {**self._pointer(number), "first": done, "count": len(fresh)}
            self._records.add_index(state.delivery(self._network, header.height, done), pointer)
        for index, item in enumerate(fresh, start=done):
            ingest(self._records, self.moment(header.height, index), header.time_ms, item.data)
        if not fresh:
            return
        record = self._record()
        self._put({**record, "partial": {**record["partial"], "delivered": done + len(fresh)}})
        if done + len(fresh) == count:
            self._anchor(header.height)

    def _verified(self, header: Header, done: int, items: Sequence[SnapshotItem]) -> Sequence[SnapshotItem]:
        """The items from index `done` on, after checking them. Raises `Malformed` kinds (attacks R5, R6)."""
        if not items:
            return ()
        if items[0].proof is None and items[0].index == 0:
            verify_snapshots(self._suite, header, 0, [item.data for item in items])
            return items[done:]
        fresh = [item for item in items if item.index >= done]
        if fresh:
            verify_items(self._suite, header, done, fresh)
        return fresh

    def _check_empty(self, header: Header, items: Sequence[SnapshotItem]) -> None:
        if items:
            verify_snapshots(self._suite, header, 0, [item.data for item in items])
        if header.snapshot_root == merkle.root(self._suite.hash, ()):
            return
        about, objects = [str(header.height)], [{"kind": "block", "id": str(header.height)}]
        details = {"snapshot_root": header.snapshot_root.hex()}
        raise_alert(self._records, self.moment(header.height, 0), "snapshot_root_inconsistent", about, objects, details)

    def _anchor(self, height: int) -> None:
        """The open block is complete."""
        record = self._record()
        partial = record["partial"]
        regions.keep_anchored_id(self._records, self._network, height, partial["id"])
        self._put(
            {
                **record,
                "anchored": {"height": height, "id": partial["id"], "time_ms": partial["time_ms"]},
                "partial": None,
                "blocks": record["blocks"] + 1,
            }
        )

    def misbehaviour(self, delivery: MisbehaviourDelivery) -> None:
        """Judge evidence that anybody brings. Raises `Rejected` if it proves nothing."""
        first, second = (
            self._client.decode(header, certificate, None) for header, certificate in (delivery.first, delivery.second)
        )
        validators = None if delivery.validators is None else ValidatorSet.decode(delivery.validators)
        frozen, trusted = self._record()["frozen"], self._state
        if frozen is not None and not frozen["culprits"]:
            trusted = judged_as_if_not_frozen(trusted)
        proven = self._client.verify_misbehaviour(
            trusted, first, second, now_ms=self._context.time_ms, validators=validators
        )
        pairs = [(proven.first_id, proven.second_id)]
        if proven.kind == SAME_HEIGHT:
            pairs += [(first.header.parent_id, proven.second_id), (second.header.parent_id, proven.first_id)]
        self._refuse_judged(*pairs)
        if frozen is None:
            self.freeze(proven, [first, second], validators)
        elif proven.culprits:
            self._name(proven, [first, second], validators)
        else:
            raise RuleBroken("frozen", "The region is frozen already, and this names nobody.", region=self._network)

    def _refuse_judged(self, *pairs: tuple[bytes | None, bytes]) -> None:
        """A header that contradicts what a recovery has set it against, or a block on top of that, shows nothing new.

        Raises `Conflict('misbehaviour_known')`.
        """
        if regions.is_judged(self._record(), *pairs):
            raise Conflict(
                "misbehaviour_known", "Governance has recovered the region from this already.", region=self._network
            )

    def _name(self, proven: Misbehaviour, messages: Sequence[HeaderMessage], validators: ValidatorSet | None) -> None:
        """Give names to a freeze that has none."""
        record = self._record()
        place = self._place(proven)
        named = {"culprits": list(proven.culprits), "named_custody_height": self._context.height}
        self._put({**record, "frozen": {**record["frozen"], **named}})
        entry = evidence_entry(proven, messages, validators or self._state.validators, self._suite, place, None)
        self._records.put(state.named_culprits(self._network, self._context.height), entry)
        told = {"type": "culprits_named", "height": proven.height, "tx_id": self._source.tx_id.hex()}
        write_log(self._records, self.moment(proven.height, 0), told)

    def _place(self, proven: Misbehaviour) -> dict[str, Any]:
        return {
            **proven.to_json(),
            "custody_height": self._context.height,
            "time_ms": self._context.time_ms,
            "tx_id": self._source.tx_id.hex(),
            "submitter": self._source.submitter,
        }

    def freeze(
        self, proven: Misbehaviour, messages: Sequence[HeaderMessage], validators: ValidatorSet | None = None
    ) -> None:
        """Freeze the region and keep the evidence in state (protocol rules 13 of the architecture and 20)."""
        self._frozen = True
        self._state = self._client.freeze(self._state, proven)
        frozen = self._place(proven)
        self._put({**self._record(), "client": self._state.to_json(), "frozen": frozen})
        held = self._records.get_index(state.header(self._network, proven.height))
        entry = evidence_entry(proven, messages, validators or self._state.validators, self._suite, frozen, held)
        self._records.put(state.misbehaviour(self._network, self._context.height), entry)
        moment = self.moment(proven.height, 0)
        objects = [
            {"kind": "block", "id": proven.first_id.hex(), "height": proven.height},
            {"kind": "block", "id": proven.second_id.hex(), "height": proven.height},
        ]
        details = {"kind": proven.kind, "culprits": list(proven.culprits)}
        raise_alert(self._records, moment, "region_misbehaved", [str(proven.height)], objects, details)
        write_log(self._records, moment, {"type": "frozen", "height": proven.height, "tx_id": self._source.tx_id.hex()})
