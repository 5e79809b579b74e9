"""Alerts: what the rules have found, with the rule's source, the objects and the heights.

Invariant: only alerts of regions that the bearer sees are read, so neither a row nor a cursor can tell of another.
Left out: raising them (`custody_chain.supervision`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from common.core.errors import Malformed, NotFound
from custody_chain.queries.moment import PAGE, QueryMoment
from custody_chain.supervision.rules import RULES
from custody_chain.tables.alerts import ALERTS, Alert, AlertKey, alerts_of

_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,31}\.[a-z_]{1,64}\.[0-9a-f]{24}")
_SCAN: Final = 500
_MAX_SCANNED: Final = 5000
"""Alerts that one page looks through; the next page goes on from there, so a page may be short."""


def listed(
    moment: QueryMoment,
    *,
    region: str | None,
    rule: str | None,
    standing: str | None,
    since_ms: int,
    cursor: str | None,
    limit: int | None,
) -> dict[str, Any]:
    """A page of alerts in the order of their ids (region, rule); without a limit `PAGE`, or as many as can be proven.

    Raises `NotFound('region_unknown')`, `Malformed`.
    """
    if rule is not None and rule not in RULES:
        raise Malformed("alert_rule_unknown", "There is no such alert rule.", rule=ascii(rule[:64]))
    if region is not None:
        moment.region(region)
    networks = list(moment.regions()) if region is None else [region]
    after = None if cursor is None else ALERTS.path(AlertKey(_checked_cursor(cursor, networks)))

    def wanted(alert: Alert) -> bool:
        return rule in (None, alert.rule) and standing in (None, alert.state) and alert.last.time_ms >= since_ms

    size = PAGE if limit is None else limit
    found: list[dict[str, Any]] = []
    budget = _MAX_SCANNED
    for prefix in sorted(map(alerts_of, networks)):
        start = after if after is not None and after.startswith(prefix) else None
        if start is None and after is not None and after > prefix:
            continue
        for alert in _below(moment, prefix, start):
            budget -= 1
            if not wanted(alert):
                if budget <= 0:
                    return {"alerts": found, "next_cursor": alert.id}
                continue
            if len(found) == size or (limit is None and moment.room == 0):
                return {"alerts": found, "next_cursor": found[-1]["id"]}
            if moment.proven is not None:
                moment.get(ALERTS, AlertKey(alert.id))
            found.append(described(alert))
    return {"alerts": found, "next_cursor": None}


def _below(moment: QueryMoment, prefix: bytes, start: bytes | None) -> Iterator[Alert]:
    """All alerts below a prefix, read a page at a time."""
    while True:
        page = moment.scan(prefix, start, _SCAN, ALERTS)
        for _, alert in page:
            yield alert
        if len(page) < _SCAN:
            return
        start = page[-1][0]


def one(moment: QueryMoment, alert_id: str) -> dict[str, Any]:
    """One alert. Raises `NotFound('alert_unknown')`, also for one of a region outside the bearer's scope."""
    alert = moment.get(ALERTS, AlertKey(_checked(alert_id)))
    if alert is None or not moment.sees(alert.region):
        raise NotFound("alert_unknown", "There is no such alert, or it is outside your scope.")
    return described(alert)


def described(alert: Alert) -> dict[str, Any]:
    """An alert with what its rule says."""
    rule = RULES[alert.rule]
    told = {"title": rule.title, "title_zh": rule.title_zh, "attributed_to": rule.attributed_to}
    return {**msgspec.to_builtins(alert), **told}


def _checked(alert_id: str) -> str:
    if _ID.fullmatch(alert_id) is None:
        raise Malformed("alert_id", "An alert id is region, rule and 24 hex digits, joined by dots.")
    return alert_id


def _checked_cursor(cursor: str, networks: list[str]) -> str:
    network, _, rest = _checked(cursor).partition(".")
    if network not in networks or rest.partition(".")[0] not in RULES:
        raise Malformed("cursor", "Give the next_cursor of the page before.")
    return cursor
