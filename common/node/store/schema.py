"""The table of everything a node keeps in its database: one prefix a kind, big-endian integers, one version.

Nobody else builds a key or takes one apart. `|` is concatenation, u32 and u64 are big-endian, `~` is the bitwise
complement (so that ascending keys give the latest first), `text` is UTF-8 without NUL.

  prefix  key                              value
  ------  -------------------------------  ---------------------------------------------------------------
  !       "version"                        u32 DB_VERSION
  !       "genesis"                        b32 genesis id
  !       "tip"                            u64 height | b32 block id | u64 time_ms | b32 state root
  !       "vote-log"                       mark of the vote log (`vote_log.Mark`), absent before there is one
  !       "pruned"                         u64 lowest height whose bodies and past states are kept; absent: 0
  !       "receipts"                       u64 lowest height whose receipts are kept; absent: as "pruned"
  !       "migration"                      u32 layout that is migrated from | where the last step ended; else absent
  !       "indexes"                        layouts of the index families that have another than 1 (`index_layouts.py`)
  !       "proofs"                         u64 lowest height whose tree is kept; absent: only the tip's is
  !       "rejoined"                       empty; there while the node must not vote before it is level with a quorum
  !       "join"                           manifest (wire) of the checkpoint that is being taken over; then no "version"
  !       "join-taken"                     u32 chunks of it that are here
  B       u64 height                       header (wire)
  C       u64 height                       certificate (wire)
  E       u64 height | u32 first index     page (`pages.py`) of envelopes (canonical JSON), block order
  R       u64 height | u32 first index     page of receipts, compact form (`stored_receipt.py`), block order
  P       u64 height | u32 first index     page of snapshots (canonical JSON), block order
  K       u64 height | u32 first index     page of the state keys that the block changed, ascending; height 0 too
  X       b32 transaction id               u64 height | u32 index
  N       text first signer | 00 | nonce   u64 height | u32 index         used nonces (protocol rule 9)
  O       text object id | 00 | ~u64 height | ~u32 index      u64 object version
  V       u64 first height                 validator set (wire) that signs from this height on
  S       state key                        u64 height since which it holds | value
  H       state key | 00 | u64 until       u64 since | value: the value held at heights since <= h < until
  D       state key                        u64 height at which it was deleted (only while it is absent)
  I       index key                        value
  T       u8 depth | path (hex digits)     state tree node (`core/state_proof.py`)
  W       u8 depth | path | u64 until      the node that stood there below height until (`past_tree.py`): u8 0 | node,
                                           or what differs from the node that followed it: u8 1 | u16 bytes alike at
                                           its head | u16 bytes alike at its tail | the bytes between

Rule: a change of any layout takes the next `DB_VERSION` and a migration from the one before; a change of an
application's index entries takes the next layout of their family (`index_layouts.py`). A database of a later version is
refused.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

DB_VERSION: Final = 1
"""Raised with each change of a layout; `migration.py` leads from each earlier one to the next."""

VERSION: Final = b"!version"
GENESIS: Final = b"!genesis"
TIP: Final = b"!tip"
VOTE_LOG: Final = b"!vote-log"
PRUNED: Final = b"!pruned"
RECEIPT_FLOOR: Final = b"!receipts"
MIGRATION: Final = b"!migration"
INDEX_LAYOUTS: Final = b"!indexes"
PROOF_FLOOR: Final = b"!proofs"
REJOINED: Final = b"!rejoined"
JOIN: Final = b"!join"
JOIN_TAKEN: Final = b"!join-taken"

HEADERS: Final = b"B"
CERTIFICATES: Final = b"C"
ENVELOPES: Final = b"E"
RECEIPTS: Final = b"R"
SNAPSHOTS: Final = b"P"
CHANGES: Final = b"K"
TRANSACTIONS: Final = b"X"
NONCES: Final = b"N"
OBJECTS: Final = b"O"
VALIDATORS: Final = b"V"
STATE: Final = b"S"
HISTORY: Final = b"H"
DELETED: Final = b"D"
INDEX: Final = b"I"
TREE: Final = b"T"
PAST_TREE: Final = b"W"

BY_HEIGHT: Final = (HEADERS, CERTIFICATES, ENVELOPES, RECEIPTS, SNAPSHOTS, CHANGES)
"""Kinds whose keys begin with the height of their block."""

MAX_U64: Final = 2**64 - 1
_MAX_U32: Final = 2**32 - 1
_U64: Final = struct.Struct(">Q")
_PLACE: Final = struct.Struct(">QI")
_TIP: Final = struct.Struct(">Q32sQ32s")
_VERSION: Final = struct.Struct(">I")


def u64(value: int) -> bytes:
    """Eight bytes, big-endian."""
    return _U64.pack(value)


def read_u64(data: bytes, at: int = 0) -> int:
    """Inverse of `u64`."""
    value: int = _U64.unpack_from(data, at)[0]
    return value


def version_value(version: int | None = None) -> bytes:
    """What `VERSION` holds; None is the present one."""
    return _VERSION.pack(DB_VERSION if version is None else version)


def read_version(value: bytes) -> int:
    """The version a database says it has; -1 if it says nothing intelligible."""
    return int(_VERSION.unpack(value)[0]) if len(value) == _VERSION.size else -1


def tip_value(height: int, block_id: bytes, time_ms: int, state_root: bytes) -> bytes:
    """What `TIP` holds."""
    return _TIP.pack(height, block_id, time_ms, state_root)


def read_tip(value: bytes) -> tuple[int, bytes, int, bytes]:
    """(height, block id, time_ms, state root). Raises struct.error on another length."""
    height, block_id, time_ms, state_root = _TIP.unpack(value)
    return height, block_id, time_ms, state_root


def header(height: int) -> bytes:
    """Key of a header."""
    return HEADERS + _U64.pack(height)


def certificate(height: int) -> bytes:
    """Key of a certificate."""
    return CERTIFICATES + _U64.pack(height)


def envelopes(height: int) -> bytes:
    """Prefix of a block's envelopes."""
    return ENVELOPES + _U64.pack(height)


def envelope(height: int, index: int) -> bytes:
    """Key of the page of envelopes that begins with this one."""
    return ENVELOPES + _PLACE.pack(height, index)


def receipts(height: int) -> bytes:
    """Prefix of a block's receipts."""
    return RECEIPTS + _U64.pack(height)


def receipt(height: int, index: int) -> bytes:
    """Key of the page of receipts that begins with this one."""
    return RECEIPTS + _PLACE.pack(height, index)


def snapshots(height: int) -> bytes:
    """Prefix of a block's snapshots."""
    return SNAPSHOTS + _U64.pack(height)


def snapshot(height: int, index: int) -> bytes:
    """Key of the page of snapshots that begins with this one."""
    return SNAPSHOTS + _PLACE.pack(height, index)


def changes(height: int) -> bytes:
    """Prefix of the keys that a block changed."""
    return CHANGES + _U64.pack(height)


def change(height: int, index: int) -> bytes:
    """Key of the page of changed keys that begins with this one."""
    return CHANGES + _PLACE.pack(height, index)


def page_first(key: bytes) -> int:
    """Index of the first item of the page under this key."""
    return int(_PLACE.unpack(key[1:])[1])


def transaction(tx_id: bytes) -> bytes:
    """Key of a transaction's place."""
    return TRANSACTIONS + tx_id


def place_value(height: int, index: int) -> bytes:
    """A place in the chain: what a `transaction` key holds."""
    return _PLACE.pack(height, index)


def read_place(value: bytes) -> tuple[int, int]:
    """(height, index)."""
    height, index = _PLACE.unpack(value)
    return height, index


def object_revisions(object_id: str) -> bytes:
    """Prefix of an object's revisions, latest first."""
    return OBJECTS + object_id.encode("utf-8") + b"\0"


def revisions_of_block(height: int, objects: Sequence[tuple[str, int]]) -> list[tuple[bytes, bytes]]:
    """(key, value) of each revision that a block made, from (object id, version) of its snapshots in order."""
    height_left, pack, u64 = MAX_U64 - height, _PLACE.pack, _U64.pack
    return [
        (OBJECTS + f"{name}\0".encode() + pack(height_left, _MAX_U32 - index), u64(version))
        for index, (name, version) in enumerate(objects)
    ]


def read_object_revision(key: bytes) -> tuple[int, int]:
    """(height, index of the snapshot) of a revision's key."""
    height, index = _PLACE.unpack(key[-_PLACE.size :])
    return MAX_U64 - height, _MAX_U32 - index


def validators(first_height: int) -> bytes:
    """Key of the set that signs from this height on."""
    return VALIDATORS + _U64.pack(first_height)


def state(key: bytes) -> bytes:
    """Key of a value of the tip."""
    return STATE + key


def history(key: bytes, until: int) -> bytes:
    """Key of the value that held up to, not including, height `until`."""
    return HISTORY + key + b"\0" + _U64.pack(until)


def history_of(key: bytes) -> bytes:
    """Prefix of all past values of one key."""
    return HISTORY + key + b"\0"


def deleted(key: bytes) -> bytes:
    """Key that says that a value existed once and is absent now."""
    return DELETED + key


def index(key: bytes) -> bytes:
    """Key of an index entry."""
    return INDEX + key


def tree_node(path: str) -> bytes:
    """Key of the state tree node at `path`, the nibbles of hashed keys as hex digits; '' is the top."""
    return TREE + bytes((len(path),)) + path.encode("ascii")


def past_nodes(path: str) -> bytes:
    """Prefix of all superseded nodes of one path, oldest first."""
    return PAST_TREE + bytes((len(path),)) + path.encode("ascii")


def past_node(path: str, until: int) -> bytes:
    """Key of the node that stood at `path` up to, not including, height `until`."""
    return past_nodes(path) + _U64.pack(until)


def read_past_node(key: bytes) -> tuple[str, int]:
    """(path, until which height) of a `past_node` key."""
    return key[2 : -_U64.size].decode("ascii"), read_u64(key, len(key) - _U64.size)


def used_nonce(signer: str, nonce: str) -> bytes:
    """Key of a used (first signer, nonce); the signer is a public key in text."""
    return NONCES + f"{signer}\0{nonce}".encode()
