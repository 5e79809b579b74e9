"""A data object's snapshot as JR/T 0314-2024 describes it: a header and a body, JSON, one snapshot a version.

Invariants: canonical JSON of at most 64 KiB (protocol rule 14), numbers plain decimals (`quantities`); a *create* has
version 0; a *delete* has no body, every other operation has one. The pilot data model 2.0.0 leaves `body` out on delete
(an empty object fails its schema), and so does this.
Left out: the bodies (`kinds`), versions against history, and JSON Schema validation (`schemas`).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from common.core.codec import MAX_SAFE_INTEGER
from common.core.errors import InvariantBroken, Malformed, TooLarge
from common.core.snapshot import MAX_SNAPSHOT_BYTES
from common.model.document import encode_document

MODEL_PROTOCOL: Final = "区域性股权市场跨链业务数据模型"
MODEL_VERSION: Final = "2.0.0"
CREATE: Final = "create"
UPDATE: Final = "update"
OVERWRITE: Final = "overwrite"
DELETE: Final = "delete"
OPERATIONS: Final = frozenset({CREATE, UPDATE, OVERWRITE, DELETE})
MAX_KIND_CHARACTERS: Final = 32
MAX_OBJECT_ID_CHARACTERS: Final = 128
MAX_MODEL_PROTOCOL_CHARACTERS: Final = 64
MAX_MODEL_VERSION_CHARACTERS: Final = 32
MAX_REMARK_CHARACTERS: Final = 2048


class SnapshotHeader(msgspec.Struct, frozen=True):
    """`header.content` of a snapshot. `timestamp_s` is UNIX seconds of the business operation."""

    kind: str
    object_id: str
    version: int
    operation: str
    timestamp_s: int


_MODEL: Final = b',"model":' + encode_document({"protocol": MODEL_PROTOCOL, "version": MODEL_VERSION})


def build_snapshot(
    *,
    kind: str,
    object_id: str,
    version: int,
    operation: str,
    timestamp_s: int,
    body: dict[str, Any] | None,
    metadata: dict[str, Any] | None = None,
    remark: str | None = None,
) -> bytes:
    """Canonical bytes of one snapshot from its parts as values.

    What the caller passes was checked when it was read, or is a literal: ASCII keys, safe integers, no floats. Raises
    what `assemble_snapshot` raises.
    """
    return assemble_snapshot(
        kind=_between_quotes(kind),
        object_id=_between_quotes(object_id),
        version=version,
        operation=operation,
        timestamp_s=timestamp_s,
        body=None if body is None else encode_document(body),
        metadata=None if metadata is None else encode_document(metadata),
        remark=remark,
    )


def assemble_snapshot(
    *,
    kind: str,
    object_id: str,
    version: int,
    operation: str,
    timestamp_s: int,
    body: bytes | None,
    metadata: bytes | None = None,
    remark: str | None = None,
) -> bytes:
    """Canonical bytes of one snapshot, whose body and metadata are canonical JSON already; kind and object id are as
    they stand between quotes, in ASCII mostly.

    Raises `TooLarge('snapshot_too_large')` above 64 KiB, `Malformed('json_surrogate')` and
    `InvariantBroken` if header fields contradict each other (a bug of the caller).
    """
    if operation not in OPERATIONS or (body is None) != (operation == DELETE) or (operation == CREATE and version != 0):
        raise InvariantBroken(f"snapshot header contradicts itself: {operation} of version {version}")
    content = (
        f'"header":{{"content":{{"object_id":"{object_id}","operation":"{operation}",'
        f'"timestamp":{timestamp_s},"type":"{kind}","version":{version}}}'
    ).encode()
    parts = [b"{", content] if body is None else [b'{"body":', body, b",", content]
    if metadata is not None:
        parts += (b',"metadata":', metadata)
    parts.append(_MODEL)
    if remark is not None:
        parts += (b',"remark":', encode_document(remark))
    parts.append(b"}}")
    data = b"".join(parts)
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise TooLarge(
            "snapshot_too_large", "A snapshot is at most 64 KiB.", length=len(data), limit=MAX_SNAPSHOT_BYTES
        )
    return data


def _between_quotes(text: str) -> str:
    return encode_document(text).decode()[1:-1]


def read_header(document: Any) -> SnapshotHeader:
    """Check the JR/T 0314 header of a parsed snapshot, whoever made it.

    Raises `Malformed('snapshot_header')` naming the field.
    Other model versions are accepted here: whether one is understood is a question for the schema, not for the header.
    """
    header = _object(document, "header")
    model = _object(header, "model")
    _text(model, "protocol", MAX_MODEL_PROTOCOL_CHARACTERS)
    _text(model, "version", MAX_MODEL_VERSION_CHARACTERS)
    content = _object(header, "content")
    operation = _text(content, "operation", MAX_KIND_CHARACTERS)
    if operation not in OPERATIONS:
        raise Malformed(
            "snapshot_header", "The operation is not create, update, overwrite or delete.", field="operation"
        )
    if "remark" in header:
        _text(header, "remark", MAX_REMARK_CHARACTERS, empty=True)
    version = _natural(content, "version")
    if operation == CREATE and version != 0:
        raise Malformed("snapshot_header", "A create has version 0.", field="version")
    return SnapshotHeader(
        kind=_text(content, "type", MAX_KIND_CHARACTERS),
        object_id=_text(content, "object_id", MAX_OBJECT_ID_CHARACTERS),
        version=version,
        operation=operation,
        timestamp_s=_natural(content, "timestamp"),
    )


def _object(parent: Any, name: str) -> dict[str, Any]:
    value = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(value, dict):
        raise Malformed("snapshot_header", f"{name} is missing or not an object.", field=name)
    return value


def _text(parent: dict[str, Any], name: str, limit: int, *, empty: bool = False) -> str:
    value = parent.get(name)
    if not isinstance(value, str) or len(value) > limit or (not value and not empty):
        raise Malformed("snapshot_header", f"{name} is not a string of at most {limit} characters.", field=name)
    return value


def _natural(parent: dict[str, Any], name: str) -> int:
    value = parent.get(name)
    if type(value) is not int or not 0 <= value <= MAX_SAFE_INTEGER:
        raise Malformed("snapshot_header", f"{name} is not a natural number.", field=name)
    return value
