"""What a relay delivers about a header: the header, its certificate and, when the set changes, the next set.

Invariants:
  M1  Sizes are bounded before anything is decoded (attack E2); one encoding has one meaning (core decoders refuse
      trailing bytes).
  M2  A message carries no trust: nothing in it can name or replace a root (attack R4).

Left out: snapshots and their proofs (`delivery`), verdicts (`verify`).
"""

from __future__ import annotations

from dataclasses import dataclass

from common.core.certificate import MAX_CERTIFICATE_BYTES, Certificate
from common.core.codec import MAX_SAFE_INTEGER
from common.core.errors import CodecError, Rejected, RuleBroken, TooLarge
from common.core.header import MAX_HEADER_BYTES, Header
from common.core.validators import ValidatorSet

MAX_VALIDATORS_BYTES = 96 * 1024
"""100 members with names of 64, organisations of 512 and keys of 256 bytes take 85 KB."""

RETRYABLE = frozenset({"future_header", "header_gap", "protocol_version_ahead"})
"""Refusals that a later delivery of the same bytes may not meet again (protocol rule 17)."""


class HeaderRefused(RuleBroken):
    """A header or a piece of evidence is refused by the light client; `code` is the named verdict.

    Codes: stale_header, future_header (retryable), header_gap (retryable), wrong_parent, wrong_set, wrong_network,
    wrong_genesis, wrong_time, next_set_missing, next_set_mismatch, protocol_version_ahead (retryable),
    protocol_version_lowered, expired, frozen, misbehaviour_unproven.
    """

    @property
    def retryable(self) -> bool:
        """Whether the same delivery may succeed later."""
        return self.code in RETRYABLE


def is_retryable(refusal: Rejected) -> bool:
    """Whether the same delivery may succeed later, for any refusal of a verification."""
    return refusal.code in RETRYABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderMessage:
    """One header as delivered. `next_validators` must be there when `next_validators_hash` differs from
    `validators_hash`.
    """

    header: Header
    certificate: Certificate
    next_validators: ValidatorSet | None = None


def _bounded(data: bytes, maximum: int, what: str) -> bytes:
    if len(data) > maximum:
        raise TooLarge("delivery_too_large", f"A {what} is at most {maximum} bytes.", what=what, size=len(data))
    return data


def decode_header_message(header: bytes, certificate: bytes, next_validators: bytes | None = None) -> HeaderMessage:
    """Decode a delivery.

    Raises `Malformed` (`CodecError`), `TooLarge`, or `CodecError('header_range')` for numbers that no chain of this
    suite reaches and that JSON (receipts, state) could not carry.
    """
    message = HeaderMessage(
        header=Header.decode(_bounded(header, MAX_HEADER_BYTES, "header")),
        certificate=Certificate.decode(_bounded(certificate, MAX_CERTIFICATE_BYTES, "certificate")),
        next_validators=(
            None
            if next_validators is None
            else ValidatorSet.decode(_bounded(next_validators, MAX_VALIDATORS_BYTES, "validator set"))
        ),
    )
    numbers = (message.header.height, message.header.time_ms, message.certificate.height, message.certificate.view)
    if max(numbers) > MAX_SAFE_INTEGER:
        raise CodecError("header_range", "Height, view or time is above 2^53-1.")
    return message
