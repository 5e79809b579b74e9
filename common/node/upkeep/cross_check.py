"""What an audit can hold against the headers without executing blocks: for chains whose first blocks are not kept.

  state     rebuilt from its values, against the tip's root; every node of the tree
  history   the state at the lowest kept height, then each height after it by what changed there, against every header's
            root: one wrong, missing or superfluous past value gives another root somewhere
  times     of a key's values, past and present: they follow one another
  trees     of the past, as far as they are kept, from every header's root down
  sets      of validators: one wherever the headers say that another begins
  places    of every kept transaction, nonce and object revision; of all others their number and range
  nonces    all of them, chained again in block order, against the leaves in the state (protocol rule 12)

Left out: business indexes, which only execution makes (`audit` executes where it can), and the versions of object
revisions that are not kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from common.core.errors import InvariantBroken, Rejected
from common.core.receipt import receipt_root
from common.core.transaction import parse_envelope
from common.node.diagnosis.data_findings import DataReport
from common.node.logic.execution.used_nonces import NonceBuckets, decode_bucket, leaf_key, nonce_key
from common.node.store import chain_check, schema
from common.node.store.chain_reader import ChainReader
from common.node.store.state_tree import StateTree
from common.node.store.storage import KeyValueStore
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore
from common.node.upkeep.chain_rebuild import PROGRESS_BLOCKS, Progress

_BATCH = 5_000
_HEIGHT_BYTES = 8
"""The beginning of a place."""


def cross_check(reader: ChainReader, report: DataReport, scratch: KeyValueStore, progress: Progress) -> None:
    """Note what is wrong; `scratch` may hold anything: only tree nodes are written, after it is cleared of them."""
    checks: list[Callable[[], None]] = [
        lambda: _check_state(reader, report),
        lambda: _check_sets(reader, report),
        lambda: _check_old_receipts(reader, report),
        lambda: _check_places(reader, report),
        lambda: _check_numbers(reader, report),
        lambda: _check_nonces(reader, report),
        lambda: _check_intervals(reader, report),
        lambda: _check_history(reader, report, scratch, progress),
        lambda: _check_past_trees(reader, report, progress),
    ]
    for check in checks:
        try:
            check()
        except DamagedStore as error:
            report.add_damage(error)


def _check_state(reader: ChainReader, report: DataReport) -> None:
    chain_check.check_state(reader)
    report.checked["state"] = 1


def _check_sets(reader: ChainReader, report: DataReport) -> None:
    """A validator set is stored where the headers say that one begins, and nowhere else."""
    tip = reader.tip().height
    expected = {schema.validators(0)}
    for height in range(1, tip + 1):
        header = reader.header(height)
        if header.next_validators_hash != header.validators_hash:
            expected.add(schema.validators(height + 1))
    for key, _ in reader.view.scan(schema.VALIDATORS):
        if key not in expected:
            report.add_entry("no header says that a set begins here", key)


def _check_old_receipts(reader: ChainReader, report: DataReport) -> None:
    """Receipts that are kept of blocks that are not, against their headers' roots."""
    for height in range(max(1, reader.receipt_floor()), reader.pruning_floor()):
        try:
            root = receipt_root(reader.genesis.suite, reader.all_receipts(height))
        except DamagedStore as error:
            report.add_damage(error)
            continue
        if root != reader.header(height).receipt_root:
            report.add_entry(f"the receipts of block {height} do not match its header", schema.receipts(height))


def _check_places(reader: ChainReader, report: DataReport) -> None:
    """The indexes lead from every kept transaction, nonce and object to its place."""
    suite = reader.genesis.suite
    for height in range(max(1, reader.pruning_floor()), reader.tip().height + 1):
        try:
            block, receipts = reader.block(height), reader.all_receipts(height)
            transactions = [parse_envelope(envelope, suite) for envelope in block.envelopes]
        except (DamagedStore, Rejected):
            continue  # noted before, as damage of the block
        for index, tx in enumerate(transactions):
            place = schema.place_value(height, index)
            _expect(reader, report, schema.transaction(tx.id), place)
            _expect(reader, report, schema.used_nonce(tx.signers[0], tx.nonce), place)
        objects = [pair for receipt in receipts for pair in receipt.objects]
        for key, value in schema.revisions_of_block(height, objects):
            _expect(reader, report, key, value)


def _expect(reader: ChainReader, report: DataReport, key: bytes, value: bytes) -> None:
    stored = reader.view.get(key)
    if stored is None:
        report.add_entry("an entry is missing", key)
    elif stored != value:
        report.add_entry("an entry is another than the block makes", key)


def _check_numbers(reader: ChainReader, report: DataReport) -> None:
    """As many places as the headers count, each within its block."""
    headers = [reader.header(height) for height in range(1, reader.tip().height + 1)]
    transactions = sum(header.tx_count for header in headers)
    for kind in (schema.TRANSACTIONS, schema.NONCES):
        count = 0
        for key, value in reader.view.scan(kind):
            count += 1
            height, index = schema.read_place(value) if len(value) == len(schema.place_value(0, 0)) else (0, 0)
            if not (1 <= height <= len(headers) and index < headers[height - 1].tx_count):
                report.add_entry("an entry names a place that there is not", key)
        if count != transactions:
            report.add_entry(f"there are {count} such entries, the headers count {transactions}", kind)
    snapshots = sum(header.snapshot_count for header in headers)
    count = sum(1 for _ in reader.view.scan(schema.OBJECTS))
    if count != snapshots:
        report.add_entry(f"there are {count} such entries, the headers count {snapshots}", schema.OBJECTS)


def _check_nonces(reader: ChainReader, report: DataReport) -> None:
    """Chain all used nonces again in block order (protocol rule 12)."""
    suite = reader.genesis.suite
    ids = {place: key[len(schema.TRANSACTIONS) :] for key, place in reader.view.scan(schema.TRANSACTIONS)}
    used = sorted((place, key[len(schema.NONCES) :]) for key, place in reader.view.scan(schema.NONCES))
    buckets, block = NonceBuckets(suite, None), b""
    for place, key in used:
        if place[:_HEIGHT_BYTES] != block:
            buckets.end_block()
            block = place[:_HEIGHT_BYTES]
        signer, _, nonce = key.decode("utf-8", "replace").partition("\0")
        buckets.add(nonce_key(suite, signer, nonce), ids.get(place, b""))
    buckets.end_block()
    for digit in range(16):
        if _leaf(reader, digit) != buckets.bucket(digit):
            what = f"the used nonces of bucket {digit:x} do not chain to the state's leaf"
            report.add("nonce_wrong", what, schema.NONCES)
    report.checked["nonces"] = len(used)


def _leaf(reader: ChainReader, digit: int) -> tuple[int, bytes]:
    """What the state says of a bucket; (-1, b"") if it is not intelligible, which the state's root tells as well."""
    leaf = reader.state_get(leaf_key(digit))
    try:
        return (0, bytes(32)) if leaf is None else decode_bucket(leaf)
    except (Rejected, InvariantBroken, ValueError):
        return -1, b""


def _check_history(reader: ChainReader, report: DataReport, scratch: KeyValueStore, progress: Progress) -> None:
    """The state of every kept height against its header's root."""
    tip = reader.tip().height
    floor = min(reader.pruning_floor(), tip)  # a chain that has just been joined keeps nothing up to its tip
    scratch.write([(key, None) for key, _ in scratch.scan(schema.TREE)], sync=False)
    tree = StateTree(scratch, reader.genesis.suite)
    start: bytes | None = None
    while entries := reader.state_scan(b"", start, _BATCH, height=floor):
        _advance(tree, scratch, dict(entries))
        start = entries[-1][0]
    if floor > 0 and tree.root != reader.header(floor).state_root:
        what = f"the past values do not give the state of height {floor}"
        report.add("history_wrong", what, schema.HISTORY)
        return
    changed = _changes(reader, floor)
    for height in range(floor + 1, tip + 1):
        keys = changed.get(height)
        if keys:
            _advance(tree, scratch, {key: reader.state_at(key, height) for key in sorted(keys)})
        if tree.root != reader.header(height).state_root:
            what = f"the past values do not give the state of height {height}"
            report.add("history_wrong", what, schema.HISTORY)
            return
        if height % PROGRESS_BLOCKS == 0:
            progress("checking past states", height, tip)
    report.checked["past_states"] = tip - floor


def _check_past_trees(reader: ChainReader, report: DataReport, progress: Progress) -> None:
    """The trees that are kept of the past lead from every header's root to what was there."""
    tip = reader.tip().height

    def told(height: int) -> None:
        if height % PROGRESS_BLOCKS == 0:
            progress("checking past trees", height, tip)

    chain_check.check_trees(reader, told)
    report.checked["past_trees"] = tip - reader.proof_floor()


def _check_intervals(reader: ChainReader, report: DataReport) -> None:
    """The times of a key's values follow one another; the last ends where the present one, or its absence, begins."""
    ends: dict[bytes, int] = {}
    for key, value in reader.view.scan(schema.HISTORY):
        state_key, until = _past(key)
        since = _height(key, value)
        if not ends.get(state_key, 0) <= since < until:
            report.add_entry("a past value holds at a time at which another one does", key)
        ends[state_key] = until
    floor = reader.pruning_floor()
    for key, value in reader.view.scan(schema.STATE):
        if _height(key, value) < ends.get(key[len(schema.STATE) :], 0):
            report.add_entry("a value began before the one that it followed ended", key)
    for key, value in reader.view.scan(schema.DELETED):
        state_key, at = key[len(schema.DELETED) :], _height(key, value)
        if at <= floor or ends.get(state_key) != at or reader.state_entry(state_key) is not None:
            report.add_entry("no value ended at the time that is noted as a value's end", key)


def _advance(tree: StateTree, scratch: KeyValueStore, changes: dict[bytes, bytes | None]) -> None:
    update = tree.apply(changes)
    scratch.write(update.writes, sync=False)
    tree.advance(update)


def _changes(reader: ChainReader, floor: int) -> dict[int, set[bytes]]:
    """Height -> keys whose value changed there, above the floor."""
    changed: dict[int, set[bytes]] = defaultdict(set)
    for height, key in _marks(reader):
        if height > floor:
            changed[height].add(key)
    return changed


def _marks(reader: ChainReader) -> Iterator[tuple[int, bytes]]:
    """(height, key) of everything that says that a value began or ended there."""
    for kind in (schema.STATE, schema.DELETED):
        for key, value in reader.view.scan(kind):
            yield _height(key, value), key[len(kind) :]
    for key, value in reader.view.scan(schema.HISTORY):
        state_key, until = _past(key)
        yield until, state_key
        yield _height(key, value), state_key


def _past(key: bytes) -> tuple[bytes, int]:
    """(state key, until which height) of a past value's key. Raises DamagedStore."""
    until = key[-len(schema.u64(0)) :]
    return key[len(schema.HISTORY) : -len(until) - 1], _height(key, until)


def _height(key: bytes, value: bytes) -> int:
    """The height that a value begins with. Raises DamagedStore."""
    if len(value) < len(schema.u64(0)):
        raise DamagedStore("an entry names no height", key=key, remedy=REMEDY_RESYNC)
    return schema.read_u64(value)
