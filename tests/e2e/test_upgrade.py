"""Rolling upgrades on real processes: from an older release to this one, node by node, under load (attack C19).

The older release is this source tree, the newer one `tests.support.next_release`. By default one chain of four is
upgraded; `UPGRADE_TEST=all` (make upgrade-test) upgrades all 24 nodes of the pilot network and its
relay.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cli.localnet.layout import CUSTODY
from cli.localnet.markets import PILOTS
from common.core.header import Header
from common.core.protocol import latest_version
from common.version import VERSION
from tests.e2e.test_network import Load, transaction_status
from tests.support.council import Council
from tests.support.market import Market
from tests.support.next_release import NEXT_VERSION_NUMBER
from tests.support.running import NEXT_RELEASE, Network, eventually, tongjian

OLD = latest_version()
NEW = OLD + 1
WHOLE_NETWORK = os.environ.get("UPGRADE_TEST") == "all"
REGIONS = list(PILOTS) if WHOLE_NETWORK else ["beijing"]
PAUSE_S = 0.5 if WHOLE_NETWORK else 0.02
LONGEST_STOP_MS = 4_000
"""The first view timeout is 2 s, a dead leader's view ends after an eighth of that; the rest is a busy machine's."""


class PacedMarket(Market):
    """A market that leaves the processor to the nodes: five that never pause would take two cores by themselves."""

    def register_company(self, name: str) -> dict[str, Any]:
        time.sleep(PAUSE_S)
        return super().register_company(name)


class Releases:
    """A network whose processes can be started with either release."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def start_old(self, nodes: Sequence[str]) -> None:
        """Everything, or only these nodes, with the older release."""
        if WHOLE_NETWORK:
            self.network.up()
            return
        for node in nodes:
            self.network.start(node)

    def start_new(self, name: str) -> None:
        """One process with the newer release."""
        self.network.start(name, NEXT_RELEASE)

    def check(self, *options: str) -> subprocess.CompletedProcess[str]:
        """The newer release's `tongjian upgrade check`, of the chains that run."""
        only = () if WHOLE_NETWORK else ("--chain", REGIONS[0])
        network = str(self.network.directory)
        return tongjian("upgrade", "check", "--network", network, *only, *options, check=False, release=NEXT_RELEASE)

    def may_restart(self, node: str) -> bool:
        """Whether `tongjian upgrade check` lets this node be restarted."""
        return self.check("--node", node).returncode == 0


def commits(council: Council, chain: str) -> bool:
    """Whether the chain has a block."""
    return council.height(chain) >= 1


@pytest.fixture
def releases() -> Iterator[Releases]:
    folder = Path(tempfile.mkdtemp(prefix="tongjian-upgrade-"))
    try:
        with Network.found(folder / "network", regions=REGIONS) as network:
            yield Releases(network)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def versions(council: Council, chain: str) -> set[tuple[str, tuple[int, ...]]]:
    """What every node of a chain reports of its software."""
    nodes = council.network.local.chain(chain).nodes
    options = [council.ask(chain, "options", node.name) for node in nodes]
    return {(entry["node_version"], tuple(entry["supported_versions"])) for entry in options}


def headers(market: Market, first: int, last: int) -> list[Header]:
    """Headers of a region's chain."""
    found: list[Header] = []
    with market.api() as api:
        while first <= last:
            query = {"from": first, "limit": min(256, last - first + 1)}
            blocks = api.get(f"/v1/networks/{market.region}/blocks", **query)["blocks"]
            found += [Header.decode(bytes.fromhex(block["header"])) for block in blocks]
            first += len(blocks)
    return found


def test_c19_every_node_is_upgraded_under_load_and_then_the_protocol(releases: Releases, tmp_path: Path) -> None:
    network = releases.network
    chains = [CUSTODY, *REGIONS] if WHOLE_NETWORK else REGIONS
    nodes = {chain: [node.name for node in network.local.chain(chain).nodes] for chain in chains}
    releases.start_old(nodes[REGIONS[0]])
    council = Council(network, tmp_path)
    for chain in chains:
        eventually(partial(commits, council, chain), f"{chain} commits")
        assert versions(council, chain) == {(VERSION, (OLD,))}
    markets = [PacedMarket(network.local, region) for region in REGIONS]
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(market, "upgrade")) for market in markets]
        eventually(lambda: all(len(load.final) > 3 for load in loads), "the first receipts")
        begins = [load.final[-1]["height"] for load in loads]
        early = releases.check("--protocol", str(NEW))
        assert early.returncode == 1
        assert "protocol_version_unsupported" in early.stdout
        for name in [name for chain in chains for name in nodes[chain]]:
            eventually(partial(releases.may_restart, name), f"{name} may be restarted", patience_s=120)
            network.kill(name)
            releases.start_new(name)
        if WHOLE_NETWORK:
            network.kill("relay")
            releases.start_new("relay")
        eventually(
            lambda: releases.check("--protocol", str(NEW)).returncode == 0, "everything is upgraded", patience_s=120
        )
        ends = [load.final[-1]["height"] for load in loads]
        for chain in chains:
            assert versions(council, chain) == {(NEXT_VERSION_NUMBER, (OLD, NEW))}
            activate(council, chain)
        before = [len(load.final) for load in loads]
        eventually(
            lambda: all(len(load.final) > count + 3 for load, count in zip(loads, before, strict=True)), "all go on"
        )
    for market, load, begin, end in zip(markets, loads, begins, ends, strict=True):
        assert not load.errors
        for answer in load.final:
            assert transaction_status(market, answer["tx_id"]) == "applied"
        upgraded = headers(market, begin, end)
        longest = max(later.time_ms - earlier.time_ms for earlier, later in pairwise(upgraded))
        print(f"{market.region}: {len(upgraded)} blocks during the upgrade, longest pause {longest} ms")
        assert longest < LONGEST_STOP_MS
        if WHOLE_NETWORK:
            network.wait_until_anchored(market.region, load.final[-1]["height"], patience_s=120)
    the_older_release_does_not_start_again(releases, nodes[REGIONS[0]][-1])


def activate(council: Council, chain: str) -> None:
    """The next version by governance, at a height a few seconds ahead; headers carry it from there on."""
    height = council.height(chain) + council.lead(chain)
    operation = council.operation(chain, "protocol.activate", version=NEW, height=height, reason="all are upgraded")
    council.decide(chain, operation)
    eventually(lambda: council.ask(chain, "options")["protocol_version"] == NEW, f"{chain} obeys the next version")
    with_versions = {
        at: council.ask(chain, f"blocks/{at}")["header"]["protocol_version"]
        for at in (height - 1, height)
        if council.height(chain) >= at
    }
    assert with_versions.get(height - 1) == OLD
    assert with_versions.get(height, NEW) == NEW


def the_older_release_does_not_start_again(releases: Releases, name: str) -> None:
    """It says why, in one line with the code and the remedy, and signs nothing."""
    network = releases.network
    network.kill(name)
    refused = tongjian("localnet", "start", str(network.directory), name, check=False)
    log = [json.loads(line) for line in network.local.process(name).log.read_text().splitlines()]
    assert refused.returncode == 1
    assert log[-1]["code"] == "protocol_version_unsupported"
    assert "install a version that supports it" in log[-1]["detail"]
    releases.start_new(name)
