"""Versions of data objects: does this snapshot follow what the region reported of the object before?

Invariants:
  * A wrong version never keeps a snapshot out: the region committed to it, so the supervisor shows it and raises
    `version_gap`.
  * An anomalous snapshot takes its version: its correction is an overwrite of that version, not a gap. It takes nothing
    else: kind, place and whether the object is deleted stay as the last usable one left them.

Reference: JR/T 0314-2024, life cycle (create 0, update and delete + 1, overwrite the same version and then all later
ones, delete is terminal). Left out: bodies.
"""

from __future__ import annotations

from msgspec.structs import replace

from common.model.object_header import CREATE, OVERWRITE, SnapshotHeader
from custody_chain.tables.objects import DataObject, VersionFault, Where


def version_fault(before: DataObject | None, header: SnapshotHeader) -> str | None:
    """What is wrong with the version of a snapshot, as a stable word, or None.

    `missing_create`, `kind_changed`, `repeated_create`, `after_delete`, `overwrite_ahead`, `overwrite_incomplete`,
    `not_next`.
    """
    if before is None:
        return None if header.operation == CREATE else "missing_create"
    if before.kind not in ("", header.kind):
        return "kind_changed"
    if header.operation == CREATE:
        return None if before.anomalous and before.version == 0 else "repeated_create"
    if before.deleted:
        return "after_delete"
    if header.operation == OVERWRITE:
        if header.version > before.version + before.unread:
            return "overwrite_ahead"
        return None if before.rewritten is None or header.version <= before.rewritten + 1 else "overwrite_incomplete"
    if header.version != before.version + 1:
        return "not_next"
    return None if before.rewritten is None else "overwrite_incomplete"


def tracked(before: DataObject | None, header: SnapshotHeader, where: Where, *, anomalous: bool) -> DataObject:
    """The object after a snapshot with a readable header, but for its registration."""
    newest = header.version if before is None else max(header.version, before.version)
    corrects = header.operation == OVERWRITE
    kind, deleted = header.kind, header.operation == "delete"
    if anomalous:
        kind, deleted = ("", False) if before is None else (before.kind, before.deleted)
    return DataObject(
        kind=kind,
        version=newest,
        rewritten=header.version if corrects and header.version < newest else None,
        anomalous=anomalous,
        deleted=deleted,
        fault=_fault(before, header),
        since=where if before is None else before.since,
        height=where.height,
        index=where.number,
    )


def _fault(before: DataObject | None, header: SnapshotHeader) -> VersionFault | None:
    """The fault of this version; else the one before, which a correction ends."""
    fault = version_fault(before, header)
    if fault is not None:
        newest = -1 if before is None else before.version
        return VersionFault(fault, header.kind, header.operation, header.version, newest)
    return None if before is None or header.operation == OVERWRITE else before.fault


def unread(before: DataObject | None, where: Where) -> DataObject:
    """The object after a snapshot whose header could not be read."""
    if before is not None:
        return replace(before, anomalous=True, unread=True)
    return DataObject(kind="", version=0, anomalous=True, since=where, height=where.height, index=where.number)
