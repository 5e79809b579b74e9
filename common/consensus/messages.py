"""What validators say to each other about the open height, byte for byte.

Every message starts `u8 version = 1 | u8 type | u64 height | u64 view | u16 signer` and ends with `blob signature`.
docs/protocol-consensus.md says the same in prose, with an example that a test checks.

Invariants
  M1  Decoding is total and strict: any input gives one message or `Malformed`, and encoding what was decoded gives
      the same bytes (attacks C8, E2).
  M2  What a signature covers names the type (its tag), genesis id, network, height and view (protocol rule 6, attack
      C10), and every other byte of the message but the signer's index, which chooses the key.
  M3  Parts of one message agree: the header's height, the height and views inside evidence. Voters inside evidence
      ascend strictly, so that none counts twice (attacks C4, C8).

Reference: Castro & Liskov, "Practical Byzantine Fault Tolerance" (OSDI '99), sections 4.2 and 4.4. Left out: whether a
message holds (`verification`) and what it does (`replica`).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import ClassVar, Final, NamedTuple, Self

import msgspec

from common.core.certificate import commit_payload, encode_signed, signed_prefix
from common.core.codec import Reader, Writer
from common.core.errors import CodecError
from common.core.header import MAX_HEADER_BYTES, Header
from common.core.suite import HASH_SIZE, MAX_SIGNATURE_BYTES, Suite
from common.core.validators import MAX_VALIDATORS

PREPARE_TAG: Final = "tongjian/vote/prepare/v1"
PROPOSAL_TAG: Final = "tongjian/proposal/v1"
VIEW_CHANGE_TAG: Final = "tongjian/view-change/v1"
NEW_VIEW_TAG: Final = "tongjian/new-view/v1"

MAX_ENVELOPES: Final = 65_536
"""Envelope hashes in a proposal: 2 MiB. Genesis bounds blocks far lower."""
MAX_HEIGHT_OR_VIEW: Final = 2**63 - 1
MAX_PREPARED_BYTES: Final = 64 + MAX_VALIDATORS * (6 + MAX_SIGNATURE_BYTES)
MAX_VIEW_CHANGE_BYTES: Final = MAX_PREPARED_BYTES + MAX_SIGNATURE_BYTES + 64
MAX_PROPOSAL_BYTES: Final = MAX_HEADER_BYTES + MAX_ENVELOPES * HASH_SIZE + MAX_SIGNATURE_BYTES + 64
MAX_MESSAGE_BYTES: Final = MAX_VALIDATORS * (MAX_VIEW_CHANGE_BYTES + 4) + MAX_PROPOSAL_BYTES + MAX_SIGNATURE_BYTES + 64
"""About 4.7 MiB: a NEW-VIEW of 100 members with the longest signatures and the largest proposal."""

_WIRE_VERSION: Final = 1
_START: Final = struct.Struct(">BBQQH")
_VOTE: Final = struct.Struct(f"{_START.format}{HASH_SIZE}sI")


class Type(IntEnum):
    """The second byte of a message."""

    PROPOSAL = 1
    PREPARE = 2
    COMMIT = 3
    VIEW_CHANGE = 4
    NEW_VIEW = 5


class Stage(IntEnum):
    """Order in which a correct validator signs within one view."""

    VIEW_CHANGE = 0
    PROPOSAL = 1
    PREPARE = 2
    COMMIT = 3


VOTE_STAGES: Final = (Stage.PREPARE, Stage.COMMIT)
"""The two that are votes; the numbers are those of the message types."""
_VOTE_STAGE_OF: Final = {int(stage): stage for stage in VOTE_STAGES}


class Mark(NamedTuple):
    """How far a validator has signed: it signs strictly ascending marks only (protocol rules 1 and 7)."""

    height: int
    view: int
    stage: Stage


def _start(type_: Type, height: int, view: int, signer: int) -> Writer:
    start = _START.pack(_WIRE_VERSION, type_, height, view, signer)
    return Writer().fixed(start, _START.size)


class Vote(msgspec.Struct, frozen=True, gc=False):
    """PREPARE or COMMIT: `… | b32 block_id | blob signature`."""

    stage: Stage
    height: int
    view: int
    block_id: bytes
    signer: int
    """Index of the signing member in this height's set."""
    signature: bytes

    @property
    def mark(self) -> Mark:
        """Place in the signer's order."""
        return Mark(self.height, self.view, self.stage)

    def payload(self, suite: Suite, genesis_id: bytes, network: str) -> bytes:
        """The 32 signed bytes; a COMMIT's are those of the certificate that it becomes part of."""
        return vote_payload(suite, genesis_id, network, self.stage, self.height, self.view, self.block_id)

    def encode(self) -> bytes:
        """Wire bytes."""
        size = len(self.signature)
        start = _VOTE.pack(_WIRE_VERSION, self.stage, self.height, self.view, self.signer, self.block_id, size)
        return start + self.signature


def vote_payload(
    suite: Suite, genesis_id: bytes, network: str, stage: Stage, height: int, view: int, block_id: bytes
) -> bytes:
    """What a vote signs: `tagged_hash(tag, prefix | b32 block_id)`, the tag by stage."""
    if stage is Stage.COMMIT:
        return commit_payload(suite, genesis_id, network, height, view, block_id)
    return suite.tagged_hash(PREPARE_TAG, signed_prefix(genesis_id, network, height, view) + block_id)


class Proposal(msgspec.Struct, frozen=True):
    """PRE-PREPARE: `… | blob header | u32 count | b32 envelope_hash* | blob signature`.

    Compact: the body travels as envelopes, which most replicas hold already (protocol rules 9 and 14). Whether the
    hashes lead to `tx_root` is checked with the body.
    """

    height: int
    view: int
    header: Header
    envelope_hashes: tuple[bytes, ...]
    leader: int
    signature: bytes
    stage: ClassVar[Stage] = Stage.PROPOSAL

    @property
    def signer(self) -> int:
        """Index of the signing member in this height's set."""
        return self.leader

    @property
    def mark(self) -> Mark:
        """Place in the signer's order."""
        return Mark(self.height, self.view, Stage.PROPOSAL)

    def payload(self, suite: Suite, genesis_id: bytes, network: str) -> bytes:
        """`tagged_hash("tongjian/proposal/v1", prefix | b32 block_id | b32 hash(envelope hashes joined))`."""
        prefix = signed_prefix(genesis_id, network, self.height, self.view)
        body = suite.hash(b"".join(self.envelope_hashes))
        return suite.tagged_hash(PROPOSAL_TAG, prefix + self.header.id(suite) + body)

    def encode(self) -> bytes:
        """Wire bytes."""
        writer = _start(Type.PROPOSAL, self.height, self.view, self.leader).blob(self.header.encode())
        writer.u32(len(self.envelope_hashes))
        hashes = b"".join(self.envelope_hashes)
        return writer.fixed(hashes, HASH_SIZE * len(self.envelope_hashes)).blob(self.signature).bytes()


class PreparedCertificate(msgspec.Struct, frozen=True):
    """q PREPARE signatures of one view.

    `u8 1 | u64 height | u64 view | b32 block_id | u16 count | (u16 index | blob signature)*`, indexes ascending.
    """

    height: int
    view: int
    block_id: bytes
    signatures: tuple[tuple[int, bytes], ...]

    @property
    def signers(self) -> tuple[int, ...]:
        """Members whose PREPARE it holds: each correct one of them keeps the block's body (protocol rule 1)."""
        return tuple([index for index, _ in self.signatures])

    def encode(self) -> bytes:
        """Wire bytes: those of a `Certificate` of the same contents."""
        return encode_signed(self.height, self.view, self.block_id, self.signatures)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse exactly one. Raises `CodecError`; says nothing about whether it holds."""
        reader = Reader(data)
        if reader.u8() != _WIRE_VERSION:
            raise CodecError("prepared_version", "Unknown version of the prepared certificate.")
        height, view, block_id, count = reader.u64(), reader.u64(), reader.fixed(HASH_SIZE), reader.u16()
        _check_count(count, MAX_VALIDATORS)
        signatures: list[tuple[int, bytes]] = []
        for _ in range(count):
            index = reader.u16()
            _check_ascending(index, signatures[-1][0] if signatures else -1)
            signatures.append((index, reader.blob(MAX_SIGNATURE_BYTES)))
        reader.end()
        return cls(height, view, block_id, tuple(signatures))


class ViewChange(msgspec.Struct, frozen=True):
    """VIEW-CHANGE: `… | u8 0 | blob signature` or `… | u8 1 | blob prepared | blob signature`.

    `view` is the view asked for; `prepared` the highest certificate the voter holds, of a lower view.
    """

    height: int
    view: int
    prepared: PreparedCertificate | None
    signer: int
    """Index of the signing member in this height's set."""
    signature: bytes
    stage: ClassVar[Stage] = Stage.VIEW_CHANGE

    @property
    def mark(self) -> Mark:
        """Place in the signer's order."""
        return Mark(self.height, self.view, Stage.VIEW_CHANGE)

    def payload(self, suite: Suite, genesis_id: bytes, network: str) -> bytes:
        """`tagged_hash("tongjian/view-change/v1", prefix | u8 0)`, or `… | u8 1 | b32 hash(prepared, encoded)`."""
        prefix = signed_prefix(genesis_id, network, self.height, self.view)
        prepared = b"\0" if self.prepared is None else b"\1" + suite.hash(self.prepared.encode())
        return suite.tagged_hash(VIEW_CHANGE_TAG, prefix + prepared)

    def encode(self) -> bytes:
        """Wire bytes."""
        writer = _start(Type.VIEW_CHANGE, self.height, self.view, self.signer)
        if self.prepared is None:
            writer.u8(0)
        else:
            writer.u8(1).blob(self.prepared.encode())
        return writer.blob(self.signature).bytes()


class NewView(msgspec.Struct, frozen=True):
    """NEW-VIEW: `… | u16 count | blob view_change* | blob proposal | blob signature`.

    The view changes are the evidence from which everybody recomputes which block the proposal must repeat.
    """

    height: int
    view: int
    view_changes: tuple[ViewChange, ...]
    proposal: Proposal
    leader: int
    signature: bytes
    stage: ClassVar[Stage] = Stage.PROPOSAL

    @property
    def signer(self) -> int:
        """Index of the signing member in this height's set."""
        return self.leader

    @property
    def mark(self) -> Mark:
        """Place in the signer's order."""
        return Mark(self.height, self.view, Stage.PROPOSAL)

    def payload(self, suite: Suite, genesis_id: bytes, network: str) -> bytes:
        """`tagged_hash("tongjian/new-view/v1", prefix | b32 hash(view change blobs) | b32 proposal's signed bytes)`."""
        evidence = Writer()
        for change in self.view_changes:
            evidence.blob(change.encode())
        prefix = signed_prefix(genesis_id, network, self.height, self.view)
        proposal = self.proposal.payload(suite, genesis_id, network)
        return suite.tagged_hash(NEW_VIEW_TAG, prefix + suite.hash(evidence.bytes()) + proposal)

    def encode(self) -> bytes:
        """Wire bytes."""
        writer = _start(Type.NEW_VIEW, self.height, self.view, self.leader).u16(len(self.view_changes))
        for change in self.view_changes:
            writer.blob(change.encode())
        return writer.blob(self.proposal.encode()).blob(self.signature).bytes()


ConsensusMessage = Proposal | Vote | ViewChange | NewView


def decode_message(data: bytes) -> ConsensusMessage:
    """Parse exactly one message. Raises `Malformed` (mostly `CodecError`) on any other input, whatever its length."""
    signature_bytes = len(data) - _VOTE.size
    if 0 <= signature_bytes <= MAX_SIGNATURE_BYTES:
        # A vote, as most messages are, is read at once; `_decode` says what is wrong with one.
        version, type_number, height, view, signer, block_id, size = _VOTE.unpack_from(data)
        stage = _VOTE_STAGE_OF.get(type_number)
        in_range = 0 < height <= MAX_HEIGHT_OR_VIEW and view <= MAX_HEIGHT_OR_VIEW
        if version == _WIRE_VERSION and stage is not None and in_range and size == signature_bytes:
            return Vote(stage, height, view, block_id, signer, data[_VOTE.size :])
    elif len(data) > MAX_MESSAGE_BYTES:
        raise CodecError("consensus_too_large", "The message is larger than any valid one.", length=len(data))
    return _decode(data, None)


def _decode(data: bytes, expected: Type | None) -> ConsensusMessage:
    """Parse one message, of the expected type if one is given: evidence nests one level deep, never deeper."""
    reader = Reader(data)
    version, type_number, height, view, signer = _START.unpack(reader.fixed(_START.size))
    if version != _WIRE_VERSION:
        raise CodecError("consensus_version", "Unknown version of the consensus messages.", version=version)
    if expected is not None and type_number != expected:
        raise CodecError("consensus_nested_type", "A message of another type is expected here.", type=type_number)
    if height == 0 or height > MAX_HEIGHT_OR_VIEW or view > MAX_HEIGHT_OR_VIEW:
        raise CodecError("consensus_range", "The height or view is out of range.", height=height, view=view)
    message: ConsensusMessage
    match type_number:
        case Type.PREPARE | Type.COMMIT:
            stage, block_id = _VOTE_STAGE_OF[type_number], reader.fixed(HASH_SIZE)
            message = Vote(stage, height, view, block_id, signer, reader.blob(MAX_SIGNATURE_BYTES))
        case Type.PROPOSAL:
            message = _read_proposal(reader, height, view, signer)
        case Type.VIEW_CHANGE:
            message = _read_view_change(reader, height, view, signer)
        case Type.NEW_VIEW:
            message = _read_new_view(reader, height, view, signer)
        case _:
            raise CodecError("consensus_type", "Unknown type of consensus message.", type=type_number)
    reader.end()
    return message


def _read_proposal(reader: Reader, height: int, view: int, signer: int) -> Proposal:
    header = Header.decode(reader.blob(MAX_HEADER_BYTES))
    count = reader.u32()
    _check_count(count, MAX_ENVELOPES)
    if header.height != height or header.tx_count != count:
        raise CodecError("proposal_header", "Header and proposal differ in height or count.", height=header.height)
    joined = reader.fixed(HASH_SIZE * count)
    hashes = tuple([joined[at : at + HASH_SIZE] for at in range(0, len(joined), HASH_SIZE)])
    return Proposal(height, view, header, hashes, signer, reader.blob(MAX_SIGNATURE_BYTES))


def _read_view_change(reader: Reader, height: int, view: int, signer: int) -> ViewChange:
    if view == 0:
        raise CodecError("view_change_view", "Nobody changes to view 0.")
    prepared = None
    match reader.u8():
        case 0:
            pass
        case 1:
            prepared = PreparedCertificate.decode(reader.blob(MAX_PREPARED_BYTES))
            if prepared.height != height or prepared.view >= view:
                raise CodecError("view_change_prepared", "The prepared certificate is not of an earlier view.")
        case flag:
            raise CodecError("view_change_flag", "The flag before the prepared certificate is 0 or 1.", flag=flag)
    return ViewChange(height, view, prepared, signer, reader.blob(MAX_SIGNATURE_BYTES))


def _read_new_view(reader: Reader, height: int, view: int, signer: int) -> NewView:
    count = reader.u16()
    _check_count(count, MAX_VALIDATORS)
    changes: list[ViewChange] = []
    for _ in range(count):
        change = _decode(reader.blob(MAX_VIEW_CHANGE_BYTES), Type.VIEW_CHANGE)
        if not isinstance(change, ViewChange) or (change.height, change.view) != (height, view):
            raise CodecError("new_view_evidence", "The evidence holds something else than its view changes.")
        _check_ascending(change.signer, changes[-1].signer if changes else -1)
        changes.append(change)
    proposal = _decode(reader.blob(MAX_PROPOSAL_BYTES), Type.PROPOSAL)
    if not isinstance(proposal, Proposal) or (proposal.height, proposal.view, proposal.leader) != (
        height,
        view,
        signer,
    ):
        raise CodecError("new_view_proposal", "The proposal is not the new leader's for this view.")
    return NewView(height, view, tuple(changes), proposal, signer, reader.blob(MAX_SIGNATURE_BYTES))


def _check_count(count: int, maximum: int) -> None:
    if count > maximum:
        raise CodecError("consensus_count", "A list is longer than its bound.", count=count, limit=maximum)


def _check_ascending(index: int, previous: int) -> None:
    if index <= previous:
        raise CodecError("consensus_order", "Member indexes must ascend strictly.", index=index)
