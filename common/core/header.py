"""Block header: the one structure that validators decide on.

Invariants:
  * A header commits to everything its own block did: transactions, receipts, snapshots, what it changed in the state
    and the state after it (architecture decisions 5 and 26). Counts stand beside the roots (decision 8).
  * It commits to the validator sets of this and the next height (decision 6).
  * Its layout is given by its protocol version, which comes first in every layout. A layout never changes once a
    chain may have used it, and none is ever removed: old headers decode to the same values for ever.
  * It has no view, so that a re-proposal in a later view is the same block, byte for byte (protocol rule 2).
  * Genesis is height 0 and has no header; its id is the genesis id, which is the parent of block 1.

Left out: the certificate that makes a header final (`certificate.py`) and the rules between parent and child
(executor, light client).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from common.core.errors import CodecError, InvariantBroken
from common.core.names import check_network
from common.core.protocol import FIRST_VERSION, VersionedValue, latest_version
from common.core.suite import HASH_SIZE, Suite

HEADER_TAG: Final = "tongjian/header/v1"
MAX_HEADER_BYTES: Final = 1024
_START: Final = struct.Struct(">HB")

U16: Final = "H"
U32: Final = "I"
U64: Final = "Q"
DIGEST: Final = f"{HASH_SIZE}s"


class _Encoded:
    """Room for a header's wire bytes and id, once asked for: a node needs those of one header eight times a block."""

    __slots__ = ("_encoded", "_id")
    _encoded: bytes
    _id: tuple[Suite, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header(_Encoded):
    """The fields of protocol version 1. Wire, big-endian, no optional fields, no trailing bytes::

        u16   protocol_version
        text8 network
        b32   genesis_id
        u64   height
        u64   time_ms             milliseconds since the Unix epoch
        b32   parent_id
        u16   proposer            index in this height's validator set
        b32   tx_root             | u32 tx_count
        b32   receipt_root        | u32 receipt_count      one more than transactions if the block has a receipt itself
        b32   snapshot_root       | u32 snapshot_count
        b32   change_root         | u32 change_count       what differs from the state before (`changes.py`)
        b32   state_root
        b32   validators_hash
        b32   next_validators_hash

    Golden bytes: `tests/vectors/header_v1.json`. A protocol version with other fields has a subclass and a
    `HeaderLayout` of its own.
    """

    protocol_version: int
    network: str
    genesis_id: bytes
    height: int
    time_ms: int
    parent_id: bytes
    proposer: int
    tx_root: bytes
    tx_count: int
    receipt_root: bytes
    receipt_count: int
    snapshot_root: bytes
    snapshot_count: int
    change_root: bytes
    change_count: int
    state_root: bytes
    validators_hash: bytes
    next_validators_hash: bytes

    def encode(self) -> bytes:
        """Wire bytes, in the layout of the header's version. Raises `InvariantBroken` if a field does not fit."""
        try:
            return self._encoded
        except AttributeError:
            object.__setattr__(self, "_encoded", self._encode())
            return self._encoded

    def _encode(self) -> bytes:
        network = self.network.encode("ascii")
        try:
            start = _START.pack(self.protocol_version, len(network))
        except struct.error as error:
            raise InvariantBroken(f"a header field does not fit: {error}") from None
        return start + network + layout_of(self.protocol_version).pack(self)

    @staticmethod
    def decode(data: bytes) -> Header:
        """Parse exactly one header, in the layout of the version that it names.

        Raises `CodecError` on any other input: `header_version` if a version that this software does not know has
        fields that it does not know.
        """
        protocol_version = protocol_version_of(data)
        network_end = _START.size + data[2]
        layout = layout_of(protocol_version)
        missing = network_end + layout.size_bytes - len(data)
        if missing and protocol_version > latest_version():
            raise CodecError(
                "header_version",
                "The header's protocol version has a layout that this software does not know; use a newer one.",
                version=protocol_version,
            )
        if missing > 0:
            raise CodecError("codec_truncated", "A header is longer.", length=len(data))
        if missing < 0:
            raise CodecError("codec_trailing_bytes", "Bytes follow the header.", length=len(data))
        try:
            network = data[_START.size : network_end].decode("ascii")
        except UnicodeDecodeError:
            raise CodecError("codec_text", "The network id is not ASCII.") from None
        check_network(network)
        header = layout.header_type(
            protocol_version=protocol_version, network=network, **layout.unpack(data, network_end)
        )
        if header.height == 0:
            raise CodecError("header_range", "Heights and protocol versions count from 1.")
        return header

    def id(self, suite: Suite) -> bytes:
        """The 32 bytes that name the block and that validators sign.

        The tag keeps it apart from every other hash (attack E4).
        """
        try:
            known_suite, block_id = self._id
        except AttributeError:
            known_suite, block_id = None, b""
        if known_suite is not suite:
            block_id = suite.tagged_hash(HEADER_TAG, self.encode())
            object.__setattr__(self, "_id", (suite, block_id))
        return block_id


class HeaderLayout:
    """How the headers of the protocol versions from `since` on are written, until the next layout begins."""

    def __init__(self, since: int, fields: Iterable[tuple[str, str]], header_type: type[Header] = Header) -> None:
        """`fields`: (attribute of `header_type`, one of U16, U32, U64, DIGEST) of what follows version and network."""
        names, codes = zip(*fields, strict=True)
        self.since = since
        self.header_type = header_type
        self._names: tuple[str, ...] = names
        self._digests = [at for at, code in enumerate(codes) if code == DIGEST]
        self._values = attrgetter(*names)
        self._struct = struct.Struct(">" + "".join(codes))
        self.size_bytes = self._struct.size

    def pack(self, header: Header) -> bytes:
        """The fields in order. Raises `InvariantBroken` if one does not fit."""
        values = self._values(header)
        for at in self._digests:
            if len(values[at]) != HASH_SIZE:
                raise InvariantBroken("a header field has a digest of the wrong length")
        try:
            return self._struct.pack(*values)
        except struct.error as error:
            raise InvariantBroken(f"a header field does not fit: {error}") from None

    def unpack(self, data: bytes, at: int) -> dict[str, Any]:
        """The fields by name, from bytes that are long enough."""
        return dict(zip(self._names, self._struct.unpack_from(data, at), strict=True))


FIELDS_OF_VERSION_1: Final = (
    ("genesis_id", DIGEST),
    ("height", U64),
    ("time_ms", U64),
    ("parent_id", DIGEST),
    ("proposer", U16),
    ("tx_root", DIGEST),
    ("tx_count", U32),
    ("receipt_root", DIGEST),
    ("receipt_count", U32),
    ("snapshot_root", DIGEST),
    ("snapshot_count", U32),
    ("change_root", DIGEST),
    ("change_count", U32),
    ("state_root", DIGEST),
    ("validators_hash", DIGEST),
    ("next_validators_hash", DIGEST),
)

LAYOUTS: Final = VersionedValue("header layout", HeaderLayout(FIRST_VERSION, FIELDS_OF_VERSION_1))
"""By the protocol version with which each begins."""


def register_layout(layout: HeaderLayout) -> None:
    """Make one more layout known. Raises `InvariantBroken` if one begins with that version already, or if this software
    does not support the version."""
    LAYOUTS.add(layout, since=layout.since)


def layout_of(protocol_version: int) -> HeaderLayout:
    """The layout of a protocol version: the latest that begins with it or before. One that this software does not know
    has its latest, so that what headers name takes no memory."""
    return LAYOUTS.at(min(max(protocol_version, FIRST_VERSION), latest_version()))


def build_header(*, protocol_version: int, **fields: Any) -> Header:
    """A header of that version; what its layout adds to version 1 has the default of its `header_type` if not given."""
    return layout_of(protocol_version).header_type(protocol_version=protocol_version, **fields)


def protocol_version_of(data: bytes) -> int:
    """The protocol version that an encoded header names, whatever its layout: known before anything else is.

    Raises `CodecError`.
    """
    if len(data) < _START.size:
        raise CodecError("codec_truncated", "A header is longer.", length=len(data))
    version = int.from_bytes(data[:2], "big")
    if version == 0:
        raise CodecError("header_range", "Heights and protocol versions count from 1.")
    return version
