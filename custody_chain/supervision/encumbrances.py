"""Single pledges and freezes: contract, pledgee, court order, and what is left of each.

They come from `header.metadata` of registrations, which our business chains fill; for a chain that names none, balances
are all there is. A balance is never computed from them.

Invariants:
  * What is left of an encumbrance is the sum of the changes of its registrations, in whatever order they became usable;
    only what is above zero is in the state.
  * A corrected registration takes its earlier change back first.
  * The pledgor is who the account led to when the pledge was registered.

Left out: whether balances cover it, and contracts on two chains (`verdicts`).
"""

from __future__ import annotations

from msgspec.structs import replace

from common.model.kinds import registration
from common.model.quantities import Quantity, is_believed, plain
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment
from custody_chain.supervision.positions import QuantityOutOfRange
from custody_chain.supervision.registry import counted, investor_of_account
from custody_chain.tables.encumbrances import (
    AGREEMENTS,
    ENCUMBRANCES,
    SETTLED,
    AgreementKey,
    Encumbrance,
    EncumbranceKey,
    PledgeContract,
)
from custody_chain.tables.movements import EncumbranceChange
from custody_chain.tables.positions import Balances, HoldingKey
from custody_chain.tables.table import UNRESOLVED


def change_of(
    encumbrance: registration.Encumbrance | None, before: Balances, after: Balances
) -> EncumbranceChange | None:
    """What a registration changes of the encumbrance it names, for its movement; None if nothing."""
    if encumbrance is None:
        return None
    if encumbrance.kind == "pledge":
        change = plain(after.pledged - before.pledged)
        return EncumbranceChange("pledge", encumbrance.id, change) if change else None
    change = plain(after.frozen - before.frozen)
    return EncumbranceChange("freeze", encumbrance.id, change) if change else None


def apply(
    records: Records,
    moment: Moment,
    where: HoldingKey,
    change: EncumbranceChange | None,
    encumbrance: registration.Encumbrance | None,
    object_id: str,
    time_ms: int,
) -> None:
    """Add a registration's change to its encumbrance. Raises `QuantityOutOfRange`."""
    if change is None or encumbrance is None:
        return
    key, before = _find(records, where, change)
    is_open = before is not None and before.quantity > 0
    left = Encumbrance(
        kind=change.kind,
        id=change.id,
        quantity=_believed((0 if before is None else before.quantity) + change.change),
        investor=before.investor
        if before is not None and is_open
        else investor_of_account(records, where.region, where.account),
        object_id=object_id,
        height=moment.height,
        index=moment.index,
        time_ms=time_ms,
        **encumbrance.details,
    )
    _keep(records, key, before, left)


def take_back(records: Records, where: HoldingKey, change: EncumbranceChange | None) -> None:
    """Undo a corrected registration's change. Raises `QuantityOutOfRange`."""
    if change is None:
        return
    key, before = _find(records, where, change)
    if before is not None:
        _keep(records, key, before, replace(before, quantity=_believed(before.quantity - change.change)))


def _believed(quantity: Quantity) -> Quantity:
    if not is_believed(quantity):
        raise QuantityOutOfRange
    return plain(quantity)


def _find(records: Records, where: HoldingKey, change: EncumbranceChange) -> tuple[EncumbranceKey, Encumbrance | None]:
    """The encumbrance that a change is about, open or settled; None if it is new."""
    key = EncumbranceKey(*where, change.kind, change.id)
    return key, records.get(ENCUMBRANCES, key) or records.get(SETTLED, key)


def _keep(records: Records, key: EncumbranceKey, before: Encumbrance | None, left: Encumbrance) -> None:
    """Keep an encumbrance as open or settled, and its contract counted while it is open."""
    kept, other = (ENCUMBRANCES, SETTLED) if left.quantity > 0 else (SETTLED, ENCUMBRANCES)
    records.put(kept, key, left)
    records.delete(other, key)
    contract_before, contract = _open_contract(before), _open_contract(left)
    if contract_before != contract:
        _count_pledge(records, key.region, contract_before, -1)
        _count_pledge(records, key.region, contract, 1)


def _open_contract(pledge: Encumbrance | None) -> AgreementKey | None:
    """The contract of an open pledge, if it and its pledgor are known."""
    if pledge is None or pledge.quantity <= 0 or pledge.investor == UNRESOLVED or pledge.contract_number is None:
        return None
    return AgreementKey(pledge.investor, pledge.contract_number)


def _count_pledge(records: Records, region: str, key: AgreementKey | None, change: int) -> None:
    """Count the open pledges under one contract of one pledgor."""
    if key is None:
        return
    before = records.get(AGREEMENTS, key) or PledgeContract({})
    regions = counted(before.regions, region, change)
    if regions:
        records.put(AGREEMENTS, key, replace(before, regions=regions))
    else:
        records.delete(AGREEMENTS, key)
