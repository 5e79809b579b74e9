"""Backup and restore: what comes back is what was there, nothing is written over, any changed byte is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.core.errors import Conflict, Malformed, NotFound
from common.node.startup import DATABASE_DIRECTORY, VOTES_DIRECTORY, open_data
from common.node.store import schema
from common.node.store.chain_store import ChainStore
from common.node.store.storage import LevelDBStore
from common.node.store.store_errors import StoreInUse
from common.node.upkeep import backup as backup_module
from common.node.upkeep.backup import back_up, read_backup, restore
from common.node.upkeep.repair import Repair
from tests.unit.growth.world import GENESIS, NAMES, grown
from tests.unit.node.toy import ToyApplication, make_genesis

HEIGHT = 12


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stopped node's data directory with twelve blocks and a vote log; backups have several small files."""
    monkeypatch.setattr(backup_module, "FILE_BYTES", 4_000)
    monkeypatch.setattr(backup_module, "_BATCH_BYTES", 500)
    folder = tmp_path / "data"
    folder.mkdir()
    store = LevelDBStore(folder / DATABASE_DIRECTORY)
    store.write(list(grown(HEIGHT).chain.store.scan(b"")), sync=True)
    store.close()
    open_data(folder, GENESIS, ToyApplication()).close()
    return folder


def run(steps: Any) -> int:
    """Do all steps; how many there were."""
    return len(list(steps))


def entries(data_dir: Path) -> dict[bytes, bytes]:
    """What a database holds."""
    store = LevelDBStore(data_dir / DATABASE_DIRECTORY)
    try:
        return dict(store.scan(b""))
    finally:
        store.close()


def test_what_comes_back_is_what_was_there(data_dir: Path, tmp_path: Path) -> None:
    assert run(back_up(data_dir, GENESIS, tmp_path / "saved")) > 2
    info = read_backup(tmp_path / "saved", GENESIS)
    assert (info.network, info.height) == ("toytown", HEIGHT)
    assert run(restore(tmp_path / "other", GENESIS, tmp_path / "saved")) == len(info.files)
    before, after = entries(data_dir), entries(tmp_path / "other")
    assert before.pop(schema.VOTE_LOG)
    assert after.pop(schema.REJOINED) == b""
    assert after == before
    opened = open_data(tmp_path / "other", GENESIS, ToyApplication())
    assert opened.chain.tip().height == HEIGHT
    assert opened.chain.rejoined
    opened.close()


def logged_bytes(database: Path) -> int:
    """What is in LevelDB's logs and in no table yet."""
    return sum(path.stat().st_size for path in database.glob("*.log"))


def test_s1_a_power_cut_after_a_restore_loses_nothing_of_it(data_dir: Path, tmp_path: Path) -> None:
    """LevelDB leaves full logs behind without a sync; tables are synced."""
    run(back_up(data_dir, GENESIS, tmp_path / "saved"))
    run(restore(tmp_path / "other", GENESIS, tmp_path / "saved"))
    assert logged_bytes(tmp_path / "other" / DATABASE_DIRECTORY) == 0


def test_commands_and_nodes_take_turns_on_a_data_directory(data_dir: Path, tmp_path: Path) -> None:
    run(back_up(data_dir, GENESIS, tmp_path / "saved"))
    target = tmp_path / "other"
    first = restore(target, GENESIS, tmp_path / "saved")
    next(first)
    half = sorted(target.rglob("*"))
    assert {path.relative_to(target).parts[0] for path in half} <= {"restoring", DATABASE_DIRECTORY}, "no lock file"
    with pytest.raises(StoreInUse):
        run(restore(target, GENESIS, tmp_path / "saved"))
    with pytest.raises(StoreInUse):
        Repair(target, GENESIS, ToyApplication(), "now", lambda *_: None).run()
    with pytest.raises(StoreInUse):
        open_data(target, GENESIS, ToyApplication())
    assert sorted(target.rglob("*")) == half
    run(first)
    open_data(target, GENESIS, ToyApplication()).close()


def test_b1_a_backup_holds_neither_keys_nor_votes(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "node.key").write_text("secret key")
    run(back_up(data_dir, GENESIS, tmp_path / "saved"))
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names == {"backup.json", *(f"{number:06d}" for number in range(len(names) - 1))}
    data = b"".join(path.read_bytes() for path in (tmp_path / "saved").iterdir())
    assert b"secret key" not in data
    assert schema.VOTE_LOG not in data
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "saved").iterdir())


def test_b2_nothing_is_written_over(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("precious")
    with pytest.raises(Conflict, match="backup_exists"):
        run(back_up(data_dir, GENESIS, tmp_path / "full"))
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["something"]
    run(back_up(data_dir, GENESIS, tmp_path / "saved"))
    before = entries(data_dir)
    with pytest.raises(Conflict, match="join_chain_exists"):
        run(restore(data_dir, GENESIS, tmp_path / "saved"))
    assert entries(data_dir) == before


def test_a_backup_inside_the_data_directory_is_refused(data_dir: Path) -> None:
    before = sorted(data_dir.rglob("*"))
    with pytest.raises(Conflict, match="backup_inside"):
        run(back_up(data_dir, GENESIS, data_dir / "saved" / "today"))
    assert sorted(data_dir.rglob("*")) == before


def test_a_running_node_is_refused(data_dir: Path, tmp_path: Path) -> None:
    opened = open_data(data_dir, GENESIS, ToyApplication())
    with pytest.raises(StoreInUse):
        run(back_up(data_dir, GENESIS, tmp_path / "saved"))
    opened.close()
    assert not (tmp_path / "saved").exists()


def test_s2_any_changed_byte_is_refused_and_nothing_appears(data_dir: Path, tmp_path: Path) -> None:
    saved, target = tmp_path / "saved", tmp_path / "other"
    run(back_up(data_dir, GENESIS, saved))
    for path in sorted(saved.iterdir()):
        data = path.read_bytes()
        places = range(0, len(data), max(1, len(data) // 7))
        altered = [data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :] for at in places]
        for false in (*altered, data[:-1], data + b"\0"):
            path.write_bytes(false)
            if path.name == "backup.json" and json_means_the_same(false, data):
                continue
            with pytest.raises((Malformed, NotFound)):
                run(restore(target, GENESIS, saved))
            assert not (target / DATABASE_DIRECTORY).exists()
        path.write_bytes(data)
    (saved / "000001").unlink()
    with pytest.raises(Malformed, match="backup_damaged"):
        run(restore(target, GENESIS, saved))
    (saved / "backup.json").unlink()
    with pytest.raises(NotFound, match="backup_nothing"):
        run(restore(target, GENESIS, saved))


def json_means_the_same(one: bytes, other: bytes) -> bool:
    """White space may differ."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def test_a_backup_of_another_chain_is_refused(data_dir: Path, tmp_path: Path) -> None:
    run(back_up(data_dir, GENESIS, tmp_path / "saved"))
    with pytest.raises(Malformed, match="backup_invalid"):
        run(restore(tmp_path / "other", make_genesis(NAMES, heartbeat_ms=999), tmp_path / "saved"))


def test_s1_an_interrupted_restore_leaves_no_chain_and_can_be_started_again(data_dir: Path, tmp_path: Path) -> None:
    run(back_up(data_dir, GENESIS, tmp_path / "saved"))
    steps = restore(tmp_path / "other", GENESIS, tmp_path / "saved")
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "other" / DATABASE_DIRECTORY).exists()
    run(restore(tmp_path / "other", GENESIS, tmp_path / "saved"))
    assert entries(tmp_path / "other")[schema.TIP] == entries(data_dir)[schema.TIP]


def test_c16_a_restored_database_beside_the_newer_vote_log_keeps_silent_below_it(
    data_dir: Path, tmp_path: Path
) -> None:
    """The vote log survived, the database did not: the log knows how far the key has signed."""
    run(back_up(data_dir, GENESIS, tmp_path / "saved"))
    store = LevelDBStore(data_dir / DATABASE_DIRECTORY)
    chain = ChainStore(store, GENESIS)
    store.close()
    opened = open_data(data_dir, GENESIS, ToyApplication())
    opened.votes.compact(HEIGHT + 5, bytes(32))
    opened.votes.sync()
    opened.close()
    (data_dir / DATABASE_DIRECTORY).rename(tmp_path / "lost")
    run(restore(data_dir, GENESIS, tmp_path / "saved"))
    assert (data_dir / VOTES_DIRECTORY).is_dir()
    opened = open_data(data_dir, GENESIS, ToyApplication())
    assert opened.abstain_through_height >= HEIGHT + 5
    opened.close()
    assert chain.tip().height == HEIGHT


def test_the_operator_may_declare_that_the_key_has_not_signed(data_dir: Path, tmp_path: Path) -> None:
    run(back_up(data_dir, GENESIS, tmp_path / "saved"))
    run(restore(tmp_path / "other", GENESIS, tmp_path / "saved", may_have_voted=False))
    assert schema.REJOINED not in entries(tmp_path / "other")
