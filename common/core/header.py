"""Block header: the one structure that validators decide on.

Invariants:
  * A header commits to everything its own block did: transactions, receipts, snapshots and the state after it
    (architecture decision 5), with counts beside the roots (decision 8), and to the validator sets of this and the
    next height (decision 6).
  * It has no view, so that a re-proposal in a later view is the same block, byte for byte (protocol rule 2).
  * Genesis is height 0 and has no header; its id is the genesis id, which is the parent of block 1.

Left out: the certificate that makes a header final (`certificate.py`) and the rules between parent and child
(executor, light client).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Self

from common.core.errors import CodecError, InvariantBroken
from common.core.names import check_network
from common.core.suite import HASH_SIZE, Suite

HEADER_TAG: Final = "tongjian/header/v1"
MAX_HEADER_BYTES: Final = 1024
_WIRE_VERSION: Final = 1
_START: Final = struct.Struct(">BHB")
_REST: Final = struct.Struct(">32sQQ32sH32sI32s32sI32s32s32s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Wire v1, big-endian, no optional fields, no trailing bytes::

        u8    version = 1
        u16   protocol_version
        text8 network
        b32   genesis_id
        u64   height
        u64   time_ms             milliseconds since the Unix epoch
        b32   parent_id
        u16   proposer            index in this height's validator set
        b32   tx_root             | u32 tx_count
        b32   receipt_root
        b32   snapshot_root       | u32 snapshot_count
        b32   state_root
        b32   validators_hash
        b32   next_validators_hash

    Golden bytes: `tests/vectors/header_v1.json`; changing them is a new version.
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
    snapshot_root: bytes
    snapshot_count: int
    state_root: bytes
    validators_hash: bytes
    next_validators_hash: bytes

    def encode(self) -> bytes:
        """Wire bytes. Raises `InvariantBroken` if a field does not fit."""
        digests = (
            self.genesis_id,
            self.parent_id,
            self.tx_root,
            self.receipt_root,
            self.snapshot_root,
            self.state_root,
            self.validators_hash,
            self.next_validators_hash,
        )
        if any(len(digest) != HASH_SIZE for digest in digests):
            raise InvariantBroken("a header field has a digest of the wrong length")
        network = self.network.encode("ascii")
        try:
            start = _START.pack(_WIRE_VERSION, self.protocol_version, len(network))
            rest = _REST.pack(
                self.genesis_id,
                self.height,
                self.time_ms,
                self.parent_id,
                self.proposer,
                self.tx_root,
                self.tx_count,
                self.receipt_root,
                self.snapshot_root,
                self.snapshot_count,
                self.state_root,
                self.validators_hash,
                self.next_validators_hash,
            )
        except struct.error as error:
            raise InvariantBroken(f"a header field does not fit: {error}") from None
        return start + network + rest

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse exactly one header. Raises `Malformed` (`CodecError`) on any other input."""
        if len(data) < _START.size:
            raise CodecError("codec_truncated", "A header is longer.", length=len(data))
        version, protocol_version, network_size = _START.unpack_from(data)
        if version != _WIRE_VERSION:
            raise CodecError("header_version", "Unknown version of the header format.", version=version)
        network_end = _START.size + network_size
        if len(data) < network_end + _REST.size:
            raise CodecError("codec_truncated", "A header is longer.", length=len(data))
        if len(data) > network_end + _REST.size:
            raise CodecError("codec_trailing_bytes", "Bytes follow the header.", length=len(data))
        try:
            network = data[_START.size : network_end].decode("ascii")
        except UnicodeDecodeError:
            raise CodecError("codec_text", "The network id is not ASCII.") from None
        check_network(network)
        fields = _REST.unpack_from(data, network_end)
        if fields[1] == 0 or protocol_version == 0:
            raise CodecError("header_range", "Heights and protocol versions count from 1.")
        return cls(
            protocol_version=protocol_version,
            network=network,
            genesis_id=fields[0],
            height=fields[1],
            time_ms=fields[2],
            parent_id=fields[3],
            proposer=fields[4],
            tx_root=fields[5],
            tx_count=fields[6],
            receipt_root=fields[7],
            snapshot_root=fields[8],
            snapshot_count=fields[9],
            state_root=fields[10],
            validators_hash=fields[11],
            next_validators_hash=fields[12],
        )

    def id(self, suite: Suite) -> bytes:
        """The 32 bytes that name the block and that validators sign.

        The tag keeps it apart from every other hash (attack E4).
        """
        return suite.tagged_hash(HEADER_TAG, self.encode())
