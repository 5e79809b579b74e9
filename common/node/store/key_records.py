"""What a database says of itself: layout version, chain, tip, and from which height on it keeps what.

Invariant: the tip record and the newest header say the same, or the database is damaged (D1 of `chain_check.py`).
Left out: what the records are about (`chain_reader`), when the floors move (`chain_prune`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NoReturn

from common.core.certificate import Certificate
from common.core.errors import Rejected, Unavailable
from common.core.genesis import Genesis
from common.core.header import Header
from common.node.store import schema
from common.node.store.migration import check_present
from common.node.store.storage import ReadView
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore, WrongDatabase


@dataclass(frozen=True, slots=True)
class Tip:
    """The last committed block. At height 0 there is only genesis: no header, no certificate."""

    height: int
    header: Header | None
    block_id: bytes
    certificate: Certificate | None
    time_ms: int
    state_root: bytes


@dataclass(frozen=True, slots=True)
class Floors:
    """From which height on a database keeps what."""

    content: int = 0
    """Bodies, snapshots, changes and past values."""
    receipts: int = 0
    """Receipts; at most `content`."""
    proofs: int | None = 0
    """State trees; None: the tip's alone."""


def read_tip(store: ReadView, genesis: Genesis) -> Tip | None:
    """The tip of a stored chain, or None if the store is empty. Raises WrongDatabase or DamagedStore (D1), and
    Unavailable for a block of a later protocol version.
    """
    version = store.get(schema.VERSION)
    if version is None:
        if next(store.scan(b""), None) is not None:
            _damaged("the database holds data but does not say of which version", schema.VERSION)
        return None
    check_present(store)
    stored_genesis = store.get(schema.GENESIS)
    if stored_genesis != genesis.id:
        raise WrongDatabase(
            f"the database belongs to genesis {(stored_genesis or b'').hex()}, not to {genesis.id.hex()} of network "
            f"{genesis.network}: set data_dir and genesis_file to the same chain"
        )
    value = store.get(schema.TIP)
    if value is None:
        _damaged("the tip is missing", schema.TIP)
    try:
        height, block_id, time_ms, state_root = schema.read_tip(value)
        if height == 0:
            if block_id != genesis.id:
                _damaged("the tip at height 0 is not genesis", schema.TIP)
            return Tip(0, None, block_id, None, time_ms, state_root)
        header = Header.decode(store.get(schema.header(height)) or b"")
        certificate = Certificate.decode(store.get(schema.certificate(height)) or b"")
        tip = Tip(height, header, header.id(genesis.suite), certificate, header.time_ms, header.state_root)
    except (Rejected, struct.error) as error:
        if isinstance(error, Rejected) and error.code == "header_version":
            raise Unavailable(
                "protocol_version_unsupported",
                "The database's last block has a protocol version that this software does not know: install a version "
                "that supports it, and start the node again on the same data.",
                **error.parameters,
            ) from error
        raise DamagedStore(f"the tip is unreadable: {error}", key=schema.TIP, remedy=REMEDY_RESYNC) from error
    if (tip.block_id, tip.time_ms, tip.state_root, header.height) != (block_id, time_ms, state_root, height):
        _damaged("the tip names another block than the newest header", schema.TIP)
    return tip


def read_floors(store: ReadView) -> Floors:
    """The floors that the database names. Raises DamagedStore."""
    content = _height(store, schema.PRUNED) or 0
    receipts = _height(store, schema.RECEIPT_FLOOR)
    return Floors(content, content if receipts is None else receipts, _height(store, schema.PROOF_FLOOR))


def floor_records(floors: Floors) -> list[tuple[bytes, bytes | None]]:
    """What the database has to hold for `read_floors` to say this."""
    proofs = None if floors.proofs is None else schema.u64(floors.proofs)
    receipts = None if floors.receipts == floors.content else schema.u64(floors.receipts)
    return [
        (schema.PRUNED, schema.u64(floors.content)),
        (schema.RECEIPT_FLOOR, receipts),
        (schema.PROOF_FLOOR, proofs),
    ]


def _height(store: ReadView, record: bytes) -> int | None:
    value = store.get(record)
    if value is not None and len(value) != len(schema.u64(0)):
        _damaged("the record of what was pruned is unreadable", record)
    return None if value is None else schema.read_u64(value)


def _damaged(what: str, key: bytes | None = None) -> NoReturn:
    raise DamagedStore(what, key=key, remedy=REMEDY_RESYNC)
