"""Damage to every kind of file on disk: cut, flipped, zeroed, deleted. Refused, or harmless; never served altered."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from common.core.certificate import Certificate
from common.core.errors import InvariantBroken
from common.node.store import schema
from common.node.store.chain_store import ChainStore
from common.node.store.storage import LevelDBStore, MemoryStore
from common.node.store.store_errors import DamagedStore, VotingUnsafe
from common.node.store.vote_frames import LogMark
from common.node.store.vote_log import VoteLog
from tests.support.stored_chain import TwinChain

HEIGHTS = 12
KEYS = [b"holding/P1/A%d" % number for number in range(300)]


@dataclass
class Original:
    """An undamaged node directory and what it must answer."""

    path: Path
    twin: TwinChain
    answers: list[object]
    mark: bytes


def all_answers(chain: ChainStore) -> list[object]:
    """Everything a client could read, every stored entry included."""
    answers: list[object] = [chain.tip()]
    for height in range(1, chain.tip().height + 1):
        answers.append((chain.block(height), chain.certificate(height), chain.receipts(height)))
        answers.append((chain.snapshots(height), chain.state_scan(b"", None, 1000, height=height)))
    answers.append(chain.state_scan(b"", None, 1000))
    answers.append(chain.index_scan(b"", None, 1000))
    answers.append([chain.state_proof(key) for key in KEYS[::10]])
    answers.append(list(chain.store.scan(b"")))
    return answers


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """Some blocks in tables, some in LevelDB's log; a vote log whose tip is the chain's."""
    path = tmp_path_factory.mktemp("damage") / "data"
    source = random.Random(1)
    store = LevelDBStore(path / "chain")
    twin = TwinChain.start(store, dict.fromkeys(KEYS, b"genesis"))
    log = VoteLog.open(path / "votes", twin.genesis.id)
    twin.chain.check_consistency(log)
    for height in range(1, HEIGHTS + 1):
        log.append([b"vote for %d" % height])
        log.sync()
        twin.commit({source.choice(KEYS): b"%d" % height for _ in range(20)}, transactions=3)
        log.compact(height, twin.chain.tip().block_id)
        if height == HEIGHTS // 2:
            store.compact()
    log.append([b"vote for the open height"])
    log.sync()
    answers, mark = all_answers(twin.chain), twin.chain.vote_log_mark() or b""
    log.close()
    store.close()
    return Original(path, twin, answers, mark)


def start_node(path: Path, original: Original) -> Iterator[ChainStore]:
    """What a node does when it starts; closes everything afterwards."""
    store = LevelDBStore(path / "chain")
    try:
        chain = ChainStore(store, original.twin.genesis)
        if not chain.initialised:
            raise InvariantBroken("the store opened as an empty one")
        log = VoteLog.open(path / "votes", chain.genesis.id, chain.vote_log_mark())
        try:
            chain.check_consistency(log)
            yield chain
        finally:
            log.close()
    finally:
        store.close()


def verdict(path: Path, original: Original) -> str:
    """'refused', or 'same' if everything is served as it was. Anything else fails the test."""
    try:
        for chain in start_node(path, original):
            assert all_answers(chain) == original.answers, "altered data was served"
    except DamagedStore as error:
        return "refused" if error.remedy else "refused without a remedy"
    return "same"


def damaged_copy(original: Original, tmp_path: Path, name: str, damage: Callable[[Path], None]) -> Path:
    """A copy of the node directory with one file damaged."""
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(original.path, copy)
    damage(copy / name)
    return copy


def files_of(original: Original, kind: str) -> list[str]:
    """Files of one kind, relative to the node directory."""
    patterns = {
        "current": "chain/CURRENT",
        "manifest": "chain/MANIFEST-*",
        "table": "chain/*.ldb",
        "log": "chain/*.log",
        "votes": "votes/votes.log",
    }
    found = [str(path.relative_to(original.path)) for path in original.path.glob(patterns[kind])]
    assert found, kind
    return [name for name in found if (original.path / name).stat().st_size]


KINDS = ["current", "manifest", "table", "log", "votes"]


def test_undamaged_copy_is_served(original: Original, tmp_path: Path) -> None:
    copy = damaged_copy(original, tmp_path, "chain/CURRENT", lambda path: None)
    assert verdict(copy, original) == "same"
    assert {kind: len(files_of(original, kind)) >= 1 for kind in KINDS} == dict.fromkeys(KINDS, True)


@pytest.mark.parametrize("kind", KINDS)
def test_s2_deleted_file_is_refused(original: Original, tmp_path: Path, kind: str) -> None:
    for name in files_of(original, kind):
        copy = damaged_copy(original, tmp_path, name, Path.unlink)
        assert verdict(copy, original) == "refused", name


@pytest.mark.parametrize("kind", KINDS)
def test_s2_file_cut_anywhere_is_refused_or_harmless(original: Original, tmp_path: Path, kind: str) -> None:
    """Nothing may go back unnoticed: a shorter database log is found out by the vote log, and the other way round.

    Behind the point that the database knows of, a cut vote log looks like one torn by a power cut (see ADR 0016).
    """
    source = random.Random(2)
    known = LogMark.decode(original.mark).position
    for name in files_of(original, kind):
        size = (original.path / name).stat().st_size
        for length in {0, 1, size // 2, size - 1, *(source.randrange(size) for _ in range(6))}:
            content = (original.path / name).read_bytes()[:length]
            copy = damaged_copy(original, tmp_path, name, lambda path, content=content: path.write_bytes(content))
            expected = "same" if kind == "votes" and length >= known else "refused"
            assert verdict(copy, original) == expected, (name, length)


@pytest.mark.parametrize("kind", KINDS)
def test_s2_flipped_bit_is_refused_or_harmless(original: Original, tmp_path: Path, kind: str) -> None:
    """Harmless: bits that nothing reads, such as padding, or names of old files in the manifest."""
    source = random.Random(3)
    refused = 0
    for name in files_of(original, kind):
        content = (original.path / name).read_bytes()
        positions = [0, len(content) - 1, *(source.randrange(len(content)) for _ in range(18))]
        for position in positions:
            changed = bytearray(content)
            changed[position] ^= 1 << source.randrange(8)
            copy = damaged_copy(original, tmp_path, name, lambda path, changed=changed: path.write_bytes(changed))
            refused += verdict(copy, original) == "refused"
    assert refused >= 10


@pytest.mark.parametrize("kind", KINDS)
def test_s2_zeroed_or_foreign_file_is_refused(original: Original, tmp_path: Path, kind: str) -> None:
    for name in files_of(original, kind):
        size = (original.path / name).stat().st_size
        for content in (bytes(size), b"\xff" * size, random.Random(4).randbytes(size)):
            copy = damaged_copy(original, tmp_path, name, lambda path, content=content: path.write_bytes(content))
            assert verdict(copy, original) == "refused", name


def test_s2_directory_without_current_is_never_made_into_an_empty_database(original: Original, tmp_path: Path) -> None:
    copy = damaged_copy(original, tmp_path, "chain/CURRENT", Path.unlink)
    before = sorted(path.name for path in (copy / "chain").iterdir())
    with pytest.raises(DamagedStore, match="CURRENT"):
        LevelDBStore(copy / "chain")
    assert sorted(path.name for path in (copy / "chain").iterdir()) == before


def test_c16_older_copy_of_either_half_forbids_voting(original: Original, tmp_path: Path) -> None:
    """Database and vote log of different moments, as a restored backup of one of them leaves behind."""
    older = tmp_path / "older"
    shutil.copytree(original.path, older)
    newer = tmp_path / "newer"
    shutil.copytree(original.path, newer)
    store = LevelDBStore(newer / "chain")
    twin = TwinChain(ChainStore(store, original.twin.genesis), original.twin.genesis)
    twin.sets[HEIGHTS] = original.twin.genesis.validators
    log = VoteLog.open(newer / "votes", twin.genesis.id, twin.chain.vote_log_mark())
    twin.chain.check_consistency(log)
    for height in (HEIGHTS + 1, HEIGHTS + 2):
        log.append([b"vote for %d" % height])
        log.sync()
        twin.chain.commit(**twin.next_block({KEYS[0]: b"%d" % height}).arguments())
        log.compact(height, twin.chain.tip().block_id)
    log.append([b"vote for the open height"])
    log.sync()
    log.close()
    store.close()
    for database, votes in ((older, newer), (newer, older)):
        mixed = tmp_path / "mixed"
        shutil.rmtree(mixed, ignore_errors=True)
        shutil.copytree(database / "chain", mixed / "chain")
        shutil.copytree(votes / "votes", mixed / "votes")
        with pytest.raises(VotingUnsafe):
            list(start_node(mixed, original))


def memory_chain() -> tuple[MemoryStore, TwinChain]:
    """A small chain in memory, whose entries can be changed under its feet."""
    store = MemoryStore()
    twin = TwinChain.start(store, {KEYS[0]: b"1"})
    for height in range(1, 5):
        twin.commit({KEYS[height]: b"%d" % height}, transactions=3)
    return store, twin


@pytest.mark.parametrize(
    "key",
    [
        schema.TIP,
        schema.header(4),
        schema.header(2),
        schema.certificate(4),
        schema.certificate(1),
        schema.validators(0),
        schema.envelope(4, 0),
        schema.receipt(4, 0),
        schema.snapshot(4, 0),
        schema.tree_node(""),
    ],
)
def test_s2_entry_that_contradicts_the_chain_is_found_at_start(key: bytes) -> None:
    """The checksums hold, but the entry is another one: removed, changed, or another block's."""
    store, twin = memory_chain()
    value = store.get(key)
    assert value is not None
    twin.reopen(store)
    twin.chain.check_consistency()
    for changed in (None, value[:-1], value[:-1] + bytes((value[-1] ^ 1,)), value + b"\0"):
        store.write([(key, changed)], sync=True)
        with pytest.raises(DamagedStore, match="Remedy"):
            reopen_and_check(twin, store, deep=False)
    store.write([(key, value)], sync=True)
    reopen_and_check(twin, store, deep=True)


def reopen_and_check(twin: TwinChain, store: MemoryStore, *, deep: bool) -> None:
    """Start again over `store`."""
    twin.reopen(store)
    twin.chain.check_consistency(deep=deep)


@pytest.mark.parametrize(
    "key",
    [
        schema.state(KEYS[0]),
        schema.state(KEYS[3]),
        schema.envelope(1, 0),
        schema.receipt(2, 0),
        schema.snapshot(3, 0),
        schema.header(1),
        schema.certificate(1),
    ],
)
def test_s2_deep_audit_finds_a_changed_entry_anywhere(key: bytes) -> None:
    store, twin = memory_chain()
    value = store.get(key)
    assert value is not None
    for changed in (None, value[:-1] + bytes((value[-1] ^ 1,))):
        store.write([(key, changed)], sync=True)
        with pytest.raises(DamagedStore, match="Remedy"):
            reopen_and_check(twin, store, deep=True)
    store.write([(key, value)], sync=True)
    reopen_and_check(twin, store, deep=True)


def test_s2_deep_audit_finds_a_node_too_many() -> None:
    store, twin = memory_chain()
    store.write([(schema.tree_node("abc"), b"\0\0")], sync=True)
    with pytest.raises(DamagedStore, match="does not belong"):
        reopen_and_check(twin, store, deep=True)


def test_s2_remains_above_the_tip_are_found() -> None:
    for key in (schema.header(5), schema.envelope(9, 0), schema.snapshot(5, 0)):
        store, twin = memory_chain()
        store.write([(key, b"x")], sync=True)
        with pytest.raises(DamagedStore, match="above the tip"):
            reopen_and_check(twin, store, deep=False)


def test_s2_certificate_by_too_few_or_wrong_signers_is_found() -> None:
    store, twin = memory_chain()
    header = twin.chain.header(4)
    good = twin.chain.certificate(4)
    wrong = twin.certificate(header, (4, 3, 2, 1))
    few = Certificate(good.height, good.view, good.block_id, good.signatures[:2])
    for certificate in (few, wrong):
        store.write([(schema.certificate(4), certificate.encode())], sync=True)
        with pytest.raises(DamagedStore, match="does not hold"):
            reopen_and_check(twin, store, deep=False)


def test_s2_certified_block_of_another_branch_is_found() -> None:
    """Its certificate holds, but it does not follow the block before it: databases of two chains were mixed."""
    store, twin = memory_chain()
    header = replace(twin.chain.header(3), parent_id=bytes(32))
    store.write(
        [(schema.header(3), header.encode()), (schema.certificate(3), twin.certificate(header).encode())], sync=True
    )
    with pytest.raises(DamagedStore, match="does not follow"):
        reopen_and_check(twin, store, deep=False)


def test_s2_tip_of_another_chain_at_height_0_is_found() -> None:
    store = MemoryStore()
    twin = TwinChain.start(store)
    tip = twin.chain.tip()
    store.write([(schema.TIP, schema.tip_value(0, bytes(32), tip.time_ms, tip.state_root))], sync=True)
    with pytest.raises(DamagedStore, match="not genesis"):
        twin.reopen(store)
