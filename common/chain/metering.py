"""What a transaction costs, in fixed units, and how many units a block has used.

A unit is about the time that one byte of an envelope takes: 20 ns, where one verification of a signature takes 80 µs.
Units are fixed numbers, never measured time, so every validator counts the same (decision 30, protocol rule 27).

Invariants:
  P1  The price of a transaction is a pure function of its canonical bytes: no state, clock, suite or receipt enters.
  P2  It is known before any work on the transaction, from what parsing has counted already.
  P3  It grows with every byte, signature and operation, and the price of several transactions is the sum of theirs.
  P4  A rejected transaction costs what an applied one of the same bytes costs.
  P5  What was used is shown to operators. It is in no header, receipt or state, and nobody votes on it.

Left out: validity by price (limits of a transaction and of a block), which comes later with the rest of rule 27: what
is merged, validated, read, scanned, written and made. Also who is charged, and queued work (`common.chain.work`, whose
units are another thing).
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.core.transaction import SignedTransaction


class UnitPrices(msgspec.Struct, frozen=True, kw_only=True):
    """The table: what each thing costs in units."""

    envelope_byte: int
    """A byte of the canonical envelope is received, parsed, hashed twice, kept in the block and sent on."""
    signature: int
    """A signature is verified once, its key parsed and looked up among the signers."""
    operation: int
    """An operation is judged by its rule, writes a few keys of the state and makes a data object."""


UNIT_PRICES: Final = UnitPrices(envelope_byte=1, signature=4_000, operation=8_000)


def price_units(tx: SignedTransaction) -> int:
    """What a transaction costs (P1-P3). Takes less than a microsecond: it reads lengths and no content."""
    prices = UNIT_PRICES
    return (
        len(tx.envelope) * prices.envelope_byte
        + len(tx.signatures) * prices.signature
        + len(tx.operations) * prices.operation
    )


class UsedUnits(msgspec.Struct, frozen=True):
    """What the transactions of a block, or of several, have used."""

    priced: int = 0
    """The price of all of them, the rejected ones included."""
    rejected: int = 0
    """How much of it was for rejected ones."""


class Meter:
    """Counts the units of one block: the only place that does."""

    __slots__ = ("_priced", "_rejected")

    def __init__(self) -> None:
        self._priced = 0
        self._rejected = 0

    def charge(self, tx: SignedTransaction) -> None:
        """Count a transaction, before anything is done for it (P2)."""
        self._priced += price_units(tx)

    def mark_rejected(self, tx: SignedTransaction) -> None:
        """A transaction that was charged ended in an included rejection; its price stays (P4)."""
        self._rejected += price_units(tx)

    @property
    def used(self) -> UsedUnits:
        """What was counted so far."""
        return UsedUnits(self._priced, self._rejected)
