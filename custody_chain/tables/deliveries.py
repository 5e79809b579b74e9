"""Where in the custody chain the regions' headers and snapshots are, and the log of what was taken in."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from custody_chain.tables.table import Number, Table


class Origin(msgspec.Struct, frozen=True):
    """The entry of an operation that brought something."""

    custody_height: int
    tx: str
    operation: int
    entry: int


class HeaderKey(NamedTuple):
    """A region's block."""

    region: str
    height: Number


HEADERS: Final = Table("header", HeaderKey, Origin, index=True)
"""Which transaction brought a header."""


class DeliveryKey(NamedTuple):
    """Snapshots of a block, from one index on."""

    region: str
    height: Number
    first: Number


class Batch(Origin, frozen=True):
    """Which transaction brought `count` snapshots from index `first` on."""

    first: int
    count: int


DELIVERIES: Final = Table("delivery", DeliveryKey, Batch, index=True)


class LogKey(NamedTuple):
    """A line of a region's cross-chain log."""

    region: str
    custody_height: Number
    number: Number


class LogLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What each line tells: the custody block and its time, which `custody_chain.ingest.write_log` fills in."""

    custody_height: int = 0
    time_ms: int = 0


class RegisteredLine(LogLine, frozen=True, kw_only=True, tag="registered"):
    """Governance attached the region."""

    reason: str


class AcceptedLine(LogLine, frozen=True, kw_only=True, tag="accepted"):
    """A delivery brought something new."""

    from_height: int
    anchored_height: int
    partial_height: int | None
    snapshots: int
    tx_id: str
    submitter: str


class AnomalyLine(LogLine, frozen=True, kw_only=True, tag="anomaly"):
    """A snapshot was kept out of the figures."""

    code: str
    object_id: str | None
    height: int
    index: int


class AnomalyClearedLine(LogLine, frozen=True, kw_only=True, tag="anomaly_cleared"):
    """A good snapshot of its object followed."""

    code: str
    object_id: str | None
    height: int
    index: int


class FrozenLine(LogLine, frozen=True, kw_only=True, tag="frozen"):
    """The region's validators contradicted themselves."""

    height: int
    tx_id: str


class CulpritsNamedLine(LogLine, frozen=True, kw_only=True, tag="culprits_named"):
    """A freeze without names got them."""

    height: int
    tx_id: str


class RecoveredLine(LogLine, frozen=True, kw_only=True, tag="recovered"):
    """Governance gave the region a new trusted tip."""

    from_height: int
    previous_height: int
    previous_anchored_id: str
    reason: str
    tx_id: str


_Lines = (
    RegisteredLine | AcceptedLine | AnomalyLine | AnomalyClearedLine | FrozenLine | CulpritsNamedLine | RecoveredLine
)
LOG: Final[Table[LogKey, LogLine]] = Table("log", LogKey, _Lines, index=True)
