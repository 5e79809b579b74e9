"""Quantities: what a body may state and every figure of supervision may hold.

Left out: who owns them, and what a product's scale is.
"""

from __future__ import annotations

from typing import Final

MAX_QUANTITY: Final = 10**15
"""Largest balance, movement or total of a product, in its smallest unit: one limit for business chains, which refuse
more, and for supervision, which keeps more out of every figure. Nine of them still add up within the integers of
canonical JSON (protocol rule 10), so available + pledged + frozen always has an encoding."""

MAX_SCALE: Final = 18
"""Decimal places that are believed: no quantity has more digits."""
PRICE_SCALE: Final = 4
"""Decimal places of a price in a body: 125000 means 12.5000."""
