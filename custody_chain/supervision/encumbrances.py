"""Single pledges and freezes: contract, pledgee, court order, and what is left of each.

Values::

    encumbrance/…  {"kind": "pledge" | "freeze", "id", "quantity", "investor", "object_id", "height", "index",
                    "time_ms", "contract_number", "pledgee" | "authority", "order_number", "until_ms"}
    settled/…      the same, of which nothing is left: "quantity" is zero, or below while a registration is missing
    agreement/…    {"regions": {region: open pledges}, "alerted": region that has the alert, or null}

They come from `header.metadata` of registrations, which our business chains fill; for a chain that names none, balances
are all there is. A balance is never computed from them.

Invariants:
  * What is left of an encumbrance is the sum of the changes of its registrations, in whatever order they became usable;
    only what is above zero is in the state.
  * A corrected registration takes its earlier change back first.
  * One contract of one pledgor with open pledges on two chains is an alert (重复质押), whoever the pledgees are. The
    pledgor is who the account led to when the pledge was registered.

Left out: whether balances cover it (`rules`).
"""

from __future__ import annotations

from typing import Any

from common.model.kinds.registration import Encumbrance
from common.model.quantities import MAX_QUANTITY
from custody_chain import state
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment, home_of, judge_across
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
    before = _read(records, moment, where, change)
    is_open = before is not None and before["quantity"] > 0
    value = {
        "kind": encumbrance.kind,
        "id": encumbrance.id,
        "quantity": _believed((0 if before is None else before["quantity"]) + change["change"]),
        "investor": before["investor"] if is_open else investor_of_account(records, moment.network, where[1]),
        "object_id": object_id,
        "height": moment.height,
        "index": moment.index,
        "time_ms": time_ms,
        **encumbrance.details,
    }
    _write(records, moment, where, before, value)


def take_back(records: Records, moment: Moment, where: tuple[str, str], change: dict[str, Any] | None) -> None:
    """Undo a corrected registration's change. Raises `QuantityOutOfRange`."""
    if change is None:
        return
    before = _read(records, moment, where, change)
    _write(records, moment, where, before, {**before, "quantity": _believed(before["quantity"] - change["change"])})


def _believed(quantity: int) -> int:
    if abs(quantity) > MAX_QUANTITY:
        raise QuantityOutOfRange
    return quantity


def _read(records: Records, moment: Moment, where: tuple[str, str], change: dict[str, Any]) -> Any:
    """The encumbrance that a change is about, open or settled; None if it is new."""
    place = (moment.network, *where, change["kind"], change["id"])
    return records.get(state.encumbrance(*place)) or records.get_index(state.settled(*place))


def _write(
    records: Records, moment: Moment, where: tuple[str, str], before: dict[str, Any] | None, value: dict[str, Any]
) -> None:
    """Keep an encumbrance as open or settled, and its contract counted while it is open."""
    place = (moment.network, *where, value["kind"], value["id"])
    is_open = value["quantity"] > 0
    records.put(state.encumbrance(*place), value if is_open else None)
    records.put_index(state.settled(*place), None if is_open else value)
    contract_before, contract = _open_contract(before), _open_contract(value)
    if contract_before != contract:
        _count_agreement(records, moment, contract_before, -1)
        _count_agreement(records, moment, contract, 1)


def _open_contract(pledge: dict[str, Any] | None) -> tuple[str, str] | None:
    """Pledgor and contract number of an open pledge, if both are known."""
    if pledge is None or pledge["quantity"] <= 0 or pledge["investor"] == state.UNRESOLVED:
        return None
    contract = pledge.get("contract_number")
    return None if contract is None else (pledge["investor"], contract)


def _count_agreement(records: Records, moment: Moment, agreed: tuple[str, str] | None, change: int) -> None:
    """Count the open pledges under one contract of one pledgor, and ask whether they are on two chains."""
    if agreed is None:
        return
    investor, contract = agreed
    key = state.agreement(investor, contract)
    before = records.get(key) or {"regions": {}, "alerted": None}
    regions = {**before["regions"], moment.network: before["regions"].get(moment.network, 0) + change}
    if regions[moment.network] <= 0:
        regions.pop(moment.network)
    alerted = before["alerted"]
    home = home_of(moment, alerted, regions) if len(regions) > 1 else None
    judge_across(
        records,
        moment,
        "contract_on_two_chains",
        [investor, contract],
        [{"kind": "investor", "id": investor}, {"kind": "contract", "id": contract}],
        {"regions": sorted(regions)},
        home=home,
        stood_in=alerted,
    )
    records.put(key, {"regions": regions, "alerted": home} if regions else None)
