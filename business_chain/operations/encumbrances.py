"""Rules of `registration.pledge`, `release`, `freeze`, `unfreeze`: quantity that is held but cannot move.

Registration practice: a pledge or freeze takes from the available balance, so pledged and frozen quantity never exceeds
what is held, and nothing is pledged twice. A release or unfreeze gives back at most what is left of its own pledge or
freeze. A frozen account takes no new pledge; an authority may still freeze, and both can be undone.
Left out: waiting freezes (轮候冻结) on quantity that is pledged or frozen; an automatic end at `until_ms` (every
movement needs its evidence, so somebody submits the unfreeze).
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from business_chain.ledger import Ledger, Movement
from business_chain.operations.records import Freeze, Pledge, Release, Unfreeze
from business_chain.operations.registrations import check_available
from business_chain.refusals import refuse
from business_chain.state import Encumbrance, decode_encumbrance, encode_value, freeze_key, pledge_key


def check_freeze_shape(operation: Freeze) -> None:
    """Raises `freeze_until_past`; also judged at admission."""
    if operation.until_ms is not None and operation.until_ms <= operation.occurred_at_ms:
        raise refuse("freeze_until_past", until_ms=operation.until_ms)


def pledge(operation: Pledge, ledger: Ledger) -> None:
    """Raises `subject_unknown` (the pledgee), `pledgee_is_holder`, `insufficient_available` and account refusals."""
    movement = Movement(operation.product, ledger.product(operation.product))
    account = ledger.open_securities_account(operation.account)
    ledger.subject(operation.pledgee)
    if operation.pledgee == account.subject:
        raise refuse("pledgee_is_holder", pledgee=operation.pledgee)
    before = ledger.holding(operation.product, operation.account)
    check_available(before, operation.quantity, operation.account)
    left = Encumbrance(
        account=operation.account,
        contract_number=operation.contract_number,
        pledgee=operation.pledgee,
        product=operation.product,
        quantity=operation.quantity,
    )
    ledger.state.put(pledge_key(operation.business_id), encode_value(left))
    after = replace(
        before, available=before.available - operation.quantity, pledged=before.pledged + operation.quantity
    )
    metadata = _pledge_metadata(operation.business_id, left, ledger)
    ledger.move(movement, operation.account, account, before, after, metadata=metadata)
    ledger.settle(movement)


def release(operation: Release, ledger: Ledger) -> None:
    """Raises `pledge_unknown`, `insufficient_pledged`. Without a quantity, all that is left is released."""
    key = pledge_key(operation.pledge)
    left = _read(ledger, key)
    if left is None:
        raise refuse("pledge_unknown", pledge=operation.pledge)
    quantity = left.quantity if operation.quantity is None else operation.quantity
    if quantity > left.quantity:
        raise refuse("insufficient_pledged", pledge=operation.pledge, pledged=left.quantity, quantity=quantity)
    _reduce(ledger, key, left, quantity)
    movement = Movement(left.product, ledger.product(left.product))
    before = ledger.holding(left.product, left.account)
    after = replace(before, available=before.available + quantity, pledged=before.pledged - quantity)
    account = ledger.account(left.account)
    metadata = _pledge_metadata(operation.pledge, left, ledger)
    ledger.move(movement, left.account, account, before, after, metadata=metadata)
    ledger.settle(movement)


def freeze(operation: Freeze, ledger: Ledger) -> None:
    """Raises `insufficient_available` and account refusals; a frozen account may be frozen in part as well."""
    movement = Movement(operation.product, ledger.product(operation.product))
    account = ledger.securities_account(operation.account)
    before = ledger.holding(operation.product, operation.account)
    check_available(before, operation.quantity, operation.account)
    left = Encumbrance(
        account=operation.account,
        authority=operation.authority,
        order_number=operation.order_number,
        product=operation.product,
        quantity=operation.quantity,
        until_ms=operation.until_ms,
    )
    ledger.state.put(freeze_key(operation.business_id), encode_value(left))
    after = replace(before, available=before.available - operation.quantity, frozen=before.frozen + operation.quantity)
    ledger.move(
        movement,
        operation.account,
        account,
        before,
        after,
        freeze_description=_freeze_description(left),
        metadata=_freeze_metadata(operation.business_id, left),
    )
    ledger.settle(movement)


def unfreeze(operation: Unfreeze, ledger: Ledger) -> None:
    """Raises `freeze_unknown`, `insufficient_frozen`. Without a quantity, all that is left is unfrozen."""
    key = freeze_key(operation.freeze)
    left = _read(ledger, key)
    if left is None:
        raise refuse("freeze_unknown", freeze=operation.freeze)
    quantity = left.quantity if operation.quantity is None else operation.quantity
    if quantity > left.quantity:
        raise refuse("insufficient_frozen", freeze=operation.freeze, frozen=left.quantity, quantity=quantity)
    _reduce(ledger, key, left, quantity)
    movement = Movement(left.product, ledger.product(left.product))
    before = ledger.holding(left.product, left.account)
    after = replace(before, available=before.available + quantity, frozen=before.frozen - quantity)
    ledger.move(
        movement,
        left.account,
        ledger.account(left.account),
        before,
        after,
        freeze_description=_freeze_description(left),
        metadata=_freeze_metadata(operation.freeze, left),
    )
    ledger.settle(movement)


def _read(ledger: Ledger, key: bytes) -> Encumbrance | None:
    data = ledger.state.get(key)
    return None if data is None else decode_encumbrance(data)


def _reduce(ledger: Ledger, key: bytes, left: Encumbrance, quantity: int) -> None:
    """Write what is left after `quantity` is given back; nothing left is no key."""
    if quantity == left.quantity:
        ledger.state.delete(key)
    else:
        ledger.state.put(key, encode_value(replace(left, quantity=left.quantity - quantity)))


def _pledge_metadata(pledge_id: str, left: Encumbrance, ledger: Ledger) -> dict[str, Any]:
    """What supervision needs to find one contract pledged twice (重复质押)."""
    return {
        "pledge": pledge_id,
        "pledgee_ref": ledger.subject_reference(left.pledgee or ""),
        "contract_number": left.contract_number,
    }


def _freeze_metadata(freeze_id: str, left: Encumbrance) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "freeze": freeze_id,
        "authority": left.authority,
        "order_number": left.order_number,
    }
    if left.until_ms is not None:
        metadata["until_ms"] = left.until_ms
    return metadata


def _freeze_description(left: Encumbrance) -> str:
    return f"{left.authority} {left.order_number}"
