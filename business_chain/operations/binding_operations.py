"""Rules of `registration.pledge`, `release`, `freeze`, `unfreeze`: shares that are held but cannot move.

Registration practice, with the piles of `business_chain.bindings`: a pledge takes free shares, so nothing is pledged
twice. A freeze lies on free shares, or on pledged shares where it names the pledge; the pledge keeps its rank, and its
release frees nothing that is frozen. A release or unfreeze gives back at most what is left of its own pledge or freeze.
A frozen account takes no new pledge; an authority may still freeze, and both can be undone.
Left out: waiting freezes (轮候冻结) on what is frozen already; an automatic end at `until_ms` (every movement needs its
evidence, so somebody submits the unfreeze).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from business_chain.balances import Holding
from business_chain.bindings import Binding, BindingKind, BindingPart, decode_binding, in_order
from business_chain.ledger import Ledger
from business_chain.movement import AffectedHolder, Movement
from business_chain.operations.operation_records import Freeze, Pledge, Release, Unfreeze
from business_chain.operations.registrations import check_available
from business_chain.refusals import refuse
from business_chain.state import binding_key, encode_value
from common.core.errors import InvariantBroken
from common.model.kinds.registration import StatedPart
from common.model.quantities import exact_quantity


def check_pledge_shape(operation: Pledge) -> None:
    """Raises `parts_exceed_quantity`; also judged at admission."""
    _check_parts(operation)


def check_freeze_shape(operation: Freeze) -> None:
    """Raises `freeze_until_past`, `parts_exceed_quantity`; also judged at admission."""
    if operation.until_ms is not None and operation.until_ms <= operation.occurred_at_ms:
        raise refuse("freeze_until_past", until_ms=operation.until_ms)
    _check_parts(operation)


def _check_parts(operation: Pledge | Freeze) -> None:
    named = sum(part.quantity for part in operation.parts)
    if named > operation.quantity:
        raise refuse("parts_exceed_quantity", parts=named, quantity=operation.quantity)


def pledge(operation: Pledge, ledger: Ledger) -> None:
    """Raises `subject_unknown` (the pledgee), `pledgee_is_holder`, `insufficient_available` and account refusals."""
    movement = ledger.movement(operation.product)
    holder = ledger.open_holder(movement, operation.account)
    ledger.subject(operation.pledgee)
    if operation.pledgee == holder.account.subject:
        raise refuse("pledgee_is_holder", pledgee=operation.pledgee)
    after = holder.before
    binding = Binding(
        account=operation.account,
        contract_number=operation.contract_number,
        kind="pledge",
        parts=_parts_of(operation, ((part.share_nature, None, part.quantity) for part in operation.parts)),
        pledgee=operation.pledgee,
        product=operation.product,
    )
    for part in binding.parts:
        balance = after.balance(part.share_nature)
        check_available(balance, part.quantity, operation.account)
        after = after.replace(balance.with_bindings(part.quantity, 0, part.quantity))
    _save(ledger, operation.business_id, binding)
    _register(
        ledger, movement, holder, binding, after, _pledge_metadata(operation.business_id, binding, movement, ledger)
    )


def release(operation: Release, ledger: Ledger) -> None:
    """Raises `pledge_unknown`, `insufficient_pledged`. Without a quantity, all that is left is released."""
    binding = _pledge(ledger, operation.pledge)
    movement, holder = _place_of(binding, ledger)
    after = holder.before
    for part, quantity in _taken(binding, operation.pledge, operation.quantity, operation.share_nature):
        left = part.with_quantity(-quantity)
        binding = binding.replace(left)
        balance = after.balance(part.share_nature)
        after = after.replace(balance.with_bindings(-quantity, 0, left.height - part.height))
    _save(ledger, operation.pledge, binding)
    _register(ledger, movement, holder, binding, after, _pledge_metadata(operation.pledge, binding, movement, ledger))


def freeze(operation: Freeze, ledger: Ledger) -> None:
    """Raises `insufficient_available`, `pledge_unknown`, `pledge_elsewhere`, `insufficient_pledged`, account refusals.

    A frozen account may be frozen in part as well.
    """
    movement = ledger.movement(operation.product)
    holder = ledger.open_holder(movement, operation.account, or_frozen=True)
    after = holder.before
    binding = Binding(
        account=operation.account,
        authority=operation.authority,
        kind="freeze",
        order_number=operation.order_number,
        parts=_parts_of(operation, ((part.share_nature, part.pledge, part.quantity) for part in operation.parts)),
        product=operation.product,
        until_ms=operation.until_ms,
    )
    for part in binding.parts:
        balance = after.balance(part.share_nature)
        if part.pledge is None:
            check_available(balance, part.quantity, operation.account)
            bound = part.quantity
        else:
            _check_pile(ledger, part.pledge, binding, part)
            bound = _cover(ledger, part.pledge, part.share_nature, part.quantity)
        after = after.replace(balance.with_bindings(0, part.quantity, bound))
    _save(ledger, operation.business_id, binding)
    _register(ledger, movement, holder, binding, after, _freeze_metadata(operation.business_id, binding, movement))


def unfreeze(operation: Unfreeze, ledger: Ledger) -> None:
    """Raises `freeze_unknown`, `insufficient_frozen`. Without a quantity, all that is left is unfrozen."""
    binding = _read(ledger, operation.freeze, "freeze")
    if binding is None:
        raise refuse("freeze_unknown", freeze=operation.freeze)
    movement, holder = _place_of(binding, ledger)
    after = holder.before
    for part, quantity in _taken(binding, operation.freeze, operation.quantity, operation.share_nature):
        binding = binding.replace(part.with_quantity(-quantity))
        free = -quantity if part.pledge is None else _cover(ledger, part.pledge, part.share_nature, -quantity)
        after = after.replace(after.balance(part.share_nature).with_bindings(0, -quantity, free))
    _save(ledger, operation.freeze, binding)
    _register(ledger, movement, holder, binding, after, _freeze_metadata(operation.freeze, binding, movement))


def _parts_of(
    operation: Pledge | Freeze, named: Iterable[tuple[int | None, str | None, int]]
) -> tuple[BindingPart, ...]:
    """Where an operation's quantity lies: as its parts say, the rest on free shares of its share nature."""
    amounts: dict[tuple[int, str | None], int] = {}
    rest = operation.quantity
    for share_nature, pledge_id, quantity in named:
        place = (operation.share_nature if share_nature is None else share_nature), pledge_id
        amounts[place] = amounts.get(place, 0) + quantity
        rest -= quantity
    if rest:
        place = operation.share_nature, None
        amounts[place] = amounts.get(place, 0) + rest
    return in_order(
        [
            BindingPart(pledge=pledge_id, quantity=quantity, share_nature=share_nature)
            for (share_nature, pledge_id), quantity in amounts.items()
        ]
    )


def _taken(
    binding: Binding, binding_id: str, quantity: int | None, share_nature: int | None
) -> list[tuple[BindingPart, int]]:
    """What is given back of which part: in the order of the parts, of one share nature if it is given.

    Raises `insufficient_pledged`, `insufficient_frozen`.
    """
    parts = [part for part in binding.parts if share_nature in (None, part.share_nature)]
    covers = sum(part.quantity for part in parts)
    rest = covers if quantity is None else quantity
    if rest > covers or not covers:
        if binding.kind == "pledge":
            raise refuse("insufficient_pledged", pledge=binding_id, pledged=covers, quantity=rest)
        raise refuse("insufficient_frozen", freeze=binding_id, frozen=covers, quantity=rest)
    taken = []
    for part in parts:
        amount = min(part.quantity, rest)
        if amount:
            taken.append((part, amount))
            rest -= amount
    return taken


def _check_pile(ledger: Ledger, pledge_id: str, binding: Binding, part: BindingPart) -> None:
    """B4. Raises `pledge_unknown`, `pledge_elsewhere`, `insufficient_pledged`."""
    pledged = _pledge(ledger, pledge_id)
    if (pledged.account, pledged.product) != (binding.account, binding.product):
        raise refuse("pledge_elsewhere", pledge=pledge_id, account=pledged.account, product=pledged.product)
    pile = pledged.part(part.share_nature)
    if part.quantity > pile.quantity - pile.covered:
        raise refuse(
            "insufficient_pledged",
            pledge=pledge_id,
            share_nature=part.share_nature,
            pledged=pile.quantity,
            frozen=pile.covered,
            quantity=part.quantity,
        )


def _cover(ledger: Ledger, pledge_id: str, share_nature: int, change: int) -> int:
    """Let freezes cover so much more or less of a pledge's pile; by how much the pile grows or shrinks."""
    pledged = _read(ledger, pledge_id, "pledge")
    if pledged is None:
        raise InvariantBroken(f"a freeze lies on {pledge_id}, which is no pledge")
    before = pledged.part(share_nature)
    after = before.with_covered(change)
    _save(ledger, pledge_id, pledged.replace(after))
    return after.height - before.height


def _read(ledger: Ledger, binding_id: str, kind: BindingKind) -> Binding | None:
    data = ledger.state.get(binding_key(binding_id))
    binding = None if data is None else decode_binding(data)
    return binding if binding is not None and binding.kind == kind else None


def _pledge(ledger: Ledger, pledge_id: str) -> Binding:
    """A pledge of which something is left. Raises `pledge_unknown`."""
    binding = _read(ledger, pledge_id, "pledge")
    if binding is None or not binding.quantity:
        raise refuse("pledge_unknown", pledge=pledge_id)
    return binding


def _save(ledger: Ledger, binding_id: str, binding: Binding) -> None:
    """Write what is left; a binding without parts is no key."""
    if binding.parts:
        ledger.state.put(binding_key(binding_id), encode_value(binding))
    else:
        ledger.state.delete(binding_key(binding_id))


def _place_of(binding: Binding, ledger: Ledger) -> tuple[Movement, AffectedHolder]:
    """Where a binding lies, whatever the account's standing."""
    movement = ledger.movement(binding.product)
    return movement, ledger.holder(movement, binding.account)


def _register(
    ledger: Ledger,
    movement: Movement,
    holder: AffectedHolder,
    binding: Binding,
    after: Holding,
    encumbrance: dict[str, Any],
) -> None:
    """Make the registration of what a binding changed."""
    description = f"{binding.authority} {binding.order_number}" if binding.kind == "freeze" else None
    ledger.move(movement, holder, after, freeze_description=description, encumbrance=encumbrance)
    ledger.settle(movement)


def _pledge_metadata(pledge_id: str, binding: Binding, movement: Movement, ledger: Ledger) -> dict[str, Any]:
    """What supervision needs to find one contract pledged twice (重复质押)."""
    return {
        "pledge": pledge_id,
        "pledgee_ref": ledger.subject_reference(binding.pledgee or ""),
        "contract_number": binding.contract_number,
        "parts": _stated(binding, movement.product.scale),
    }


def _freeze_metadata(freeze_id: str, binding: Binding, movement: Movement) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "freeze": freeze_id,
        "authority": binding.authority,
        "order_number": binding.order_number,
        "parts": _stated(binding, movement.product.scale),
    }
    if binding.until_ms is not None:
        metadata["until_ms"] = binding.until_ms
    return metadata


def _stated(binding: Binding, scale: int) -> list[StatedPart]:
    """What is left of a binding, by share nature and by the pledge that it lies on."""
    return [
        StatedPart(share_nature=part.share_nature, quantity=exact_quantity(part.quantity, scale), pledge=part.pledge)
        for part in binding.parts
        if part.quantity
    ]
