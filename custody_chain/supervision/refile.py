"""Move positions to another investor, a bounded number a block.

Work is queued under ``refile/…`` by `registry` when an account or a subject leads to another investor code than before
(first report, correction, change of owner). Positions that are not yet moved stay under the old code and remain right
in everything but that.

Invariants:
  * At most `MAX_STEPS` positions and entries are moved in one block, whatever a region reports.
  * What is moved leaves the prefix that is scanned, so every block makes progress and nothing is scanned twice.

Reference: JR/T 0326-2024 (the investor code is what holdings are added up by). Left out: who queues what (`registry`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from custody_chain import state
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment, clear_alert, raise_alert
from custody_chain.supervision.positions import count_holders
from custody_chain.supervision.registry import investor_of_account, investor_of_subject

MAX_STEPS: Final = 256
"""Moves a block; each changes up to five state values, so a block's share of this is well below 100 ms."""


@dataclass
class _Budget:
    """Steps that are left in this block."""

    steps: int


def work(records: Records, moment_of: Callable[[str], Moment]) -> None:
    """Do up to `MAX_STEPS` of the queued work. `moment_of` gives a region's moment, which its alerts name."""
    budget = _Budget(MAX_STEPS)
    for key in records.scan(state.REFILES, MAX_STEPS):
        if budget.steps <= 0:
            return
        _, network, what, _, investor = key.decode("ascii").split("/")
        object_id = records.get(key)["object"]
        move = _move_account if what == "account" else _move_subject
        if move(records, moment_of(network), object_id, investor, budget):
            records.put(key, None)
        budget.steps -= 1


def _move_subject(records: Records, moment: Moment, subject: str, investor: str, budget: _Budget) -> bool:
    """Accounts of a subject that are filed under an old code. Returns whether all are done."""
    network = moment.network
    if investor_of_subject(records, network, subject) == investor:
        return True
    limit = budget.steps
    entries = records.scan_index(state.owned_under(network, subject, investor), limit)
    for key in entries:
        account = records.get_index(key)["account"]
        if budget.steps <= 0 or not _move_account(records, moment, account, investor, budget):
            return False
        records.put_index(key, None)
        if records.get(state.account(network, account))["subject"] == subject:
            current = investor_of_account(records, network, account)
            records.put_index(state.owned(network, subject, current, account), {"account": account})
        budget.steps -= 1
    return len(entries) < limit


def _move_account(records: Records, moment: Moment, account: str, investor: str, budget: _Budget) -> bool:
    """Positions of an account that are filed under an old code. Returns whether all are done."""
    network = moment.network
    current = investor_of_account(records, network, account)
    if current == investor:
        return True
    limit = budget.steps
    if limit <= 0:
        return False
    entries = records.scan_index(state.filed_under(network, account, investor), limit)
    for key in entries:
        _move_position(records, moment, account, records.get_index(key)["product"], investor, current)
        budget.steps -= 1
    done = len(entries) < limit
    if done and investor == state.UNRESOLVED:
        clear_alert(records, moment, "reference_unresolved", ["account", account])
    if entries and current == state.UNRESOLVED:
        records.put_index(state.waiting(network, "account", account), {})
        objects, details = [{"kind": "account", "id": account}], {"missing": "investor_code"}
        raise_alert(records, moment, "reference_unresolved", ["account", account], objects, details)
    return done


def _move_position(records: Records, moment: Moment, account: str, product_id: str, old: str, new: str) -> None:
    network = moment.network
    key = state.position(old, network, product_id, account)
    records.put(state.position(new, network, product_id, account), records.get(key))
    records.put(key, None)
    records.put(state.holding(network, product_id, account), {"investor": new})
    records.put_index(state.filed(network, account, old, product_id), None)
    records.put_index(state.filed(network, account, new, product_id), {"product": product_id})
    product_key = state.product(network, product_id)
    moved = count_holders(records, moment, product_id, records.get(product_key), account, [(old, -1), (new, 1)])
    records.put(product_key, moved)
