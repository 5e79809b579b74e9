"""What is trusted and verified of each region's chain, and the evidence against its validators."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from crosslink.lightclient.port import Culprit
from custody_chain.tables.deliveries import Origin
from custody_chain.tables.table import Number, Table

BUCKET_SIZE: Final = 64
"""Block ids in one `anchored/` value (docs/protocol-evidence.md)."""

NO_JOURNAL: Final = bytes(32).hex()
"""The journal before the first snapshot."""


class RegionKey(NamedTuple):
    """A region, by its network."""

    region: str


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """The light client's state (`crosslink.lightclient.client_state.ClientState`), whose members these are."""

    client_type: str
    network: str
    genesis_id: str
    trusting_period_ms: int
    established_ms: int
    root_height: int
    height: int
    block_id: str
    time_ms: int
    trust: Any
    """The client type's own; nobody else reads it."""
    frozen_height: int | None


class AnchoredTip(msgspec.Struct, frozen=True):
    """The newest anchored block."""

    height: int
    id: str
    time_ms: int


class PartialBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block of which the header is verified and not all snapshots are in."""

    height: int
    id: str
    time_ms: int
    commitments: str
    delivered: int
    """Snapshots that are in."""


class Abandoned(msgspec.Struct, frozen=True):
    """What a recovery found in of a block that was partly delivered."""

    height: int
    id: str
    delivered: int


class RegionFreeze(msgspec.Struct, frozen=True, kw_only=True):
    """For what a region was frozen, and which transaction showed it."""

    kind: str
    network: str
    height: int
    first_id: str
    second_id: str
    culprits: tuple[str, ...]
    custody_height: int
    time_ms: int
    tx_id: str
    submitter: str
    named_custody_height: int | None = None
    """The custody height at which later evidence named the culprits."""


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """A region; `custody_chain.regions` says what holds of it."""

    network: str
    region_letters: str
    client: Client
    anchored: AnchoredTip
    partial: PartialBlock | None = None
    frozen: RegionFreeze | None = None
    silent_after_ms: int
    lagging_after_ms: int
    blocks: int = 0
    snapshots: int = 0
    anomalies: int = 0
    anomalies_open: int = 0
    alerts_open: int = 0
    log: int = 0
    """Lines of its cross-chain log."""
    recoveries: int = 0
    journal: str = NO_JOURNAL
    """A hash over every snapshot and its verdict."""
    abandoned: Abandoned | None = None
    judged: tuple[tuple[int, str, str], ...] = ()
    """Height and ids of two blocks each, for whose contradiction it was frozen before recoveries."""
    gaps: tuple[tuple[int, int], ...] = ()
    """From and to which height blocks were not completely taken in."""


REGIONS: Final = Table("region", RegionKey, Region)


class BucketKey(NamedTuple):
    """`BUCKET_SIZE` heights in a row."""

    region: str
    bucket: int


class AnchoredIds(msgspec.Struct, frozen=True):
    """Ids of anchored blocks; element h % `BUCKET_SIZE` is that of height h, empty if h was skipped."""

    client_type: str
    ids: tuple[str, ...] = ()


ANCHORED: Final = Table("anchored", BucketKey, AnchoredIds)


def bucket_key(network: str, height: int) -> BucketKey:
    """Where the id of a height is."""
    return BucketKey(network, height // BUCKET_SIZE)


class MisbehaviourKey(NamedTuple):
    """Evidence that a custody block took in."""

    region: str
    custody_height: Number
    shows: str
    """`FROZE` or `NAMED`."""


FROZE: Final = "froze"
"""It is that for which the region was frozen."""
NAMED: Final = "named"
"""It named the culprits of a freeze that had no names."""


class MisbehaviourRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A contradiction that a region's validators signed, and the transaction that showed it."""

    client_type: str
    kind: str
    network: str
    height: int
    first_id: str
    second_id: str
    culprits: tuple[Culprit, ...]
    """Whom the client type names (protocol rule 20)."""
    details: dict[str, Any]
    """What the client type tells besides; of ours the `view`, null across views."""
    pairs: tuple[tuple[int, str, str], ...]
    """Height and two block ids that cannot both belong to the chain."""
    first: str | None
    second: str
    """The headers as they were delivered, in hex; null for the block that was trusted already."""
    anchored_by: Origin | None
    """What brought the header that was trusted, if a header did."""
    tx_id: str
    submitter: str
    included_height: int
    included_time_ms: int
    recovered_height: int | None = None
    """The custody height at which governance recovered the region from it."""
    alerts: dict[str, str] = {}


MISBEHAVIOURS: Final = Table("misbehaviour", MisbehaviourKey, MisbehaviourRecord)


class InconsistentKey(NamedTuple):
    """A region's block."""

    region: str
    height: Number


class InconsistentBlock(msgspec.Struct, frozen=True):
    """A block without snapshots that commits to some (protocol rule 16)."""

    commitments: str
    alerts: dict[str, str] = {}


INCONSISTENT_BLOCKS: Final = Table("inconsistent", InconsistentKey, InconsistentBlock, index=True)
