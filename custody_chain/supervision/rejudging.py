"""Records are judged again when governance has set a rule: all of them, a bounded number a block.

At the height from which a setting holds, every region gets an item of queued work for the rule. The custody chain
itself gets one for the records that are of several regions. A unit is one record looked at. Until that is done a record
stands as it was judged last, and answers about its region are not complete.

Invariant: an item keeps the table it is at and the path it has come to, so it ends however much is added meanwhile.
What changes anyway is judged when it changes (`judging`).

Left out: which settings there are (`rules`), judging itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, Final

from common.chain.work import DONE, Budget, Item, Worker
from custody_chain.records import Records
from custody_chain.supervision import rules
from custody_chain.supervision.alerts import Moment
from custody_chain.supervision.judging import judge
from custody_chain.tables.rules import RULE_SETTINGS
from custody_chain.tables.table import Only, Table
from custody_chain.tables.work import WORK, Work, WorkKey

REJUDGE: Final = "rejudge"
"""The kind of such an item; its key is the rule."""

_AT_ONCE: Final = 32
"""Records read in one go."""


def rules_due(records: Records, custody_height: int) -> list[str]:
    """The rules for which a setting holds from this height on."""
    settings = records.get(RULE_SETTINGS, Only())
    if settings is None:
        return []
    return [
        rule
        for rule, of_rule in sorted(settings.rules.items())
        if any(setting.from_height == custody_height for setting in of_rule)
    ]


def queue(records: Records, due: Iterable[str], lanes: Iterable[str]) -> None:
    """Have all records judged by these rules again; an item that is queued already begins anew."""
    for lane, rule in product(lanes, due):
        records.put(WORK, WorkKey(lane, REJUDGE, rule), Work([0, None]))


def worker(records: Records, chain: str, moment_of: Callable[[str], Moment]) -> Worker:
    """What does such an item. `moment_of` gives a region's moment, and that of the custody chain `chain` itself."""

    def rejudge(item: Item, progress: Any, budget: Budget) -> Any:
        moment = moment_of(item.lane)
        asked = [on.table for on in rules.RULES[item.key].asks]
        tables = [table for table in asked if table.by_region == (item.lane != chain)]
        at, after = progress
        while at < len(tables):
            done, after = _judge_some(records, moment, tables[at], after, budget)
            if not done:
                return [at, after]
            at, after = at + 1, None
        return DONE if budget.units > 0 else [at, None]

    return rejudge


def _judge_some(
    records: Records, moment: Moment, table: Table[Any, Any], after: str | None, budget: Budget
) -> tuple[bool, str | None]:
    """Judge some more of a table's records. Returns whether all are done, and the path of the last one."""
    leading = (moment.network,) if table.by_region else ()
    settings = records.get(RULE_SETTINGS, Only())
    while budget.units > 0:
        limit = min(budget.units, _AT_ONCE)
        start = None if after is None else after.encode("ascii")
        found = records.scan(table, limit, *leading, start_after=start)
        for key, record in found:
            budget.take()
            judge(records, moment, settings, table, key, record)
            after = table.path(key).decode("ascii")
        if len(found) < limit:
            return budget.units > 0, after
    return False, after
