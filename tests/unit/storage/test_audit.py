"""`tongjian node check` on a database whose checksums hold and whose content is wrong, entry by entry (attack S2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.node.diagnosis.catalogue import OF_DATA
from common.node.diagnosis.data_findings import CODE_OF_PREFIX, MAX_FINDINGS_A_CODE, DataReport
from common.node.store import schema
from common.node.store.chain_prune import prune
from common.node.store.pages import zstd
from common.node.store.storage import KeyValueStore, MemoryStore
from common.node.upkeep.audit import audit
from common.node.upkeep.chain_rebuild import no_progress
from tests.support.executed_chain import ExecutedChain

HEIGHTS = 9
PRUNED_BELOW = 5


def copy_of(store: KeyValueStore) -> MemoryStore:
    """The same entries in another store."""
    copy = MemoryStore()
    copy.write(list(store.scan(b"")), sync=True)
    return copy


@pytest.fixture(scope="module")
def whole() -> ExecutedChain:
    """A chain from genesis on."""
    executed = ExecutedChain(MemoryStore())
    executed.grow(HEIGHTS)
    return executed


@pytest.fixture(scope="module")
def pruned() -> ExecutedChain:
    """A chain that has given up its first blocks."""
    executed = ExecutedChain(MemoryStore())
    executed.grow(HEIGHTS)
    prune(executed.chain, PRUNED_BELOW)
    return executed


def look(executed: ExecutedChain, store: KeyValueStore) -> DataReport:
    """What the audit says."""
    report = DataReport()
    audit(store.snapshot(), executed.genesis, executed.application, MemoryStore(), report, no_progress)
    assert all(finding.remedy and finding.what for finding in report.findings)
    return report


def entries(store: KeyValueStore, prefix: bytes) -> list[tuple[bytes, bytes]]:
    """All entries of one kind."""
    return list(store.scan(prefix))


Damage = Callable[[KeyValueStore, bytes], list[tuple[bytes, bytes | None]]]


def removed(store: KeyValueStore, prefix: bytes) -> list[tuple[bytes, bytes | None]]:
    """One entry is gone."""
    found = entries(store, prefix)
    return [(found[len(found) // 2][0], None)]


def flipped(store: KeyValueStore, prefix: bytes) -> list[tuple[bytes, bytes | None]]:
    """The last bit of one value is another."""
    found = entries(store, prefix)
    key, value = found[len(found) // 2]
    return [(key, value[:-1] + bytes((value[-1] ^ 1,)))]


def exchanged(store: KeyValueStore, prefix: bytes) -> list[tuple[bytes, bytes | None]]:
    """Two entries have each other's values: each is well formed by itself."""
    found = entries(store, prefix)
    key, value = found[0]
    other, different = next((pair for pair in reversed(found) if pair[1] != value), (b"", b""))
    return [(key, different), (other, value)] if other else flipped(store, prefix)


def added(store: KeyValueStore, prefix: bytes) -> list[tuple[bytes, bytes | None]]:
    """A well-formed entry too many."""
    key, value = entries(store, prefix)[-1]
    return [(key[:-1] + bytes((key[-1] ^ 1,)), value)] if prefix != schema.VALIDATORS else [(key[:-1] + b"\x05", value)]


def shortened(store: KeyValueStore, prefix: bytes) -> list[tuple[bytes, bytes | None]]:
    """A value of one byte."""
    return [(entries(store, prefix)[0][0], b"\x01")]


KINDS = [kind for kind in CODE_OF_PREFIX if kind != b"!"]
DAMAGES: list[Damage] = [removed, flipped, exchanged, added, shortened]


def test_a_sound_chain_is_sound(whole: ExecutedChain, pruned: ExecutedChain) -> None:
    report = look(whole, copy_of(whole.store))
    assert (report.findings, report.not_checked, report.height) == ([], [], HEIGHTS)
    assert report.checked["entries"] == len(entries(whole.store, b"")) - len(entries(whole.store, b"!"))
    report = look(pruned, copy_of(pruned.store))
    assert report.findings == []
    assert len(report.not_checked) == 1
    assert report.checked["past_states"] == HEIGHTS - PRUNED_BELOW


def test_the_chain_has_entries_of_every_kind(whole: ExecutedChain) -> None:
    assert [kind for kind in KINDS if not entries(whole.store, kind)] == []


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_s2_every_kind_of_entry_damaged_is_found_under_its_code(
    whole: ExecutedChain, kind: bytes, damage: Damage
) -> None:
    store = copy_of(whole.store)
    store.write(damage(store, kind), sync=True)
    report = look(whole, store)
    assert CODE_OF_PREFIX[kind] in report.counts, dict(report.counts)
    keys = [finding.key for finding in report.findings if finding.code == CODE_OF_PREFIX[kind]]
    assert any(key is not None and key.startswith(kind) for key in keys)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != schema.INDEX])
def test_s2_damage_to_a_pruned_chain_is_found_without_executing(
    pruned: ExecutedChain, kind: bytes, damage: Damage
) -> None:
    """But for business indexes and the versions of revisions that are not kept, as the report says."""
    store = copy_of(pruned.store)
    store.write(damage(store, kind), sync=True)
    report = look(pruned, store)
    concerned = {key for key, _ in damage(pruned.store, kind)}
    if kind == schema.OBJECTS and all(schema.read_object_revision(key)[0] < PRUNED_BELOW for key in concerned):
        assert "object versions below height" in report.not_checked[0]
    else:
        assert report.counts, (kind, damage)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (schema.TIP, None),
        (schema.TIP, b"x"),
        (schema.VERSION, None),
        (schema.PRUNED, b"x"),
        (schema.PRUNED, schema.u64(10**9)),
        (b"!later", b"x"),
        (b"Z", b"x"),
    ],
)
def test_s2_records_and_unknown_entries_are_found(whole: ExecutedChain, key: bytes, value: bytes | None) -> None:
    store = copy_of(whole.store)
    store.write([(key, value)], sync=True)
    assert look(whole, store).counts.keys() & {"tip_wrong", "entry_unknown"}


def test_another_chain_is_told_from_damage(whole: ExecutedChain) -> None:
    for key, value in ((schema.GENESIS, bytes(32)), (schema.VERSION, b"\0\0\0\7")):
        store = copy_of(whole.store)
        store.write([(key, value)], sync=True)
        assert list(look(whole, store).counts) == ["database_wrong"]


def test_s2_a_tip_set_back_shows_what_stands_above_it(whole: ExecutedChain) -> None:
    store = copy_of(whole.store)
    header = whole.chain.header(HEIGHTS - 1)
    tip = schema.tip_value(header.height, whole.chain.block_id(header.height), header.time_ms, header.state_root)
    store.write([(schema.TIP, tip)], sync=True)
    assert {"header_wrong", "transactions_wrong", "state_wrong"} <= look(whole, store).counts.keys()


def test_s2_a_block_of_another_history_is_found_at_its_height(whole: ExecutedChain) -> None:
    """Header, certificate and content fit each other, but not the chain."""
    other = ExecutedChain(MemoryStore(), whole.genesis)
    other.commit([])
    other.grow(HEIGHTS - 1)
    store = copy_of(whole.store)
    kinds = (schema.HEADERS, schema.CERTIFICATES, schema.ENVELOPES, schema.RECEIPTS, schema.SNAPSHOTS)
    place = schema.u64(4)
    store.write([(key, None) for kind in kinds for key, _ in entries(store, kind + place)], sync=True)
    store.write([pair for kind in kinds for pair in entries(other.store, kind + place)], sync=True)
    report = look(whole, store)
    assert schema.header(4) in [finding.key for finding in report.findings if finding.code == "header_wrong"]


def test_a_page_that_another_zstd_has_compressed_is_the_same_page(whole: ExecutedChain) -> None:
    store = copy_of(whole.store)
    for kind in (schema.ENVELOPES, schema.RECEIPTS, schema.SNAPSHOTS):
        key, page = entries(store, kind)[0]
        again = zstd.compress(zstd.decompress(page), 19)
        assert again != page
        store.write([(key, again)], sync=True)
    assert look(whole, store).findings == []


def test_s2_receipts_that_outlive_their_blocks_are_checked() -> None:
    executed = ExecutedChain(MemoryStore())
    executed.grow(HEIGHTS)
    prune(executed.chain, PRUNED_BELOW, keep_receipts=True)
    assert look(executed, copy_of(executed.store)).findings == []
    store = copy_of(executed.store)
    store.write([(schema.receipt(2, 0), store.get(schema.receipt(3, 0)))], sync=True)
    assert look(executed, store).counts == {"receipts_wrong": 1}


def test_long_lists_are_cut_and_counted(whole: ExecutedChain) -> None:
    store = copy_of(whole.store)
    store.write([(key, None) for key, _ in entries(store, schema.NONCES)], sync=True)
    report = look(whole, store)
    assert report.counts["nonce_wrong"] == 4 * HEIGHTS
    assert len(report.findings) == MAX_FINDINGS_A_CODE


def test_every_code_has_a_meaning_and_a_remedy() -> None:
    assert set(CODE_OF_PREFIX.values()) <= set(OF_DATA)
    assert all(kind.severity == "fault" for kind in OF_DATA.values())
