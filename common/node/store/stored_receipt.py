"""Receipts as the database keeps them: most say "applied", and those need a third of their canonical JSON.

  applied  u8 1 | b32 transaction id | (u16 length | object id | u64 version)*
  others   u8 0 | canonical JSON (`common.core.receipt`)

Invariant: reading gives the receipt that was stored, so that `receipt_root` can be computed again.
"""

from __future__ import annotations

import struct
from typing import Final

from common.core.errors import Malformed
from common.core.receipt import APPLIED, CODE_OK, Receipt
from common.core.suite import HASH_SIZE

_GENERAL: Final = 0
_APPLIED: Final = 1
_APPLIED_HEAD: Final = bytes((_APPLIED,))
_LENGTH: Final = struct.Struct(">H")
_OBJECT_VERSION: Final = struct.Struct(">Q")


def encode_receipt(receipt: Receipt) -> bytes:
    """Stored bytes of a receipt."""
    if receipt.of_block or receipt.status != APPLIED or receipt.operation_index is not None or receipt.parameters:
        return bytes((_GENERAL,)) + receipt.encode()
    parts = [_APPLIED_HEAD, receipt.tx_id]
    try:
        for object_id, version in receipt.objects:
            name = object_id.encode()
            parts += (_LENGTH.pack(len(name)), name, _OBJECT_VERSION.pack(version))
    except struct.error:  # too long a name, or a version beyond u64
        return bytes((_GENERAL,)) + receipt.encode()
    return b"".join(parts)


def decode_receipt(data: bytes) -> Receipt:
    """Inverse of `encode_receipt`. Raises Malformed or struct.error on other bytes."""
    if data[:1] == bytes((_GENERAL,)):
        return Receipt.decode(data[1:])
    if data[:1] != _APPLIED_HEAD:
        raise Malformed("receipt_invalid", "A stored receipt is of an unknown form.")
    tx_id, at = data[1 : 1 + HASH_SIZE], 1 + HASH_SIZE
    objects: list[tuple[str, int]] = []
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        name = data[at : at + length].decode("utf-8")
        (version,) = _OBJECT_VERSION.unpack_from(data, at + length)
        at += length + _OBJECT_VERSION.size
        objects.append((name, version))
    return Receipt(tx_id, APPLIED, CODE_OK, None, {}, tuple(objects))
