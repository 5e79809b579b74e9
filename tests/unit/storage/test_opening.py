"""A process that dies, or whose disk refuses, while it makes or opens a data directory (attacks S1, S2, S5)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.core.errors import InvariantBroken, Rejected
from common.node.startup import open_data
from common.node.store import fault_points
from tests.support.refusals import refused
from tests.unit.node.toy import ToyApplication, make_genesis

GENESIS = make_genesis(["v1"])
STAGES = {
    "database.open": 1,
    "database.write": 2,
    "vote_log.parent_sync": 1,
    "vote_log.new_write": 1,
    "vote_log.new_sync": 1,
    "vote_log.rename": 1,
    "vote_log.directory_sync": 1,
}
"""Point -> how often the first start passes it."""


def open_in_a_process(path: Path, fault: str) -> int:
    """Open the data directory in a process of its own with a fault armed; its exit code, negative if it was killed."""
    child = os.fork()
    if child == 0:
        fault_points.arm(fault)
        code = 0
        try:
            open_data(path, GENESIS, ToyApplication()).close()
        except (InvariantBroken, Rejected):
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def opens_and_may_vote(path: Path) -> None:
    """The next start finds a directory that is whole, old or new."""
    opened = open_data(path, GENESIS, ToyApplication())
    try:
        assert opened.may_vote
        assert opened.chain.tip().height == 0
        opened.chain.check_consistency(deep=True)
        assert sorted(file.name for file in (path / "votes").iterdir()) == ["votes.log"]
    finally:
        opened.close()


@pytest.mark.parametrize("action", ["kill", "eio", "enospc"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_s1_s2_s5_the_first_start_can_end_anywhere(tmp_path: Path, moment: str, action: str) -> None:
    for point, times in STAGES.items():
        for occurrence in range(1, times + 1):
            path = tmp_path / f"{point}-{occurrence}"
            code = open_in_a_process(path, f"{point}:{moment}:{occurrence}:{action}")
            assert code == (1 if action in ("eio", "enospc") else -9), (point, code)
            opens_and_may_vote(path)


def test_s2_the_first_write_can_be_torn(tmp_path: Path) -> None:
    assert open_in_a_process(tmp_path / "data", "vote_log.new_write:before:1:torn") == -9
    opens_and_may_vote(tmp_path / "data")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_s1_the_start_after_a_crash_can_end_while_it_clears_up(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "data"
    assert open_in_a_process(path, "vote_log.rename:before:1:kill") == -9
    assert open_in_a_process(path, f"vote_log.discard:{moment}:1:kill") == -9
    opens_and_may_vote(path)
    for point in ("vote_log.cut", "vote_log.cut_sync"):
        with (path / "votes" / "votes.log").open("ab") as file:
            file.write(b"\0\0\0")
        assert open_in_a_process(path, f"{point}:{moment}:1:kill") == -9, point
        opens_and_may_vote(path)


def test_s1_without_a_fault_nothing_happens(tmp_path: Path) -> None:
    path = tmp_path / "data"
    assert open_in_a_process(path, "vote_log.rename:before:2:kill") == 0
    opens_and_may_vote(path)


@pytest.mark.parametrize("text", ["", "vote_log.sync", "nowhere:before:1:kill", "vote_log.sync:during:1:kill"])
def test_a_fault_that_is_none_stops_the_process(text: str) -> None:
    with refused("fault_invalid"):
        fault_points.arm(text)
