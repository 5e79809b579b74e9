"""A block: a header and the envelopes that it commits to.

Invariants: `tx_root` is the Merkle root over the 32-byte envelope hashes in order, `tx_count` their number
(protocol rule 9). A body that does not match is refused before anything is kept under the header's id, so a mangled
copy cannot displace the valid one (attack E7).
Left out: execution, certificates, storage.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from common.core import merkle
from common.core.codec import Reader, Writer
from common.core.errors import Malformed, TooLarge
from common.core.header import MAX_HEADER_BYTES, Header
from common.core.suite import Suite
from common.core.transaction import MAX_ENVELOPE_BYTES, envelope_hash

MAX_BLOCK_BYTES: Final = 16 * 1024 * 1024
"""JR/T 0314-2024: a block is at most 16 MB."""


@lru_cache(maxsize=4)
def tx_root(hash: merkle.Hash, envelope_hashes: tuple[bytes, ...]) -> bytes:
    """The root over envelope hashes. The latest are remembered: a proposal is judged by it, then executed."""
    return merkle.root(hash, envelope_hashes)


@dataclass(frozen=True, slots=True)
class Block:
    """Wire: blob header | u32 count | blob envelope*."""

    header: Header
    envelopes: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Wire bytes."""
        writer = Writer().blob(self.header.encode()).u32(len(self.envelopes))
        for envelope in self.envelopes:
            writer.blob(envelope)
        return writer.bytes()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse exactly one block of at most 16 MiB. Raises `TooLarge` or `CodecError`; see `check_body`."""
        if len(data) > MAX_BLOCK_BYTES:
            raise TooLarge("block_too_large", f"A block is at most {MAX_BLOCK_BYTES} bytes.", length=len(data))
        reader = Reader(data)
        header = Header.decode(reader.blob(MAX_HEADER_BYTES))
        count = reader.u32()
        # A claimed count needs no bound of its own: every step takes four bytes or ends the loop.
        envelopes = tuple(reader.blob(MAX_ENVELOPE_BYTES) for _ in range(count))
        reader.end()
        return cls(header, envelopes)

    def envelope_hashes(self, suite: Suite) -> list[bytes]:
        """Hashes of the envelopes in order: the leaves of `tx_root`."""
        return [envelope_hash(suite, envelope) for envelope in self.envelopes]

    def check_body(self, suite: Suite) -> None:
        """Raise `Malformed('block_body_mismatch')` unless the envelopes are those that the header commits to."""
        header = self.header
        hashes = tuple(self.envelope_hashes(suite))
        if header.tx_count != len(hashes) or header.tx_root != tx_root(suite.hash, hashes):
            raise Malformed("block_body_mismatch", "The envelopes are not those of the header.", height=header.height)
