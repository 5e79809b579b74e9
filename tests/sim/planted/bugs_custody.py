"""Planted bugs of the light client and of anchoring: what a lying relay or a lying region could then do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec import structs

from crosslink.lightclient.pbft.client import PbftClient
from crosslink.lightclient.pbft.messages import HeaderMessage
from crosslink.lightclient.pbft.objects import Commitments
from crosslink.lightclient.pbft.trust import Epoch
from crosslink.lightclient.port import Delivered
from custody_chain.tables.regions import REGIONS, RegionKey
from tests.sim.mutators.packets import SUITE
from tests.sim.planted.bug import bug
from tests.sim.planted.substitutes import answering, doing_nothing, ignoring, lenient_certificate

Original = Callable[..., Any]
VERIFY = "crosslink.lightclient.pbft.verify:verify_certificate"


@bug("safety", "packets", VERIFY)
def light_client_takes_stale_certificates(original: Original) -> Any:
    """A certificate of another block is good enough (attack R1)."""
    return lenient_certificate(original, block=True)


@bug("safety", "packets", VERIFY)
def light_client_takes_too_few_signatures(original: Original) -> Any:
    """A certificate below the quorum is good enough (attack R2)."""
    return lenient_certificate(original, too_few=True)


@bug("safety", "packets", VERIFY)
def light_client_takes_forged_signatures(original: Original) -> Any:
    """Signatures are counted, not verified (attack R2)."""
    return lenient_certificate(original, signatures=True)


@bug("safety", "packets", "crosslink.lightclient.pbft.verify:check_signed_by")
def light_client_takes_another_set(original: Original) -> Any:
    """The set that a delivery brings along is believed to have signed it (attack R2)."""

    @functools.wraps(original)
    def check_signed_by(suite: Any, validators: Any, validators_hash: bytes, message: Any) -> None:
        own = message.next_validators
        if own is not None and message.header.validators_hash == own.hash(suite):
            original(suite, own, own.hash(suite), message)
        else:
            original(suite, validators, validators_hash, message)

    return check_signed_by


@bug("safety", "packets", "crosslink.lightclient.pbft.verify:_check_next_set")
def next_set_unchecked(original: Original) -> Any:
    """The relay chooses who signs the next block (attack R2)."""
    return doing_nothing(original)


@bug("safety", "packets", "crosslink.lightclient.pbft.trust:PbftTrust.advanced")
def set_change_of_a_region_at_the_wrong_height(original: Original) -> Any:
    """A new set is said to govern the block that brought it (protocol rule 20)."""

    @functools.wraps(original)
    def advanced(self: Any, *arguments: Any, **named: Any) -> Any:
        moved = original(self, *arguments, **named)
        if moved.epochs == self.epochs:
            return moved
        last = moved.epochs[-1]
        return replace(moved, epochs=(*moved.epochs[:-1], Epoch(last.first_height - 1, last.validators_hash)))

    return advanced


@bug("safety", "packets", "crosslink.lightclient.pbft.client:PbftClient.verify_objects")
def snapshot_roots_unchecked(original: Original) -> Any:
    """Snapshots need not be those of the block; their number must be right (attacks R5, R6)."""

    @functools.wraps(original)
    def verify_objects(self: PbftClient, commitments: bytes, start: int, objects: Any, proofs: Any) -> Delivered:
        return Delivered(start + len(objects) >= Commitments.decode(commitments).snapshot_count)

    return verify_objects


@bug("safety", "packets", "common.core.merkle:verify_inclusion")
def inclusion_proofs_unchecked(original: Original) -> Any:
    """A snapshot with any proof is part of the block (attacks R5, E8)."""
    return doing_nothing(original)


@bug("safety", "packets", "custody_chain.anchoring:Anchoring._deliver")
def snapshot_omission_accepted(original: Original) -> Any:
    """A block is anchored when all its snapshots but one are in (attack R6)."""

    @functools.wraps(original)
    def _deliver(self: Any, number: int, partial: Any, items: Any) -> None:
        original(self, number, partial, items)
        left = self._record().partial
        if left is None:
            return
        count = Commitments.decode(bytes.fromhex(left.commitments)).snapshot_count
        if left.delivered >= count - 1:
            self._anchor(left)

    return _deliver


@bug(
    "safety",
    "packets",
    "crosslink.lightclient.delivery:_check_items",
    "crosslink.lightclient.pbft.objects:snapshot_root",
    "common.core.merkle:verify_inclusion",
)
def snapshot_order_unchecked(original: Original) -> Any:
    """Snapshots of a block count in any order (attack R6)."""
    if original.__name__ != "snapshot_root":
        return doing_nothing(original)

    @functools.wraps(original)
    def snapshot_root(suite: Any, snapshots: Any) -> bytes:
        return _Any()

    return snapshot_root


class _Any(bytes):
    """Equal to every root."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = bytes.__hash__


@bug("safety", "packets", "custody_chain.anchoring:Anchoring._block")
def anchors_over_a_gap(original: Original) -> Any:
    """The next block may begin while the one before is incomplete (attack R6)."""

    @functools.wraps(original)
    def _block(self: Any, number: int, entry: Any, header: bytes) -> None:
        record = self._record()
        partial = record.partial
        if partial is not None and partial.id != HeaderMessage.decode(header).header.id(SUITE).hex():
            self._put(structs.replace(record, partial=None))
        original(self, number, entry, header)

    return _block


@bug("safety", "packets", "custody_chain.anchoring:Anchoring.freeze")
def misbehaviour_does_not_freeze(original: Original) -> Any:
    """Two certificates at one height change nothing (attack R3)."""
    return doing_nothing(original)


@bug("safety", "packets", "crosslink.lightclient.verify:check_usable")
def frozen_region_takes_deliveries(original: Original) -> Any:
    """A frozen region goes on (protocol rule 20)."""
    return doing_nothing(original)


@bug("safety", "packets", "crosslink.lightclient.pbft.misbehaviour:check_signed_by")
def false_evidence_freezes(original: Original) -> Any:
    """Evidence counts whoever signed it: anybody can freeze a region (attack R3)."""
    return doing_nothing(original)


@bug("safety", "packets", "custody_chain.anchoring:Anchoring._put")
def regions_mixed_up(original: Original) -> Any:
    """What is learnt of one region is written to another (attack R7)."""

    @functools.wraps(original)
    def _put(self: Any, record: Any) -> None:
        self._records.put(REGIONS, RegionKey("beijing"), record)

    return _put


@bug("safety", "packets", "custody_chain.anchoring:Anchoring._verified")
def repeated_delivery_applied_twice(original: Original) -> Any:
    """Snapshots that are in already are taken in again (attack R7)."""

    @functools.wraps(original)
    def _verified(self: Any, partial: Any, items: Any) -> Any:
        return items, original(self, partial, items)[1]

    return _verified


@bug("safety", "packets", "custody_chain.anchoring:Anchoring._continue")
def frozen_region_completes_its_open_block(original: Original) -> Any:
    """A region that froze in the middle of a block still takes the rest of it (protocol rule 20)."""

    @functools.wraps(original)
    def _continue(self: Any, number: int, entry: Any) -> None:
        self._state = replace(self._state, frozen_height=None)
        original(self, number, entry)

    return _continue


@bug("liveness", "packets", "custody_chain.regions:anchored_id")
def known_blocks_are_refused(original: Original) -> Any:
    """A delivery that begins with a block which is in already is refused as a whole (attack R7)."""
    return answering(original, None)


@bug("safety", "packets", "crosslink.lightclient.pbft.verify:check_chain")
def network_of_a_header_unchecked(original: Original) -> Any:
    """A header of any network and deployment is looked at (attacks C10, R7)."""
    return ignoring(original, "wrong_network", "wrong_genesis")
