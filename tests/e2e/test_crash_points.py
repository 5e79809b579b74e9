"""A validator dies, or its disk refuses, at every point of `fault_points` in turn; its chain of real processes is under
load all the time (attacks S1, S2, S5).

After every fault the same directory is started again, already armed with the next one: coming up is part of the test.
Whatever the peers have heard of the dead validator is on its disk (protocol rule 1). In the end every final receipt is
found on every node, and what the peers heard shows no vote that contradicts another. `CRASH_POINTS=all` (make
crash-test) runs all points, moments and actions on each validator in turn; else a sample runs.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.node.store.fault_points import AFTER, BEFORE, POINTS, VARIABLE
from tests.e2e.test_processes import Load, check_history, metrics
from tests.e2e.toy_network import ToyNetwork, ToyNode, until
from tests.support.signed import Heard

EVERYTHING = os.environ.get("CRASH_POINTS") == "all"
SEED = int(os.environ.get("SEED", "1"))
VOTE_LOG_BYTES = 12_000
"""A new file every dozen blocks, so that its points are passed too."""
KILLED, STOPPED = -9, 1

RANGES = {
    "vote_log.append": 40,
    "vote_log.sync": 40,
    "vote_log.new_write": 1,
    "vote_log.new_sync": 1,
    "vote_log.rename": 1,
    "vote_log.directory_sync": 1,
    "database.open": 1,
    "database.write": 15,
    "peer.send": 250,
    "http.answer": 12,
}
"""Point that a running node passes -> the latest occurrence that is worth waiting for."""
RARE = ("vote_log.new_write", "vote_log.new_sync", "vote_log.rename", "vote_log.directory_sync")
REFUSING = ("vote_log.append", "vote_log.sync", *RARE, "database.write")
"""Points at which the disk may refuse."""
AT_THE_START = {"vote_log.parent_sync"}
"""Passed when a data directory is made (tests/unit/storage/test_opening.py has all moments of that)."""
ELSEWHERE = {"backup", "body", "certificate", "checkpoint", "private_file", "repair", "staging", "tokens"}
COMMANDS = {point for point in POINTS if point.partition(".")[0] in ELSEWHERE}
"""Passed by commands, or apart from consensus (tests/unit/storage: test_files.py, test_repair.py)."""

Scenario = list[tuple[str, int]]
"""Faults, each with the exit code that it leads to; a start for each."""


def kills(source: random.Random) -> list[Scenario]:
    """Death before and after every point that a running node passes, at a random occurrence."""
    return [
        [(f"{point}:{moment}:{source.randint(1, latest)}:kill", KILLED)]
        for point, latest in RANGES.items()
        for moment in (BEFORE, AFTER)
    ]


def slow_kills(source: random.Random) -> list[Scenario]:
    """Death before a write that the disk has held up: whatever did not wait for it has left by then."""
    return [
        [(f"{point}:before:every:delay-30,{point}:before:{source.randint(2, 15)}:kill", KILLED)]
        for point in ("vote_log.append", "vote_log.sync", "database.write")
    ]


def refusals(source: random.Random) -> list[Scenario]:
    """The disk refuses: the node stops by itself."""
    return [
        [(f"{point}:before:{source.randint(1, RANGES[point])}:{action}", STOPPED)]
        for point in REFUSING
        for action in ("eio", "enospc")
    ]


def remains(source: random.Random) -> list[Scenario]:
    """Writes that are torn, and death while the restart clears up after them."""
    torn = f"vote_log.append:before:{source.randint(2, 30)}:torn"
    refused = f"vote_log.append:before:{source.randint(2, 30)}:enospc"
    scenarios: list[Scenario] = [[("vote_log.new_write:before:1:torn", KILLED)]]
    for moment in (BEFORE, AFTER):
        scenarios.append([(torn, KILLED), (f"vote_log.cut:{moment}:1:kill", KILLED)])
        scenarios.append([(torn, KILLED), (f"vote_log.cut_sync:{moment}:1:kill", KILLED)])
        scenarios.append([("vote_log.rename:before:1:kill", KILLED), (f"vote_log.discard:{moment}:1:kill", KILLED)])
        scenarios.append([(f"{refused},vote_log.undo:{moment}:1:kill", KILLED)])
    scenarios.append([(f"{refused},vote_log.undo:before:1:eio", STOPPED)])
    return scenarios


def sample(source: random.Random) -> list[Scenario]:
    """What the default suite runs: death around the points between a vote and its receipt, a refusal, a torn write."""
    chosen = [
        scenario
        for scenario in kills(source)
        if scenario[0][0].startswith(("vote_log.sync", "database.write", "peer.send"))
    ]
    chosen.append(slow_kills(source)[0])
    rare = source.choice(RARE)
    chosen.append([(f"{rare}:{source.choice((BEFORE, AFTER))}:1:kill", KILLED)])
    chosen.append(source.choice(refusals(source)))
    chosen.append(source.choice([scenario for scenario in remains(source) if len(scenario) == 2]))
    source.shuffle(chosen)
    return chosen


@pytest.fixture
def network(tmp_path: Path) -> Iterator[ToyNetwork]:
    """Four validators that write down what they hear."""
    toys = ToyNetwork(tmp_path, heartbeat_ms=1_000, view_timeout_ms=500)
    for node in toys.nodes:
        node.environment = {"TOY_TAP": str(tmp_path / f"{node.name}.heard"), "TOY_VOTE_LOG_BYTES": str(VOTE_LOG_BYTES)}
    toys.start()
    yield toys
    toys.stop()


def suffer(network: ToyNetwork, victim: ToyNode, scenario: Scenario) -> None:
    """Run the victim through one scenario's faults; it is down afterwards, and its disk knows all that was heard."""
    for fault, expected in scenario:
        victim.start(**{VARIABLE: fault})
        code = victim.wait(60)
        assert code == expected, (fault, code, victim.log_lines[-3:])
        if expected == STOPPED:
            critical = [line for line in victim.log_lines[-10:] if line["level"] == "critical"]
            assert critical[-1]["code"] == "disk_refuses", (fault, critical)
        heard = Heard(network.directory.glob("*.heard"))
        votes = (victim.directory / "data" / "votes" / "votes.log").read_bytes()
        assert heard.not_recorded(network.nodes.index(victim), votes, network.genesis.id) == [], fault


def test_the_points_are_all_here() -> None:
    """A new point must be given a scenario."""
    passed = set(RANGES) | AT_THE_START | COMMANDS
    for scenario in remains(random.Random(0)):
        passed |= {fault.split(":")[0] for faults, _ in scenario for fault in faults.split(",")}
    assert passed == set(POINTS)


def test_s1_s2_s5_faults_at_every_point_lose_nothing_final_and_vote_never_twice(network: ToyNetwork) -> None:
    source = random.Random(SEED)
    victims = network.nodes if EVERYTHING else [source.choice(network.nodes)]
    finals: list[str] = []
    for lap, victim in enumerate(victims):
        scenarios = (
            [*kills(source), *slow_kills(source), *refusals(source), *remains(source)] if EVERYTHING else sample(source)
        )
        with Load(network, f"lap{lap}") as load:
            load.goes_on("before the faults")
            victim.kill()
            for scenario in scenarios:
                suffer(network, victim, scenario)
            victim.start()
            until(lambda victim=victim: network.height(victim) >= 1, "it comes up", 30)
            load.goes_on("after the faults")
        finals += load.final
        print(f"{victim.name}: {len(scenarios)} scenarios, {len(load.final)} final receipts")
    check(network, finals)


def receipts_of(network: ToyNetwork, node: ToyNode, finals: list[str]) -> dict[str, tuple[int, str]]:
    """Where a node has each transaction whose receipt was final, and what became of it; one connection for all."""
    with network.client(node) as http:
        answers = {tx_id: http.get(f"/v1/transactions/{tx_id}").json() for tx_id in finals}
    return {tx_id: (answer["height"], answer["status"]) for tx_id, answer in answers.items()}


def check(network: ToyNetwork, finals: list[str]) -> None:
    """Nothing final is lost, nobody voted twice, everybody votes again."""
    check_history(network, finals[-3:])
    places = [receipts_of(network, node, finals) for node in network.nodes]
    assert places.count(places[0]) == len(places)
    assert all(status == "applied" for _, status in places[0].values())
    for node in network.nodes:
        assert "tongjian_accusations_total 0.0" in metrics(network, node)
        assert not [line for line in node.log_lines if line["message"] == "this node does not vote"]
        until(lambda node=node: "tongjian_voting 1.0" in metrics(network, node), f"{node.name} votes again")
    heard = Heard(network.directory.glob("*.heard"))
    assert heard.contradictions() == []
    assert min(heard.votes_of(signer) for signer in range(4)) > 10
