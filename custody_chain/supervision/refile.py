"""Positions move to another investor, products to another issuer, holders to another security; a few a block.

`registry` queues the work (`common.chain.work`) when an account gets another owner, a subject other codes, or a product
with holders another security. What is not yet moved stays where it was and remains right in everything but that. A
region's work is in its own lane; a unit is one entry moved, which changes some five state values.

Invariants:
  * What is filed is listed by the changes until then. So what a change left behind comes first, however many changes
    followed before it was moved. An item ends when nothing older than the newest change is left.
  * What is moved leaves the list of what is older, so every block makes progress, and the lists are all the progress
    that an item keeps.

Reference: JR/T 0326-2024 (the investor code is what holdings are added up by). Left out: who queues what (`registry`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from common.chain.work import DONE, Budget, Item, Worker
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment
from custody_chain.supervision.holders import count_holders, recount_holder
from custody_chain.supervision.judging import judge_touched
from custody_chain.supervision.positions import mark_unresolved
from custody_chain.supervision.registry import changes_of_subject, filing_of, find_issuer_again, investor_of_account
from custody_chain.tables.objects import ObjectKey
from custody_chain.tables.positions import HOLDINGS, POSITIONS, Filing, HoldingKey, PositionKey
from custody_chain.tables.registry import (
    ACCOUNTS,
    COUNTED,
    FILED,
    LISTED,
    OFFERED,
    OWNED,
    PRODUCTS,
    CountedKey,
    FiledKey,
    Listed,
    OfferedKey,
    OwnedKey,
)
from custody_chain.tables.table import UNRESOLVED, K, Table, identifier

MAX_UNITS: Final = 256
"""Units a block: well below 100 ms."""

MAX_SCANNED: Final = 32
"""Entries looked at in one go, so that finding nothing to move costs little where much has been moved."""


def workers(records: Records, moment_of: Callable[[str], Moment]) -> dict[str, Worker]:
    """What moves each kind of item. `moment_of` gives a region's moment, which its alerts name."""

    def worker(move: Callable[[Records, ObjectKey, Budget], bool]) -> Worker:
        def do(item: Item, progress: Any, budget: Budget) -> Any:
            done = move(records, ObjectKey(item.lane, identifier(item.key)), budget)
            judge_touched(records, moment_of(item.lane))
            return DONE if done else progress

        return do

    return {kind: worker(move) for kind, move in _MOVES.items()}


def _each_older(
    records: Records,
    table: Table[K, Listed],
    owner: ObjectKey,
    changes: tuple[int, ...],
    budget: Budget,
    move: Callable[[K], bool],
) -> bool:
    """Move entries of an owner's list that were made before its newest change. Returns whether none is left, and a
    step is.

    `move` says whether it did all that belongs to an entry, which leaves the list then.
    """
    while budget.units > 0:
        limit = min(budget.units, MAX_SCANNED)
        entries = records.scan(table, limit, *owner)
        for key, _ in entries:
            if budget.units <= 0:
                return False
            if key[len(owner) : -1] >= changes:
                return True
            if not move(key):
                return False
            records.delete(table, key)
            budget.units -= 1
        if len(entries) < limit:
            return budget.units > 0
    return False


def _move_subject(records: Records, subject: ObjectKey, budget: Budget) -> bool:
    """Accounts and products of a subject as before its codes changed. Returns whether all are done."""
    network, subject_id = subject
    changes = changes_of_subject(records, network, subject_id)

    def move_account(key: OwnedKey) -> bool:
        account = records.get(ACCOUNTS, ObjectKey(network, key.account))
        if account is not None and account.subject == subject_id:
            if not _move_account(records, ObjectKey(network, key.account), budget):
                return False
            records.put(OWNED, key._replace(code_changes=changes), LISTED)
        return True

    def move_product(key: OfferedKey) -> bool:
        product_key = ObjectKey(network, key.product)
        product = records.get(PRODUCTS, product_key)
        if product is not None and product.issuer_subject == subject_id:
            find_issuer_again(records, product_key)
            records.put(OFFERED, key._replace(code_changes=changes), LISTED)
        return True

    return _each_older(records, OWNED, subject, (changes,), budget, move_account) and _each_older(
        records, OFFERED, subject, (changes,), budget, move_product
    )


def _move_product(records: Records, product_key: ObjectKey, budget: Budget) -> bool:
    """Holders of a product that are counted to another security than it belongs to. Returns whether all are done."""
    product = records.get(PRODUCTS, product_key)
    changes = 0 if product is None else product.changes

    def move(key: CountedKey) -> bool:
        recount_holder(records, product_key, key.holder)
        return True

    return _each_older(records, COUNTED, product_key, (changes,), budget, move)


def _move_account(records: Records, account: ObjectKey, budget: Budget) -> bool:
    """Positions of an account that are filed as before its investor changed. Returns whether all are done."""
    investor, filing = investor_of_account(records, *account), filing_of(records, *account)

    def move(key: FiledKey) -> bool:
        where = HoldingKey(account.region, key.product, account.object_id)
        holding = records.get(HOLDINGS, where)
        if holding is not None:
            _move_position(records, where, holding.investor, investor)
            records.put(FILED, FiledKey(*account, *filing, key.product), LISTED)
        return True

    done = _each_older(records, FILED, account, filing, budget, move)
    if done and investor != UNRESOLVED:
        mark_unresolved(records, account, unresolved=False)
    return done


def _move_position(records: Records, where: HoldingKey, old: str, new: str) -> None:
    key, product_key = PositionKey(old, *where), ObjectKey(where.region, where.product)
    position, product = records.get(POSITIONS, key), records.get(PRODUCTS, product_key)
    if old == new or position is None or product is None:
        return
    records.put(POSITIONS, PositionKey(new, *where), position)
    records.delete(POSITIONS, key)
    records.put(HOLDINGS, where, Filing(new))
    counted = count_holders(records, product_key, product, where.account, [(old, -1), (new, 1)])
    records.put(PRODUCTS, product_key, counted)
    if new == UNRESOLVED:
        mark_unresolved(records, ObjectKey(where.region, where.account), unresolved=True)


_MOVES: Final[dict[str, Callable[[Records, ObjectKey, Budget], bool]]] = {
    "account": _move_account,
    "product": _move_product,
    "subject": _move_subject,
}
