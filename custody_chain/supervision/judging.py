"""Asking the rules about what changed, and letting their alerts stand or end.

Those who move records (`movements`, `positions`, `registry`, …) know no rule. When a snapshot or a piece of queued work
is done, every judged record that it changed is shown to the rules over its table. A record remembers which of its
alerts stand, so that nothing is looked for in vain.

Invariants:
  * Rules see the outcome alone: what goes wrong and right again within one snapshot neither raises nor clears an alert.
  * An alert ends when its rule finds nothing any more, is not in force any more, or when its record goes.
  * An alert about a record over several regions stands in one that is concerned: where it stood while that is, else
    where the change came from, else in the first.

Left out: rules (`rules`, `verdicts`), alerts as records (`alerts`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgspec.structs import replace

from custody_chain.records import Records
from custody_chain.supervision import rules
from custody_chain.supervision.alerts import Moment, end_alert, raise_alert
from custody_chain.supervision.verdicts import Case
from custody_chain.tables.rules import RULE_SETTINGS, RuleSettings
from custody_chain.tables.table import Only, Table


def judge_touched(records: Records, moment: Moment) -> None:
    """Ask the rules about every judged record that changed since the last time."""
    settings = records.get(RULE_SETTINGS, Only())
    while touched := records.take_touched():
        for table, key, before in touched:
            judge(records, moment, settings, table, key, before)


def judge(
    records: Records, moment: Moment, settings: RuleSettings | None, table: Table[Any, Any], key: Any, before: Any
) -> None:
    """Ask the rules about one record; `before` is the one whose alerts stand, `settings` what governance has set."""
    record = records.get(table, key)
    stood: dict[str, str] = {} if before is None else before.alerts
    standing: dict[str, str] = {}
    case: Case[Any, Any] | None = None
    for rule, ask in () if record is None else rules.RULES.over(table):
        parameters = rules.parameters_of(settings, rule, moment.custody_height)
        if parameters is None:
            continue
        region = key.region if table.by_region else _region_of(moment, record, stood.get(rule.rule))
        if case is None or case.parameters is not parameters or case.region != region:
            case = Case(key, record, region, moment.letters, parameters)
        finding = ask(case)
        if finding is not None:
            standing[rule.rule] = raise_alert(records, moment, rule.rule, *finding, region=region)
    for rule_id, alert in stood.items():
        if standing.get(rule_id) != alert:
            end_alert(records, moment, alert)
    if record is not None and record.alerts != standing:
        records.put_judged(table, key, replace(record, alerts=standing))


def _region_of(moment: Moment, record: Any, alert: str | None) -> str:
    """Where an alert about a record over several regions stands."""
    concerned: Collection[str] = record.regions
    stood_in = None if alert is None else alert.partition(".")[0]
    if stood_in in concerned:
        return str(stood_in)
    return moment.network if moment.network in concerned else min(concerned, default=moment.network)
