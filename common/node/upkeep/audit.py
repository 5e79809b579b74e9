"""The whole database against itself: `tongjian node check` (attacks S2, C16).

  1  the records of version, genesis and tip
  2  every header on the one before it, every certificate under the set that the headers commit to, from genesis on
  3  every body, receipt and snapshot against its header's roots
  4  all blocks executed again into a scratch database; then every entry of either is held against the other's: state,
     history, tree, validator sets, used nonces, places, revisions, indexes

Without the first blocks (pruned, or joined from a checkpoint), or when a block is damaged, step 4 is `cross_check`.
What a check finds does not end the audit; only another chain's database does.

Invariants
  A1  Nothing is changed but what opening LevelDB changes.
  A2  Every entry of the database is looked at, or `not_checked` says which are not and why.

Left out: files besides the database (`file_audit`), mending (`repair`).
"""

from __future__ import annotations

from collections.abc import Iterator

from common.chain.application import Application
from common.core.errors import Malformed, Rejected
from common.core.genesis import Genesis
from common.core.header import Header
from common.node.diagnosis.data_findings import CODE_OF_PREFIX, DataReport
from common.node.store import chain_check, schema
from common.node.store.chain_reader import ChainReader
from common.node.store.key_records import Floors, Tip, read_floors, read_tip
from common.node.store.pages import read_page
from common.node.store.storage import KeyValueStore, ReadView
from common.node.store.store_errors import DamagedStore, WrongDatabase
from common.node.upkeep.chain_rebuild import PROGRESS_BLOCKS, Progress, rebuild
from common.node.upkeep.cross_check import cross_check

PAGED = (schema.ENVELOPES, schema.RECEIPTS, schema.SNAPSHOTS, schema.CHANGES)
RECORDS = (schema.VERSION, schema.GENESIS, schema.TIP)
"""Records that follow from the chain; the others of their kind are this node's own."""
KNOWN_RECORDS = frozenset(
    value for value in vars(schema).values() if isinstance(value, bytes) and value.startswith(b"!")
)


def audit(
    view: ReadView,
    genesis: Genesis,
    application: Application,
    scratch: KeyValueStore,
    report: DataReport,
    progress: Progress,
) -> ChainReader | None:
    """Look at everything, and note what is wrong; `scratch` is an empty store for the rebuilt chain.

    Returns a reader of the database, None if it holds no chain. Raises StoreFailed if the scratch store is full.
    """
    reader = open_reader(view, genesis, report)
    if reader is None:
        return None
    report.height = reader.tip().height
    _check_keys(reader, report)
    _check_links(reader, report, progress)
    _check_contents(reader, report, progress)
    if reader.pruning_floor() > 0:
        floor = reader.pruning_floor()
        left_out = f"business indexes, and object versions below height {floor}: earlier blocks are not kept"
    else:
        rebuilt = rebuild(reader, application, scratch, progress)
        if rebuilt.height == reader.tip().height:
            _compare(reader, scratch, report, progress)
            return reader
        if rebuilt.differs is not None:
            report.add("execution_differs", rebuilt.differs)
        left_out = f"business indexes: the blocks hold up to height {rebuilt.height} only"
    report.not_checked.append(left_out)
    cross_check(reader, report, scratch, progress)
    return reader


def open_reader(view: ReadView, genesis: Genesis, report: DataReport) -> ChainReader | None:
    """A reader of what is stored, by the tip record, or by the last header if that record is damaged; or None."""
    floors = Floors()
    try:
        floors = read_floors(view)
        tip = read_tip(view, genesis)
    except WrongDatabase as error:
        report.add("database_wrong", str(error))
        return None
    except DamagedStore as error:
        report.add_damage(error)
        tip = last_block(view, genesis)
    if tip is None:
        report.add("tip_wrong", "the database holds no chain", schema.TIP)
        return None
    highest = max(floors.content, floors.receipts, floors.proofs or 0)
    if highest > tip.height + 1:
        report.add("tip_wrong", f"what is below {highest} is said to be pruned, the tip is {tip.height}", schema.PRUNED)
        floors = Floors()
    return ChainReader(view, genesis, tip, floors)


def last_block(view: ReadView, genesis: Genesis) -> Tip | None:
    """The highest header that can be read, as the tip; None if there is none, or the chain is another's."""
    try:
        for _, value in view.scan(schema.HEADERS, reverse=True):
            header = Header.decode(value)
            if header.genesis_id != genesis.id:
                return None
            return Tip(header.height, header, header.id(genesis.suite), None, header.time_ms, header.state_root)
    except (DamagedStore, Rejected):
        return None
    return None


def _check_keys(reader: ChainReader, report: DataReport) -> None:
    """No entry of a kind that is not written, none above the tip."""
    for first in range(256):
        prefix = bytes((first,))
        if prefix not in CODE_OF_PREFIX:
            for key, _ in _guarded(reader.view.scan(prefix), report):
                report.add("entry_unknown", "an entry is of no known kind", key)
    for key, _ in _guarded(reader.view.scan(b"!"), report):
        if key not in KNOWN_RECORDS:
            report.add("entry_unknown", "a record has no known name", key)
    above = schema.u64(reader.tip().height + 1)
    for kind in schema.BY_HEIGHT:
        for key, _ in _guarded(reader.view.scan(kind, kind + above), report):
            report.add_entry("an entry is stored above the tip", key)


def _guarded(entries: Iterator[tuple[bytes, bytes]], report: DataReport) -> Iterator[tuple[bytes, bytes]]:
    """The entries up to the first one that cannot be read, which is noted."""
    try:
        yield from entries
    except DamagedStore as error:
        report.add_damage(error, "database_unreadable")


def _check_links(reader: ChainReader, report: DataReport, progress: Progress) -> None:
    """Step 2."""
    tip = reader.tip()
    parent: bytes | None = reader.genesis.id
    for height in range(1, tip.height + 1):
        try:
            parent = chain_check.check_link(reader, height, parent or reader.header(height).parent_id)
        except DamagedStore as error:
            report.add_damage(_attributed(reader, height, error))
            parent = _named_by_successor(reader, height)
        if height % PROGRESS_BLOCKS == 0:
            progress("checking headers and certificates", height, tip.height)
    if parent not in (None, tip.block_id):
        report.add("tip_wrong", "the tip names another block than the newest certificate", schema.TIP)
    report.checked["headers_and_certificates"] = tip.height


def _named_by_successor(reader: ChainReader, height: int) -> bytes | None:
    """The id of a block as the next header, or the tip, names it."""
    try:
        return reader.block_id(height)
    except DamagedStore:
        return None


def _attributed(reader: ChainReader, height: int, error: DamagedStore) -> DamagedStore:
    """A certificate that does not fit its header: if the next header names the certificate's block, the header is
    wrong.
    """
    if error.key != schema.certificate(height):
        return error
    try:
        named = reader.certificate(height).block_id
        header_id = reader.header(height).id(reader.genesis.suite)
    except DamagedStore:
        return error
    if header_id != named == _named_by_successor(reader, height):
        what = f"header {height} is not the one that its certificate and its successor name"
        return DamagedStore(what, key=schema.header(height), remedy=error.remedy)
    return error


def _check_contents(reader: ChainReader, report: DataReport, progress: Progress) -> None:
    """Step 3, for the blocks that are kept."""
    tip, lowest = reader.tip().height, max(1, reader.pruning_floor())
    for height in range(lowest, tip + 1):
        try:
            chain_check.check_content(reader, height)
        except DamagedStore as error:
            report.add_damage(error)
        if height % PROGRESS_BLOCKS == 0:
            progress("checking transactions, receipts and snapshots", height, tip)
    report.checked["blocks"] = tip - lowest + 1


def _compare(reader: ChainReader, scratch: ReadView, report: DataReport, progress: Progress) -> None:
    """Step 4: every entry of each kind, in both databases; they must be the same."""
    view = reader.view
    kinds = [kind for kind in CODE_OF_PREFIX if kind != b"!"]
    entries = 0
    for done, kind in enumerate(kinds):
        progress("comparing entries", done, len(kinds))
        try:
            for key, stored, expected in _side_by_side(view.scan(kind), scratch.scan(kind)):
                entries += 1
                if kind == schema.PAST_TREE and schema.read_past_node(key)[1] <= reader.proof_floor():
                    continue  # of a height whose tree is not kept
                if stored == expected or (kind in PAGED and _same_items(stored, expected)):
                    continue
                if stored is None:
                    report.add_entry("an entry is missing", key)
                elif expected is None:
                    report.add_entry("an entry does not belong there", key)
                else:
                    report.add_entry("an entry is another than the blocks make", key)
        except DamagedStore as error:
            report.add_damage(error, "database_unreadable")
            report.not_checked.append(f"entries after {error.key!r} of their kind: they cannot be read")
    for key in RECORDS:
        if view.get(key) != scratch.get(key):
            report.add("tip_wrong", "a record is another than the blocks make", key)
    report.checked["entries"] = entries


def _same_items(stored: bytes | None, expected: bytes | None) -> bool:
    """Whether two pages hold the same: another version of zstd may compress them otherwise."""
    try:
        return stored is not None and expected is not None and read_page(stored) == read_page(expected)
    except Malformed:
        return False


def _side_by_side(
    left: Iterator[tuple[bytes, bytes]], right: Iterator[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """(key, value left, value right) of all keys in two ascending sequences; None where a side lacks the key."""
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            if one is not None:
                yield one[0], one[1], None
                one = next(left, None)
        elif one is None or other[0] < one[0]:
            yield other[0], None, other[1]
            other = next(right, None)
        else:
            yield one[0], one[1], other[1]
            one, other = next(left, None), next(right, None)
