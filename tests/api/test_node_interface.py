"""The node interface for supervision: what it answers can be verified with the core alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.core import merkle
from common.core.certificate import Certificate, verify_certificate
from common.core.codec import parse_json
from common.core.header import Header
from common.core.protocol import rehearse_next_version
from common.core.snapshot import snapshot_root
from common.core.validators import ValidatorSet
from common.model.object_header import read_header
from common.node.http import networks as http_networks
from tests.api.server import LiveServer
from tests.api.test_submission import WAIT, submit
from tests.unit.node.toy import SUITE, make_envelope, transfer

BASE = "/v1/networks/toytown"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A node with a few blocks, one of which holds several transactions."""
    directory: Path = tmp_path_factory.mktemp("chain")
    with LiveServer(directory) as server:
        genesis = server.node.genesis
        for number in range(3):
            submit(server, transfer(genesis, f"single-{number}", target=f"t{number}"), **WAIT)
        server.node.paused = True
        operations = [
            {"type": "toy.transfer", "source": "bank", "target": f"u{at}", "amount": at + 1} for at in range(5)
        ]
        submit(server, make_envelope(genesis, "first of many", operations))
        for number in range(4):
            submit(server, transfer(genesis, f"many-{number}"))
        server.call(lambda node: node.resume())
        submit(server, transfer(genesis, "last"), **WAIT)
        yield server


def get(server: LiveServer, path: str, role: str = "reader", **parameters: Any) -> Any:
    with server.client(role) as client:
        answer = client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()


def tip_of(server: LiveServer) -> int:
    return int(get(server, BASE + "/status")["height"])


def heights(server: LiveServer) -> range:
    return range(1, tip_of(server) + 1)


def test_networks_options_and_status(chain: LiveServer) -> None:
    genesis = chain.node.genesis
    own = get(chain, "/v1/networks")["networks"][0]
    assert (own["network_id"], own["genesis_id"], own["description"]) == ("toytown", genesis.id.hex(), "玩具市场")
    assert own["sub_networks"] == [{"network_id": "suburb"}]
    options = get(chain, BASE + "/options")
    assert options["operation_types"] == ["toy.crash", "toy.open", "toy.protocol", "toy.transfer", "toy.validators"]
    assert (options["protocol_version"], options["supported_versions"]) == (1, [1])
    assert options["limits"]["max_expiry_blocks"] == genesis.parameters.max_expiry_blocks
    assert set(options["result_states"]) >= {"applied", "rejected"}
    status = get(chain, BASE + "/status")
    assert (status["height"], status["block_id"]) == (
        chain.node.chain.tip().height,
        chain.node.chain.tip().block_id.hex(),
    )
    assert (status["validators"], status["peers"], status["ready"], status["syncing"]) == (["solo"], [], True, False)


def test_blocks_form_a_chain_from_genesis(chain: LiveServer) -> None:
    previous = get(chain, BASE + "/blocks/0")
    assert (previous["id"], previous["header"]) == (chain.node.genesis.id.hex(), None)
    total = 0
    for height in heights(chain):
        block = get(chain, f"{BASE}/blocks/{height}")
        assert (block["parent_id"], block["parent_height"]) == (previous["id"], height - 1)
        header = Header.decode(bytes.fromhex(block["header_bytes"]))
        assert header.id(SUITE).hex() == block["id"]
        assert block["header"]["state_root"] == header.state_root.hex()
        assert block["header"]["tx_count"] == len(block["tx_ids"])
        total += len(block["tx_ids"])
        previous = block
    assert total == 9


def test_a_block_s_transaction_shows_operations_and_result(chain: LiveServer) -> None:
    for height in heights(chain):
        for index, tx_id in enumerate(get(chain, f"{BASE}/blocks/{height}")["tx_ids"]):
            found = get(chain, f"{BASE}/blocks/{height}/transactions/{tx_id}")
            assert (found["index"], found["status"], found["receipt"]["code"]) == (index, "applied", "ok")
            assert found["types"] == ["toy.transfer"] * len(found["operations"])
            with chain.client("reader") as client:
                assert client.get(f"{BASE}/blocks/{height + 1}/transactions/{tx_id}").status_code == 404


def test_consensus_state_proves_the_block(chain: LiveServer) -> None:
    for height in heights(chain):
        state = get(chain, f"{BASE}/blocks/{height}/consensus-state")
        for signature in state["signatures"]:
            key = SUITE.parse_key(signature["public_key"])
            assert SUITE.verify(key, bytes.fromhex(state["signed_bytes"]), bytes.fromhex(signature["signature"]))
            assert state["validators"][signature["index"]]["public_key"] == signature["public_key"]
        assert len(state["voters"]) >= state["quorum"]
        assert state["block_id"] == get(chain, f"{BASE}/blocks/{height}")["id"]


def bulk(server: LiveServer, **parameters: Any) -> Any:
    return get(server, BASE + "/blocks", **parameters)


def test_bulk_blocks_verify_with_the_core_alone(chain: LiveServer) -> None:
    answer = bulk(chain, **{"from": 1, "limit": 100, "include": "snapshots,validators"})
    assert answer["tip"] == tip_of(chain)
    assert [block["height"] for block in answer["blocks"]] == list(heights(chain))
    parent, validators = chain.node.genesis.id, chain.node.genesis.validators
    for block in answer["blocks"]:
        header = Header.decode(bytes.fromhex(block["header"]))
        assert header.parent_id == parent
        verify_certificate(SUITE, validators, header, Certificate.decode(bytes.fromhex(block["certificate"])))
        snapshots = [text.encode() for text in block["snapshots"]]
        assert snapshot_root(SUITE, snapshots) == header.snapshot_root
        assert len(snapshots) == header.snapshot_count
        assert "validators" not in block
        parent = header.id(SUITE)
        assert block["id"] == parent.hex()


def test_bulk_leaves_out_what_was_not_asked_for(chain: LiveServer) -> None:
    answer = bulk(chain, **{"from": 2, "limit": 2})
    assert [block["height"] for block in answer["blocks"]] == [2, 3]
    assert all(block.keys() == {"height", "id", "header", "certificate"} for block in answer["blocks"])


def test_n1_a_bulk_answer_is_bounded_but_never_empty(chain: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_networks, "MAX_BULK_BYTES", 1)
    answer = bulk(chain, **{"from": 1, "limit": 100, "include": "snapshots"})
    assert [block["height"] for block in answer["blocks"]] == [1]
    monkeypatch.setattr(http_networks, "MAX_BULK_BYTES", 4000)
    assert 1 < len(bulk(chain, **{"from": 1, "limit": 100})["blocks"]) < tip_of(chain)


def test_bulk_long_polls_until_a_block_comes_or_the_time_is_over(chain: LiveServer) -> None:
    tip = tip_of(chain)
    assert bulk(chain, **{"from": tip + 1}) == {"network": "toytown", "blocks": [], "tip": tip}
    started = time.monotonic()
    assert bulk(chain, **{"from": tip + 1, "wait": 1})["blocks"] == []
    assert time.monotonic() - started >= 0.9
    threading.Timer(0.3, lambda: submit(chain, transfer(chain.node.genesis, "poll"))).start()
    started = time.monotonic()
    assert [block["height"] for block in bulk(chain, **{"from": tip + 1, "wait": 20})["blocks"]] == [tip + 1]
    assert time.monotonic() - started < 10


def test_a_changed_validator_set_travels_with_its_block(tmp_path: Path) -> None:
    with LiveServer(tmp_path) as server:
        # The chain stops here: the new member does not run. What the last block says about it is what counts.
        before = get(server, BASE + "/governance")
        assert [member["name"] for member in before["validators"]] == ["solo"]
        assert (before["scheduled"], before["findings"], before["protocol"]["version"]) == (None, [], 1)
        change = make_envelope(server.node.genesis, "grow", [{"type": "toy.validators", "names": ["solo", "two"]}])
        submit(server, change, **WAIT)
        answer = bulk(server, **{"from": 1, "include": "validators"})
        carrying = [block for block in answer["blocks"] if "validators" in block]
        assert len(carrying) == 1
        validators = ValidatorSet.decode(bytes.fromhex(carrying[0]["validators"]))
        assert [member.name for member in validators.members] == ["solo", "two"]
        header = Header.decode(bytes.fromhex(carrying[0]["header"]))
        assert header.next_validators_hash == validators.hash(SUITE)
        after = get(server, BASE + "/governance")
        assert after["validators_hash"] == header.next_validators_hash.hex()


def test_c19_scheduled_activations_are_published(tmp_path: Path) -> None:
    with rehearse_next_version(), LiveServer(tmp_path) as server:
        for number, (version, height) in enumerate(((2, 4), (3, 900))):
            operation = {"type": "toy.protocol", "version": version, "height": height}
            submit(server, make_envelope(server.node.genesis, f"activate-{number}", [operation]), **WAIT)
            while server.node.chain.tip().height < 4:
                submit(server, transfer(server.node.genesis, f"t-{server.node.chain.tip().height}"), **WAIT)
        protocol = get(server, BASE + "/governance")["protocol"]
        assert protocol["version"] == get(server, BASE + "/options")["protocol_version"] == 2
        assert protocol["scheduled"] == [{"height": 900, "version": 3}]
        findings = get(server, BASE + "/governance")["findings"]
        assert findings == [{"code": "protocol_version_unsupported", "height": 900, "version": 3}]
        versions = {bulk["header"]["protocol_version"] for bulk in (get(server, f"{BASE}/blocks/{h}") for h in (3, 4))}
        assert versions == {1, 2}


def test_objects_of_a_block_and_their_proofs(chain: LiveServer) -> None:
    expected = seen = 0
    for height in heights(chain):
        block = get(chain, f"{BASE}/blocks/{height}")
        root = bytes.fromhex(block["header"]["snapshot_root"])
        listed = get(chain, f"{BASE}/blocks/{height}/objects")
        expected += block["header"]["snapshot_count"]
        assert [item["index"] for item in listed] == list(range(block["header"]["snapshot_count"]))
        for item in listed:
            found = get(chain, f"{BASE}/blocks/{height}/objects/{item['object_id']}")
            entry = next(entry for entry in found["snapshots"] if entry["index"] == item["index"])
            data, path = entry["snapshot"].encode(), [bytes.fromhex(text) for text in entry["proof"]]
            merkle.verify_inclusion(SUITE.hash, root, data, item["index"], found["snapshot_count"], path)
            content = read_header(parse_json(data, max_size=65536))
            assert (content.object_id, content.version, content.operation, content.kind) == (
                item["object_id"],
                item["version"],
                item["operation"],
                item["type"],
            )
            revisions = get(chain, f"{BASE}/objects/{item['object_id']}")
            assert revisions["revisions"] == [{"height": height, "index": item["index"], "version": 0}]
            assert get(chain, f"{BASE}/objects/{item['object_id']}", version=1)["revisions"] == []
            seen += 1
    assert seen == expected >= 13


@pytest.mark.parametrize("role", ["operator", "reader", "relay", "supervisor", "governance"])
def test_roles_that_may_read_the_chain(chain: LiveServer, role: str) -> None:
    assert get(chain, BASE + "/status", role)["height"] >= 1


@pytest.mark.parametrize("role", ["feedback", "provincial"])
def test_tokens_that_are_limited_to_regions_may_not_read_the_chain(chain: LiveServer, role: str) -> None:
    with chain.client(role) as client:
        assert client.get(BASE + "/status").status_code == 403
