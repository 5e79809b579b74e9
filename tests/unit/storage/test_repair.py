"""`tongjian node repair`: what is rebuilt, what is kept, and who may vote afterwards (attacks C16, S1, S2)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common.chain.application import Outcome
from common.node.diagnosis.data_findings import DataReport
from common.node.startup import Opened, open_data
from common.node.store import fault_points, schema
from common.node.store.chain_prune import prune
from common.node.store.chain_store import ChainStore
from common.node.store.storage import LevelDBStore, MemoryStore
from common.node.store.store_errors import DamagedStore, StoreInUse, WrongDatabase
from common.node.store.vote_log import VoteLog
from common.node.upkeep.audit import audit
from common.node.upkeep.chain_rebuild import no_progress
from common.node.upkeep.repair import SILENT_HEIGHTS, Repair, Repaired
from tests.support.executed_chain import ExecutedChain, FadingApplication
from tests.support.refusals import refused
from tests.unit.node.toy import make_genesis

HEIGHTS = 8
SOUND_BELOW = 5


@dataclass
class Place:
    """A stopped node's data directory."""

    path: Path
    executed: ExecutedChain

    def database(self) -> LevelDBStore:
        """Open it; close it again."""
        return LevelDBStore(self.path / "chain")

    def change(self, key: bytes, value: bytes | None) -> None:
        """Write one entry."""
        store = self.database()
        store.write([(key, value)], sync=True)
        store.close()

    def repair(self, stamp: str = "now", **options: Any) -> Repaired:
        """Repair."""
        work = Repair(self.path, self.executed.genesis, FadingApplication(), stamp, no_progress)
        return work.run(**options)

    def open(self) -> Opened:
        """What a start of the node opens."""
        return open_data(self.path, self.executed.genesis, FadingApplication())

    def is_sound(self) -> bool:
        """Whether the audit finds nothing."""
        store, report = self.database(), DataReport()
        audit(store, self.executed.genesis, FadingApplication(), MemoryStore(), report, no_progress)
        store.close()
        return report.sound


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A chain with its vote log."""
    path = tmp_path_factory.mktemp("repair") / "data"
    store = LevelDBStore(path / "chain")
    executed = ExecutedChain(store)
    log = VoteLog.open(path / "votes", executed.genesis.id)
    executed.chain.check_consistency(log)
    for height in range(1, HEIGHTS + 1):
        log.append([b"vote %d" % height])
        log.sync()
        executed.grow(1)
        log.compact(height, executed.chain.tip().block_id)
        log.sync()
    log.close()
    store.close()
    return Place(path, executed)


@pytest.fixture
def place(image: Place, tmp_path: Path) -> Iterator[Place]:
    """A copy of it."""
    shutil.copytree(image.path, tmp_path / "data")
    yield Place(tmp_path / "data", image.executed)
    fault_points.arm(None)


def state_of(opened: Opened) -> tuple[int, bool, int]:
    """(tip, may vote, silent through); closes what is open."""
    answer = opened.chain.tip().height, opened.may_vote, opened.abstain_through_height
    opened.close()
    return answer


@pytest.mark.parametrize(
    "kind", [schema.INDEX, schema.STATE, schema.HISTORY, schema.TREE, schema.NONCES, schema.OBJECTS]
)
def test_s2_what_follows_from_the_blocks_is_rebuilt_and_the_node_votes_at_once(place: Place, kind: bytes) -> None:
    store = place.database()
    key, value = next(iter(store.scan(kind)))
    store.close()
    place.change(key, value + b"x")
    assert not place.is_sound()
    done = place.repair()
    assert (done.height, done.stored_height, done.stopped_by, done.silent_through) == (HEIGHTS, HEIGHTS, None, None)
    assert place.is_sound()
    assert state_of(place.open()) == (HEIGHTS, True, 0)
    kept = LevelDBStore(Path(done.kept[0]))
    assert kept.get(key) == value + b"x", "the old database is kept as it was"
    kept.close()


@pytest.mark.parametrize(("unreadable", "from_peers"), [(False, False), (False, True), (True, False)])
def test_c16_a_repair_does_not_make_a_restored_node_remember_its_votes(
    place: Place, unreadable: bool, from_peers: bool
) -> None:
    """Its vote log is whole, but it began after the restore: what the key signed before that, it does not know."""
    place.change(schema.REJOINED, b"")
    if unreadable:
        (place.path / "chain" / "CURRENT").unlink()
    place.repair(from_peers=from_peers)
    opened = place.open()
    assert opened.chain.rejoined
    opened.close()


def test_s2_a_damaged_block_ends_the_rebuilt_chain_and_nothing_is_voted_before_it_is_level_again(place: Place) -> None:
    place.change(schema.envelope(SOUND_BELOW, 1), b"{}")
    done = place.repair()
    assert (done.height, done.stored_height, done.silent_through) == (SOUND_BELOW - 1, HEIGHTS, None)
    assert done.stopped_by is not None
    assert state_of(place.open()) == (SOUND_BELOW - 1, True, HEIGHTS)


def test_s2_a_certificate_of_other_signers_ends_the_rebuilt_chain(place: Place) -> None:
    store = place.database()
    wrong = store.get(schema.certificate(2))
    store.close()
    place.change(schema.certificate(SOUND_BELOW), wrong)
    assert place.repair().height == SOUND_BELOW - 1


@pytest.mark.parametrize("from_peers", [False, True])
def test_s2_an_unreadable_database_is_begun_anew_under_its_vote_log(place: Place, from_peers: bool) -> None:
    if not from_peers:
        (place.path / "chain" / "CURRENT").unlink()
        with pytest.raises(DamagedStore):
            place.open()
    done = place.repair(from_peers=from_peers)
    assert (done.height, done.silent_through) == (0, None)
    assert state_of(place.open()) == (0, True, HEIGHTS)


def test_a_lost_tip_record_is_no_reason_to_fetch_everything_again(place: Place) -> None:
    place.change(schema.TIP, None)
    assert place.repair().height == HEIGHTS
    assert place.is_sound()


@pytest.mark.parametrize("what", ["missing", "damaged", "older"])
def test_c16_a_lost_vote_log_is_replaced_by_one_that_keeps_silent(place: Place, image: Place, what: str) -> None:
    votes = place.path / "votes" / "votes.log"
    content = votes.read_bytes()
    if what == "missing":
        votes.unlink()
    else:
        votes.write_bytes(content[: len(content) // 2] + (b"\xff" * 99 if what == "damaged" else b""))
    done = place.repair()
    assert (done.height, done.silent_through) == (HEIGHTS, HEIGHTS + SILENT_HEIGHTS)
    assert state_of(place.open()) == (HEIGHTS, True, HEIGHTS + SILENT_HEIGHTS)
    assert state_of(place.open()) == (HEIGHTS, True, HEIGHTS + SILENT_HEIGHTS), "also after the next start"
    if what != "missing":
        assert any("votes.before-repair-" in kept for kept in done.kept)


def test_c16_the_silence_is_as_long_as_anything_shows_or_is_asked_for(place: Place) -> None:
    votes = place.path / "votes" / "votes.log"
    votes.write_bytes(votes.read_bytes() + b"\xff" * 99)
    (place.path / "chain" / "CURRENT").unlink()
    assert place.repair("one").silent_through == HEIGHTS + SILENT_HEIGHTS, "the damaged log shows the height"
    assert place.repair("two", silent_through=1_000).silent_through == 1_000
    assert state_of(place.open()) == (0, True, 1_000)


def test_s1_a_power_cut_after_a_repair_loses_nothing_of_it(place: Place) -> None:
    """LevelDB leaves full logs behind without a sync; tables are synced."""
    place.repair()
    assert not [path for path in (place.path / "chain").glob("*.log") if path.stat().st_size]


@pytest.mark.parametrize("asked", [None, 200])
def test_c16_a_second_repair_does_not_end_the_silence_of_the_first(place: Place, asked: int | None) -> None:
    votes = place.path / "votes" / "votes.log"
    shutil.rmtree(place.path / "votes")
    place.repair("one", silent_through=1_000)
    if asked is None:
        votes.write_bytes(votes.read_bytes() + b"\xff" * 99)
    assert place.repair("two", silent_through=asked).silent_through >= 1_000  # type: ignore[operator]
    assert state_of(place.open())[2] >= 1_000


def test_c16_without_any_trace_of_a_height_nothing_is_replaced(place: Place) -> None:
    (place.path / "chain" / "CURRENT").unlink()
    shutil.rmtree(place.path / "votes")
    with refused("repair_height_unknown"):
        place.repair()
    assert (place.path / "chain").exists()
    assert place.repair(silent_through=500).silent_through == 500


def test_another_chains_database_is_left_alone(place: Place) -> None:
    other = Repair(place.path, make_genesis(["x"]), FadingApplication(), "now", no_progress)
    with pytest.raises(WrongDatabase):
        other.run()
    assert state_of(place.open())[:2] == (HEIGHTS, True)


def test_a_running_node_is_left_alone(place: Place) -> None:
    opened = place.open()
    with pytest.raises(StoreInUse):
        place.repair()
    opened.close()


def test_a_program_that_executes_otherwise_replaces_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FadingApplication, "begin_block", lambda self, context, state: Outcome())
    with refused("repair_execution_differs"):
        place.repair()
    assert (place.path / "chain" / "CURRENT").exists()
    store, report = place.database(), DataReport()
    audit(store, place.executed.genesis, FadingApplication(), MemoryStore(), report, no_progress)
    store.close()
    assert "execution_differs" in report.counts


def test_a_pruned_chain_is_not_emptied_by_mistake(place: Place) -> None:
    store = place.database()
    prune(ChainStore(store, place.executed.genesis), 3)
    store.close()
    with refused("repair_blocks_pruned"):
        place.repair("one")
    assert state_of(place.open())[:2] == (HEIGHTS, True)
    assert place.repair("two", from_peers=True).height == 0
    assert state_of(place.open()) == (0, True, HEIGHTS)


@pytest.mark.parametrize("votes_lost", [False, True])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_s1_a_repair_that_dies_anywhere_can_be_begun_again(place: Place, moment: str, votes_lost: bool) -> None:
    """Between the two, the node starts without a vote that it could have given before, or not at all."""
    place.change(schema.envelope(SOUND_BELOW, 1), b"{}")
    if votes_lost:
        (place.path / "votes" / "votes.log").unlink()
    runs = 0
    for point in ("repair.rename", "repair.directory_sync"):
        for occurrence in range(1, 7):
            copy = Place(place.path.with_name(f"{point}{occurrence}"), place.executed)
            shutil.copytree(place.path, copy.path)
            if not died(copy, f"{point}:{moment}:{occurrence}:kill"):
                continue
            runs += 1
            once = copy.path.with_name(copy.path.name + "-started")
            shutil.copytree(copy.path, once)
            tip, may_vote, silent = started(Place(once, place.executed))
            assert not may_vote or silent >= HEIGHTS or tip == HEIGHTS, (point, occurrence)
            copy.repair("again")
            tip, may_vote, silent = state_of(copy.open())
            assert not may_vote or silent >= HEIGHTS
    assert runs >= 4


def started(place: Place) -> tuple[int, bool, int]:
    """What a start finds; a node that does not start does not vote."""
    try:
        return state_of(place.open())
    except DamagedStore:
        return 0, False, 0


def died(place: Place, fault: str) -> bool:
    """Repair in a process of its own with a fault armed; whether it happened."""
    child = os.fork()
    if child == 0:
        fault_points.arm(fault)
        try:
            place.repair("first")
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9


def test_silence_is_carried_into_new_files_until_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.node.store.vote_log.COMPACT_ABOVE_BYTES", 0)
    genesis_id = bytes(32)
    VoteLog.create_silent(tmp_path / "votes", genesis_id, 3).close()
    for height in range(1, 6):
        log = VoteLog.open(tmp_path / "votes", genesis_id)
        assert log.silent_through == (3 if height <= 3 else 0), height
        log.compact(height, bytes(32))
        log.sync()
        log.close()
    with pytest.raises(Exception, match="already"):
        VoteLog.create_silent(tmp_path / "votes", genesis_id, 9)


def test_the_rebuilt_chain_is_the_same_to_the_last_byte(place: Place) -> None:
    before = dict(LevelDBStore(place.path / "chain").scan(b""))
    place.repair()
    store = place.database()
    assert dict(store.scan(b"")) == before
    assert ChainStore(store, place.executed.genesis).tip().height == HEIGHTS
    store.close()
