"""Processes that are killed or run out of disk: nothing acknowledged is lost."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from common.node.store.chain_store import ChainStore
from common.node.store.storage import LevelDBStore
from common.node.store.vote_log import VoteLog
from tests.support.stored_chain import make_genesis

ROOT = Path(__file__).resolve().parents[3]


def start(path: Path, *arguments: str) -> subprocess.Popen[str]:
    """The writing process, its output a pipe."""
    command = [sys.executable, "-m", "tests.unit.storage.writing_process", str(path), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def check(path: Path, acknowledged: dict[str, int]) -> None:
    """What was acknowledged is there, and the whole chain is sound."""
    genesis = make_genesis()
    store = LevelDBStore(path / "chain")
    chain = ChainStore(store, genesis)
    log = VoteLog.open(path / "votes", genesis.id, chain.vote_log_mark())
    chain.check_consistency(log, deep=True)
    assert chain.tip().height >= acknowledged["block"]
    voted = max([int(record.split()[1]) for record in log.recovered], default=log.tip[0])
    assert voted >= acknowledged["vote"]
    log.close()
    store.close()


def test_s1_kill_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    source = random.Random(5)
    for _ in range(3):
        process = start(tmp_path)
        assert process.stdout is not None
        acknowledged = {"block": 0, "vote": 0, "open": 0}
        wanted = source.randrange(20, 120)
        for _ in range(wanted):
            what, height = process.stdout.readline().split()
            acknowledged[what] = int(height)
        process.kill()
        rest, _ = process.communicate()
        for line in rest.splitlines(keepends=True):
            if line.endswith("\n"):
                what, height = line.split()
                acknowledged[what] = int(height)
        check(tmp_path, acknowledged)


@pytest.mark.parametrize("limit_bytes", [3_000, 20_000, 150_000])
def test_s5_full_disk_stops_the_process_and_space_lets_it_go_on(tmp_path: Path, limit_bytes: int) -> None:
    process = start(tmp_path, str(limit_bytes))
    output, _ = process.communicate(timeout=30)
    lines = output.splitlines()
    assert lines[-1].split()[:2] == ["stopped", "StoreFailed"], lines[-1]
    acknowledged = {"block": 0, "vote": 0, "open": 0}
    for line in lines[:-1]:
        what, height = line.split()
        acknowledged[what] = int(height)
    if acknowledged["vote"]:
        check(tmp_path, acknowledged)
    process = start(tmp_path)
    assert process.stdout is not None
    for _ in range(20):
        what, height = process.stdout.readline().split()
    process.kill()
    process.communicate()
    assert int(height) > acknowledged["block"]
