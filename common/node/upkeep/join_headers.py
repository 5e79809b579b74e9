"""The chain of headers of a node that joins: every header on its parent, every certificate under its set, from genesis.

The set that signs a height is the one to which the header before it committed (`next_validators_hash`). So trust goes
from the genesis document to any height without a gap. A peer is trusted in nothing.

Invariants
  H1  Header h is stored only if its parent is header h-1 (genesis for 1) and a quorum of the set that h-1 commits to
      signed it. Where the set changes, the next one is delivered with it (attacks C4, C9, C17).
  H2  A trusted block (the user's trust file) must be among them: validators that have left and sign another history
      afterwards are found out there, whatever they sign.
  H3  What is stored is complete up to `height`, so an interrupted join goes on where it was.

Left out: asking peers (`join`), bodies and state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.core.certificate import Certificate, verify_certificate
from common.core.errors import CertificateInvalid, Malformed
from common.core.genesis import Genesis
from common.core.header import Header
from common.core.validators import ValidatorSet
from common.node.store import schema
from common.node.store.storage import KeyValueStore


@dataclass(frozen=True, slots=True)
class TrustedBlock:
    """A block that the user trusts, from the checkpoint of his trust file."""

    height: int
    block_id: bytes


class HeaderChain:
    """Headers, certificates and validator sets in a store, in the layout of `schema`."""

    def __init__(self, store: KeyValueStore, genesis: Genesis, trusted: TrustedBlock | None = None) -> None:
        """Go on with what the store holds. Raises Malformed('join_trusted_block') if that contradicts `trusted`."""
        self._store = store
        self._genesis = genesis
        self._trusted = trusted
        self._validators = genesis.validators
        self._height, self._tip_id = 0, genesis.id
        for _, value in store.scan(schema.VALIDATORS, reverse=True):
            self._validators = ValidatorSet.decode(value)
            break
        else:
            store.write([(schema.validators(0), genesis.validators.encode())], sync=False)
        for key, value in store.scan(schema.HEADERS, reverse=True):
            self._height = schema.read_u64(key, len(schema.HEADERS))
            self._tip_id = Header.decode(value).id(genesis.suite)
            break
        if trusted is not None and trusted.height <= self._height:
            self._check_trusted(trusted.height, self.block_id(trusted.height))

    @property
    def height(self) -> int:
        """The last verified header's height; 0 if there is none."""
        return self._height

    @property
    def trusted_is_reached(self) -> bool:
        """Whether the trusted block, if there is one, is among the headers (H2)."""
        return self._trusted is None or self._trusted.height <= self._height

    def header(self, height: int) -> Header:
        """A verified header, 1 <= height <= `height`."""
        return Header.decode(self._store.get(schema.header(height)) or b"")

    def block_id(self, height: int) -> bytes:
        """The id of a verified block; of genesis at 0."""
        if height == 0:
            return self._genesis.id
        return self._tip_id if height == self._height else self.header(height + 1).parent_id

    def validators(self, height: int) -> ValidatorSet:
        """The set that signs a height, at most one above `height`."""
        for _, value in self._store.scan(schema.VALIDATORS, schema.validators(height), reverse=True):
            return ValidatorSet.decode(value)
        return self._genesis.validators

    def take(self, entries: Sequence[tuple[bytes, bytes, bytes]]) -> int:
        """Verify and store the headers that follow; returns how many. Raises Rejected: the sender lied (H1, H2).

        What was right before the lie is kept.
        """
        writes: list[tuple[bytes, bytes | None]] = []
        try:
            for header_bytes, certificate_bytes, set_bytes in entries:
                self._take_one(header_bytes, certificate_bytes, set_bytes, writes)
        finally:
            self._store.write(writes, sync=False)
        return len(entries)

    def cut_above(self, height: int) -> None:
        """Forget what is above a height: a chain's store holds nothing above its tip."""
        doomed: list[tuple[bytes, bytes | None]] = []
        for kind, first in ((schema.HEADERS, 1), (schema.CERTIFICATES, 1), (schema.VALIDATORS, 2)):
            doomed += [(key, None) for key, _ in self._store.scan(kind, kind + schema.u64(height + first))]
        self._store.write(doomed, sync=False)

    def _take_one(
        self, header_bytes: bytes, certificate_bytes: bytes, set_bytes: bytes, writes: list[tuple[bytes, bytes | None]]
    ) -> None:
        genesis, suite = self._genesis, self._genesis.suite
        header, certificate = Header.decode(header_bytes), Certificate.decode(certificate_bytes)
        if (header.network, header.genesis_id) != (genesis.network, genesis.id):
            raise Malformed("sync_wrong_chain", "The block belongs to another chain.")
        if header.height != self._height + 1:
            raise Malformed("sync_wrong_height", "The block is not of the height asked for.", height=header.height)
        if header.parent_id != self._tip_id:
            raise Malformed("block_wrong_parent", "The header has another parent.", height=header.height)
        verify_certificate(suite, self._validators, header, certificate)
        following = self._following(header, set_bytes)
        self._check_trusted(header.height, certificate.block_id)
        writes.append((schema.header(header.height), header_bytes))
        writes.append((schema.certificate(header.height), certificate_bytes))
        if following is not None:
            writes.append((schema.validators(header.height + 1), set_bytes))
            self._validators = following
        self._height, self._tip_id = header.height, certificate.block_id

    def _following(self, header: Header, set_bytes: bytes) -> ValidatorSet | None:
        if header.next_validators_hash == header.validators_hash:
            if set_bytes:
                raise Malformed("join_set_unasked", "A set came with a header that does not change it.")
            return None
        following = ValidatorSet.decode(set_bytes)
        following.check_keys(self._genesis.suite)
        if following.hash(self._genesis.suite) != header.next_validators_hash:
            raise CertificateInvalid(
                "next_set_mismatch", "The set is not the one that the header commits.", height=header.height
            )
        return following

    def _check_trusted(self, height: int, block_id: bytes) -> None:
        if self._trusted is not None and height == self._trusted.height and block_id != self._trusted.block_id:
            raise Malformed("join_trusted_block", "The block is not the one of the trust file.", height=height)
