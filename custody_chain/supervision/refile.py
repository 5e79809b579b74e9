"""Positions move to another investor, products to another issuer, holders to another security; a few a block.

Work is queued under ``refile/…`` by `registry` when an account gets another owner, a subject other codes, or a product
with holders another security (first report, correction, change of owner). What is not yet moved stays where it was and
remains right in everything but that.

Invariants:
  * At most `MAX_STEPS` entries are moved in one block, whatever a region reports.
  * Every region with work gets its share of them, so that none waits for another one's; what is left over or not used
    goes to the regions in turn.
  * What is filed is listed by the changes until then, so what a change left behind comes first, however many changes
    followed before it was moved. An item ends when nothing older than the newest change is left.
  * What is moved leaves the list of what is older, so every block makes progress.

Reference: JR/T 0326-2024 (the investor code is what holdings are added up by). Left out: who queues what (`registry`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from custody_chain import state
from custody_chain.records import Records
from custody_chain.regions import MAX_REGIONS
from custody_chain.supervision.alerts import Moment
from custody_chain.supervision.holders import count_holders, recount_holder
from custody_chain.supervision.judging import judge_touched
from custody_chain.supervision.positions import mark_unresolved
from custody_chain.supervision.registry import changes_of_subject, filing_of, find_issuer_again, investor_of_account
from custody_chain.tables.objects import ObjectKey
from custody_chain.tables.positions import HOLDINGS, POSITIONS, Holding, HoldingKey, PositionKey
from custody_chain.tables.registry import (
    ACCOUNTS,
    COUNTED,
    FILED,
    LISTED,
    OFFERED,
    OWNED,
    PRODUCTS,
    REFILES,
    CountedKey,
    FiledKey,
    Listed,
    OfferedKey,
    OwnedKey,
)
from custody_chain.tables.table import UNRESOLVED, K, Table

MAX_STEPS: Final = 256
"""Moves a block; each changes some five state values, so a block's share of this is well below 100 ms."""

MAX_SCANNED: Final = 32
"""Entries looked at in one go, so that finding nothing to move costs little where much has been moved."""


@dataclass
class _Budget:
    """Steps that are left in this block."""

    steps: int


def work(records: Records, moment_of: Callable[[str], Moment]) -> None:
    """Do up to `MAX_STEPS` of the queued work. `moment_of` gives a region's moment, which its alerts name."""
    networks = [key.decode("ascii").split("/")[1] for key in records.scan(state.REGIONS, MAX_REGIONS)]
    busy = [moment_of(network) for network in networks if records.scan(REFILES, 1, network)]
    if not busy:
        return
    share, rest = divmod(MAX_STEPS, len(busy))
    first = busy[0].custody_height % len(busy)
    for moment in busy[first:] + busy[:first]:
        budget = _Budget(share + rest)
        _work_for(records, moment, budget)
        judge_touched(records, moment)
        rest = budget.steps


def _work_for(records: Records, moment: Moment, budget: _Budget) -> None:
    """Do one region's work until it or the budget ends."""
    for key, _ in records.scan(REFILES, budget.steps, moment.network):
        if budget.steps <= 0:
            return
        if not _WORK[key.what](records, ObjectKey(key.region, key.object_id), budget):
            return
        records.delete(REFILES, key)
        budget.steps -= 1


def _each_older(
    records: Records,
    table: Table[K, Listed],
    owner: ObjectKey,
    changes: tuple[int, ...],
    budget: _Budget,
    move: Callable[[K], bool],
) -> bool:
    """Move entries of an owner's list that were made before its newest change. Returns whether none is left, and a
    step is.

    `move` says whether it did all that belongs to an entry, which leaves the list then.
    """
    while budget.steps > 0:
        limit = min(budget.steps, MAX_SCANNED)
        entries = records.scan(table, limit, *owner)
        for key, _ in entries:
            if budget.steps <= 0:
                return False
            if key[len(owner) : -1] >= changes:
                return True
            if not move(key):
                return False
            records.delete(table, key)
            budget.steps -= 1
        if len(entries) < limit:
            return budget.steps > 0
    return False


def _move_subject(records: Records, subject: ObjectKey, budget: _Budget) -> bool:
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


def _move_product(records: Records, product_key: ObjectKey, budget: _Budget) -> bool:
    """Holders of a product that are counted to another security than it belongs to. Returns whether all are done."""
    product = records.get(PRODUCTS, product_key)
    changes = 0 if product is None else product.changes

    def move(key: CountedKey) -> bool:
        recount_holder(records, product_key, key.holder)
        return True

    return _each_older(records, COUNTED, product_key, (changes,), budget, move)


def _move_account(records: Records, account: ObjectKey, budget: _Budget) -> bool:
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
    records.put(HOLDINGS, where, Holding(new))
    counted = count_holders(records, product_key, product, where.account, [(old, -1), (new, 1)])
    records.put(PRODUCTS, product_key, counted)
    if new == UNRESOLVED:
        mark_unresolved(records, ObjectKey(where.region, where.account), unresolved=True)


_WORK: Final[dict[str, Callable[[Records, ObjectKey, _Budget], bool]]] = {
    "account": _move_account,
    "product": _move_product,
    "subject": _move_subject,
}
