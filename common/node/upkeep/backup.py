"""Backup and restore of a stopped node's database, as files whose hashes are checked.

    DIR/backup.json   format, network, genesis id, height, block id, files with bytes and hash: written last
    DIR/<number>      entries (u32 length | key | u32 length | value)* in key order, at most 64 MiB a file

Entries and not LevelDB's own files, so that a backup can be checked without LevelDB, survives its versions, and holds
what is stored once. The node must be stopped: one process at a time has the database, and a copy of files under a
running one is no backup. Three other validators carry the chain meanwhile; a checkpoint is the copy that needs no stop.

Invariants
  B1  A backup holds no key, token or vote: whoever has it can read the chain and no more. Keys are saved apart.
  B2  Nothing is written over: neither a directory with anything in it, nor a data directory with a chain.
  B3  A restored database was complete, has the hashes that the backup names, passes the checks of a start, and appears
      in one rename.
  B4  A restored validator has forgotten its votes above the backup's height, those cast before it was made included,
      and says so: it signs nothing until that is safe (attack C16; `consensus_driver`, D4), unless the operator
      declares that the key has signed nothing there.

Left out: schedules, encryption and transport of backups: tools of the house do that better.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.core.errors import Conflict, Malformed, NotFound
from common.core.genesis import Genesis
from common.core.suite import parse_hex
from common.node.startup import DATABASE_DIRECTORY
from common.node.store import disk, schema
from common.node.store.chain_store import ChainStore
from common.node.store.exclusive import exclusive
from common.node.store.migration import migrate
from common.node.store.storage import LevelDBStore
from common.node.upkeep.checkpoint_import import Progress
from common.node.upkeep.join_process import check_empty, put_in_place

FORMAT: Final = "tongjian/backup/v1"
MANIFEST: Final = "backup.json"
FILE_BYTES: Final = 64 * 1024 * 1024
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
RESTORING_DIRECTORY: Final = "restoring"
_BATCH_BYTES: Final = 1024 * 1024
_LENGTH: Final = struct.Struct(">I")
_TAG: Final = "tongjian/backup-file/v1"
_LEFT_OUT: Final = frozenset({schema.VOTE_LOG, schema.REJOINED})


@dataclass(frozen=True, slots=True)
class BackupInfo:
    """What a backup says of itself."""

    network: str
    genesis_id: bytes
    height: int
    block_id: bytes
    files: tuple[tuple[int, bytes], ...]
    """Bytes and hash of each file, in order."""

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(size for size, _ in self.files)


def back_up(data_dir: Path, genesis: Genesis, target: Path) -> Iterator[Progress]:
    """Write a backup of a stopped node into `target`, which must be absent or empty.

    Raises Conflict('backup_exists', 'backup_inside'), StoreInUse while the node runs, DamagedStore if its data fail the
    checks of a start, OSError.
    """
    source = data_dir / DATABASE_DIRECTORY
    if not source.is_dir():
        raise NotFound("backup_nothing", f"there is no database in {source}")
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise Conflict("backup_inside", f"{target} is inside the data directory: what loses one loses the other")
    if target.exists() and any(target.iterdir()):
        raise Conflict("backup_exists", f"{target} is not empty; a backup is never written over")
    store = LevelDBStore(source)
    try:
        chain = ChainStore(store, genesis)
        chain.check_consistency()
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        files: list[tuple[int, bytes]] = []
        for data in _files(store):
            path = target / f"{len(files):06d}"
            disk.create_file(path, data, 0o600, "backup")
            files.append((len(data), genesis.suite.tagged_hash(_TAG, data)))
            yield Progress("files written", len(files), 0)
        tip = chain.tip()
        info = BackupInfo(genesis.network, genesis.id, tip.height, tip.block_id, tuple(files))
        disk.create_file(target / MANIFEST, json.dumps(_document(info), indent=1).encode(), 0o600, "backup")
    finally:
        store.close()


def read_backup(source: Path, genesis: Genesis) -> BackupInfo:
    """What is in a backup of this chain. Raises NotFound('backup_nothing') or Malformed('backup_invalid')."""
    try:
        data = (source / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise NotFound("backup_nothing", f"{source} holds no complete backup: {MANIFEST} is missing") from None
    try:
        document: Any = json.loads(data[:MAX_MANIFEST_BYTES])
        info = BackupInfo(
            network=str(document["network"]),
            genesis_id=parse_hex(document["genesis_id"], "genesis_id"),
            height=int(document["height"]),
            block_id=parse_hex(document["block_id"], "block_id"),
            files=tuple([(int(item["bytes"]), parse_hex(item["hash"], "hash")) for item in document["files"]]),
        )
        known = document["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed("backup_invalid", f"{source / MANIFEST} is not the description of a backup") from error
    if not known or (info.network, info.genesis_id) != (genesis.network, genesis.id):
        raise Malformed("backup_invalid", f"{source} is of another format, or a backup of another chain")
    return info


def restore(data_dir: Path, genesis: Genesis, source: Path, *, may_have_voted: bool = True) -> Iterator[Progress]:
    """Put a backup into a data directory that holds no chain (B2, B3, B4).

    Raises Conflict('join_chain_exists'), Malformed('backup_invalid', 'backup_damaged'), StoreInUse, DamagedStore,
    OSError.
    """
    with exclusive(data_dir):
        yield from _restore(data_dir, genesis, source, may_have_voted)


def _restore(data_dir: Path, genesis: Genesis, source: Path, may_have_voted: bool) -> Iterator[Progress]:
    info = read_backup(source, genesis)
    target, staging = data_dir / DATABASE_DIRECTORY, data_dir / RESTORING_DIRECTORY
    check_empty(target)
    disk.remove_tree(staging, "staging.remove")  # what an interrupted restore has left
    store = LevelDBStore(staging)
    try:
        for number, (size, digest) in enumerate(info.files):
            data = _read_file(source / f"{number:06d}", size)
            if genesis.suite.tagged_hash(_TAG, data) != digest:
                raise Malformed("backup_damaged", f"file {number:06d} of the backup is not what {MANIFEST} says of it")
            _write_entries(store, data, number)
            yield Progress("files restored", number + 1, len(info.files))
        store.write([(schema.REJOINED, b"")] if may_have_voted else [], sync=True)
        migrate(store)
        chain = ChainStore(store, genesis)
        if (chain.tip().height, chain.tip().block_id) != (info.height, info.block_id):
            raise Malformed("backup_damaged", f"the restored chain does not end where {MANIFEST} says")
        chain.check_consistency()
    finally:
        store.close()
    put_in_place(staging, target)


def _files(store: LevelDBStore) -> Iterator[bytes]:
    """Everything but what belongs to this machine's vote log, in pieces."""
    parts: list[bytes] = []
    size = 0
    moment = store.snapshot()
    try:
        for key, value in moment.scan(b""):
            if key in _LEFT_OUT:
                continue
            parts += (_LENGTH.pack(len(key)), key, _LENGTH.pack(len(value)), value)
            size += len(key) + len(value) + 8
            if size >= FILE_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
        if parts:
            yield b"".join(parts)
    finally:
        moment.close()


def _write_entries(store: LevelDBStore, data: bytes, number: int) -> None:
    batch: list[tuple[bytes, bytes | None]] = []
    at = size = 0
    try:
        while at < len(data):
            key_end = at + 4 + _LENGTH.unpack_from(data, at)[0]
            value_end = key_end + 4 + _LENGTH.unpack_from(data, key_end)[0]
            if value_end > len(data):
                break
            batch.append((data[at + 4 : key_end], data[key_end + 4 : value_end]))
            size += value_end - at
            at = value_end
            if size >= _BATCH_BYTES:
                store.write(batch, sync=False)
                batch, size = [], 0
    except struct.error:
        at = -1
    if at != len(data):
        raise Malformed("backup_damaged", f"file {number:06d} of the backup does not hold whole entries")
    store.write(batch, sync=False)


def _read_file(path: Path, size: int) -> bytes:
    """At most one byte more than expected is read. Raises Malformed('backup_damaged')."""
    try:
        with path.open("rb") as file:
            data = file.read(size + 1)
    except FileNotFoundError:
        raise Malformed("backup_damaged", f"{path} is missing") from None
    if len(data) != size:
        raise Malformed("backup_damaged", f"{path} has not {size} bytes")
    return data


def _document(info: BackupInfo) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "network": info.network,
        "genesis_id": info.genesis_id.hex(),
        "height": info.height,
        "block_id": info.block_id.hex(),
        "files": [{"bytes": size, "hash": digest.hex()} for size, digest in info.files],
    }
