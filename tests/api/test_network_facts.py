"""What the custody chain's node interface tells regulators: of the network, and nothing of the markets."""

from __future__ import annotations

from typing import Any

import pytest

from common.node.access import issue_token
from tests.api.custody_server import SHANGHAI, CustodyServer
from tests.support.custody import holder
from tests.support.custody_node import CustodyNode

FACTS = ["/v1/networks", *(f"/v1/networks/custody/{name}" for name in ("options", "status", "governance"))]


@pytest.mark.parametrize("path", FACTS)
def test_what_tells_of_the_network_alone_is_open_to_regulators_on_the_custody_chain(
    custody: CustodyServer, path: str
) -> None:
    before = custody.get(path, "reader")
    for role in ("supervisor", "analyst", "auditor"):
        assert custody.get(path, role) == before
    for role in ("provincial", "provincial-shanghai", "feedback", "feedback-shanghai"):
        assert custody.ask(path, role).status_code == 403, role
    custody.on_node(lambda node: node.deliver(node.chains[1], *holder(9, 1234567, SHANGHAI)))
    changed = {"height", "block_id", "time_ms", "best_peer_height"}
    after = custody.get(path, "supervisor")
    if path.endswith("/status"):
        assert after["height"] == custody.on_node(lambda node: node.chain.tip().height) == before["height"] + 1
    assert {name: after[name] for name in after.keys() - changed} == {
        name: before[name] for name in before.keys() - changed
    }, "what a market registers changes nothing here but the height of the chain"


def test_a_regulators_token_that_names_regions_is_told_of_these_alone(custody: CustodyServer) -> None:
    token = issue_token(
        custody.tokens_file, subject="one", organisation="tests", role="supervisor", regions=["shanghai"]
    )
    custody.tokens["supervisor-shanghai"] = token.secret
    (network,) = custody.get("/v1/networks", "supervisor-shanghai")["networks"]
    assert [below["network_id"] for below in network["sub_networks"]] == ["shanghai"]
    (network,) = custody.get("/v1/networks")["networks"]
    assert [below["network_id"] for below in network["sub_networks"]] == ["beijing", "shanghai"]


def test_what_governance_has_scheduled_is_shown_until_it_holds(custody: CustodyServer) -> None:
    fields, quorum = {"reason": "r"}, [f"governance-{number}" for number in (1, 2, 3)]

    def govern(node: CustodyNode) -> int:
        height = node.chain.tip().height + 3
        changes: list[dict[str, Any]] = [
            {"type": "parameters.set", "values": {"heartbeat_ms": 5000}, "height": height},
            {"type": "policy.set", "rules": [{"operation_type": "region.recover"}], "height": height},
            {"type": "rules.set", "id": "holder_cap", "parameters": {"limit": 150}, "from_height": height},
            {"type": "rules.set", "id": "version_gap", "parameters": None, "from_height": height},
        ]
        receipt = node.commit(*[change | fields for change in changes], signers=quorum)
        assert receipt is not None
        assert receipt.status == "applied", receipt
        return height

    assert custody.get("/v1/networks/custody/governance")["pending"] == []
    height = custody.on_node(govern)
    assert custody.get("/v1/networks/custody/governance")["pending"] == [
        {"operation": "parameters.set", "height": height, "values": {"heartbeat_ms": 5000}},
        {"operation": "policy.set", "height": height, "rules": {"region.recover": None}},
        {"operation": "rules.set", "height": height, "id": "holder_cap", "parameters": {"limit": 150}},
        {"operation": "rules.set", "height": height, "id": "version_gap", "parameters": None},
    ]
    custody.on_node(lambda node: node.commit())
    assert custody.get("/v1/networks/custody/governance")["pending"] == [], "the next block has it"
