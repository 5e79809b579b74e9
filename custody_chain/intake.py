"""Is a delivered snapshot something the supervisor can use? The roots have proven that the region committed to it.

Invariants:
  * Roots alone decide anchoring (protocol rule 16): nothing here can refuse a delivery. What cannot be used is
    *anomalous*, with one of a few stable codes, and is kept out of the positions until it is corrected.
  * The verdict is a function of the bytes, the schemas of the block's protocol version and the object's earlier body;
    the text of a library never enters it (protocol rule 18).

References: JR/T 0314-2024 (JSON Schema gates cross-chaining; an update may be incremental, null clears a value, and the
merged result has to pass). Left out: versions (`objects`), meaning (`supervision`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from common.core.errors import Rejected
from common.core.snapshot import MAX_SNAPSHOT_BYTES
from common.model.document import encode_document, parse_document
from common.model.object_header import DELETE, UPDATE, SnapshotHeader, read_header
from common.model.schemas import SchemaSet

OVERSIZED: Final = "oversized"
NOT_JSON: Final = "not_json"
HEADER_INVALID: Final = "header_invalid"
UNKNOWN_KIND: Final = "unknown_kind"
SCHEMA_FAILED: Final = "schema_failed"
QUANTITY_OUT_OF_RANGE: Final = "quantity_out_of_range"
MERGED_TOO_LARGE: Final = "merged_too_large"
ANOMALY_CODES: Final = (
    OVERSIZED,
    NOT_JSON,
    HEADER_INVALID,
    UNKNOWN_KIND,
    SCHEMA_FAILED,
    QUANTITY_OUT_OF_RANGE,
    MERGED_TOO_LARGE,
)
"""Why a snapshot is anomalous; stable, part of the public contract."""

MERGED_KINDS: Final = frozenset({"subject", "account", "product"})
"""Kinds whose updates may be incremental here: records that live long. Events (registrations, reports, settlements,
disclosures) are taken as complete, so that their bodies need not be kept twice (docs/adr/0041)."""

_MAX_HINT: Final = 128


@dataclass(frozen=True, slots=True)
class Reading:
    """A snapshot as far as it could be read. `anomaly` is None if it can be used; then header and document are set."""

    anomaly: str | None
    header: SnapshotHeader | None = None
    document: Any = None
    object_hint: str | None = None

    @property
    def object_id(self) -> str | None:
        """The object it is about, if that can be told."""
        return self.object_hint if self.header is None else self.header.object_id


def read_snapshot(data: bytes, schemas: SchemaSet) -> Reading:
    """Size, JSON and header of one snapshot, whose kind must be one of `schemas`.

    Its form is the region's own: any JSON (protocol rule 33).
    """
    if len(data) > MAX_SNAPSHOT_BYTES:
        return Reading(OVERSIZED)
    try:
        document = parse_document(data, max_size=MAX_SNAPSHOT_BYTES)
    except Rejected:
        return Reading(NOT_JSON)
    try:
        header = read_header(document)
    except Rejected:
        return Reading(HEADER_INVALID, document=document, object_hint=_hint(document))
    if not schemas.knows(header.kind):
        return Reading(UNKNOWN_KIND, header, document)
    return Reading(None, header, document)


def _hint(document: Any) -> str | None:
    """The object id of a document whose header is otherwise wrong, so that a correction can find the anomaly."""
    for name in ("header", "content", "object_id"):
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, str) and 0 < len(document) <= _MAX_HINT else None


def merge(before: Any, change: Any) -> Any:
    """JSON merge of an incremental update: objects by key, null removes, everything else replaces (as RFC 7396)."""
    if not isinstance(change, dict):
        return change
    merged = dict(before) if isinstance(before, dict) else {}
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def body_to_judge(reading: Reading, earlier: dict[str, Any] | None) -> dict[str, Any] | None:
    """The body after this snapshot; None after a delete. `earlier` is the object's last good body, if it is kept."""
    header, document = reading.header, reading.document
    if header is None or header.operation == DELETE:
        return None
    body = document.get("body")
    if header.operation == UPDATE and header.kind in MERGED_KINDS:
        body = merge(earlier, body)
    return body if isinstance(body, dict) else {}


def fits_when_merged(body: dict[str, Any] | None) -> bool:
    """Whether an object keeps within the size of one snapshot.

    Else updates that only add would make each later one dearer for every custody validator.
    """
    return body is None or len(encode_document(body)) <= MAX_SNAPSHOT_BYTES


def passes_schema(reading: Reading, body: dict[str, Any] | None, schemas: SchemaSet) -> bool:
    """Whether the object as it now is passes the schema of its kind.

    A delete passes with an absent, null or empty body.
    """
    header, document = reading.header, reading.document
    if header is None:
        return False
    if body is None:
        return not document.get("body")
    return schemas.is_valid(header.kind, {"header": document["header"], "body": body})
