"""The main job on real processes: register in a region, look through at the custody chain, and survive crashes."""

from __future__ import annotations

import json
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cli.client import Api
from cli.localnet.layout import CUSTODY, Process
from common.core.errors import Rejected
from tests.support.market import Market, operation
from tests.support.running import Network, eventually, tongjian

REGIONS = ("beijing", "shanghai")


def transaction_status(market: Market, tx_id: str) -> str:
    """What the chain says of a transaction."""
    with market.api() as api:
        return str(api.get(f"/v1/transactions/{tx_id}")["status"])


class Load:
    """Submits companies in the background until stopped; keeps every id whose receipt was final."""

    def __init__(self, market: Market, prefix: str) -> None:
        self.final: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._market, self._prefix = market, prefix
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(timeout=90)

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set() and number < 5_000:
            number += 1
            try:
                self.final.append(self._market.register_company(f"{self._prefix}-{number}"))
            except Rejected as error:
                self.errors.append(f"{error.code}: {error.detail}")


def test_registration_reaches_the_regulator_with_evidence(network: Network, tmp_path: Path) -> None:
    market = Market(network.local, "beijing")
    company = {"object_id": "BJ000001", "kind": "organisation", "name": "样例股份", "enterprise_code": "BJ000001"}
    holder = {"object_id": "R000000001", "kind": "organisation", "name": "样例投资", "investor_code": "R000000001"}
    product = {
        "product": "BJ000001.ESVUFR2601",
        "issuer": "BJ000001",
        "name": "普通股",
        "product_type": 2,
        "unit": "share",
        "scale": 0,
        "authorised_quantity": 1_000_000,
    }
    answer = market.submit(
        [
            operation("subject.register", "e2e-1", **company),
            operation("subject.register", "e2e-2", **holder),
            operation("product.issue", "e2e-3", **product),
            operation("account.open", "e2e-4", account="A1", subject="R000000001", account_type="securities"),
            operation("registration.initial", "e2e-5", product=product["product"], account="A1", quantity=500),
        ]
    )
    assert answer["status"] == "applied", answer
    network.wait_until_anchored("beijing", answer["height"])

    with network.supervisor() as api:
        whole = api.get("/v1/supervision/investors/R000000001")
        evidence = api.text("/v1/evidence/beijing/BJ000001")
    assert [(p["region"], p["product"], p["available"]) for p in whole["data"]["positions"]] == [
        ("beijing", product["product"], 500)
    ]
    assert whole["complete"] is True

    file = tmp_path / "evidence.json"
    file.write_text(evidence)
    trust = str(network.local.trust_file)
    proven = tongjian("verify", str(file), "--trust", trust, "--json")
    assert json.loads(proven.stdout)["snapshot"]["header"]["content"]["object_id"] == "BJ000001"

    document = json.loads(evidence)
    document["snapshot"]["data"] = document["snapshot"]["data"].replace("样例股份", "样例股粉")
    file.write_text(json.dumps(document))
    refused = tongjian("verify", str(file), "--trust", trust, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")


def test_r8_the_relays_tokens_cannot_write_to_a_business_chain(network: Network) -> None:
    market = Market(network.local, "beijing")
    envelope = market.sign([operation("account.open", "never", account="N", subject="R000000001", account_type="cash")])
    token = network.local.token("beijing-relay-reader")
    with Api([market.chain.nodes[0].api], token, network.local.ca_file) as api, pytest.raises(Rejected) as refusal:
        api.submit(envelope, patience_s=5)
    assert refusal.value.parameters["http_status"] == 403


def test_s1_kill_one_validator_of_each_chain_under_load(network: Network) -> None:
    markets = {region: Market(network.local, region) for region in REGIONS}
    victims = [f"{chain}-2" for chain in (*REGIONS, CUSTODY)]
    with Load(markets["beijing"], "one-bj") as beijing, Load(markets["shanghai"], "one-sh") as shanghai:
        eventually(lambda: len(beijing.final) > 3 and len(shanghai.final) > 3, "the first receipts")
        for victim in victims:
            network.kill(victim)
        before = len(beijing.final), len(shanghai.final)
        eventually(lambda: len(beijing.final) > before[0] + 5, "beijing goes on with three validators")
        eventually(lambda: len(shanghai.final) > before[1] + 5, "shanghai goes on with three validators")
        for victim in victims:
            network.start(victim)
        for victim in victims:
            goal = network.height(f"{victim[:-1]}1")
            eventually(lambda victim=victim, goal=goal: network.height(victim) >= goal, f"{victim} catches up")
    assert not beijing.errors
    assert not shanghai.errors
    for load, region in ((beijing, "beijing"), (shanghai, "shanghai")):
        for answer in load.final:
            assert transaction_status(markets[region], answer["tx_id"]) == "applied"
        network.wait_until_anchored(region, load.final[-1]["height"])


def test_s1_kill_every_node_at_once_under_load(network: Network) -> None:
    market = Market(network.local, "beijing")
    with Load(market, "all-bj") as load:
        eventually(lambda: len(load.final) > 5, "the first receipts")
        nodes = [node.name for chain in network.local.chains for node in chain.nodes]
        for name in nodes:
            network.kill(name)
        final_before = list(load.final)
        network.up()
        eventually(lambda: len(load.final) > len(final_before) + 3, "the chain commits again", patience_s=90)
    for answer in load.final:
        assert transaction_status(market, answer["tx_id"]) == "applied"
    network.wait_until_anchored("beijing", load.final[-1]["height"], patience_s=90)


def test_r9_relay_killed_and_started_again(network: Network) -> None:
    market = Market(network.local, "shanghai")
    for number in range(3):
        network.kill("relay")
        answer = market.register_company(f"relay-{number}")
        network.start("relay")
        network.wait_until_anchored("shanghai", answer["height"])
    region = network.region("shanghai")
    assert region["state"] == "active"
    assert region["counts"]["anomalies"] == 0


def test_doctor_names_a_dead_validator_and_nothing_once_it_is_back(network: Network) -> None:
    directory = str(network.directory)
    local = network.local
    node = local.chain("shanghai").nodes[0]
    token_file = str(local.credentials["shanghai-reader"]["token_file"])
    options = ("--token-file", token_file, "--ca-file", str(local.ca_file), "--json")
    assert json.loads(tongjian("doctor", node.api, *options).stdout) == []
    assert (
        "error: token_refused"
        in tongjian(
            "doctor",
            node.api,
            "--token-file",
            str(local.credentials["supervisor"]["token_file"]),
            "--ca-file",
            str(local.ca_file),
            check=False,
        ).stderr
    )

    network.kill("shanghai-3")
    findings = json.loads(tongjian("doctor", directory, "--json", check=False).stdout)
    assert ("node_down", "shanghai-3") in {(finding["code"], finding["about"]) for finding in findings}
    network.start("shanghai-3")
    eventually(lambda: tongjian("doctor", directory, check=False).returncode == 0, "no faults after the restart")
    assert tongjian("localnet", "status", directory).returncode == 0


def test_status_sees_what_another_tool_has_started(network: Network, tmp_path: Path) -> None:
    document = json.loads((network.directory / "network.json").read_text())
    for process in [node for chain in document["chains"] for node in chain["nodes"]] + document["relays"]:
        process["pid"] = process["started_ticks"] = None
    (tmp_path / "network.json").write_text(json.dumps(document))
    (tmp_path / "ca").symlink_to(network.directory / "ca")
    rows = json.loads(tongjian("localnet", "status", str(tmp_path), "--json").stdout)
    assert len(rows) == 13
    assert all(row["running"] and row["ready"] and row["pid"] is None for row in rows)


def arenas_of_threads(process: Process) -> int:
    """glibc keeps 64 MiB of addresses for each arena besides the first; a part of them is memory."""
    maps = [line.split() for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines()]
    spans = [(*(int(end, 16) for end in fields[0].split("-")), fields[1]) for fields in maps if len(fields) == 5]
    return sum(
        (used, left) == ("rw-p", "---p") and end == begin and start % (64 << 20) == 0 and last - start == 64 << 20  # type: ignore[operator]
        for (start, end, used), (begin, last, left) in pairwise(spans)
    )


def test_no_thread_of_a_node_has_memory_that_serves_no_other(network: Network) -> None:
    processes = network.local.processes()
    assert {process.name: arenas_of_threads(process) for process in processes} == {
        process.name: 0 for process in processes
    }
