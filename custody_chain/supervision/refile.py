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
from typing import Any, Final

from custody_chain import state
from custody_chain.records import Records
from custody_chain.regions import MAX_REGIONS
from custody_chain.supervision.alerts import Moment, clear_alert, raise_alert
from custody_chain.supervision.positions import count_holders, recount_holder
from custody_chain.supervision.registry import changes_of_subject, filing_of, investor_of_account, rejudge_issuer

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
    busy = [moment_of(network) for network in networks if records.scan(state.refiles_of(network), 1)]
    if not busy:
        return
    share, rest = divmod(MAX_STEPS, len(busy))
    first = busy[0].custody_height % len(busy)
    for moment in busy[first:] + busy[:first]:
        budget = _Budget(share + rest)
        _work_for(records, moment, budget)
        rest = budget.steps


def _work_for(records: Records, moment: Moment, budget: _Budget) -> None:
    """Do one region's work until it or the budget ends."""
    for key in records.scan(state.refiles_of(moment.network), budget.steps):
        if budget.steps <= 0:
            return
        what = key.decode("ascii").split("/")[2]
        if not _WORK[what](records, moment, records.get(key)["object"], budget):
            return
        records.put(key, None)
        budget.steps -= 1


def _each_older(records: Records, all_of: bytes, newest: bytes, budget: _Budget, move: Callable[[Any], bool]) -> bool:
    """Move entries of a list that were made before its newest change. Returns whether none is left, and a step is.

    `move` says whether it did all that belongs to an entry, which leaves the list then.
    """
    while budget.steps > 0:
        limit = min(budget.steps, MAX_SCANNED)
        keys = records.scan_index(all_of, limit)
        for key in keys:
            if budget.steps <= 0:
                return False
            if key >= newest:
                return True
            if not move(records.get_index(key)):
                return False
            records.put_index(key, None)
            budget.steps -= 1
        if len(keys) < limit:
            return budget.steps > 0
    return False


def _move_subject(records: Records, moment: Moment, subject: str, budget: _Budget) -> bool:
    """Accounts and products of a subject as before its codes changed. Returns whether all are done."""
    network = moment.network
    changes = changes_of_subject(records, network, subject)

    def move_account(entry: Any) -> bool:
        account = entry["account"]
        if records.get(state.account(network, account))["subject"] == subject:
            if not _move_account(records, moment, account, budget):
                return False
            records.put_index(state.OWNED.entry(network, subject, changes, step=state.component(account)), entry)
        return True

    def move_product(entry: Any) -> bool:
        product_id = entry["product"]
        if records.get(state.product(network, product_id))["issuer_subject"] == subject:
            rejudge_issuer(records, moment, product_id)
            records.put_index(state.OFFERED.entry(network, subject, changes, step=state.component(product_id)), entry)
        return True

    moves = (state.OWNED, move_account), (state.OFFERED, move_product)
    return all(
        _each_older(records, listed.of(network, subject), listed.since(network, subject, changes), budget, move)
        for listed, move in moves
    )


def _move_product(records: Records, moment: Moment, product_id: str, budget: _Budget) -> bool:
    """Holders of a product that are counted to another security than it belongs to. Returns whether all are done."""
    network = moment.network
    changes = records.get(state.product(network, product_id))["changes"]

    def move(entry: Any) -> bool:
        recount_holder(records, moment, product_id, entry["holder"])
        return True

    newest = state.COUNTED.since(network, product_id, changes)
    return _each_older(records, state.COUNTED.of(network, product_id), newest, budget, move)


def _move_account(records: Records, moment: Moment, account: str, budget: _Budget) -> bool:
    """Positions of an account that are filed as before its investor changed. Returns whether all are done."""
    network = moment.network
    investor, filing = investor_of_account(records, network, account), filing_of(records, network, account)

    def move(entry: Any) -> bool:
        product_id = entry["product"]
        if records.get(state.holding(network, product_id, account)) is not None:
            _move_position(records, moment, account, product_id, investor)
            records.put_index(state.FILED.entry(network, account, *filing, step=state.component(product_id)), entry)
        return True

    newest = state.FILED.since(network, account, *filing)
    done = _each_older(records, state.FILED.of(network, account), newest, budget, move)
    if done and investor != state.UNRESOLVED:
        clear_alert(records, moment, "reference_unresolved", ["account", account])
    return done


def _move_position(records: Records, moment: Moment, account: str, product_id: str, new: str) -> None:
    network = moment.network
    holding_key, product_key = state.holding(network, product_id, account), state.product(network, product_id)
    old = records.get(holding_key)["investor"]
    if old == new:
        return
    key = state.position(old, network, product_id, account)
    records.put(state.position(new, network, product_id, account), records.get(key))
    records.put(key, None)
    records.put(holding_key, {"investor": new})
    moved = count_holders(records, moment, product_id, records.get(product_key), account, [(old, -1), (new, 1)])
    records.put(product_key, moved)
    if new == state.UNRESOLVED:
        objects, details = [{"kind": "account", "id": account}], {"missing": "investor_code"}
        raise_alert(records, moment, "reference_unresolved", ["account", account], objects, details)


_WORK: Final = {"account": _move_account, "product": _move_product, "subject": _move_subject}
