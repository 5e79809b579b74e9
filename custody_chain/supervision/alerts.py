"""Alerts as state: raised by a rule about one thing, cleared when the facts are right again, never removed.

Invariants:
  * The id is a hash of (rule, region, what the alert is about), so the same fault is one alert however often it is met,
    on every validator the same.
  * An alert over several regions stands in one that is concerned, and moves to another one when that is no more.
  * `times` counts the openings; a cleared alert that is raised again is open again with its history kept in the chain.

Left out: the rules (`rules`), who may see what (routes).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from common.core.codec import canonical_json
from common.core.suite import Suite
from custody_chain import state
from custody_chain.records import Records
from custody_chain.supervision.rules import RULES
from custody_chain.tables.alerts import ALERTS, Alert, AlertKey, Seen

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

    def to_json(self) -> dict[str, int]:
        """For state, where it has no table yet."""
        seen: dict[str, int] = msgspec.to_builtins(self.seen)
        return seen


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
) -> None:
    """Open an alert, or refresh what it names and its details if it is open already."""
    key = AlertKey(alert_id(moment.suite, moment.network, rule, about))
    now = moment.seen
    before = records.get(ALERTS, key)
    standing = before is not None and before.state == "open"
    named = tuple(dict(item) for item in objects[:MAX_OBJECTS])
    if before is not None and standing and (before.objects, before.details) == (named, details):
        return
    alert = Alert(
        id=key.id,
        rule=rule,
        source=RULES[rule].source,
        region=moment.network,
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
        _count(records, moment, 1)


def clear_alert(records: Records, moment: Moment, rule: str, about: Sequence[str]) -> None:
    """Clear an alert if it is open."""
    key = AlertKey(alert_id(moment.suite, moment.network, rule, about))
    before = records.get(ALERTS, key)
    if before is None or before.state == "cleared":
        return
    records.put(ALERTS, key, replace(before, state="cleared", cleared=moment.seen, last=moment.seen))
    _count(records, moment, -1)


def judge(
    records: Records,
    moment: Moment,
    wrong: bool,
    rule: str,
    about: Sequence[str],
    objects: Sequence[Mapping[str, Any]],
    details: Mapping[str, Any],
    *,
    was_wrong: bool,
) -> bool:
    """Raise or clear as the facts demand; return `wrong`. `was_wrong` saves looking for alerts that cannot be."""
    if wrong:
        raise_alert(records, moment, rule, about, objects, details)
    elif was_wrong:
        clear_alert(records, moment, rule, about)
    return wrong


def home_of(moment: Moment, home: str | None, concerned: Collection[str]) -> str:
    """Where an alert over several regions stands: where it stood, while that region is concerned; else here, or in the
    first one.
    """
    if home is not None and home in concerned:
        return home
    return moment.network if moment.network in concerned else min(concerned)


def judge_across(
    records: Records,
    moment: Moment,
    rule: str,
    about: Sequence[str],
    objects: Sequence[Mapping[str, Any]],
    details: Mapping[str, Any],
    *,
    home: str | None,
    stood_in: str | None,
) -> None:
    """Let an alert over several regions stand in `home`, and no more where it stood before; None is nowhere."""
    if stood_in is not None and stood_in != home:
        clear_alert(records, dataclasses.replace(moment, network=stood_in), rule, about)
    if home is not None:
        raise_alert(records, dataclasses.replace(moment, network=home), rule, about, objects, details)


def _count(records: Records, moment: Moment, change: int) -> None:
    key = state.region(moment.network)
    record = records.get(key)
    if record is not None:
        records.put(key, {**record, "alerts_open": record["alerts_open"] + change})
