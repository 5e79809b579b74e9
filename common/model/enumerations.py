"""Codes of the data model 2.0.0 and the words that stand for them, once for writers and readers.

Invariant: no meaning is invented. Where the model's codes are printed without a meaning, `NOT_STATED` (0, none) says
that the chain does not say, and `OTHER` (255) that it is stated elsewhere.

Left out: codes of enterprises, products and investors (`codes`); the codes that only a schema lists.
"""

from __future__ import annotations

from typing import Final

NOT_STATED: Final = 0
OTHER: Final = 255

SUBJECT_TYPES: Final = {"organisation": 1, "person": 2}
"""`subject_type`, `register_subject_type`."""
ACCOUNT_TYPES: Final = {"securities": 1, "cash": 2}
"""`account_type`."""
ACCOUNT_STATUSES: Final = {"open": 1, "closed": 2, "frozen": 3}
"""`account_status`."""

UNITS: Final = {"yuan": 1, "fund_unit": 2, "bond": 3, "share": 4, "wealth_unit": 5}
"""A product's unit: `product_scale_unit`, `register_asset_unit`."""
CURRENCIES: Final = ("156", "036", "276", "344", "840", "978")
"""GB/T 12406-2008 numeric codes that the model permits; the yuan is first and the default."""

REGIONAL_EQUITY_MARKET: Final = 1
"""`product_trading_market_category`, `transaction_market_type`."""
OFFLINE_AGREEMENT: Final = 2
"""`transaction_method`: the deal was agreed elsewhere; the chain registers it."""

ISSUE: Final = 1
TRANSFER_BY_TRADE: Final = 3
NON_TRADING_TRANSFER: Final = 5
"""`transaction_type`."""

RIGHTS: Final = 1
"""`register_object_type`: rights of one account; 2 is a roster of members."""

NOT_TRADING: Final = 1
TRADING: Final = 2
"""`register_event_type`, by its public meaning: 1 custody and non-trading movements, 2 movements that the report of an
issue or a trade stands behind."""

EQUITY_PRODUCTS: Final = (1, 2)
BOND_PRODUCTS: Final = (3, 4)
"""`product_type`: private equity interest, private shares; convertible bond, bond; 5 is a fund."""

SHARE_NATURES: Final = frozenset(
    (
        *(0, *range(1, 7), 9, *range(11, 15), *range(21, 30), *range(31, 38), 39, *range(41, 47), 49),
        *(*range(51, 60), *range(61, 70), *range(91, 95), 99),
    )
)
"""The 59 share-nature codes of one vendor's table; no standard is known to define them (docs/adr/0033)."""
