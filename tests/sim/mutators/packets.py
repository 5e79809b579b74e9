"""Lies of a relay: the content of `crosslink.submit`, left out, put in again, reordered, altered, sent elsewhere.

A relay holds no key of any validator; all that it can do is to rearrange what it read, or to invent (attacks R2, R4 to
R7). The workshop of a relay also knows the other regions' deliveries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from common.core.certificate import Certificate, commit_payload
from common.core.codec import canonical_json
from common.core.suite import ED25519_SHA256
from common.core.validators import Validator, ValidatorSet
from crosslink.lightclient.delivery import BlockDelivery, Delivery, SnapshotItem
from crosslink.lightclient.pbft.messages import HeaderMessage
from tests.sim.mutators.catalogue import mutator

SUITE = ED25519_SHA256


@dataclass(frozen=True)
class Packet:
    """A delivery with the encoding by which lies are told from the truth."""

    delivery: Delivery

    def encode(self) -> bytes:
        """Canonical bytes of the operation."""
        return canonical_json(self.delivery.to_operation())


@dataclass
class Smuggler:
    """A faulty relay: randomness, what other regions get, earlier and later deliveries of this region."""

    random: Random
    other_region: str
    foreign: tuple[BlockDelivery, ...] = ()
    """Blocks of another region."""
    later: tuple[BlockDelivery, ...] = ()
    """The blocks after those of the delivery."""
    earlier: tuple[BlockDelivery, ...] = ()
    """Blocks that were delivered before."""
    sister: BlockDelivery | None = None
    """A block of another deployment of the region, by the same validators."""
    opened: BlockDelivery | None = None
    """The block that is partly delivered, from its beginning."""
    seeds: tuple[bytes, ...] = field(default=(b"\x07" * 32, b"\x08" * 32, b"\x09" * 32))
    """Keys of nobody."""


Blocks = tuple[BlockDelivery, ...]


def _with(packet: Packet, blocks: Blocks) -> Packet | None:
    return Packet(replace(packet.delivery, blocks=blocks)) if blocks else None


def _on_block(smuggler: Smuggler, packet: Packet, fits: Callable[[BlockDelivery], bool], change: Any) -> Packet | None:
    """Change one block that fits."""
    places = [at for at, block in enumerate(packet.delivery.blocks) if fits(block)]
    if not places:
        return None
    at = smuggler.random.choice(places)
    blocks = packet.delivery.blocks
    return _with(packet, (*blocks[:at], change(blocks[at]), *blocks[at + 1 :]))


def _message(block: BlockDelivery) -> HeaderMessage:
    return HeaderMessage.decode(block.header or b"")


def _signed(block: BlockDelivery, **changes: Any) -> BlockDelivery:
    """The block with parts of its opaque header exchanged."""
    return replace(block, header=replace(_message(block), **changes).encode())


def _has_header(block: BlockDelivery) -> bool:
    return block.header is not None


def _has_snapshots(block: BlockDelivery) -> bool:
    return bool(block.snapshots)


def _has_many(block: BlockDelivery) -> bool:
    return len(block.snapshots) > 1


def _renumbered(items: tuple[SnapshotItem, ...]) -> tuple[SnapshotItem, ...]:
    return tuple(replace(item, index=at) for at, item in enumerate(items))


@mutator("packet")
def packet_omits_the_last_snapshot(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """A snapshot is left out at the end of a block (attack R6)."""
    return _on_block(smuggler, packet, _has_snapshots, lambda b: replace(b, snapshots=b.snapshots[:-1]))


@mutator("packet")
def packet_omits_a_snapshot_within(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """A snapshot is left out, and the rest numbered on as if nothing were missing (attack R6)."""
    return _on_block(smuggler, packet, _has_many, lambda b: replace(b, snapshots=_renumbered(b.snapshots[1:])))


@mutator("packet")
def packet_omits_all_snapshots(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """The block is delivered as if it had none (attack R6)."""
    return _on_block(smuggler, packet, _has_snapshots, lambda b: replace(b, snapshots=()))


@mutator("packet")
def packet_reorders_snapshots(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """Two snapshots change places (attack R6)."""

    def swap(block: BlockDelivery) -> BlockDelivery:
        first, second, *rest = block.snapshots
        return replace(block, snapshots=_renumbered((second, first, *rest)))

    return _on_block(smuggler, packet, _has_many, swap)


@mutator("packet")
def packet_repeats_a_snapshot(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """A snapshot is in twice (attack R6)."""
    return _on_block(
        smuggler,
        packet,
        _has_snapshots,
        lambda b: replace(b, snapshots=_renumbered((*b.snapshots, b.snapshots[-1]))),
    )


@mutator("packet")
def packet_alters_a_snapshot(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """One character of a snapshot is another (attack R5)."""

    def alter(block: BlockDelivery) -> BlockDelivery:
        first, *rest = block.snapshots
        touched = first.data.replace(b"create", b"update", 1) if b"create" in first.data else first.data + b" "
        return replace(block, snapshots=(replace(first, data=touched), *rest))

    return _on_block(smuggler, packet, _has_snapshots, alter)


@mutator("packet")
def packet_invents_a_snapshot(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """A snapshot that no block contains stands behind the real ones (attack R6)."""

    def invent(block: BlockDelivery) -> BlockDelivery:
        item = SnapshotItem(len(block.snapshots), b'{"header":{}}')
        return replace(block, snapshots=(*_renumbered(block.snapshots), item))

    return _on_block(smuggler, packet, _has_header, invent)


@mutator("packet")
def packet_swaps_a_proof(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """A proof with a sibling that is not the tree's (attacks R5, E8)."""

    def swap(block: BlockDelivery) -> BlockDelivery:
        items = [replace(item, proof=SUITE.hash(b"sibling") + (item.proof or b"")[32:]) for item in block.snapshots]
        return replace(block, snapshots=tuple(items))

    return _on_block(smuggler, packet, _has_snapshots, swap)


@mutator("packet")
def packet_skips_a_block(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """The first block is left out and the next ones delivered (attack R6)."""
    return _with(packet, (*packet.delivery.blocks[1:], *smuggler.later))


@mutator("packet")
def packet_in_descending_order(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """The highest block comes first (attack R6)."""
    return _with(packet, tuple(reversed((*packet.delivery.blocks, *smuggler.later))))


@mutator("packet")
def packet_repeats_a_block(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """Every block twice in one delivery (attack R7)."""
    return _with(packet, tuple(block for block in packet.delivery.blocks for _ in range(2)))


@mutator("packet")
def packet_replays_earlier_blocks(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """Blocks that were anchored long ago, before the due ones (attack R7)."""
    return _with(packet, (*smuggler.earlier, *packet.delivery.blocks)) if smuggler.earlier else None


@mutator("packet")
def packet_for_another_region(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """This region's blocks under another region's name (attack R7)."""
    return Packet(replace(packet.delivery, region=smuggler.other_region))


@mutator("packet")
def packet_with_foreign_blocks(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """Another region's blocks under this region's name (attack R7)."""
    return _with(packet, smuggler.foreign)


@mutator("packet")
def packet_of_another_deployment(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """A block that the same validators signed for another chain of the same name (attacks C10, R7)."""
    return None if smuggler.sister is None else _with(packet, (smuggler.sister,))


@mutator("packet")
def packet_with_a_stale_certificate(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """A header with the certificate of another block (attack R1)."""
    donors = [block for block in (*smuggler.earlier, *smuggler.later) if block.header is not None]
    if not donors:
        return None
    donor = _message(smuggler.random.choice(donors))
    return _on_block(smuggler, packet, _has_header, lambda b: _signed(b, certificate=donor.certificate))


@mutator("packet")
def packet_with_too_few_signatures(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """A certificate below the quorum (attack R2)."""

    def cut(block: BlockDelivery) -> BlockDelivery:
        held = _message(block).certificate
        return _signed(block, certificate=replace(held, signatures=held.signatures[:-1]))

    return _on_block(smuggler, packet, _has_header, cut)


@mutator("packet")
def packet_signed_by_strangers(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """A block of the relay's own making, signed by keys of nobody (attack R2)."""

    def forge(block: BlockDelivery) -> BlockDelivery:
        header = replace(_message(block).header, state_root=SUITE.hash(b"a state of the relay"))
        block_id = header.id(SUITE)
        payload = commit_payload(SUITE, header.genesis_id, header.network, header.height, 0, block_id)
        signatures = tuple((at, SUITE.sign(seed, payload)) for at, seed in enumerate(smuggler.seeds))
        certificate = Certificate(header.height, 0, block_id, signatures)
        return _signed(block, header=header, certificate=certificate)

    return _on_block(smuggler, packet, _has_header, forge)


@mutator("packet")
def packet_signed_by_a_set_of_its_own(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """A block of the relay's own making, under a set of the relay's own making that it delivers along (attack R2)."""

    def forge(block: BlockDelivery) -> BlockDelivery:
        members = tuple(
            Validator(f"stranger-{at}", "nobody", SUITE.public_key(seed)) for at, seed in enumerate(smuggler.seeds)
        )
        own = ValidatorSet(members)
        header = replace(_message(block).header, validators_hash=own.hash(SUITE), next_validators_hash=own.hash(SUITE))
        block_id = header.id(SUITE)
        payload = commit_payload(SUITE, header.genesis_id, header.network, header.height, 0, block_id)
        signatures = tuple((at, SUITE.sign(seed, payload)) for at, seed in enumerate(smuggler.seeds))
        certificate = Certificate(header.height, 0, block_id, signatures)
        return _signed(block, header=header, certificate=certificate, next_validators=own)

    return _on_block(smuggler, packet, _has_header, forge)


@mutator("packet")
def packet_begins_the_open_block_anew(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """The block that is partly in is delivered once more from its beginning (attack R7)."""
    if smuggler.opened is None or packet.delivery.blocks[0].header is not None:
        return None
    return _with(packet, (smuggler.opened, *packet.delivery.blocks[1:]))


@mutator("packet")
def packet_with_an_altered_header(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """A header that promises fewer snapshots, under the real certificate (attack R5)."""

    def alter(block: BlockDelivery) -> BlockDelivery:
        header = _message(block).header
        altered = replace(header, snapshot_count=max(0, header.snapshot_count - 1), time_ms=header.time_ms + 1)
        return replace(_signed(block, header=altered), snapshots=block.snapshots[:-1])

    return _on_block(smuggler, packet, _has_header, alter)


@mutator("packet")
def packet_without_the_next_set(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """The set changes after a block, and the next one is not delivered."""

    def changes_the_set(block: BlockDelivery) -> bool:
        return block.header is not None and _message(block).next_validators is not None

    return _on_block(smuggler, packet, changes_the_set, lambda b: _signed(b, next_validators=None))


@mutator("packet")
def packet_with_another_next_set(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """The next set is one of the relay's own choice (attack R2)."""
    own = ValidatorSet((Validator("mallory", "m", SUITE.public_key(smuggler.seeds[0])),))
    return _on_block(smuggler, packet, _has_header, lambda b: _signed(b, next_validators=own))


@mutator("packet")
def packet_continues_another_block(smuggler: Smuggler, packet: Packet) -> Packet | None:
    """Snapshots of one block as the continuation of another (attack R6)."""

    def onward(block: BlockDelivery) -> BlockDelivery:
        height = block.height or _message(block).header.height
        return BlockDelivery(height=height + 1, snapshots=block.snapshots)

    return _on_block(smuggler, packet, _has_snapshots, onward)
