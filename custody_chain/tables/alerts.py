"""Alerts as they are kept: open and cleared, never removed."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import msgspec

from custody_chain.tables.table import Table


class Seen(msgspec.Struct, frozen=True):
    """When something was seen: the custody block, and the snapshot of the region's chain that showed it."""

    custody_height: int
    time_ms: int
    """The custody block's."""
    region_height: int
    index: int


class AlertKey(NamedTuple):
    """An alert's id: region, rule and a hash of what it is about, joined by dots; no network id contains one."""

    id: str


class Alert(msgspec.Struct, frozen=True):
    """A rule's question to a market."""

    id: str
    rule: str
    source: str
    region: str
    state: Literal["open", "cleared"]
    objects: tuple[dict[str, Any], ...]
    """What it names: `{"kind", "id", ...}` each."""
    details: dict[str, Any]
    opened: Seen
    last: Seen
    cleared: Seen | None
    times: int
    """How often it was opened. A cleared alert that is raised again is open again."""


ALERTS: Final = Table("alert", AlertKey, Alert)


def alerts_of(region: str) -> bytes:
    """What the paths of a region's alerts begin with."""
    return f"{ALERTS.name}/{region}.".encode("ascii")
