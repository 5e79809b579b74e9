"""`tongjian node check` and `repair` as an operator uses them, on a real chain that goes on meanwhile (S2, S5, C16)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.node.store import schema
from common.node.store.storage import DamagedStore, LevelDBStore
from tests.support.market import Market
from tests.support.region import NETWORK, Region, RegionNode
from tests.support.running import eventually

COMPANIES = 25
TMPFS_BYTES = 1_500_000


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Region]:
    """Four validators with a few blocks."""
    with Region.found(tmp_path_factory.mktemp("repair") / "network") as found:
        register(found.market(), "first")
        yield found


def register(market: Market, prefix: str, count: int = COMPANIES) -> None:
    """A few blocks."""
    for number in range(count):
        market.register_company(f"{prefix}-{number}")


def checked(node: RegionNode) -> tuple[int, dict[str, Any]]:
    """Exit code and report of `node check`."""
    result = node.command("check", "--json")
    return result.returncode, json.loads(result.stdout) if result.stdout else {"error": result.stderr}


def repaired(node: RegionNode, *options: str) -> dict[str, Any]:
    """The report of `node repair`."""
    result = node.command("repair", "--json", *options)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def table_of(node: RegionNode) -> Path:
    """The node's largest table; a start writes the log's content into one."""
    return max((node.data / "chain").glob("*.ldb"), key=lambda path: path.stat().st_size)


def test_a_running_node_is_not_looked_at(region: Region) -> None:
    code, report = checked(region.nodes[0])
    assert (code, "database_in_use" in report["error"]) == (2, True)
    assert region.nodes[0].command("repair").returncode == 2


def test_s2_a_damaged_table_is_found_repaired_and_the_node_votes_again(region: Region) -> None:
    node = region.nodes[1]
    node.stop()
    code, report = checked(node)
    assert (code, report["findings"], report["not_checked"]) == (0, [], [])
    table = table_of(node)
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    code, report = checked(node)
    assert code == 1
    assert "database_unreadable" in report["counts"]
    assert all("node repair" in finding["remedy"] for finding in report["findings"])
    register(region.market(), "meanwhile", 5)
    done = repaired(node)
    assert len(done["kept"]) == 1
    kept = Path(done["kept"][0]) / table.name
    assert kept.read_bytes() == bytes(content), "the damaged database is kept as it was"
    node.start()
    region.votes_again(node)
    node.stop()
    code, report = checked(node)
    assert (code, report["findings"]) == (0, [])
    node.start()
    region.votes_again(node)


def damage_snapshots(node: RegionNode) -> None:
    """Flip a bit that spoils snapshots and nothing that a start reads."""
    assert unreadable(node.data / "chain") == set()
    table = table_of(node)
    content = table.read_bytes()
    for offset in range(64, len(content), 1024):
        table.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        if unreadable(node.data / "chain") == {schema.SNAPSHOTS}:
            return
    raise AssertionError("no block of the table holds snapshots alone")


def unreadable(database: Path) -> set[bytes]:
    """Kinds of entries that cannot be read."""
    found = set()
    store = LevelDBStore(database)
    for prefix in {value for value in vars(schema).values() if isinstance(value, bytes) and len(value) == 1}:
        try:
            deque(store.scan(prefix), maxlen=0)
        except DamagedStore:
            found.add(prefix)
    store.close()
    return found


def test_s2_damage_that_a_request_meets_is_a_finding(region: Region) -> None:
    """The node goes on, serves nothing that is damaged, and tells the operator until it is repaired."""
    node = region.nodes[1]
    register(region.market(), "more")
    node.stop()
    damage_snapshots(node)
    node.start()
    region.votes_again(node)
    assert "data_damaged" not in node.get("/readyz")["codes"]
    blocks = [node.get(f"/v1/networks/{NETWORK}/blocks/{height}/objects") for height in range(1, region.height() + 1)]
    assert {block if isinstance(block, str) else "served" for block in blocks} == {"served", "database_damaged"}
    assert "data_damaged" in node.get("/readyz")["codes"]
    node.stop()
    repaired(node)
    node.start()
    region.votes_again(node)
    assert "data_damaged" not in node.get("/readyz")["codes"]


def test_s2_a_database_that_cannot_be_opened_comes_back_from_the_peers(region: Region) -> None:
    node = region.nodes[2]
    node.stop()
    (node.data / "chain" / "CURRENT").unlink()
    since = node.log_size()
    node.start()
    assert node.wait() == 1
    code, sentence = node.end(since)
    assert code == "database_damaged"
    assert "repair" in sentence
    assert checked(node)[1]["counts"] == {"database_unreadable": 1}
    done = repaired(node)
    assert (done["height"], done["silent_through"]) == (0, None)
    node.start()
    register(region.market(), "while-it-catches-up", 5)
    region.votes_again(node)


def test_c16_a_node_that_lost_its_vote_log_is_silent_for_a_while_then_votes(region: Region) -> None:
    node = region.nodes[3]
    node.stop()
    (node.data / "votes" / "votes.log").unlink()
    assert checked(node)[1]["counts"] == {"vote_log_missing": 1}
    done = repaired(node)
    assert done["silent_through"] > done["height"]
    node.start()
    eventually(lambda: node.status() is not None, "it serves")
    market, number = region.market(), 0
    while (height := region.height()) <= done["silent_through"]:
        status = node.status()
        assert status is not None
        assert not (status["voting"] and status["height"] < done["silent_through"])
        market.register_company(f"silent-{height}-{(number := number + 1)}")
    region.votes_again(node)


def can_mount(path: Path) -> bool:
    """Whether this user may mount a small file system of memory there."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(path)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_s5_a_full_disk_stops_the_node_and_space_lets_it_go_on(region: Region, tmp_path: Path) -> None:
    """A data directory on a file system that fills up; the fault points have the same for users without mounts."""
    node = region.nodes[0]
    node.stop()
    disk = tmp_path / "disk"
    if not can_mount(disk):
        pytest.skip("this user may not mount; test_crash_points.py refuses writes instead")
    try:
        before = node.data.with_name("data.before")
        shutil.copytree(node.data, disk, dirs_exist_ok=True)
        node.data.rename(before)
        node.data.symlink_to(disk)
        filler = disk / "filler"
        node.start()
        region.votes_again(node)
        fill(filler)
        since, market = node.log_size(), region.market()
        finals = [market.register_company(f"full-{number}")["tx_id"] for number in range(COMPANIES)]
        assert node.wait(60) == 1
        assert node.end(since)[0] == "disk_refuses"
        since = node.log_size()
        node.start()
        eventually(lambda: not node.running, "it does not run without space", patience_s=20)
        assert node.end(since)[0] == "disk_refuses"
        filler.unlink()
        node.start()
        region.votes_again(node)
        for tx_id in finals:
            assert node.get(f"/v1/transactions/{tx_id}")["status"] == "applied"
        node.stop()
        assert checked(node)[0] == 0
    finally:
        node.stop()
        subprocess.run(["umount", "-l", str(disk)], capture_output=True, check=False)


def fill(path: Path) -> None:
    """Leave nothing."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
