"""Rules of `registration.initial`, `registration.increase`, `registration.transfer`.

Registration practice: what is registered never exceeds the authorised quantity; only available quantity moves, and
keeps its share nature. An
increase and a transfer make a transfer report (create) besides the registrations, and product and issuer updates where
holder count or total change (as the pilot's implementations do).
Left out: suitability of buyers, five trading days, the 200-holder cap across products: supervision judges those over
all markets (custody chain); a product may carry its own `holder_limit`.
"""

from __future__ import annotations

from business_chain.balances import Balance
from business_chain.ledger import Ledger
from business_chain.movement import Movement
from business_chain.operations.operation_records import Increase, RegisterInitially, Transfer
from business_chain.refusals import refuse
from common.model.enumerations import ISSUE, NON_TRADING_TRANSFER, TRANSFER_BY_TRADE
from common.model.kinds.transactionreport import (
    TRANSACTION_REPORT,
    Parties,
    issue_parties,
    report_body,
    report_metadata,
    transfer_parties,
)
from common.model.values import reference


def check_transfer_shape(operation: Transfer) -> None:
    """Raises `transfer_same_account`; also judged at admission."""
    if operation.from_account == operation.to_account:
        raise refuse("transfer_same_account", account=operation.from_account)


def check_increase_shape(operation: Increase) -> None:
    """Raises `entry_repeated`; also judged at admission."""
    seen = set()
    for entry in operation.entries:
        if entry.account in seen:
            raise refuse("entry_repeated", account=entry.account)
        seen.add(entry.account)


def register_initially(operation: RegisterInitially, ledger: Ledger) -> None:
    """Register quantity that exists already. Raises what the account, product and total demand."""
    movement = ledger.movement(operation.product)
    holder = ledger.open_holder(movement, operation.account)
    check_room(movement, operation.quantity)
    movement.issue(operation.share_nature, operation.quantity)
    ledger.move(movement, holder, holder.before.with_held(operation.share_nature, operation.quantity))
    ledger.settle(movement)


def increase(operation: Increase, ledger: Ledger) -> None:
    """Issue new quantity to holders; `authorised_quantity`, if given, is the new authorised quantity."""
    movement = ledger.movement(operation.product)
    movement.authorised_quantity, movement.issue_price_e4 = operation.authorised_quantity, operation.price_e4
    product = movement.product
    if operation.authorised_quantity is not None and operation.authorised_quantity < product.authorised_quantity:
        raise refuse("authorised_reduced", product=operation.product, authorised=product.authorised_quantity)
    quantity = sum(entry.quantity for entry in operation.entries)
    check_room(movement, quantity)
    holders = [ledger.open_holder(movement, entry.account) for entry in operation.entries]
    investor_ref = holders[0].subject_ref if len(holders) == 1 else None
    parties = issue_parties(ledger.subject_reference(product.issuer), investor_ref)
    report_ref = emit_report(ledger, operation, movement, ISSUE, quantity, parties)
    for entry, holder in zip(operation.entries, holders, strict=True):
        movement.issue(entry.share_nature, entry.quantity)
        after = holder.before.with_held(entry.share_nature, entry.quantity)
        ledger.move(movement, holder, after, report_ref=report_ref, trading=True)
    ledger.settle(movement)


def transfer(operation: Transfer, ledger: Ledger) -> None:
    """Move available quantity. Raises `insufficient_available` and what accounts and product demand."""
    movement = ledger.movement(operation.product)
    seller = ledger.open_holder(movement, operation.from_account)
    buyer = ledger.open_holder(movement, operation.to_account)
    nature, quantity = operation.share_nature, operation.quantity
    check_available(seller.before.balance(nature), quantity, operation.from_account)
    trading = operation.price_e4 is not None
    kind = TRANSFER_BY_TRADE if trading else NON_TRADING_TRANSFER
    parties = transfer_parties(seller.subject_ref, buyer.subject_ref)
    report_ref = emit_report(ledger, operation, movement, kind, quantity, parties)
    for holder, change in (seller, -quantity), (buyer, quantity):
        after = holder.before.with_held(nature, change)
        ledger.move(movement, holder, after, report_ref=report_ref, trading=trading)
    ledger.settle(movement)


def check_room(movement: Movement, quantity: int) -> None:
    """Raises `authorised_exceeded` before anything is written, so that no sum leaves the range of integers."""
    product = movement.product
    authorised = movement.authorised_quantity or product.authorised_quantity
    total = product.total + quantity
    if total > authorised:
        raise refuse("authorised_exceeded", product=movement.code, registered=product.total, authorised=authorised)


def check_available(balance: Balance, quantity: int, account_id: str) -> None:
    """Raises `insufficient_available`."""
    if quantity > balance.available:
        raise refuse(
            "insufficient_available",
            account=account_id,
            share_nature=balance.share_nature,
            available=balance.available,
            quantity=quantity,
        )


def emit_report(
    ledger: Ledger,
    operation: Increase | Transfer,
    movement: Movement,
    transaction_type: int,
    quantity: int,
    parties: Parties,
) -> str:
    """Make the transfer report; its reference goes into the registrations."""
    object_id, product = ledger.registration_id(0), movement.product
    body = report_body(
        business_id=operation.business_id,
        transaction_type=transaction_type,
        currency=product.currency,
        product_ref=movement.product_ref,
        quantity=quantity,
        scale=product.scale,
        price_e4=operation.price_e4,
        settled_at=ledger.occurred_at,
        maintained_at=ledger.maintained_at,
        parties=parties,
    )
    metadata = ledger.metadata | report_metadata(quantity, product.scale)
    if isinstance(operation, Transfer):
        metadata["share_nature"] = operation.share_nature
    ledger.emit(TRANSACTION_REPORT, object_id, 0, body, metadata)
    return reference(object_id, 0)
