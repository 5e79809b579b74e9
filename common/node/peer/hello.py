"""The channel's hello: a validator key signs for one TLS channel (protocol rule 7).

TLS proves that a certificate of the configured authority is at the other end; the hello proves *which validator*. Its
signature covers both certificates, so it is worth nothing on any other channel: whoever forwards it would need the
private key of the certificate that it names.

Invariants:
  H1  A hello is accepted only on the channel whose two certificates it names, in the direction it names.
  H2  It is accepted only for this genesis id and network, while it has not expired, and if its key signed it.
  H3  A key is a member only if it is in the current or the next validator set; any other is an observer.
  H4  A key is never accepted from a process other than our own under our own key (attack C8).

Leaves out: who may connect how often (`transport`), the node's own greeting (`peer_messages.Hello`).
Reference: docs/protocol-transport.md, "Hello"; attacks C9, C10, N5.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self, TypeVar

from common.core.codec import Reader, Writer
from common.core.errors import CodecError, Forbidden, Malformed
from common.core.suite import HASH_SIZE, MAX_KEY_BYTES, MAX_SIGNATURE_BYTES, Suite

HELLO_TAG: Final = "tongjian/hello/v1"
HELLO_VERSION: Final = 1
HELLO_LIFETIME_MS: Final = 12 * 3600 * 1000
"""Clocks may differ by an hour (attack C15) and more: a hello serves one channel that begins at once, and binding, not
time, is what protects it."""
MAX_HELLO_LIFETIME_MS: Final = 2 * HELLO_LIFETIME_MS
"""Nobody signs a hello for ever: later expiries are refused."""


class Side(IntEnum):
    """Who opened the connection; part of the signed bytes, so that a hello cannot be sent back to its author."""

    DIALLER = 1
    LISTENER = 2

    @property
    def other(self) -> Side:
        """The other end."""
        return Side.LISTENER if self is Side.DIALLER else Side.DIALLER


class ChannelRole(IntEnum):
    """What the author takes itself for. The receiver's own validator sets decide (H3)."""

    VALIDATOR = 1
    OBSERVER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelHello:
    """Wire format v1, big-endian, no trailing bytes::

    u8    version = 1
    b32   genesis_id
    text8 network
    u8    side                 1 the author dialled, 2 the author listened
    u8    role                 1 validator, 2 observer
    blob  public_key           the author's validator key, at most 256 bytes
    b32   own_certificate      suite hash of the author's TLS certificate (DER)
    b32   peer_certificate     suite hash of the receiver's TLS certificate (DER)
    u64   expires_ms           milliseconds since the Unix epoch
    blob  signature            over tagged_hash("tongjian/hello/v1", all bytes before this field)
    """

    genesis_id: bytes
    network: str
    side: Side
    role: ChannelRole
    public_key: bytes
    own_certificate: bytes
    peer_certificate: bytes
    expires_ms: int
    signature: bytes = b""

    def signed_part(self) -> bytes:
        """The bytes that the signature covers."""
        return (
            Writer()
            .u8(HELLO_VERSION)
            .fixed(self.genesis_id, HASH_SIZE)
            .text8(self.network)
            .u8(self.side)
            .u8(self.role)
            .blob(self.public_key)
            .fixed(self.own_certificate, HASH_SIZE)
            .fixed(self.peer_certificate, HASH_SIZE)
            .u64(self.expires_ms)
            .bytes()
        )

    def encode(self) -> bytes:
        """The payload of a HELLO frame."""
        return self.signed_part() + Writer().blob(self.signature).bytes()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse exactly one hello. Raises CodecError on any other input."""
        reader = Reader(data)
        version = reader.u8()
        if version != HELLO_VERSION:
            raise CodecError("hello_version", "the hello is of an unknown version", version=version)
        hello = cls(
            genesis_id=reader.fixed(HASH_SIZE),
            network=reader.text8(),
            side=_known(Side, reader.u8()),
            role=_known(ChannelRole, reader.u8()),
            public_key=reader.blob(MAX_KEY_BYTES),
            own_certificate=reader.fixed(HASH_SIZE),
            peer_certificate=reader.fixed(HASH_SIZE),
            expires_ms=reader.u64(),
            signature=reader.blob(MAX_SIGNATURE_BYTES),
        )
        reader.end()
        return hello


_Kind = TypeVar("_Kind", bound=IntEnum)


def _known(kind: type[_Kind], number: int) -> _Kind:
    try:
        return kind(number)
    except ValueError:
        raise CodecError("hello_field", f"the hello has no {kind.__name__.lower()} {number}", number=number) from None


@dataclass(frozen=True, slots=True)
class ChannelIdentity:
    """What stays the same in all hellos of one node."""

    suite: Suite
    genesis_id: bytes
    network: str
    seed: bytes
    public_key: bytes


@dataclass(frozen=True, slots=True)
class ChannelBinding:
    """The two certificates of one channel (DER) and our side of it."""

    side: Side
    own_certificate: bytes
    peer_certificate: bytes


def make_hello(identity: ChannelIdentity, binding: ChannelBinding, role: ChannelRole, now_ms: int) -> bytes:
    """Our HELLO payload for one channel."""
    suite = identity.suite
    unsigned = ChannelHello(
        genesis_id=identity.genesis_id,
        network=identity.network,
        side=binding.side,
        role=role,
        public_key=identity.public_key,
        own_certificate=suite.hash(binding.own_certificate),
        peer_certificate=suite.hash(binding.peer_certificate),
        expires_ms=now_ms + HELLO_LIFETIME_MS,
    )
    signed = unsigned.signed_part()
    signature = suite.sign(identity.seed, suite.tagged_hash(HELLO_TAG, signed))
    return signed + Writer().blob(signature).bytes()


def verify_hello(data: bytes, identity: ChannelIdentity, binding: ChannelBinding, now_ms: int) -> ChannelHello:
    """Check a peer's HELLO payload for one channel; the caller decides what its key may do.

    Raises CodecError, Malformed or Forbidden with a stable code: hello_version, hello_wrong_genesis,
    hello_wrong_network, hello_wrong_side, hello_wrong_certificate, hello_expired, hello_lifetime, hello_own_key,
    hello_bad_signature, or a key code of the suite.
    """
    hello = ChannelHello.decode(data)
    suite = identity.suite
    if hello.genesis_id != identity.genesis_id:
        raise Forbidden("hello_wrong_genesis", "the peer belongs to a chain of another genesis")
    if hello.network != identity.network:
        raise Forbidden("hello_wrong_network", "the peer belongs to another network")
    if hello.side != binding.side.other:
        raise Forbidden("hello_wrong_side", "the hello was made for the other direction")
    if hello.own_certificate != suite.hash(binding.peer_certificate):
        raise Forbidden("hello_wrong_certificate", "the hello names another certificate than the peer showed")
    if hello.peer_certificate != suite.hash(binding.own_certificate):
        raise Forbidden("hello_wrong_certificate", "the hello was made for a channel to somebody else")
    if hello.expires_ms <= now_ms:
        raise Forbidden("hello_expired", "the hello has expired; compare the clocks")
    if hello.expires_ms > now_ms + MAX_HELLO_LIFETIME_MS:
        raise Forbidden("hello_lifetime", "the hello is valid for too long; compare the clocks")
    if hello.public_key == identity.public_key:
        raise Forbidden("hello_own_key", "the peer uses this node's own validator key")
    suite.check_public_key(hello.public_key)
    if not suite.verify(hello.public_key, suite.tagged_hash(HELLO_TAG, hello.signed_part()), hello.signature):
        raise Malformed("hello_bad_signature", "the hello is not signed by the key that it names")
    return hello
