"""Sealed bodies: what a snapshot commits to and does not show.

JR/T 0314-2024 lets a full snapshot, or what belongs to it, be kept off the chain while the chain holds its hash.
Personal data, contracts and orders are such bodies. `header.metadata` names each by digest, media type and size::

    "sealed_bodies": [{"digest": "<hex>", "media_type": "application/pdf", "size_bytes": 48213}, …]

Invariants:
  * The digest is the hash of the chain's suite over the bytes as they are kept and handed out; who fetches a body by it
    checks size and digest, and needs to trust nobody.
  * A body hides nothing by itself. What must not be guessed from its digest holds at least 16 random bytes.
  * Bounds are stated before anything is fetched: `MAX_SEALED_BODIES` a snapshot, `MAX_SEALED_BYTES` each.

Reference: docs/adr/0078. Left out: keeping bodies and handing them out (`common.node.bodies`), encrypting them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from common.core.errors import Malformed
from common.model.values import number_in, text_in

FIELD: Final = "sealed_bodies"
MAX_SEALED_BODIES: Final = 16
MAX_SEALED_BYTES: Final = 16 * 1024 * 1024
"""As much as a block at most (JR/T 0314-2024)."""
DIGEST_PATTERN: Final = "[0-9a-f]{64}"
MEDIA_TYPE_PATTERN: Final = "[a-z0-9][a-z0-9.+-]{0,62}/[a-z0-9][a-z0-9.+-]{0,62}"
"""Type and subtype of RFC 6838, in lower case and without parameters."""

_DIGEST: Final = re.compile(DIGEST_PATTERN)
_MEDIA_TYPE: Final = re.compile(MEDIA_TYPE_PATTERN)


class SealedBody(msgspec.Struct, frozen=True, kw_only=True):
    """A body by the hash of its bytes (hex), its media type and its size."""

    digest: str
    media_type: str
    size_bytes: int


def check_digest(text: str) -> str:
    """The text, if it has the form of a body's digest. Raises `Malformed('body_digest')`."""
    if _DIGEST.fullmatch(text) is None:
        raise Malformed("body_digest", "A body's digest has 64 lowercase hex digits.")
    return text


def sealed_metadata(bodies: Iterable[SealedBody]) -> dict[str, Any]:
    """What a snapshot's metadata says of the bodies that it commits to."""
    stated = [msgspec.structs.asdict(body) for body in bodies]
    return {FIELD: stated} if stated else {}


def sealed_facts(metadata: Any) -> tuple[SealedBody, ...]:
    """The bodies that a snapshot's metadata names; none of them if one is not of this form or they are too many."""
    stated = metadata.get(FIELD) if isinstance(metadata, dict) else None
    if not isinstance(stated, list) or len(stated) > MAX_SEALED_BODIES:
        return ()
    bodies = [_sealed_body(item) if isinstance(item, dict) else None for item in stated]
    known = tuple(body for body in bodies if body is not None)
    return known if len(known) == len(bodies) else ()


def _sealed_body(item: dict[str, Any]) -> SealedBody | None:
    digest, media_type, size_bytes = text_in(item, "digest"), text_in(item, "media_type"), number_in(item, "size_bytes")
    if digest is None or media_type is None or size_bytes is None or not 1 <= size_bytes <= MAX_SEALED_BYTES:
        return None
    if _DIGEST.fullmatch(digest) is None or _MEDIA_TYPE.fullmatch(media_type) is None:
        return None
    return SealedBody(digest=digest, media_type=media_type, size_bytes=size_bytes)
