"""Data objects as the regions report them: versions, bodies, every snapshot, and what was kept out."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import msgspec

from common.model.sealed import SealedBody
from custody_chain.tables.alerts import Seen
from custody_chain.tables.table import Foreign, Number, Only, Table, component


class ObjectKey(NamedTuple):
    """A data object of a region."""

    region: str
    object_id: Foreign


class Where(NamedTuple):
    """A snapshot in its region's chain: height of the block, and which one in it."""

    height: int
    number: int


class Place(msgspec.Struct, frozen=True):
    """A registration's movement: the position it moves, and its number there."""

    product: str
    account: str
    number: int


class VersionFault(msgspec.Struct, frozen=True):
    """What was wrong with a version, and what it followed."""

    fault: str
    kind: str
    operation: str
    version: int
    newest_before: int
    """-1 before the first."""


class DataObject(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an object from the headers of its snapshots."""

    kind: str
    """Of the last usable snapshot, empty before one."""
    version: int
    """The newest."""
    rewritten: int | None = None
    """Version of the last overwrite while later ones are still due."""
    anomalous: bool = False
    """Whether the newest snapshot is."""
    unread: bool = False
    """While the newest snapshot's header could not be read: it may have taken the next version."""
    deleted: bool = False
    fault: VersionFault | None = None
    """The last fault of its versions, until a correction follows."""
    place: Place | None = None
    """Where its last usable registration stands."""
    incomplete: Where | None = None
    """Its last usable registration, if that was not complete."""
    since: Where
    """Its first snapshot."""
    height: int
    index: int
    alerts: dict[str, str] = {}


OBJECTS: Final = Table("object", ObjectKey, DataObject, index=True)


BODIES: Final[Table[ObjectKey, dict[str, Any]]] = Table("body", ObjectKey, dict[str, Any], index=True)
"""Merged bodies, for incremental updates."""


class RevisionKey(NamedTuple):
    """One snapshot of an object."""

    region: str
    object_id: Foreign
    height: Number
    number: Number


class Revision(msgspec.Struct, frozen=True):
    """What a snapshot said of itself (null if its header could not be read), and how it was judged."""

    kind: str | None
    version: int | None
    operation: str | None
    verdict: str
    custody_height: int


REVISIONS: Final = Table("revision", RevisionKey, Revision, index=True)


class AnomalyKey(NamedTuple):
    """An object's anomaly, or that of one snapshot that names no object."""

    region: str
    place: str


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that was kept out of the figures."""

    object_id: str | None
    kind: str | None
    version: int | None
    operation: str | None
    height: int
    index: int
    code: str
    hash: str
    state: Literal["open", "cleared"]
    opened: Seen
    cleared: Seen | None
    attributed_to: Literal["region"]
    alerts: dict[str, str] = {}


ANOMALIES: Final = Table("anomaly", AnomalyKey, Anomaly)


def unnamed(height: int, index: int) -> str:
    """The place of an anomaly whose object is unknown; `#` occurs in no encoded identifier."""
    return f"#{height}.{index}"


def anomaly_key(region: str, object_id: str | None, where: Where) -> AnomalyKey:
    """Where the anomaly of a snapshot stands."""
    return AnomalyKey(region, unnamed(*where) if object_id is None else component(object_id))


class SealedKey(NamedTuple):
    """A version of a data object."""

    region: str
    object_id: Foreign
    version: Number


class Sealed(msgspec.Struct, frozen=True):
    """The bodies off its chain that a version commits to. They are known here and not fetched."""

    bodies: tuple[SealedBody, ...]
    height: int
    index: int


SEALED: Final = Table("sealed", SealedKey, Sealed, index=True)


class ModelSchema(msgspec.Struct, frozen=True):
    """The hash of the JSON Schemas that judge the objects (protocol rule 18)."""

    hash: str


MODEL_SCHEMA: Final = Table("model_schema", Only, ModelSchema)
