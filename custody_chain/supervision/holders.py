"""Who counts as a holder: of a product, and of a security over all its instalments and markets.

Invariants:
  * One investor is one holder, however many accounts it has.
  * An account without an investor's code is a holder of its own: nobody is added up without a code, nobody is lost.
  * A holder is counted to the security that the product belonged to when the holder began. When the product changes its
    security, queued work moves its holders, a bounded number a block (`refile`).

Reference: Decree 132, Art. 13 and 14 (instalments are added up). Left out: how many are too many (`verdicts`).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from custody_chain.records import Records
from custody_chain.tables.objects import ObjectKey
from custody_chain.tables.positions import (
    HOLDERS,
    INSTALMENTS,
    SECURITIES,
    SECURITY_HOLDERS,
    Holder,
    HolderKey,
    Instalment,
    InstalmentKey,
    Security,
    SecurityHolder,
    SecurityHolderKey,
    SecurityKey,
    SecurityRegion,
    holder_name,
)
from custody_chain.tables.registry import COUNTED, LISTED, PRODUCTS, CountedKey, Product

_NOBODY = Security(0, 0, {})


def count_holders(
    records: Records, key: ObjectKey, product: Product, account: str, changes: Sequence[tuple[str, int]]
) -> Product:
    """Count an account of a product to or from investors (1 or -1 each). Returns the product, which the caller puts."""
    moved: dict[str, list[tuple[str, int]]] = {}
    for investor, change in changes:
        holder = holder_name(investor, key.region, account)
        counted_to = _count_account(records, key, product, holder, change)
        if counted_to is not None:
            moved.setdefault(counted_to.security or "", []).append((holder, change))
    begun = sum(change for of_security in moved.values() for _, change in of_security)
    product = replace(product, holders=product.holders + begun)
    for security in sorted(moved.keys() - {""}):
        _count_in_security(records, security, key, product, moved[security])
    return product


def recount_holder(records: Records, key: ObjectKey, holder: str) -> None:
    """Count a holder of a product to the security that the product belongs to now, if it is still a holder."""
    holder_key = HolderKey(*key, holder)
    entry, product = records.get(HOLDERS, holder_key), records.get(PRODUCTS, key)
    if entry is None or product is None:
        return
    records.put(COUNTED, CountedKey(*key, product.changes, holder), LISTED)
    records.put(HOLDERS, holder_key, replace(entry, security=product.security))
    if entry.security == product.security:
        return
    for security, change in ((entry.security, -1), (product.security, 1)):
        if security is not None:
            _count_in_security(records, security, key, product, [(holder, change)])


def _count_account(records: Records, key: ObjectKey, product: Product, holder: str, change: int) -> Holder | None:
    """Count one account to or from a holder. If the holder begins or ends by that, returns it.

    One who begins is counted to the security that the product belongs to now.
    """
    holder_key, counted_key = HolderKey(*key, holder), CountedKey(*key, product.changes, holder)
    before = records.get(HOLDERS, holder_key) or Holder(0, product.security)
    after = replace(before, accounts=before.accounts + change)
    if after.accounts > 0:
        records.put(HOLDERS, holder_key, after)
        if before.accounts > 0:
            return None
        records.put(COUNTED, counted_key, LISTED)
    else:
        records.delete(HOLDERS, holder_key)
        records.delete(COUNTED, counted_key)
    return after


def _count_in_security(
    records: Records, security: str, key: ObjectKey, product: Product, changes: Sequence[tuple[str, int]]
) -> None:
    """Count holders of one product to or from a security."""
    before = records.get(SECURITIES, SecurityKey(security)) or _NOBODY
    holders = before.holders + sum(_count_product_of(records, security, holder, change) for holder, change in changes)
    added = sum(change for _, change in changes)
    instalments = before.instalments + _count_instalment(records, security, key, added)
    held = records.get(INSTALMENTS, InstalmentKey(security, *key)) is not None
    is_instalment = held and product.security == security
    regions = _with_region(before.regions, key, added, is_instalment=is_instalment)
    after = replace(before, holders=holders, instalments=instalments, regions=regions)
    if holders > 0:
        records.put(SECURITIES, SecurityKey(security), after)
    else:
        records.delete(SECURITIES, SecurityKey(security))


def _count_product_of(records: Records, security: str, holder: str, change: int) -> int:
    """Count a product to or from a holder of a security. Returns the change of the security's holders by that."""
    key = SecurityHolderKey(security, holder)
    entry = records.get(SECURITY_HOLDERS, key)
    before = 0 if entry is None else entry.products
    if before + change > 0:
        records.put(SECURITY_HOLDERS, key, SecurityHolder(before + change))
    else:
        records.delete(SECURITY_HOLDERS, key)
    return (before + change > 0) - (before > 0)


def _count_instalment(records: Records, security: str, key: ObjectKey, added: int) -> int:
    """Count a product's holders to or from a security. Returns the change of the security's instalments by that."""
    instalment_key = InstalmentKey(security, *key)
    entry = records.get(INSTALMENTS, instalment_key)
    before = 0 if entry is None else entry.holders
    if before + added > 0:
        records.put(INSTALMENTS, instalment_key, Instalment(before + added))
    else:
        records.delete(INSTALMENTS, instalment_key)
    return (before + added > 0) - (before > 0)


def _with_region(
    regions: dict[str, SecurityRegion], key: ObjectKey, added: int, *, is_instalment: bool
) -> dict[str, SecurityRegion]:
    """The regions of a security with one region's holders counted.

    It names the first product there that has some, until that is no instalment any more; then the next one that is seen
    to be.
    """
    before = regions.get(key.region, SecurityRegion(0, None))
    holders, named = before.holders + added, before.product
    if is_instalment:
        named = named or key.object_id
    elif named == key.object_id:
        named = None
    if holders > 0:
        return {**regions, key.region: SecurityRegion(holders, named)}
    return {region: value for region, value in regions.items() if region != key.region}
