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
from business_chain.ledger import Ledger, Movement
from business_chain.operations.operation_records import Increase, RegisterInitially, Transfer
from business_chain.refusals import refuse
from business_chain.state import Product
from common.model.enumerations import ISSUE, NON_TRADING_TRANSFER, TRANSFER_BY_TRADE
from common.model.kinds.transactionreport import (
    TRANSACTION_REPORT,
    Parties,
    issue_parties,
    report_body,
    report_metadata,
    transfer_parties,
)
from common.model.values import date_time, reference


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
    movement = Movement(operation.product, ledger.product(operation.product))
    account = ledger.open_securities_account(operation.account)
    before = ledger.holding(operation.product, operation.account)
    check_room(movement, operation.quantity)
    after = before.replace(before.balance(operation.share_nature).with_held(operation.quantity))
    movement.issue(operation.share_nature, operation.quantity)
    ledger.move(movement, operation.account, account, before, after)
    ledger.settle(movement)


def increase(operation: Increase, ledger: Ledger) -> None:
    """Issue new quantity to holders; `authorised_quantity`, if given, is the new authorised quantity."""
    product = ledger.product(operation.product)
    movement = Movement(
        operation.product,
        product,
        authorised_quantity=operation.authorised_quantity,
        issue_price_e4=operation.price_e4,
    )
    if operation.authorised_quantity is not None and operation.authorised_quantity < product.authorised_quantity:
        raise refuse("authorised_reduced", product=operation.product, authorised=product.authorised_quantity)
    quantity = sum(entry.quantity for entry in operation.entries)
    check_room(movement, quantity)
    accounts = [ledger.open_securities_account(entry.account) for entry in operation.entries]
    investor_ref = ledger.subject_reference(accounts[0].subject) if len(accounts) == 1 else None
    parties = issue_parties(ledger.subject_reference(product.issuer), investor_ref)
    report_ref = emit_report(ledger, operation, product, ISSUE, quantity, parties)
    for entry, account in zip(operation.entries, accounts, strict=True):
        before = ledger.holding(operation.product, entry.account)
        after = before.replace(before.balance(entry.share_nature).with_held(entry.quantity))
        movement.issue(entry.share_nature, entry.quantity)
        ledger.move(movement, entry.account, account, before, after, report_ref=report_ref, trading=True)
    ledger.settle(movement)


def transfer(operation: Transfer, ledger: Ledger) -> None:
    """Move available quantity. Raises `insufficient_available` and what accounts and product demand."""
    product = ledger.product(operation.product)
    seller = ledger.open_securities_account(operation.from_account)
    buyer = ledger.open_securities_account(operation.to_account)
    quantity = operation.quantity
    seller_before = ledger.holding(operation.product, operation.from_account)
    sold = seller_before.balance(operation.share_nature)
    check_available(sold, quantity, operation.from_account)
    buyer_before = ledger.holding(operation.product, operation.to_account)
    bought = buyer_before.balance(operation.share_nature)
    trading = operation.price_e4 is not None
    kind = TRANSFER_BY_TRADE if trading else NON_TRADING_TRANSFER
    seller_ref, buyer_ref = ledger.subject_reference(seller.subject), ledger.subject_reference(buyer.subject)
    parties = transfer_parties(seller_ref, buyer_ref)
    report_ref = emit_report(ledger, operation, product, kind, quantity, parties)
    movement = Movement(operation.product, product)
    for account_id, account, subject_ref, before, after in (
        (operation.from_account, seller, seller_ref, seller_before, seller_before.replace(sold.with_held(-quantity))),
        (operation.to_account, buyer, buyer_ref, buyer_before, buyer_before.replace(bought.with_held(quantity))),
    ):
        ledger.move(
            movement,
            account_id,
            account,
            before,
            after,
            subject_ref=subject_ref,
            report_ref=report_ref,
            trading=trading,
        )
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
    product: Product,
    transaction_type: int,
    quantity: int,
    parties: Parties,
) -> str:
    """Make the transfer report; its reference goes into the registrations."""
    object_id = ledger.registration_id(0)
    body = report_body(
        business_id=operation.business_id,
        transaction_type=transaction_type,
        currency=product.currency,
        product_ref=reference(operation.product, product.version),
        quantity=quantity,
        scale=product.scale,
        price_e4=operation.price_e4,
        settled_at=date_time(operation.occurred_at_ms),
        maintained_at=ledger.maintained_at,
        parties=parties,
    )
    metadata = ledger.metadata | report_metadata(quantity, product.scale)
    if isinstance(operation, Transfer):
        metadata["share_nature"] = operation.share_nature
    ledger.emit(TRANSACTION_REPORT, object_id, 0, body, metadata)
    return reference(object_id, 0)
