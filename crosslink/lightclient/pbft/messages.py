"""What a light client of our chains is given of a block: header, certificate, and the sets that judge it.

Wire format of the opaque header, big-endian, no trailing bytes; a bare one (`0`) ends after the header::

    u8     1 | 0
    text8  suite                                       the name of the chain's suite
    blob   header                                      docs/protocol.md
    blob   certificate                                 docs/protocol.md
    blob   next set                                    empty: the set does not change after this block
    blob   governing set                               empty: the set that the verifier trusts now

The governing set is there for evidence about a height whose set has been replaced since; it is believed by its hash
alone.

Invariants:
  M1  Sizes are bounded before anything is decoded (attack E2); one encoding has one meaning (core decoders refuse
      trailing bytes).
  M2  A message carries no trust: nothing in it can name or replace a root (attack R4).

Left out: snapshots and their proofs (`objects`), verdicts (`verify`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from common.core.certificate import MAX_CERTIFICATE_BYTES, Certificate
from common.core.codec import MAX_SAFE_INTEGER, Reader, Writer
from common.core.errors import CodecError
from common.core.header import MAX_HEADER_BYTES, Header
from common.core.suite import Suite, suite_named
from common.core.validators import ValidatorSet

MAX_VALIDATORS_BYTES = 96 * 1024
"""100 members with names of 64, organisations of 512 and keys of 256 bytes take 85 KB."""

_BARE, _SIGNED = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderMessage:
    """One header as delivered. `next_validators` must be there when `next_validators_hash` differs from
    `validators_hash`; `governing` is the set that signed it, if the verifier has another by now.
    """

    suite: Suite
    header: Header
    certificate: Certificate
    next_validators: ValidatorSet | None = None
    governing: ValidatorSet | None = None

    def encode(self) -> bytes:
        """The opaque header."""
        writer = Writer().u8(_SIGNED).text8(self.suite.name)
        writer.blob(self.header.encode()).blob(self.certificate.encode())
        for validators in (self.next_validators, self.governing):
            writer.blob(b"" if validators is None else validators.encode())
        return writer.bytes()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse one opaque header that is not bare.

        Raises `Malformed` (`CodecError`), or `CodecError('header_range')` for numbers that no chain of this suite
        reaches and that JSON (receipts, state) could not carry.
        """
        reader = Reader(data)
        if reader.u8() != _SIGNED:
            raise CodecError("header_kind", "Not a header with its certificate.")
        message = cls(
            suite=suite_named(reader.text8()),
            header=_header(reader),
            certificate=Certificate.decode(reader.blob(MAX_CERTIFICATE_BYTES)),
            next_validators=_set(reader.blob(MAX_VALIDATORS_BYTES)),
            governing=_set(reader.blob(MAX_VALIDATORS_BYTES)),
        )
        reader.end()
        _check_range(message.certificate.height, message.certificate.view)
        return message


@dataclass(frozen=True, slots=True)
class BareHeader:
    """A header alone, which its id binds."""

    suite: Suite
    header: Header

    def encode(self) -> bytes:
        """The opaque bare header."""
        return Writer().u8(_BARE).text8(self.suite.name).blob(self.header.encode()).bytes()

    @classmethod
    def of(cls, data: bytes) -> Self:
        """From an opaque header, bare or not. Raises as `HeaderMessage.decode`."""
        reader = Reader(data)
        if reader.u8() != _BARE:
            message = HeaderMessage.decode(data)
            return cls(message.suite, message.header)
        bare = cls(suite_named(reader.text8()), _header(reader))
        reader.end()
        return bare


def _header(reader: Reader) -> Header:
    header = Header.decode(reader.blob(MAX_HEADER_BYTES))
    _check_range(header.height, header.time_ms)
    return header


def _check_range(*numbers: int) -> None:
    if max(numbers) > MAX_SAFE_INTEGER:
        raise CodecError("header_range", "Height, view or time is above 2^53-1.")


def _set(data: bytes) -> ValidatorSet | None:
    return ValidatorSet.decode(data) if data else None


def encode_parts(suite: Suite, header: bytes, certificate: bytes, next_validators: bytes | None) -> bytes:
    """The opaque header from parts as a node serves them; nothing of them is decoded. Inverse of `decode` for a block
    of the current set.
    """
    writer = Writer().u8(_SIGNED).text8(suite.name).blob(header).blob(certificate)
    return writer.blob(next_validators or b"").blob(b"").bytes()
