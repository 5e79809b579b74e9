"""Alerts as state: raised by a rule about one thing, cleared when the facts are right again, never removed.

Invariants:
  * The id is a hash of (rule, region, what the alert is about), so the same fault is one alert however often it is met,
    on every validator the same.
  * `times` counts the openings; a cleared alert that is raised again is open again with its history kept in the chain.

Left out: when one is raised (`judging`), who may see what (routes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from common.core.codec import canonical_json
from common.core.suite import Suite
from custody_chain.records import Records
from custody_chain.supervision.rules import RULES
from custody_chain.tables.alerts import ALERTS, Alert, AlertKey, Seen
from custody_chain.tables.regions import REGIONS, RegionKey

MAX_OBJECTS = 16
"""Objects named in one alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where supervision stands: one snapshot of one region, inside one custody block."""

    suite: Suite
    network: str
    letters: str
    custody_height: int
    custody_time_ms: int
    height: int
    index: int

    @property
    def seen(self) -> Seen:
        """For state."""
        return Seen(self.custody_height, self.custody_time_ms, self.height, self.index)


def alert_id(suite: Suite, network: str, rule: str, about: Sequence[str]) -> str:
    """Deterministic id: region, rule and 24 hex digits of a hash over what the alert is about."""
    digest = suite.tagged_hash("tongjian/alert/v1", canonical_json([network, rule, *about]))
    return f"{network}.{rule}.{digest.hex()[:24]}"


def raise_alert(
    records: Records,
    moment: Moment,
    rule: str,
    about: Sequence[str],
    objects: Sequence[Mapping[str, Any]],
    details: Mapping[str, Any],
    *,
    region: str | None = None,
) -> str:
    """Open an alert, or refresh what it names and its details if it is open already. Returns its id.

    It stands in `region`: that of the moment unless told.
    """
    region = region or moment.network
    key = AlertKey(alert_id(moment.suite, region, rule, about))
    now = moment.seen
    before = records.get(ALERTS, key)
    standing = before is not None and before.state == "open"
    named = tuple(dict(item) for item in objects[:MAX_OBJECTS])
    if before is not None and standing and (before.objects, before.details) == (named, details):
        return key.id
    alert = Alert(
        id=key.id,
        rule=rule,
        source=RULES[rule].source,
        region=region,
        state="open",
        objects=named,
        details=dict(details),
        opened=before.opened if before is not None and standing else now,
        last=now,
        cleared=None,
        times=(0 if before is None else before.times) + (not standing),
    )
    records.put(ALERTS, key, alert)
    if not standing:
        _count(records, region, 1)
    return key.id


def end_alert(records: Records, moment: Moment, identity: str) -> None:
    """Clear an alert by its id if it is open."""
    before = records.get(ALERTS, AlertKey(identity))
    if before is None or before.state == "cleared":
        return
    cleared = replace(before, state="cleared", cleared=moment.seen, last=moment.seen)
    records.put(ALERTS, AlertKey(identity), cleared)
    _count(records, before.region, -1)


def _count(records: Records, network: str, change: int) -> None:
    key = RegionKey(network)
    record = records.get(REGIONS, key)
    if record is not None:
        records.put(REGIONS, key, replace(record, alerts_open=record.alerts_open + change))
