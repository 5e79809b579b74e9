"""Versions of data objects: does this snapshot follow what the region reported of the object before?

Value of the index entry ``object/…``::

    {"kind": kind of the last usable snapshot, empty before one, "version": newest,
     "rewritten": version of the last overwrite while later ones are still due | null,
     "anomalous", "deleted", "gap", "place": where its last usable registration stands | null,
     "since": [height, index] of its first snapshot, "height", "index", "unread"?: true}

`unread` is there while the newest snapshot is one whose header could not be read: it may have taken the next version.

Invariants:
  * A wrong version never keeps a snapshot out: the region committed to it, so the supervisor shows it and raises
    `version_gap`.
  * An anomalous snapshot takes its version: its correction is an overwrite of that version, not a gap. It takes nothing
    else: kind, place and whether the object is deleted stay as the last usable one left them.

Reference: JR/T 0314-2024, life cycle (create 0, update and delete + 1, overwrite the same version and then all later
ones, delete is terminal). Left out: bodies.
"""

from __future__ import annotations

from typing import Any

from common.model.header import CREATE, OVERWRITE, SnapshotHeader


def version_fault(before: dict[str, Any] | None, header: SnapshotHeader) -> str | None:
    """What is wrong with the version of a snapshot, as a stable word, or None.

    `missing_create`, `kind_changed`, `repeated_create`, `after_delete`, `overwrite_ahead`, `overwrite_incomplete`,
    `not_next`.
    """
    if before is None:
        return None if header.operation == CREATE else "missing_create"
    if before["kind"] not in ("", header.kind):
        return "kind_changed"
    if header.operation == CREATE:
        return None if before["anomalous"] and before["version"] == 0 else "repeated_create"
    if before["deleted"]:
        return "after_delete"
    rewritten = before["rewritten"]
    if header.operation == OVERWRITE:
        if header.version > before["version"] + before.get("unread", False):
            return "overwrite_ahead"
        return None if rewritten is None or header.version <= rewritten + 1 else "overwrite_incomplete"
    if header.version != before["version"] + 1:
        return "not_next"
    return None if rewritten is None else "overwrite_incomplete"


def next_record(
    before: dict[str, Any] | None,
    header: SnapshotHeader,
    *,
    height: int,
    index: int,
    anomalous: bool,
    fault: str | None,
    place: Any,
) -> dict[str, Any]:
    """The object's entry after a snapshot with a readable header."""
    newest = header.version if before is None else max(header.version, before["version"])
    corrects = header.operation == OVERWRITE
    kind, deleted = header.kind, header.operation == "delete"
    if anomalous:
        kind, deleted = ("", False) if before is None else (before["kind"], before["deleted"])
    return {
        "kind": kind,
        "version": newest,
        "rewritten": header.version if corrects and header.version < newest else None,
        "anomalous": anomalous,
        "deleted": deleted,
        "gap": fault is not None or (before is not None and before["gap"] and not corrects),
        "place": place,
        "since": [height, index] if before is None else before["since"],
        "height": height,
        "index": index,
    }
