"""Evidence over HTTP: anybody registered brings it, everybody who may read the chain sees the culprits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.consensus.contradiction import Statement
from common.consensus.messages import Stage, Vote, vote_payload
from common.core.suite import ED25519_SHA256 as SUITE
from crosslink.lightclient.delivery import MisbehaviourDelivery
from tests.api.custody_server import CustodyServer
from tests.api.market_server import MarketServer
from tests.support.custody_node import CustodyNode
from tests.unit.business.market import genesis, key, seed

BASE = "/v1/networks/beijing/evidence"


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarketServer]:
    """A business chain of one validator, v1, which has signed too much."""
    with MarketServer(tmp_path_factory.mktemp("market")) as server:
        yield server


@pytest.fixture(scope="module")
def custody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CustodyServer]:
    """The custody chain, to which a contradiction of beijing's validators was brought."""
    directory: Path = tmp_path_factory.mktemp("custody")
    with CustodyServer(directory) as server:
        server.on_node(freeze_beijing)
        yield server


def freeze_beijing(node: CustodyNode) -> None:
    last = node.chains[0].blocks[-1]
    other = node.chains[0].seal(replace(last.header, time_ms=last.header.time_ms + 1))
    pair = MisbehaviourDelivery(
        region="beijing",
        first=last.signed,
        second=other.signed,
    )
    receipt = node.commit(pair.to_operation(), signers=("operator",))
    assert receipt is not None
    assert receipt.status == "applied", receipt


def double_vote(height: int, view: int = 0) -> dict[str, Any]:
    """Two COMMITs of v1 as an operation."""
    chain = genesis()
    first, second = (
        Statement.of(
            Vote(
                Stage.COMMIT,
                height,
                view,
                block,
                0,
                SUITE.sign(seed("v1"), vote_payload(SUITE, chain.id, "beijing", Stage.COMMIT, height, view, block)),
            ),
            SUITE,
            chain.id,
            "beijing",
        ).to_json()
        for block in (b"a" * 32, b"b" * 32)
    )
    return {"type": "validator.accuse", "first": first, "second": second}


def get(server: MarketServer, role: str = "reader", **parameters: Any) -> Any:
    with server.client(role) as client:
        return client.get(BASE, params=parameters)


def test_c1_a_culprit_is_listed_with_both_messages(market: MarketServer) -> None:
    operation = double_vote(1)
    status, receipt = market.submit(operation)
    assert (status, receipt["status"]) == (200, "applied")
    answer = get(market).json()
    (entry,) = answer["evidence"]
    assert entry["culprits"] == [{"name": "v1", "organisation": "market", "public_key": key("v1")}]
    assert (entry["kind"], entry["height"], entry["view"]) == ("commit", 1, 0)
    assert (entry["first"], entry["second"]) == (operation["first"], operation["second"])
    assert (entry["tx_id"], entry["included_height"]) == (receipt["tx_id"], receipt["height"])
    assert answer["accused"] == [{"public_key": key("v1"), "name": "v1", "organisation": "market", "acts": 1}]
    assert answer["next_cursor"] is None


def test_the_same_act_again_and_false_ones_are_refused_with_their_code(market: MarketServer) -> None:
    market.submit(double_vote(1))
    for operation, expected in (
        (double_vote(1), (409, "accusation_known")),
        ({**double_vote(1), "second": double_vote(1, view=1)["second"]}, (422, "accusation_other_place")),
        ({**double_vote(1), "second": double_vote(1)["first"]}, (422, "accusation_same_value")),
        ({**double_vote(1), "first": "x"}, (400, "accusation_statement")),
    ):
        status, problem = market.submit(operation)
        assert (status, problem["code"]) == expected


def test_pages_follow_each_other(market: MarketServer) -> None:
    for view in (1, 2, 3):
        assert market.submit(double_vote(1, view))[1]["status"] == "applied"
    seen, cursor = [], None
    for _ in range(100):
        page = get(market, limit=2, **({} if cursor is None else {"cursor": cursor})).json()
        assert len(page["evidence"]) <= 2
        seen += [entry["view"] for entry in page["evidence"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(seen)
    assert {1, 2, 3} <= set(seen)
    assert get(market, cursor="..//").json()["code"] == "cursor_invalid"


def test_who_may_see_it(market: MarketServer) -> None:
    assert get(market, "feedback").status_code == 403
    assert get(market, "auditor").status_code == 200
    with market.client("reader") as client:
        assert client.get("/v1/networks/shanghai/evidence").json()["code"] == "network_unknown"


def test_r3_the_custody_chain_lists_a_regions_culprits(custody: CustodyServer) -> None:
    for role in ("supervisor", "operator", "reader"):
        answer = custody.get(BASE, role)
        (entry,) = answer["evidence"]
        assert [culprit["name"] for culprit in entry["culprits"]] == ["beijing-1", "beijing-2", "beijing-3"]
        assert (entry["kind"], entry["details"]) == ("same_height", {"view": 0})
        assert entry["first"] != entry["second"]
        assert entry["included_height"] == custody.custody.chain.tip().height
    assert custody.get("/v1/networks/shanghai/evidence")["evidence"] == []
    assert custody.get("/v1/networks/custody/evidence", "reader")["evidence"] == []
    assert custody.ask(BASE, "provincial-beijing").status_code == 403
    assert custody.ask("/v1/networks/Bei%20jing/evidence").json()["code"] == "network_name"
