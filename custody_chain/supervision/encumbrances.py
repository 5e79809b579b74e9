"""Single pledges and freezes: contract, pledgee, court order, and what is left of each.

Values::

    encumbrance/…  {"kind": "pledge" | "freeze", "id", "quantity", "investor", "object_id", "height", "index",
                    "time_ms", "contract_number", "pledgee" | "authority", "order_number", "until_ms"}
    agreement/…    {"regions": {region: open pledges}, "alerted": region that has the alert, or null}

They come from `header.metadata` of registrations, which our business chains fill; for a chain that names none, balances
are all there is. A balance is never computed from them.

Invariants:
  * What is left of an encumbrance is the sum of the changes of its registrations; at nothing it is removed.
  * A corrected registration takes its earlier change back first.
  * One contract of one pledgor with open pledges on two chains is an alert (重复质押), whoever the pledgees are. The
    pledgor is who the account led to when the pledge was registered.

Left out: whether balances cover it (`rules`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from common.core.snapshot import MAX_QUANTITY
from custody_chain import state
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment, clear_alert, raise_alert
from custody_chain.supervision.facts import Encumbrance
from custody_chain.supervision.positions import QuantityOutOfRange
from custody_chain.supervision.registry import investor_of_account
from custody_chain.supervision.rules import Balances


def change_of(encumbrance: Encumbrance | None, before: Balances, after: Balances) -> dict[str, Any] | None:
    """What a registration changes of the encumbrance it names, for its movement; None if nothing."""
    if encumbrance is None:
        return None
    pledge = encumbrance.kind == "pledge"
    change = after.pledged - before.pledged if pledge else after.frozen - before.frozen
    return {"kind": encumbrance.kind, "id": encumbrance.id, "change": change} if change else None


def apply(
    records: Records,
    moment: Moment,
    where: tuple[str, str],
    change: dict[str, Any] | None,
    encumbrance: Encumbrance,
    object_id: str,
    time_ms: int,
) -> None:
    """Add a registration's change to its encumbrance. Raises `QuantityOutOfRange`."""
    if change is None:
        return
    key = state.encumbrance(moment.network, *where, encumbrance.kind, encumbrance.id)
    before = records.get(key)
    quantity = _believed((0 if before is None else before["quantity"]) + change["change"])
    if quantity <= 0:
        _remove(records, moment, key, before)
        return
    investor = investor_of_account(records, moment.network, where[1]) if before is None else before["investor"]
    value = {
        "kind": encumbrance.kind,
        "id": encumbrance.id,
        "quantity": quantity,
        "investor": investor,
        "object_id": object_id,
        "height": moment.height,
        "index": moment.index,
        "time_ms": time_ms,
        **encumbrance.details,
    }
    records.put(key, value)
    if before is None or before.get("contract_number") != value.get("contract_number"):
        _count_agreement(records, moment, before, -1)
        _count_agreement(records, moment, value, 1)


def take_back(records: Records, moment: Moment, where: tuple[str, str], change: dict[str, Any] | None) -> None:
    """Undo a corrected registration's change. Raises `QuantityOutOfRange`."""
    if change is None:
        return
    key = state.encumbrance(moment.network, *where, change["kind"], change["id"])
    before = records.get(key)
    if before is None:
        return
    quantity = _believed(before["quantity"] - change["change"])
    if quantity <= 0:
        _remove(records, moment, key, before)
    else:
        records.put(key, {**before, "quantity": quantity})


def _believed(quantity: int) -> int:
    if quantity > MAX_QUANTITY:
        raise QuantityOutOfRange
    return quantity


def _remove(records: Records, moment: Moment, key: bytes, before: dict[str, Any] | None) -> None:
    if before is not None:
        records.put(key, None)
        _count_agreement(records, moment, before, -1)


def _count_agreement(records: Records, moment: Moment, pledge: dict[str, Any] | None, change: int) -> None:
    """Count the open pledges under one contract of one pledgor, and ask whether they are on two chains."""
    if pledge is None or pledge.get("contract_number") is None or pledge["investor"] == state.UNRESOLVED:
        return
    investor, contract = pledge["investor"], pledge["contract_number"]
    key = state.agreement(investor, contract)
    before = records.get(key) or {"regions": {}, "alerted": None}
    regions = {**before["regions"], moment.network: before["regions"].get(moment.network, 0) + change}
    if regions[moment.network] <= 0:
        regions.pop(moment.network)
    alerted, about = before["alerted"], [investor, contract]
    if len(regions) > 1 and alerted is None:
        alerted = moment.network
        objects = [{"kind": "investor", "id": investor}, {"kind": "contract", "id": contract}]
        raise_alert(records, moment, "contract_on_two_chains", about, objects, {"regions": sorted(regions)})
    elif len(regions) <= 1 and alerted is not None:
        clear_alert(records, replace(moment, network=alerted), "contract_on_two_chains", about)
        alerted = None
    records.put(key, {"regions": regions, "alerted": alerted} if regions else None)
