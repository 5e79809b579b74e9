"""Quantities and prices: plain decimals in bodies, exact everywhere.

A chain of ours keeps a quantity as an integer in its product's scale, and a price in 1/10,000. A body states the number
itself: 1050 hundredths are `10.5`. Read, a number is a `Quantity`: an int if it is whole, else a `Decimal` without
trailing zeros. So 1000, 1000.0 and 1e3 are one quantity, and equal quantities are equal values.

Invariants:
  Q1  No float is made of a number, and nothing is rounded.
  Q2  The written form is the shortest one without exponent: no zeros before or after, no minus before zero. Up to
      fifteen digits and six decimal places it is also what RFC 8785 writes for the nearest IEEE 754 double, and every
      reader that uses doubles gets the number back.
  Q3  A quantity that is believed has at most `MAX_PLACES` decimal places and is at most `MAX_QUANTITY`: 22 digits, so
      that sums and differences of some are exact in `decimal`'s default context (28 digits).

Reference: docs/adr/0076. Left out: who owns a quantity, and what a product's scale is.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, TypeAlias

MAX_QUANTITY: Final = 10**15
"""Largest balance, movement or total of a product. For a business chain in its smallest unit, which is stricter: a
number in its bodies has fifteen digits, but for this one. Nine of them still add up within the integers of canonical
JSON (protocol rule 10)."""

MAX_PLACES: Final = 6
"""Most decimal places of a quantity: shares have none, contributions of capital two to six."""

PRICE_PLACES: Final = 4
"""Decimal places of a price on our chains: `price_e4`, 1/10,000 of the currency."""

Quantity: TypeAlias = int | Decimal
"""A whole number as int, another one as `Decimal` without trailing zeros."""

_UNITS: Final = tuple(10**places for places in range(MAX_PLACES + 1))


def decimal_text(value: int, places: int) -> str:
    """`value` units of 10^-places as a plain decimal (Q2): (1050, 2) -> "10.5", (-5, 1) -> "-0.5", (7, 0) -> "7"."""
    if not places or not value:
        return str(value)
    whole, rest = divmod(abs(value), _UNITS[places])
    text = f"{whole}.{rest:0{places}d}".rstrip("0") if rest else str(whole)
    return text if value > 0 else "-" + text


def whole_text(value: int, places: int) -> str | None:
    """The same where the model asks for a whole number; None if it is none, so that the field is left out."""
    return None if value % _UNITS[places] else str(value // _UNITS[places])


def exact_quantity(value: int, places: int) -> Quantity:
    """`value` units of 10^-places: (1050, 2) -> Decimal("10.5"), (1000, 2) -> 10."""
    if not places:
        return value
    whole, rest = divmod(value, _UNITS[places])
    return Decimal(decimal_text(value, places)) if rest else whole


def plain(value: Quantity) -> Quantity:
    """The same quantity as int or without trailing zeros: what a sum or difference is before it is kept."""
    if isinstance(value, int):
        return value
    return Decimal(format(value, "f").rstrip("0")) if value % 1 else int(value)


def is_believed(value: Quantity) -> bool:
    """Whether a quantity is within the bounds of Q3."""
    if not -MAX_QUANTITY <= value <= MAX_QUANTITY:
        return False
    if isinstance(value, int):
        return True
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -MAX_PLACES
