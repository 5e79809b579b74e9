"""Positions and holder counts: what an account has after its newest registration, and who counts as a holder.

Values::

    position/…  {"available", "pledged", "frozen", "object_id", "height", "index", "time_ms"}
    holding/…   {"investor"}
    security/…  {"holders", "instalments": products that have any of them, "regions": {region: {"holders": of its
                 products, added up, "product": one or null}}, "alerted": region that has the alert, or null}

Invariants:
  * The position is what the last registration states *after* it, even if its arithmetic is wrong: the alert says so,
    and the market's register stays comparable with ours.
  * An account without any balance has no position, holding or place in a holder count; its movements stay.
  * Totals and counts of a product are the sums over its positions, always.

Reference: Decree 132, Art. 13 and 14. Left out: the order and correctness of registrations (`movements`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from common.model import codes
from custody_chain import state
from custody_chain.records import Records
from custody_chain.supervision import rules
from custody_chain.supervision.alerts import Moment, home_of, judge, judge_across
from custody_chain.supervision.registry import NEW_PRODUCT, filing_of, investor_of_account, with_alert
from custody_chain.supervision.rules import NOTHING, Balances

NO_HOLDERS: Final[dict[str, Any]] = {"holders": 0, "instalments": 0, "regions": {}, "alerted": None}
"""A security that nobody holds yet."""


class QuantityOutOfRange(Exception):
    """A registration's numbers, or a total with them, are beyond what is believed."""


def set_position(
    records: Records, moment: Moment, object_id: str, time_ms: int, where: tuple[str, str], after: Balances
) -> None:
    """Make `after` the position, with the totals and holder counts that follow from it. Raises `QuantityOutOfRange`."""
    network, (product_id, account_id) = moment.network, where
    holding_key = state.holding(network, product_id, account_id)
    holding = records.get(holding_key)
    investor = investor_of_account(records, network, account_id) if holding is None else holding["investor"]
    key = state.position(investor, network, product_id, account_id)
    held = records.get(key)
    before = NOTHING if held is None else Balances(held["available"], held["pledged"], held["frozen"])
    holds = any(after)
    records.put(
        key,
        {
            "available": after.available,
            "pledged": after.pledged,
            "frozen": after.frozen,
            "object_id": object_id,
            "height": moment.height,
            "index": moment.index,
            "time_ms": time_ms,
        }
        if holds
        else None,
    )
    product = records.get(state.product(network, product_id)) or {
        **NEW_PRODUCT,
        "security": codes.security_of(product_id),
    }
    product = _add_totals(product, before, after)
    if holds and held is None:
        records.put(holding_key, {"investor": investor})
        records.put_index(_filed(records, network, product_id, account_id), {"product": product_id})
        product = {**product, "accounts": product["accounts"] + 1}
        product = count_holders(records, moment, product_id, product, account_id, [(investor, 1)])
    elif held is not None and not holds:
        records.put(holding_key, None)
        # What is listed as filed before a change waits for `refile`, which finds it empty.
        records.put_index(_filed(records, network, product_id, account_id), None)
        product = {**product, "accounts": product["accounts"] - 1}
        product = count_holders(records, moment, product_id, product, account_id, [(investor, -1)])
    records.put(state.product(network, product_id), product)
    _judge_references(records, moment, where, product, investor, holds=holds, is_new=held is None)


def _filed(records: Records, network: str, product_id: str, account_id: str) -> bytes:
    """Where a position is listed that is filed now."""
    changes = filing_of(records, network, account_id)
    return state.FILED.entry(network, account_id, *changes, step=state.component(product_id))


def _add_totals(product: dict[str, Any], before: Balances, after: Balances) -> dict[str, Any]:
    totals = Balances(
        product["available"] + after.available - before.available,
        product["pledged"] + after.pledged - before.pledged,
        product["frozen"] + after.frozen - before.frozen,
    )
    if not totals.in_range:
        raise QuantityOutOfRange
    return {**product, "available": totals.available, "pledged": totals.pledged, "frozen": totals.frozen}


def count_holders(
    records: Records,
    moment: Moment,
    product_id: str,
    product: dict[str, Any],
    account_id: str,
    changes: Sequence[tuple[str, int]],
) -> dict[str, Any]:
    """Count an account to or from investors (1 or -1 each), and ask whether product or security has too many holders.

    Returns the product's record, which the caller puts. An unresolved account counts as a holder of its own: nobody is
    added up without a code, and nobody is lost. The rules see the outcome alone: moving an account from one investor to
    another neither raises nor clears an alert on the way.
    """
    tallies = [
        _tally_holder(
            records, moment, product_id, product, state.holder_name(investor, moment.network, account_id), change
        )
        for investor, change in changes
    ]
    moved = [tally for tally in tallies if tally is not None]
    if not moved:
        return product
    product = {**product, "holders": product["holders"] + sum(change for _, _, change in moved)}
    crowded = judge(
        records,
        moment,
        rules.too_many_holders(product["holders"]),
        "holder_cap",
        [product_id],
        [{"kind": "product", "id": product_id}],
        {"holders": product["holders"], "limit": rules.MAX_HOLDERS},
        was_wrong="holder_cap" in product["alerts"],
    )
    product = {**product, "alerts": with_alert(product["alerts"], "holder_cap", crowded)}
    for security in sorted({security for security, _, _ in moved if security is not None}):
        of_security = [(holder, change) for named, holder, change in moved if named == security]
        _count_security_holders(records, moment, security, product_id, product, of_security)
    return product


def recount_holder(records: Records, moment: Moment, product_id: str, holder: str) -> None:
    """Count a holder of a product to the security that the product belongs to now, if it is still a holder."""
    key = state.holder(moment.network, product_id, holder)
    entry, product = records.get_index(key), records.get(state.product(moment.network, product_id))
    if entry is None:
        return
    records.put_index(_counted(moment.network, product_id, product, holder), {"holder": holder})
    records.put_index(key, {**entry, "security": product["security"]})
    if entry["security"] == product["security"]:
        return
    for security, change in ((entry["security"], -1), (product["security"], 1)):
        if security is not None:
            _count_security_holders(records, moment, security, product_id, product, [(holder, change)])


def _tally_holder(
    records: Records, moment: Moment, product_id: str, product: dict[str, Any], holder: str, change: int
) -> tuple[str | None, str, int] | None:
    """Count one account to or from a holder. If the holder begins or ends by that, returns of what security, who, and 1
    or -1. One who begins is counted to the security that the product belongs to now.
    """
    key = state.holder(moment.network, product_id, holder)
    entry = records.get_index(key) or {"accounts": 0, "security": product["security"]}
    accounts = entry["accounts"] + change
    records.put_index(key, {**entry, "accounts": accounts} if accounts > 0 else None)
    if accounts > 0 and entry["accounts"] > 0:
        return None
    counted = {"holder": holder} if accounts > 0 else None
    records.put_index(_counted(moment.network, product_id, product, holder), counted)
    return entry["security"], holder, change


def _counted(network: str, product_id: str, product: dict[str, Any], holder: str) -> bytes:
    """Where a holder is listed that is counted to the product's security of now."""
    return state.COUNTED.entry(network, product_id, product["changes"], step=holder)


def _tally(records: Records, key: bytes, name: str, change: int) -> bool:
    """Change a count of the index. Returns whether it began or ended by that."""
    entry = records.get_index(key)
    count = (0 if entry is None else entry[name]) + change
    records.put_index(key, {name: count} if count > 0 else None)
    return count == 0 or (count == 1 and change > 0)


def _count_security_holders(
    records: Records,
    moment: Moment,
    security: str,
    product_id: str,
    product: dict[str, Any],
    changes: Sequence[tuple[str, int]],
) -> None:
    """Holders of one security over all instalments (Decree 132, Art. 14: instalments are added up)."""
    moved = [
        change
        for holder, change in changes
        if _tally(records, state.security_holder(security, holder), "products", change)
    ]
    record = records.get(state.security(security)) or NO_HOLDERS
    holders, alerted = record["holders"] + sum(moved), record["alerted"]
    instalments, added = record["instalments"], sum(change for _, change in changes)
    if added and _tally(records, state.instalment(security, moment.network, product_id), "holders", added):
        instalments += added
    belongs = product["security"] == security
    held = records.get_index(state.instalment(security, moment.network, product_id)) is not None
    regions = _count_region(record["regions"], moment.network, product_id, added, is_instalment=belongs and held)
    # One instalment alone is judged by holder_cap; this rule is for what is added up.
    crowded = rules.too_many_holders(holders) and instalments > 1
    home = home_of(moment, alerted, regions) if crowded else None
    objects = [{"kind": "security", "id": security}]
    if home is not None and regions[home]["product"] is not None:
        objects.append({"kind": "product", "id": regions[home]["product"]})
    details = {"holders": holders, "instalments": instalments, "limit": rules.MAX_HOLDERS}
    rule = "holder_cap_instalments"
    judge_across(records, moment, rule, [security], objects, details, home=home, stood_in=alerted)
    value = {"holders": holders, "instalments": instalments, "regions": regions, "alerted": home}
    records.put(state.security(security), value if holders > 0 else None)


def _count_region(
    regions: dict[str, Any], network: str, product_id: str, added: int, *, is_instalment: bool
) -> dict[str, Any]:
    """The regions of a security with this one's holders counted. An alert there names the first product that has some,
    until that is no instalment any more; then the next one that is seen to be.
    """
    before = regions.get(network, {"holders": 0, "product": None})
    holders, named = before["holders"] + added, before["product"]
    if is_instalment:
        named = named or product_id
    elif named == product_id:
        named = None
    if holders > 0:
        return {**regions, network: {"holders": holders, "product": named}}
    return {region: value for region, value in regions.items() if region != network}


def _judge_references(
    records: Records,
    moment: Moment,
    where: tuple[str, str],
    product: dict[str, Any],
    investor: str,
    *,
    holds: bool,
    is_new: bool,
) -> None:
    """Rule `reference_unresolved`: for an unreported product, and for an account without an owner's code."""
    if not is_new or not holds:
        return
    product_id, account_id = where
    if not product["known"]:
        about, objects = ["product", product_id], [{"kind": "product", "id": product_id}]
        judge(records, moment, True, "reference_unresolved", about, objects, {"missing": "product"}, was_wrong=False)
    if records.get(state.account(moment.network, account_id)) is None:
        records.put_index(state.waiting(moment.network, "account", account_id), {})
    if investor == state.UNRESOLVED:
        about, objects = ["account", account_id], [{"kind": "account", "id": account_id}]
        details = {"missing": "investor_code"}
        judge(records, moment, True, "reference_unresolved", about, objects, details, was_wrong=False)
