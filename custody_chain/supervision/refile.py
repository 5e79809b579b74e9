"""Move positions to another investor, a bounded number a block.

Work is queued under ``refile/…`` by `registry` when an account gets another owner or a subject another investor code
(first report, correction, change of owner). Positions that are not yet moved stay under the old code and remain right
in everything but that.

Invariants:
  * At most `MAX_STEPS` positions and entries are moved in one block, whatever a region reports.
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
from custody_chain.supervision.alerts import Moment, clear_alert, raise_alert
from custody_chain.supervision.positions import count_holders
from custody_chain.supervision.registry import changes_of_subject, filing_of, investor_of_account

MAX_STEPS: Final = 256
"""Moves a block; each changes up to five state values, so a block's share of this is well below 100 ms."""

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
        move = _move_account if what == "account" else _move_subject
        if not move(records, moment, records.get(key)["object"], budget):
            return
        records.put(key, None)
        budget.steps -= 1


def _older(records: Records, prefix: bytes, newest: bytes, budget: _Budget) -> list[bytes]:
    """Some entries below a prefix that were filed before the newest change; none if all are moved."""
    return [key for key in records.scan_index(prefix, min(budget.steps, MAX_SCANNED)) if key < newest]


def _move_subject(records: Records, moment: Moment, subject: str, budget: _Budget) -> bool:
    """Accounts of a subject that are filed as before its code changed. Returns whether all are done."""
    network = moment.network
    changes = changes_of_subject(records, network, subject)
    prefix, newest = state.owned_by(network, subject), state.owned_since(network, subject, changes)
    while budget.steps > 0:
        entries = _older(records, prefix, newest, budget)
        if not entries:
            return True
        for key in entries:
            account = records.get_index(key)["account"]
            if records.get(state.account(network, account))["subject"] == subject:
                if not _move_account(records, moment, account, budget):
                    return False
                records.put_index(state.owned(network, subject, changes, account), {"account": account})
            records.put_index(key, None)
            budget.steps -= 1
            if budget.steps <= 0:
                break
    return False


def _move_account(records: Records, moment: Moment, account: str, budget: _Budget) -> bool:
    """Positions of an account that are filed as before its investor changed. Returns whether all are done."""
    network = moment.network
    investor, filing = investor_of_account(records, network, account), filing_of(records, network, account)
    prefix, newest = state.filed_by(network, account), state.filed_since(network, account, filing)
    while budget.steps > 0:
        entries = _older(records, prefix, newest, budget)
        if not entries:
            if investor != state.UNRESOLVED:
                clear_alert(records, moment, "reference_unresolved", ["account", account])
            return True
        for key in entries:
            product_id = records.get_index(key)["product"]
            records.put_index(key, None)
            if records.get(state.holding(network, product_id, account)) is not None:
                records.put_index(state.filed(network, account, filing, product_id), {"product": product_id})
                _move_position(records, moment, account, product_id, investor)
            budget.steps -= 1
    return False


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
