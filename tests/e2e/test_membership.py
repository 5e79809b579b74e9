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
from cli.localnet.readiness import reader_credential
from tests.e2e.test_network import Load, transaction_status
from tests.support.council import GOVERNORS, Council
from tests.support.market import Market
from tests.support.running import Network, eventually, tongjian
from tests.unit.node.toy import SUITE, key_of


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


def test_nodes_named_by_url_are_known_by_what_they_say_of_themselves(council: Council, tmp_path: Path) -> None:
    """Each with a token of its own; a newcomer by its key, though nobody lists it; members that were not asked are
    said not to be, and asked beside network.json. The newcomer's organisation has a seat already, and the
    doctor tells."""
    chain = "beijing"
    public = found(council, chain)
    organisation = council.ask(chain, "governance")["validators"][0]["organisation"]
    public.write_text(json.dumps(json.loads(public.read_text()) | {"organisation": organisation}))
    local, name = council.network.local, public.parent.name
    nodes = local.chain(chain).nodes
    members = validators(council, chain)
    token = local.credentials[reader_credential(chain)]["token_file"]
    own_tokens = [tmp_path / node.name for node in nodes]
    for file in own_tokens:
        file.write_text(Path(token or "").read_text())
    urls = [part for node in nodes for part in ("--url", node.api)]
    tokens = [part for file in own_tokens for part in ("--token-file", str(file))]
    place = (*urls, *tokens, "--ca-file", str(local.ca_file))
    planned = tongjian(
        "membership", "plan", *place, "--add", str(public), "--reason", "a test", "--effective-in", "900"
    )
    assert "newcomer_not_level" not in planned.stderr
    eventually(
        lambda: tongjian("upgrade", "check", *place, "--node", members[1], check=False).returncode == 0,
        "a node that is named by its URL may be restarted",
    )
    assert tongjian("upgrade", "check", *place, "--node", "nobody", check=False).returncode == 2

    with Load(Market(local, chain), "grown"):
        council.change_members(chain, "--add", str(public))
    eventually(lambda: council.votes(chain, name), f"{name} votes")
    unlisted = tmp_path / "network"
    unlisted.mkdir()
    document = json.loads((local.directory / "network.json").read_text())
    for listed in document["chains"]:
        listed["nodes"] = [node for node in listed["nodes"] if node["name"] != name]
    (unlisted / "network.json").write_text(json.dumps(document))
    (unlisted / "ca").symlink_to(local.directory / "ca")
    where = ("--network", str(unlisted), "--chain", chain)
    rows = json.loads(tongjian("membership", "show", *where, "--json").stdout)["validators"]
    assert {row["name"]: row["voting"] for row in rows} == {**dict.fromkeys(members, True), name: None}
    found_by_doctor = json.loads(tongjian("doctor", str(unlisted), "--json", check=False).stdout)
    told = {(row["code"], row["about"]) for row in found_by_doctor}
    assert {("not_observed", name), ("organisation_concentrated", chain)} <= told
    assert "no_quorum" not in {row["code"] for row in found_by_doctor}
    beside = ("--url", local.process(name).api)
    eventually(
        lambda: tongjian("upgrade", "check", *where, *beside, "--node", members[0], check=False).returncode == 0,
        "with the unlisted member asked too, a node may be restarted",
    )


def test_governors_sign_one_after_the_other_each_where_his_key_is(council: Council, tmp_path: Path) -> None:
    local = council.network.local
    keys = [local.key_file(governor) for governor in GOVERNORS]
    for number, key in enumerate(keys):
        (tmp_path / f"{number}.key").write_bytes(key.read_bytes())
        (tmp_path / f"{number}.key").chmod(0o600)
    operation = {
        "type": "parameters.set",
        "business_id": "signed-in-three-places",
        "occurred_at_ms": 1_767_225_600_000,
        "values": {"heartbeat_ms": 9_000},
        "height": council.height("beijing") + 5_000,
        "reason": "a test",
    }
    draft = tmp_path / "draft.json"
    draft.write_text(json.dumps([operation]))
    publics = [tongjian("key", "show", str(key)).stdout.strip() for key in keys[1:]]
    others = [part for public in publics for part in ("--signer", public)]
    where = ("--localnet", str(local.directory), "--network", "beijing")
    draft.write_text(tongjian("tx", "sign", str(draft), "--key", str(tmp_path / "0.key"), *others, *where).stdout)
    incomplete = tongjian("tx", "submit", str(draft), *where, check=False)
    assert "signatures_missing" in incomplete.stderr
    for number in (2, 1):
        signed = tongjian("tx", "sign", str(draft), "--key", str(tmp_path / f"{number}.key"))
        assert "parameters.set" in signed.stderr
        draft.write_text(signed.stdout)
    answer = json.loads(tongjian("tx", "submit", str(draft), *where, "--json").stdout)
    assert answer["status"] == "applied"


def test_one_process_is_stopped_in_order(council: Council) -> None:
    directory, name = str(council.network.directory), validators(council, CUSTODY)[0]
    assert tongjian("localnet", "stop", directory, name).stdout == f"stopped {name}\n"
    log = council.network.local.process(name).log.read_text().splitlines()
    assert "node stopped" in log[-1]
    assert "not_running" in tongjian("localnet", "stop", directory, name, check=False).stderr
    council.network.start(name)
