"""The vote log: what is synced survives, what is torn is cut, what is damaged or set back is refused."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from common.core.errors import InvariantBroken
from common.node.store import vote_log
from common.node.store.log_directory import FILE_NAME, FileDirectory, LogDirectory, MemoryDirectory
from common.node.store.store_errors import DamagedStore, StoreFailed, VotingUnsafe
from common.node.store.vote_log import VoteLog, check_vote_log

GENESIS = bytes(range(32))
BLOCK_1, BLOCK_2, BLOCK_3 = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32


def reopen(place: Path | LogDirectory, mark: bytes | None = None) -> VoteLog:
    """Open the log again, as after a restart."""
    return VoteLog.open(place, GENESIS, mark)


def synced(place: Path | LogDirectory, *records: bytes) -> VoteLog:
    """A new log that holds these records durably."""
    log = VoteLog.open(place, GENESIS)
    log.append(records)
    log.sync()
    return log


def test_what_was_synced_is_recovered_in_order(tmp_path: Path) -> None:
    log = synced(tmp_path / "votes", b"one", b"", b"three" * 1000)
    log.append([b"four"])
    log.sync()
    log.close()
    log = reopen(tmp_path / "votes", log.mark())
    assert log.recovered == (b"one", b"", b"three" * 1000, b"four")
    assert log.tip == (0, GENESIS)
    assert log.torn_bytes == 0
    log.close()


def test_s1_records_are_durable_only_after_sync() -> None:
    disk = MemoryDirectory()
    log = synced(disk, b"durable")
    log.append([b"queued"])
    disk.crash()
    assert reopen(disk).recovered == (b"durable",)


def test_tip_makes_older_heights_obsolete_but_keeps_one_more(tmp_path: Path) -> None:
    log = synced(tmp_path, b"height 1")
    log.append([b"height 2, signed while block 1 was being written"])
    log.compact(1, BLOCK_1)
    log.append([b"height 2"])
    log.sync()
    log.close()
    log = reopen(tmp_path)
    assert log.recovered == (b"height 1", b"height 2, signed while block 1 was being written", b"height 2")
    assert log.tip == (1, BLOCK_1)
    log.compact(2, BLOCK_2)
    log.append([b"height 3"])
    log.sync()
    log.close()
    log = reopen(tmp_path)
    assert log.recovered == (b"height 2", b"height 3")
    assert log.tip == (2, BLOCK_2)
    log.close()


def test_catching_up_without_votes_does_not_fill_the_queue() -> None:
    disk = MemoryDirectory()
    log = synced(disk, b"height 1")
    size = log.size_bytes
    for height in range(1, 1000):
        log.compact(height, BLOCK_1)
    log.compact(1000, BLOCK_2)
    log.sync()
    assert log.size_bytes < size + 200
    assert reopen(disk).tip == (1000, BLOCK_2)
    assert reopen(disk).recovered == ()


@pytest.mark.parametrize("on_disk", [True, False])
def test_large_log_is_replaced_by_one_with_the_last_two_heights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool
) -> None:
    monkeypatch.setattr(vote_log, "COMPACT_ABOVE_BYTES", 2000)
    place: Path | LogDirectory = tmp_path / "votes" if on_disk else MemoryDirectory()
    log = VoteLog.open(place, GENESIS)
    marks = []
    for height in range(1, 30):
        log.append([b"%d" % height * 200])
        log.sync()
        marks.append(log.mark())
        log.compact(height, bytes((height,)) * 32)
    log.append([b"open height"])
    log.sync()
    log.close()
    assert log.size_bytes < 4000
    for mark in (None, log.mark(), marks[-1]):
        again = reopen(place, mark)
        assert again.recovered == (b"29" * 200, b"open height")
        assert again.tip == (29, b"\x1d" * 32)
        assert again.mark() == log.mark()
        again.close()
    check_vote_log(again, tip_height=29, block_id_at=lambda height: b"\x1d" * 32, mark=marks[-1])


def test_sync_in_another_thread_covers_what_was_appended_before_it() -> None:
    disk = MemoryDirectory()
    log = VoteLog.open(disk, GENESIS)
    for number in range(200):
        log.append([b"%d" % number])
        thread = threading.Thread(target=log.sync)
        thread.start()
        log.append([b"+%d" % number])
        thread.join()
    log.sync()
    expected = [text for number in range(200) for text in (b"%d" % number, b"+%d" % number)]
    assert list(reopen(disk).recovered) == expected


def test_s2_torn_tail_is_cut_and_reported(tmp_path: Path) -> None:
    log = synced(tmp_path, b"first")
    mark, size = log.mark(), log.size_bytes
    log.append([b"second " * 12])
    log.sync()
    log.close()
    whole = (tmp_path / FILE_NAME).read_bytes()
    for length in range(size + 1, len(whole)):
        (tmp_path / FILE_NAME).write_bytes(whole[:length])
        log = reopen(tmp_path, mark)
        assert log.recovered == (b"first",)
        assert log.torn_bytes == length - size
        log.append([b"instead"])
        log.sync()
        log.close()
        log = reopen(tmp_path, mark)
        assert (log.recovered, log.torn_bytes) == ((b"first", b"instead"), 0)
        log.close()


@pytest.mark.parametrize("zeros_from", [0, 4, 9, 50, 300])
def test_s2_tail_of_zeros_left_by_a_power_cut_is_cut(tmp_path: Path, zeros_from: int) -> None:
    log = synced(tmp_path, b"first")
    size = log.size_bytes
    log.append([b"second" * 100])
    log.sync()
    log.close()
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    if 0 < zeros_from < 9:
        zeros_from = 9
    path.write_bytes(whole[: size + zeros_from] + bytes(len(whole) - size - zeros_from))
    log = reopen(tmp_path)
    assert log.recovered == (b"first",)
    assert log.torn_bytes == len(whole) - size
    log.close()


def test_s2_zeros_with_anything_behind_them_are_damage() -> None:
    disk = MemoryDirectory()
    log = synced(disk, b"first")
    size = log.size_bytes
    log.append([b"second" * 100])
    log.sync()
    whole = disk.read() or b""
    disk.overwrite(whole[:size] + bytes(100) + whole[size + 100 :])
    with pytest.raises(DamagedStore, match="zeros"):
        reopen(disk)


@pytest.mark.parametrize("marked", [True, False])
def test_s2_any_flipped_bit_is_refused_and_the_file_left_alone(marked: bool) -> None:
    disk = MemoryDirectory()
    log = synced(disk, b"one", b"two" * 20)
    log.compact(1, BLOCK_1)
    log.append([b"three", b"last"])
    log.sync()
    whole = disk.read()
    assert whole is not None
    for position in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            disk.overwrite(bytes(damaged))
            with pytest.raises(DamagedStore) as caught:
                reopen(disk, log.mark() if marked else None)
            assert "Remedy" in str(caught.value)
            assert disk.read() == bytes(damaged)


def test_s2_frames_cannot_be_exchanged_repeated_or_taken_out() -> None:
    disk = MemoryDirectory()
    ends = []
    log = VoteLog.open(disk, GENESIS)
    for record in (b"aaaa", b"bbbb", b"cccc"):
        ends.append(log.size_bytes)
        log.append([record])
        log.sync()
    whole = disk.read()
    assert whole is not None
    start, a, b = ends[0], whole[ends[0] : ends[1]], whole[ends[1] : ends[2]]
    c = whole[ends[2] :]
    for frames in ((b, a, c), (a, a, b), (a, c), (b, c), (a, b, b), (a, b, c, a)):
        disk.overwrite(whole[:start] + b"".join(frames))
        with pytest.raises(DamagedStore):
            reopen(disk)


def test_c16_lost_vote_log_is_noticed() -> None:
    disk = MemoryDirectory()
    mark = synced(disk, b"vote").mark()
    disk.overwrite(None)
    with pytest.raises(VotingUnsafe, match="missing"):
        reopen(disk, mark)
    assert disk.read() is None


def test_c16_vote_log_set_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vote_log, "COMPACT_ABOVE_BYTES", 500)
    disk = MemoryDirectory()
    log = synced(disk, b"vote 1")
    old = disk.read()
    log.append([b"vote 2"])
    log.sync()
    disk.overwrite(old)
    with pytest.raises(VotingUnsafe, match="lost votes"):
        reopen(disk, log.mark())
    log.append([b"x" * 1000])
    log.sync()
    log.compact(1, BLOCK_1)
    log.compact(2, BLOCK_2)
    log.append([b"vote 3"])
    log.sync()
    disk.overwrite(old)
    with pytest.raises(VotingUnsafe, match="older copy"):
        reopen(disk, log.mark())


def test_c16_vote_log_set_back_and_written_on_is_noticed() -> None:
    disk = MemoryDirectory()
    log = synced(disk, b"vote 1")
    old = disk.read()
    log.append([b"vote 2"])
    log.sync()
    mark = log.mark()
    disk.overwrite(old)
    fork = reopen(disk)
    fork.append([b"VOTE 2", b"vote 3"])
    fork.sync()
    with pytest.raises(VotingUnsafe, match="lost votes"):
        reopen(disk, mark)


def test_c16_replaced_or_foreign_vote_log_is_noticed() -> None:
    disk, other = MemoryDirectory(), MemoryDirectory()
    mark = synced(disk, b"vote").mark()
    synced(other, b"vote")
    with pytest.raises(VotingUnsafe, match="not the one"):
        reopen(other, mark)
    with pytest.raises(VotingUnsafe, match="another chain"):
        VoteLog.open(disk, bytes(32))


def test_c16_database_set_back_is_noticed_and_says_from_where_voting_is_safe() -> None:
    disk = MemoryDirectory()
    log = synced(disk, b"vote")
    log.compact(3, BLOCK_3)
    log.sync()
    log = reopen(disk, log.mark())
    check_vote_log(log, tip_height=3, block_id_at=lambda height: BLOCK_3, mark=log.opened_with)
    check_vote_log(log, tip_height=9, block_id_at=lambda height: None, mark=log.opened_with)
    with pytest.raises(VotingUnsafe, match="set back") as caught:
        check_vote_log(log, tip_height=2, block_id_at=lambda height: BLOCK_2, mark=log.opened_with)
    assert caught.value.safe_above_height == 3
    with pytest.raises(VotingUnsafe, match="different blocks"):
        check_vote_log(log, tip_height=3, block_id_at=lambda height: BLOCK_2, mark=log.opened_with)
    with pytest.raises(InvariantBroken):
        check_vote_log(reopen(disk), tip_height=3, block_id_at=lambda height: BLOCK_3, mark=log.mark())


def test_c16_catching_up_does_not_make_the_log_forget_a_higher_tip() -> None:
    disk = MemoryDirectory()
    log = synced(disk, b"vote 4")
    log.compact(3, BLOCK_3)
    log.append([b"vote 4 again"])
    log.sync()
    log = reopen(disk)
    for height in (1, 2, 3):
        log.compact(height, BLOCK_1)
    log.append([b"more"])
    log.sync()
    log = reopen(disk)
    assert log.tip == (3, BLOCK_3)
    assert log.recovered == (b"vote 4", b"vote 4 again", b"more")


def test_s5_full_disk_stops_the_log_and_a_restart_goes_on() -> None:
    disk = MemoryDirectory()
    log = synced(disk, b"before")
    disk.fail_writes = True
    log.append([b"refused"])
    with pytest.raises(StoreFailed):
        log.sync()
    disk.fail_writes = False
    for call in (log.sync, lambda: log.append([b"more"]), lambda: log.compact(1, BLOCK_1)):
        with pytest.raises(StoreFailed, match="restart"):
            call()
    log = reopen(disk, log.mark())
    assert log.recovered == (b"before",)
    log.append([b"after"])
    log.sync()
    assert reopen(disk).recovered == (b"before", b"after")


def test_s2_partial_write_is_cut_off_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = FileDirectory(tmp_path)
    log = synced(directory, b"before")
    size = log.size_bytes
    write = vote_log.os.write  # type: ignore[attr-defined]

    def full_after_ten_bytes(file: int, data: bytes) -> int:
        if len(data) <= 10:
            raise OSError(28, "No space left on device")
        return write(file, bytes(data[:10]))  # type: ignore[no-any-return]

    log.append([b"x" * 100])
    monkeypatch.setattr("common.node.store.log_directory.os.write", full_after_ten_bytes)
    with pytest.raises(StoreFailed, match="No space left"):
        log.sync()
    assert (tmp_path / FILE_NAME).stat().st_size == size
    log.close()


def test_s2_failed_fsync_is_never_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = synced(tmp_path, b"before")
    mark = log.mark()

    def input_output_error(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("common.node.store.log_directory.os.fsync", input_output_error)
        log.append([b"vote"])
        with pytest.raises(StoreFailed, match="Input/output error"):
            log.sync()
    with pytest.raises(StoreFailed, match="restart"):
        log.sync()
    assert log.mark() == mark
    log.close()


def test_s1_new_file_is_durable_before_it_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of calls is: write, fsync the file, rename, fsync the directory."""
    calls: list[str] = []
    real_fsync, real_rename = vote_log.os.fsync, vote_log.os.rename  # type: ignore[attr-defined]

    def fsync(file: int) -> None:
        calls.append("fsync directory" if Path(f"/proc/self/fd/{file}").resolve().is_dir() else "fsync file")
        real_fsync(file)

    def rename(source: Path, target: Path) -> None:
        calls.append("rename")
        real_rename(source, target)

    monkeypatch.setattr("common.node.store.log_directory.os.fsync", fsync)
    monkeypatch.setattr("common.node.store.log_directory.os.rename", rename)
    VoteLog.open(tmp_path, GENESIS).close()
    assert calls == ["fsync file", "rename", "fsync directory"]


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_s1_crash_while_the_file_is_replaced_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(vote_log, "COMPACT_ABOVE_BYTES", 10)
    log = synced(tmp_path, b"vote 1")
    log.compact(1, BLOCK_1)
    log.append([b"vote 2"])

    def crash(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(f"common.node.store.log_directory.os.{step}", crash)
        with pytest.raises(StoreFailed):
            log.sync()
    log.close()
    log = reopen(tmp_path, log.mark())
    assert log.recovered == (b"vote 1",)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    log.close()


def test_second_process_is_kept_out(tmp_path: Path) -> None:
    log = VoteLog.open(tmp_path, GENESIS)
    with pytest.raises(StoreFailed, match="another process"):
        VoteLog.open(tmp_path, GENESIS)
    log.close()
    VoteLog.open(tmp_path, GENESIS).close()


def test_record_above_the_bound_is_our_own_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vote_log, "MAX_RECORD_BYTES", 50)
    log = VoteLog.open(MemoryDirectory(), GENESIS)
    with pytest.raises(InvariantBroken):
        log.append([b"x" * 51])


@pytest.mark.parametrize("surviving_bytes", [0, 1, 8, 9, 20, 40, 41, 100, 160, 1000])
def test_s2_lost_unsynced_write_leaves_a_prefix_of_the_records(surviving_bytes: int) -> None:
    disk = MemoryDirectory()
    log = synced(disk, b"synced")
    mark = log.mark()
    disk.fail_syncs = True
    records = [b"%d" % number * 20 for number in range(8)]
    log.append(records)
    with pytest.raises(StoreFailed):
        log.sync()
    disk.crash(surviving_bytes)
    log = reopen(disk, mark)
    assert log.recovered[0] == b"synced"
    assert list(log.recovered[1:]) == records[: len(log.recovered) - 1]
    assert len(log.recovered) == 1 + min(8, surviving_bytes // 33)


@pytest.mark.parametrize("seed", range(20))
def test_s1_random_crashes_never_lose_what_was_synced(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random appends, tips, syncs and crashes with torn tails, against a plain list of what was synced."""
    monkeypatch.setattr(vote_log, "COMPACT_ABOVE_BYTES", 1500)
    source = random.Random(seed)
    disk = MemoryDirectory()
    log = VoteLog.open(disk, GENESIS)
    height = 0
    groups: list[list[bytes]] = [[], []]
    pending: list[list[bytes]] = [[]]
    for number in range(300):
        draw = source.random()
        if draw < 0.5:
            record = b"%d " % number * source.randrange(1, 40)
            log.append([record])
            pending[-1].append(record)
        elif draw < 0.65:
            height += 1
            log.compact(height, bytes(32))
            pending.append([])
        elif draw < 0.9:
            log.sync()
            groups[-1].extend(pending[0])
            groups = [*groups, *pending[1:]][-2:]
            pending = [[]]
        else:
            mark = log.mark()
            disk.crash(source.randrange(200))
            log = VoteLog.open(disk, GENESIS, mark)
            assert list(log.recovered) == groups[0] + groups[1]
            height, pending = log.tip[0], [[]]
