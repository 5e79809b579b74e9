"""Positions: what an account has of a product after its newest registration.

Invariants:
  * The newest registration decides a position, even if its arithmetic is wrong. An alert says so. The market's register
    stays comparable with ours.
  * An account without any balance has no position and no holding, and counts as no holder. Its movements stay.
  * Totals and counts of a product are the sums over its positions, always.

Left out: the order and correctness of registrations (`movements`), who counts as a holder (`holders`).
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from common.model import codes
from common.model.quantities import Quantity, is_believed, plain
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment
from custody_chain.supervision.holders import count_holders
from custody_chain.supervision.registry import filing_of, investor_of_account
from custody_chain.tables.objects import ObjectKey
from custody_chain.tables.positions import (
    HOLDINGS,
    POSITIONS,
    Filing,
    HoldingKey,
    Position,
    PositionKey,
    Standing,
)
from custody_chain.tables.registry import ACCOUNTS, FILED, LISTED, PRODUCTS, Account, FiledKey, Product
from custody_chain.tables.table import UNRESOLVED


class QuantityOutOfRange(Exception):
    """A registration's numbers, or a total with them, are beyond what is believed."""


def set_position(
    records: Records, moment: Moment, object_id: str, time_ms: int, where: HoldingKey, standing: Standing
) -> None:
    """Let a position stand so, with the totals and holder counts that follow. Raises `QuantityOutOfRange`."""
    holding = records.get(HOLDINGS, where)
    investor = investor_of_account(records, where.region, where.account) if holding is None else holding.investor
    key = PositionKey(investor, *where)
    held = records.get(POSITIONS, key)
    product_key = ObjectKey(where.region, where.product)
    product = records.get(PRODUCTS, product_key) or Product(security=codes.security_of(where.product))
    after = standing.balances
    position = None
    if any(after) or standing.held:
        position = Position(
            available=after.available,
            pledged=after.pledged,
            frozen=after.frozen,
            held=standing.held,
            least_held=standing.least_held,
            share_natures=standing.share_natures,
            object_id=object_id,
            height=moment.height,
            index=moment.index,
            time_ms=time_ms,
            effective_date=standing.effective_date,
        )
    product = _add_totals(product, held, position)
    if position is not None:
        records.put(POSITIONS, key, position)
        if held is None:
            product = _begin(records, where, investor, product)
    elif held is not None:
        records.delete(POSITIONS, key)
        product = _end(records, where, investor, product)
    records.put(PRODUCTS, product_key, product)


def _begin(records: Records, where: HoldingKey, investor: str, product: Product) -> Product:
    """File a new position under its investor. Returns the product with it."""
    records.put(HOLDINGS, where, Filing(investor))
    records.put(FILED, _filed(records, where), LISTED)
    if investor == UNRESOLVED:
        mark_unresolved(records, ObjectKey(where.region, where.account), unresolved=True)
    product = replace(product, accounts=product.accounts + 1)
    return count_holders(records, ObjectKey(where.region, where.product), product, where.account, [(investor, 1)])


def _end(records: Records, where: HoldingKey, investor: str, product: Product) -> Product:
    """Take a position out of the files. Returns the product without it.

    What is listed as filed before a change waits for `refile`, which finds it empty.
    """
    records.delete(HOLDINGS, where)
    records.delete(FILED, _filed(records, where))
    product = replace(product, accounts=product.accounts - 1)
    return count_holders(records, ObjectKey(where.region, where.product), product, where.account, [(investor, -1)])


def _filed(records: Records, where: HoldingKey) -> FiledKey:
    """Where a position is listed that is filed now."""
    return FiledKey(where.region, where.account, *filing_of(records, where.region, where.account), where.product)


def mark_unresolved(records: Records, key: ObjectKey, *, unresolved: bool) -> None:
    """Remember of an account whether something is filed without its owner's code."""
    account = records.get(ACCOUNTS, key)
    if account is None or account.unresolved != unresolved:
        records.put(ACCOUNTS, key, replace(account or Account(), unresolved=unresolved))


def _add_totals(product: Product, before: Position | None, after: Position | None) -> Product:
    """The product with one position in its sums in another's place."""
    sums = {name: plain(getattr(product, name) + _of(after, name) - _of(before, name)) for name in _SUMMED}
    if not all(map(is_believed, sums.values())):
        raise QuantityOutOfRange
    return replace(product, **sums)


_SUMMED: Final = ("available", "pledged", "frozen", "held", "least_held")


def _of(position: Position | None, name: str) -> Quantity:
    return 0 if position is None else getattr(position, name)
