"""Mends a stopped node's data directory: `tongjian node repair` (attacks S2, C16).

The blocks that hold are executed again into a new database. The node fetches the others from its peers: from the first
one that does not hold, or all if nothing can be read. It verifies them as any that it catches up with. A vote log that
is whole stays; one that is lost, damaged or set back is replaced by one that keeps silent (`vote_log`, L5).

Invariants
  R1  Nothing is deleted: what is replaced stays in the data directory under its name, `.before-repair-`, and the time.
  R2  The new database is complete and durable before it takes the old one's place. Whenever the process ends, the next
      start finds the old one, the new one, or none; in the last case it begins anew, and the vote log keeps it from
      voting on what it has forgotten.
  R3  The repaired node signs nothing that it may have signed before: with its own vote log by that, else by keeping
      silent up to `SILENT_HEIGHTS` above the highest block that anything in the directory shows. A node that has not
      voted yet since it was restored or joined goes on waiting until it is level (`consensus_driver`, D4).
  R4  A certified block that executes to something else is not damage: then nothing is replaced.

Left out: fetching (`sync`); what is wrong (`audit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from common.chain.application import Application
from common.core.errors import Conflict, RuleBroken
from common.core.genesis import Genesis
from common.node.diagnosis.data_findings import DataReport
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.startup import DATABASE_DIRECTORY, VOTES_DIRECTORY
from common.node.store import disk, schema
from common.node.store.chain_reader import ChainReader
from common.node.store.chain_store import ChainStore
from common.node.store.exclusive import exclusive
from common.node.store.storage import LevelDBStore, settle
from common.node.store.store_errors import DamagedStore, WrongDatabase
from common.node.store.vote_frames import Scan, read_file, readable_height
from common.node.store.vote_log import VoteLog
from common.node.upkeep.audit import open_reader
from common.node.upkeep.chain_rebuild import Progress, Rebuilt, rebuild
from common.node.upkeep.file_audit import check_vote_log, read_vote_log

SILENT_HEIGHTS: Final = 16
"""A node signs at most two heights above what its database holds; the rest is for one that has lost its end."""
NEW_DATABASE: Final = "chain.new"


@dataclass(slots=True)
class Repaired:
    """What was done."""

    height: int = 0
    """Up to here the new database holds the chain; the rest comes from the peers."""
    stored_height: int | None = None
    """Where the old database ended; None if it could not be read."""
    stopped_by: str | None = None
    """Why not every block of the old database was taken."""
    silent_through: int | None = None
    """Nothing is signed up to this height; None if the vote log stays."""
    kept: list[str] = field(default_factory=list)
    """What was moved aside."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "height": self.height,
            "stored_height": self.stored_height,
            "stopped_by": self.stopped_by,
            "silent_through": self.silent_through,
            "kept": self.kept,
        }


class Repair:
    """One repair of one data directory; `stamp` is the time as text, for the names of what is moved aside."""

    def __init__(
        self, data_dir: Path, genesis: Genesis, application: Application, stamp: str, progress: Progress
    ) -> None:
        self._data_dir = data_dir
        self._genesis = genesis
        self._application = application
        self._stamp = stamp
        self._progress = progress
        self._done = Repaired()

    def run(self, *, from_peers: bool = False, silent_through: int | None = None) -> Repaired:
        """Mend. With `from_peers` no block of the old database is used; `silent_through` keeps silent for longer.

        Raises StoreInUse while the node runs, WrongDatabase, StoreFailed if the disk refuses, RuleBroken with the codes
        repair_execution_differs (R4), repair_blocks_pruned and repair_height_unknown.
        """
        with exclusive(self._data_dir):
            return self._run(from_peers, silent_through)

    def _run(self, from_peers: bool, silent_through: int | None) -> Repaired:
        self._aside(self._data_dir / NEW_DATABASE)
        old = self._open_old()
        try:
            reader = None if old is None else self._read(old)
            kept = {schema.REJOINED: b""} if reader is None else self._kept_marks(reader)
            silent = self._silence(reader, silent_through)
            if silent is not None:
                kept.pop(schema.VOTE_LOG, None)
            self._build(None if from_peers else reader, kept)
        finally:
            if old is not None:
                old.close()
        settle(self._data_dir / NEW_DATABASE)
        if silent is not None:
            self._replace_votes(silent)
        self._aside(self._data_dir / DATABASE_DIRECTORY)
        disk.rename(self._data_dir / NEW_DATABASE, self._data_dir / DATABASE_DIRECTORY, "repair.rename")
        disk.sync_directory(self._data_dir, "repair.directory_sync")
        return self._done

    def _open_old(self) -> LevelDBStore | None:
        path = self._data_dir / DATABASE_DIRECTORY
        if not path.exists():
            return None
        try:
            return LevelDBStore(path)
        except DamagedStore as error:
            self._done.stopped_by = error.what
            return None

    def _read(self, old: LevelDBStore) -> ChainReader | None:
        """Raises WrongDatabase: what is another chain's is not this command's to move."""
        report = DataReport()
        reader = open_reader(old, self._genesis, report)
        if "database_wrong" in report.counts:
            raise WrongDatabase(report.findings[0].what)
        return reader

    def _kept_marks(self, reader: ChainReader) -> dict[bytes, bytes | None]:
        """What the old database says about votes, which no block can tell again: its point of the vote log, and that
        earlier votes of the key are not known here (R3). What cannot be read of the latter is taken to be so, be it a
        value or the whole database.
        """
        self._done.stored_height = reader.tip().height
        kept: dict[bytes, bytes | None] = {}
        for key in (schema.VOTE_LOG, schema.REJOINED):
            try:
                value = reader.view.get(key)
            except DamagedStore:
                value = b"" if key == schema.REJOINED else None
            if value is not None:
                kept[key] = value
        return kept

    def _silence(self, reader: ChainReader | None, wanted: int | None) -> int | None:
        """Up to which height a new vote log must keep silent; None if the old one stays (R3)."""
        data = read_vote_log(self._data_dir)
        if reader is None:
            # What the log itself shows is enough: its tip tells what the new database still lacks.
            scan = None if data is None else _whole(data, self._genesis)
        else:
            scan = check_vote_log(data, reader, DataReport())
        if scan is not None and wanted is None:
            return None
        known = [0 if data is None else readable_height(data), 0 if reader is None else reader.tip().height]
        if wanted is None and not any(known):
            raise RuleBroken(
                "repair_height_unknown",
                "neither the database nor the vote log tells up to which height this validator may have voted: give "
                "--silent-through with a height well above the chain's present one, or have the validator set name a "
                "new key for this node",
            )
        return max(max(known) + SILENT_HEIGHTS, wanted or 0)

    def _build(self, reader: ChainReader | None, kept: Mapping[bytes, bytes | None]) -> None:
        """The new database, complete and closed (R2)."""
        store = LevelDBStore(self._data_dir / NEW_DATABASE)
        try:
            if reader is None:
                chain = ChainStore(store, self._genesis)
                initialise_chain(chain, self._genesis, self._application)
            else:
                chain = self._taken(reader, rebuild(reader, self._application, store, self._progress))
            store.write(list(kept.items()), sync=True)
            chain.check_consistency()
            self._done.height = chain.tip().height
        finally:
            store.close()

    def _taken(self, reader: ChainReader, rebuilt: Rebuilt) -> ChainStore:
        if rebuilt.differs is not None:
            raise RuleBroken(
                "repair_execution_differs",
                f"a certified block executes to something else than its header says ({rebuilt.differs}): nothing was "
                "replaced; run the program version that the other validators run",
            )
        if rebuilt.damage is not None:
            self._done.stopped_by = rebuilt.damage.what
        if reader.pruning_floor() > 1 and rebuilt.height == 0:
            raise RuleBroken(
                "repair_blocks_pruned",
                f"blocks below {reader.pruning_floor()} are pruned here, so nothing can be executed again: use "
                "--from-peers if the peers keep all blocks, or join from a checkpoint",
            )
        return rebuilt.chain

    def _replace_votes(self, silent_through: int) -> None:
        """A log that keeps silent takes the place of what is there; the new database has no mark of it yet."""
        self._aside(self._data_dir / VOTES_DIRECTORY)
        VoteLog.create_silent(self._data_dir / VOTES_DIRECTORY, self._genesis.id, silent_through).close()
        self._done.silent_through = silent_through

    def _aside(self, path: Path) -> None:
        """Move something aside, if it is there (R1)."""
        if not path.exists():
            return
        target = path.with_name(f"{path.name}.before-repair-{self._stamp}")
        if target.exists():
            raise Conflict("repair_name_taken", f"{target} exists already; wait a second and repair again")
        disk.rename(path, target, "repair.rename")
        disk.sync_directory(self._data_dir, "repair.directory_sync")
        self._done.kept.append(str(target))


def _whole(data: bytes, genesis: Genesis) -> Scan | None:
    """What a vote log holds, without a database to hold it against; None if it is damaged or another chain's."""
    try:
        return read_file(data, genesis.id, None)
    except DamagedStore:
        return None
