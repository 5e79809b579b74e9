"""Rules of `account.open`, `account.freeze`, `account.unfreeze`, `account.close`.

Registration practice: no securities move to or from a frozen account, but what an authority ordered or undoes (freeze,
unfreeze, release) stays possible; a closed account stays closed, and only an account without holdings is closed.
Left out: balances of money; a cash account is known by its number alone.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from business_chain.ledger import Ledger
from business_chain.operations.operation_records import CloseAccount, FreezeAccount, OpenAccount, UnfreezeAccount
from business_chain.operations.subjects import check_object_id_free
from business_chain.refusals import refuse
from business_chain.state import (
    Account,
    AccountStatus,
    AccountType,
    account_holding_prefix,
    subject_account_prefix,
)


def open_account(operation: OpenAccount, ledger: Ledger) -> None:
    """Create an account. Raises `object_id_used`, `object_id_reserved`, `subject_unknown`."""
    check_object_id_free(ledger.state, operation.account)
    subject = ledger.subject(operation.subject)
    account = Account(
        account_type=cast(AccountType, operation.account_type),
        opened_at_ms=operation.occurred_at_ms,
        status="open",
        subject=operation.subject,
        subject_kind=subject.kind,
        version=0,
    )
    ledger.state.put_index(subject_account_prefix(operation.subject) + operation.account.encode("ascii"), b"1")
    ledger.save_account(operation.account, account)


def freeze_account(operation: FreezeAccount, ledger: Ledger) -> None:
    """Raises `account_unknown`, `account_closed`, `account_frozen`."""
    account = _account_not_closed(operation.account, ledger)
    if account.status == "frozen":
        raise refuse("account_frozen", account=operation.account)
    ledger.metadata |= {"authority": operation.authority, "order_number": operation.order_number}
    frozen_by = f"{operation.authority} {operation.order_number}"
    _set_status(ledger, operation, account, "frozen", frozen_at_ms=operation.occurred_at_ms, frozen_by=frozen_by)


def unfreeze_account(operation: UnfreezeAccount, ledger: Ledger) -> None:
    """Raises `account_unknown`, `account_closed`, `account_not_frozen`."""
    account = _account_not_closed(operation.account, ledger)
    if account.status != "frozen":
        raise refuse("account_not_frozen", account=operation.account)
    _set_status(ledger, operation, account, "open", thawed_at_ms=operation.occurred_at_ms)


def close_account(operation: CloseAccount, ledger: Ledger) -> None:
    """Raises `account_unknown`, `account_closed`, `account_frozen`, `account_not_empty`."""
    account = _account_not_closed(operation.account, ledger)
    if account.status == "frozen":
        raise refuse("account_frozen", account=operation.account)
    if ledger.state.scan_index(account_holding_prefix(operation.account), 1):
        raise refuse("account_not_empty", account=operation.account)
    _set_status(ledger, operation, account, "closed", closed_at_ms=operation.occurred_at_ms)


def _account_not_closed(account_id: str, ledger: Ledger) -> Account:
    account = ledger.account(account_id)
    if account.status == "closed":
        raise refuse("account_closed", account=account_id)
    return account


def _set_status(
    ledger: Ledger,
    operation: FreezeAccount | UnfreezeAccount | CloseAccount,
    account: Account,
    status: AccountStatus,
    **changes: Any,
) -> None:
    changes |= {"status": status, "version": account.version + 1}
    ledger.save_account(operation.account, msgspec.structs.replace(account, **changes))
