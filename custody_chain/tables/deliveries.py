"""Where in the custody chain the regions' headers and snapshots are, and the log of what was taken in."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

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


LOG: Final[Table[LogKey, dict[str, Any]]] = Table("log", LogKey, dict, index=True)
"""A plain value: `custody_height`, `time_ms`, `type` and what the type tells."""
