"""Validators come, go and change keys on running processes, while transactions flow and the relay anchors."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.localnet.layout import CUSTODY
from tests.e2e.test_network import Load, transaction_status
from tests.support.council import Council
from tests.support.market import Market
from tests.support.running import Network, eventually, tongjian
from tests.unit.node.toy import SUITE, key_of

pytestmark = pytest.mark.xdist_group("network")


@pytest.fixture(scope="module")
def council() -> Iterator[Council]:
    """A region and the custody chain of four validators each, a relay, and those who govern them."""
    folder = Path(tempfile.mkdtemp(prefix="tongjian-membership-"))
    try:
        with Network.found(folder / "network", regions=["beijing"]) as running:
            running.up()
            yield Council(running, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def validators(council: Council, chain: str) -> list[str]:
    return [member["name"] for member in council.ask(chain, "governance")["validators"]]


def found(council: Council, chain: str) -> Path:
    """Make one more node of a chain and start it as an observer; its public part."""
    public = Path(tongjian("localnet", "add", str(council.network.directory), chain).stdout.strip())
    name = public.parent.name
    council.network.start(name)
    eventually(lambda: council.network.height(name) >= council.height(chain) - 9, f"{name} catches up as an observer")
    assert not council.votes(chain, name)
    return public


def admit(council: Council, chain: str, public: Path) -> None:
    """Let a node into the set."""
    name = public.parent.name
    council.change_members(chain, "--add", str(public))
    assert validators(council, chain)[-1] == name
    eventually(lambda: council.votes(chain, name), f"{name} votes")


def restart_with_next_key(council: Council, chain: str, name: str) -> None:
    """What an operator does once the height is reached from which the next key signs."""
    folder = council.network.local.process(name).config.parent
    eventually(lambda: not council.votes(chain, name), f"{name} signs no more with its old key")
    council.network.kill(name)
    (folder / "next.key").replace(folder / "node.key")
    council.network.start(name)
    eventually(lambda: council.votes(chain, name), f"{name} votes with its new key")


def test_c9_members_join_leave_and_rotate_while_transactions_flow_and_the_relay_anchors(
    council: Council, tmp_path: Path
) -> None:
    network = council.network
    market = Market(network.local, "beijing")
    with Load(market, "member") as load:
        eventually(lambda: len(load.final) > 3, "the first receipts")
        fifth, custody_fifth = found(council, "beijing"), found(council, CUSTODY)
        with ThreadPoolExecutor(1) as beside:
            custody_grows = beside.submit(admit, council, CUSTODY, custody_fifth)
            admit(council, "beijing", fifth)
            next_key = network.local.process("beijing-2").config.parent / "next.key"
            generated = tongjian("key", "generate", str(next_key), "--unencrypted").stdout.strip()
            council.change_members("beijing", "--remove", "beijing-1", "--rotate", "beijing-2", generated)
            custody_grows.result()
        assert validators(council, "beijing") == ["beijing-2", "beijing-3", "beijing-4", "beijing-5"]
        restart_with_next_key(council, "beijing", "beijing-2")
        assert not council.votes("beijing", "beijing-1")
        removed_at = council.height("beijing")
        eventually(lambda: network.height("beijing-1") >= removed_at, "beijing-1 follows as an observer")
        before = len(load.final)
        eventually(lambda: len(load.final) > before + 3, "transactions flow")
    assert not load.errors
    for answer in load.final:
        assert transaction_status(market, answer["tx_id"]) == "applied"
    network.wait_until_anchored("beijing", load.final[-1]["height"])
    region = network.region("beijing")
    assert (region["state"], region["counts"]["anomalies"]) == ("active", 0)

    with network.supervisor() as api:
        heights = [load.final[0]["height"], load.final[-1]["height"]]
        names = [answer["receipt"]["objects"][0][0] for answer in (load.final[0], load.final[-1])]
        files = [api.text(f"/v1/evidence/beijing/{name}?height={h}") for name, h in zip(names, heights, strict=True)]
    for text in files:
        evidence = tmp_path / "evidence.json"
        evidence.write_text(text)
        proven = tongjian("verify", str(evidence), "--trust", str(network.local.trust_file), "--json")
        assert json.loads(proven.stdout)["region"] == "beijing"


def test_a_change_that_would_stop_the_chain_is_not_even_planned(council: Council) -> None:
    """The pre-flight asks the nodes; what it refuses, validators refuse too if it is their rule."""
    place = ("--network", str(council.network.directory), "--chain", "beijing", "--reason", "a test")
    present = validators(council, "beijing")
    next_key = SUITE.format_key(key_of("nobody runs it"))
    council.network.kill(present[1])
    refused = tongjian("membership", "plan", *place, "--rotate", present[2], next_key, check=False)
    assert refused.returncode == 1
    assert "fault quorum_lost beijing" in refused.stderr
    blocked = tongjian("upgrade", "check", *place[:4], "--node", present[2], check=False)
    assert blocked.returncode == 1
    assert "quorum_lost_without" in blocked.stdout
    council.network.start(present[1])
    eventually(
        lambda: tongjian("upgrade", "check", *place[:4], "--node", present[2], check=False).returncode == 0,
        "the next node may be restarted",
    )
