"""Governance of regions and of keys on real processes.

By default keys and tokens are rotated. `GOVERNANCE_TEST=all` (make governance-test) also registers a region, lets it
expire, restores all validators of another from an old backup so that it contradicts itself, and recovers both; what was
anchored before stays provable all the time.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from cli.client import Api
from cli.genesis_trust import trust_root
from cli.localnet.layout import CUSTODY
from common.core.codec import canonical_json
from common.core.errors import Rejected
from common.core.genesis import parse_genesis
from common.node.keys import load_key_file
from crosslink.lightclient.trust import build_trust_file
from tests.support.council import Council
from tests.support.market import Market
from tests.support.refusals import refused
from tests.support.running import Network, eventually, tongjian

EVERYTHING = os.environ.get("GOVERNANCE_TEST") == "all"
ALL_ONLY = pytest.mark.skipif(not EVERYTHING, reason="make governance-test")
REGIONS = ["beijing", "shanghai"] if EVERYTHING else ["beijing"]
TRUSTING_PERIOD_MS = 45_000
"""More than four heartbeats, so that only silence expires."""


def impatient_relay(network: Network) -> None:
    """A relay that looks again within two seconds."""
    file = network.directory / "relay" / "relay.toml"
    file.write_text(file.read_text() + tomli_w.dumps({"pace": {"max_retry_ms": 2_000}}))


def found_without(network: Network, region: str) -> None:
    """Take a region out of the custody chain's genesis: it is to be registered later."""
    local = network.local
    chain = local.chain(CUSTODY)
    document = json.loads(chain.genesis_file.read_text())
    kept = [entry for entry in document["application"]["regions"] if entry["network"] != region]
    document["application"]["regions"] = kept
    chain.genesis_file.write_bytes(canonical_json(document))
    genesis = [parse_genesis(each.genesis_file.read_bytes()) for each in local.chains]
    identities = {each.network: each.id.hex() for each in genesis}
    chains = tuple(replace(each, genesis_id=identities[each.network_id]) for each in local.chains)
    replace(local, chains=chains).save()
    local.trust_file.write_bytes(build_trust_file([trust_root(each) for each in genesis]).encode())


@pytest.fixture(scope="module")
def council() -> Iterator[Council]:
    folder = Path(tempfile.mkdtemp(prefix="tongjian-governance-"))
    try:
        with Network.found(folder / "network", regions=REGIONS) as running:
            impatient_relay(running)
            if EVERYTHING:
                found_without(running, "shanghai")
            running.up()
            yield Council(running, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def evidence_of(council: Council, region: str, object_id: str) -> str:
    """The evidence file of an object's last snapshot, as the custody chain gives it now."""
    with council.network.supervisor() as api:
        return api.text(f"/v1/evidence/{region}/{object_id}")


def proves(council: Council, text: str) -> dict[str, Any]:
    """What an evidence file proves to a holder of the genesis roots."""
    file = council.workspace / "evidence.json"
    file.write_text(text)
    trust = str(council.network.local.trust_file)
    return dict(json.loads(tongjian("verify", str(file), "--trust", trust, "--json").stdout))


def register_company(council: Council, market: Market, name: str) -> int:
    """A company, final and anchored; its height."""
    height = int(market.register_company(name)["height"])
    council.network.wait_until_anchored(market.region, height, patience_s=90)
    return height


def found_by_the_doctor(network: Network) -> set[tuple[str, str]]:
    """(code, about) of each of its findings."""
    told = tongjian("doctor", str(network.directory), "--json", check=False)
    return {(row["code"], row["about"]) for row in json.loads(told.stdout)}


def new_key(council: Council, name: str) -> tuple[Path, str]:
    file = council.workspace / f"{name}.key"
    return file, tongjian("key", "generate", str(file), "--unencrypted").stdout.strip()


def replace_signer(council: Council, chain: str, role: str, old: str, new: str) -> None:
    """First the new key, then the old one goes: two decisions, as an organisation would."""
    fields = {"public_key": new, "organisation": f"new-{role}", "role": role, "reason": "rotation"}
    council.decide(chain, council.operation(chain, "signer.set", **fields))
    council.decide(chain, council.operation(chain, "signer.remove", public_key=old, reason="rotation"))


def test_an_operators_key_is_rotated_and_the_old_one_signs_nothing_more(council: Council) -> None:
    market = Market(council.network.local, "beijing")
    register_company(council, market, "before-rotation")
    file, public_key = new_key(council, "operator")
    replace_signer(council, "beijing", "operator", market.key.text, public_key)
    with refused("signer_unknown"):
        market.register_company("with-the-old-key")
    market.key = load_key_file(file, None)
    shutil.copy(file, council.network.local.key_file("beijing-operator"))
    register_company(council, market, "with-the-new-key")


def test_the_relays_key_is_rotated_while_it_anchors(council: Council) -> None:
    network = council.network
    market = Market(network.local, "beijing")
    old_file = network.local.key_file("relay")
    old = load_key_file(old_file, None).text
    file, public_key = new_key(council, "relay")
    fields = {"public_key": public_key, "organisation": "relay", "role": "relay", "reason": "rotation"}
    council.decide(CUSTODY, council.operation(CUSTODY, "signer.set", **fields))
    network.kill("relay")
    shutil.copy(file, old_file)
    network.start("relay")
    council.decide(CUSTODY, council.operation(CUSTODY, "signer.remove", public_key=old, reason="rotation"))
    register_company(council, market, "after-the-relays-rotation")


def test_a_readers_token_is_issued_used_and_revoked_on_running_nodes(council: Council) -> None:
    local = council.network.local
    tokens = local.chain("beijing").nodes[0].config.parent.parent / "tokens.json"
    options = ("--subject", "auditor-7", "--organisation", "an-auditor", "--role", "reader", "--json")
    issued = json.loads(tongjian("token", "issue", "--tokens-file", str(tokens), *options).stdout)
    secret = issued.get("token") or issued["secret"]

    def status_code() -> int:
        try:
            with Api([local.chain("beijing").nodes[0].api], secret, local.ca_file) as api:
                api.get("/v1/networks/beijing/status")
            return 200
        except Rejected as refusal:
            return int(refusal.parameters["http_status"])

    eventually(lambda: status_code() == 200, "the token opens the node interface")
    tongjian("token", "revoke", "--tokens-file", str(tokens), str(issued.get("token_id") or issued["id"]))
    eventually(lambda: status_code() == 401, "the revoked token opens nothing")


# -- regions ---------------------------------------------------------------------------------------------------------


def kill_chain(network: Network, region: str) -> None:
    for node in network.local.chain(region).nodes:
        network.kill(node.name)


def start_chain(network: Network, region: str) -> None:
    for node in network.local.chain(region).nodes:
        network.start(node.name)


def recover(council: Council, region: str, *, at: int | None = None) -> None:
    """As documented: a root from the region's own validators, and what is anchored now."""
    directory, workspace = council.network.directory, council.workspace
    place = ("--localnet", str(directory)) if at is None else region_nodes(council, region)
    point = ("--recent",) if at is None else ("--at", str(at))
    (workspace / "trust.json").write_text(tongjian("trust", "export", *place, *point).stdout)
    with council.network.supervisor() as api:
        (workspace / "region.json").write_text(api.text(f"/v1/regions/{region}"))
    files = ("--trust", str(workspace / "trust.json"), "--anchored", str(workspace / "region.json"))
    planned = tongjian("region", "recover", region, *files, "--reason", "the market was restored")
    assert ("not be completely taken in" in planned.stderr) is (at is None)
    council.decide(CUSTODY, json.loads(planned.stdout))


def region_nodes(council: Council, region: str) -> tuple[str, ...]:
    """The genesis document and every node by its URL, as somebody without the local network's files names them."""
    local = council.network.local
    chain = local.chain(region)
    token = local.credentials[f"{region}-reader"]["token_file"]
    urls = [part for node in chain.nodes for part in ("--url", node.api)]
    return (str(chain.genesis_file), *urls, "--token-file", str(token), "--ca-file", str(local.ca_file))


@ALL_ONLY
def test_a_region_is_registered_expires_by_silence_and_is_recovered(council: Council) -> None:
    network = council.network
    market = Market(network.local, "shanghai")
    with refused("region_unknown"):
        network.region("shanghai")
    genesis = str(network.local.chain("shanghai").genesis_file)
    period = ("--trusting-period-ms", str(TRUSTING_PERIOD_MS))
    planned = tongjian("region", "register", genesis, "--letters", "SH", *period, "--reason", "it joins")
    council.decide(CUSTODY, json.loads(planned.stdout))
    register_company(council, market, "before-the-silence")
    before = evidence_of(council, "shanghai", "before-the-silence")
    assert proves(council, before)["region"] == "shanghai"

    kill_chain(network, "shanghai")
    eventually(lambda: network.region("shanghai")["state"] == "expired", "shanghai expires", patience_s=120)
    assert ("region_expired", "shanghai") in found_by_the_doctor(network)
    start_chain(network, "shanghai")
    late = market.register_company("after-the-silence")
    time.sleep(3)
    assert network.region("shanghai")["anchored_height"] < late["height"]
    assert proves(council, evidence_of(council, "shanghai", "before-the-silence"))
    recover(council, "shanghai", at=network.region("shanghai")["anchored_height"])
    register_company(council, market, "after-the-recovery")
    assert proves(council, evidence_of(council, "shanghai", "after-the-silence")), "no block was skipped"
    assert network.region("shanghai")["state"] in ("active", "lagging")
    for text in (before, evidence_of(council, "shanghai", "before-the-silence")):
        assert proves(council, text)["snapshot"]["header"]["content"]["object_id"] == "before-the-silence"
    assert proves(council, evidence_of(council, "shanghai", "after-the-recovery"))


@ALL_ONLY
def test_validators_restored_from_an_old_backup_contradict_themselves_and_governance_recovers_the_region(
    council: Council,
) -> None:
    """All four lose their disks and come back without the last blocks: they sign other blocks at anchored heights."""
    network = council.network
    market = Market(network.local, "beijing")
    register_company(council, market, "in-the-backup")
    kill_chain(network, "beijing")
    data = [node.data_dir for node in network.local.chain("beijing").nodes if node.data_dir is not None]
    for directory in data:
        shutil.copytree(directory, directory.with_name("backup"))
    start_chain(network, "beijing")
    for number in range(3):
        register_company(council, market, f"lost-{number}")
    lost = evidence_of(council, "beijing", "lost-2")
    assert proves(council, lost)

    network.kill("relay")
    anchored = network.region("beijing")["anchored_height"]
    kill_chain(network, "beijing")
    for directory in data:
        shutil.rmtree(directory)
        directory.with_name("backup").rename(directory)
    start_chain(network, "beijing")
    number = 0
    while market.height() < anchored + 3:
        market.register_company(f"again-{number}")
        number += 1
    network.start("relay")
    eventually(lambda: network.region("beijing")["state"] == "frozen", "the contradiction is proven", patience_s=90)
    assert network.region("beijing")["anchored_height"] == anchored
    assert ("region_frozen", "beijing") in found_by_the_doctor(network)

    recover(council, "beijing")
    register_company(council, market, "after-the-restore")
    region = network.region("beijing")
    assert (region["state"], region["frozen"]) in (("active", None), ("lagging", None))
    for text in (lost, evidence_of(council, "beijing", "lost-2"), evidence_of(council, "beijing", "in-the-backup")):
        assert proves(council, text)["region"] == "beijing"
    assert proves(council, evidence_of(council, "beijing", "after-the-restore"))
