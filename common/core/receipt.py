"""Receipts: what became of each transaction of a block, and what the block made by itself.

Invariants: canonical JSON, the leaf of `receipt_root`; code and parameters only, never prose, so that wording may
change without a fork (protocol rule 11). `code` is "ok" if and only if the status is "applied". Golden bytes:
`tests/vectors/receipt_v1.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, Self

import msgspec

from common.core import merkle
from common.core.codec import canonical_json_of_checked, check_signed_keys, parse_json
from common.core.errors import InvariantBroken, Malformed
from common.core.suite import HASH_SIZE, Suite, parse_hex

APPLIED: Final = "applied"
REJECTED: Final = "rejected"
CODE_OK: Final = "ok"
MAX_RECEIPT_BYTES: Final = 1024 * 1024
_FIELDS: Final = frozenset({"code", "objects", "operation_index", "parameters", "status", "tx_id"})


class Receipt(msgspec.Struct, frozen=True):
    """`objects` lists (object id, version) of the snapshots that the transaction made, in order; none if it was
    rejected. A block's own receipt lists what `begin_block` made and is the first leaf; it has an empty `tx_id`.
    """

    tx_id: bytes
    status: Literal["applied", "rejected"]
    code: str = CODE_OK
    operation_index: int | None = None
    parameters: dict[str, int | str] = {}
    objects: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        """Raises `InvariantBroken` if status, code and contents contradict each other."""
        if len(self.tx_id) not in (0, HASH_SIZE):
            raise InvariantBroken("a receipt's transaction id has a wrong length")
        if not self.tx_id and not (self.status == APPLIED and self.objects):
            raise InvariantBroken("a block's own receipt is of objects that it made")
        if (self.status == APPLIED) != (self.code == CODE_OK):
            raise InvariantBroken("a receipt's status and code contradict each other")
        if self.status == REJECTED and self.objects:
            raise InvariantBroken("a rejected transaction makes no objects")

    @property
    def of_block(self) -> bool:
        """Whether it is the block's own."""
        return not self.tx_id

    def to_json(self) -> dict[str, Any]:
        """JSON value for answers and for hashing, whose lists may be tuples."""
        return {
            "code": self.code,
            "objects": self.objects,
            "operation_index": self.operation_index,
            "parameters": self.parameters,
            "status": self.status,
            "tx_id": self.tx_id.hex() or None,
        }

    def encode(self) -> bytes:
        """Canonical JSON bytes: the Merkle leaf."""
        return canonical_json_of_checked(self.to_json())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Inverse of `encode`. Raises `Malformed('receipt_invalid')` or a codec error."""
        value = parse_json(data, max_size=MAX_RECEIPT_BYTES)
        if type(value) is not dict or value.keys() != _FIELDS:
            raise Malformed("receipt_invalid", "A receipt has other fields.")
        index, objects, parameters = value["operation_index"], value["objects"], value["parameters"]
        if (
            value["status"] not in (APPLIED, REJECTED)
            or type(value["code"]) is not str
            or type(value["tx_id"]) not in (str, type(None))
        ):
            raise Malformed("receipt_invalid", "A receipt's status, code or transaction id has a wrong type.")
        if (index is not None and type(index) is not int) or type(objects) is not list or type(parameters) is not dict:
            raise Malformed("receipt_invalid", "A receipt's index, objects or parameters have a wrong type.")
        if not all(type(item) in (int, str) for item in parameters.values()):
            raise Malformed("receipt_invalid", "Parameters of a receipt are integers and strings.")
        check_signed_keys(parameters)
        tx_id = b"" if value["tx_id"] is None else parse_hex(value["tx_id"], "tx_id", HASH_SIZE)
        try:
            receipt = cls(tx_id, value["status"], value["code"], index, parameters, tuple(map(_object_pair, objects)))
        except InvariantBroken:
            raise Malformed("receipt_invalid", "A receipt contradicts itself.") from None
        if receipt.encode() != data:
            raise Malformed("receipt_invalid", "A receipt is not in canonical form.")
        return receipt


def _object_pair(value: Any) -> tuple[str, int]:
    if type(value) is not list or len(value) != 2 or type(value[0]) is not str or type(value[1]) is not int:
        raise Malformed("receipt_invalid", "Objects of a receipt are pairs of object id and version.")
    return value[0], value[1]


def receipt_root(suite: Suite, receipts: Sequence[Receipt]) -> bytes:
    """Merkle root over the encoded receipts in block order."""
    return merkle.root(suite.hash, [receipt.encode() for receipt in receipts])
