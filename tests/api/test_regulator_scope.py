"""Who gets an answer on the custody chain, and of which regions."""

from __future__ import annotations

import pytest

from tests.api.custody_server import ALERTS, INVESTOR, ISSUER, CustodyServer

SUPERVISION = [INVESTOR, ISSUER, ALERTS, "/v1/evidence/beijing/pledge"]
ALLOWED = {
    "/v1/regions": "supervisor analyst provincial auditor relay operator governance feedback",
    "/v1/regions/beijing": "supervisor analyst auditor relay operator governance",
    **dict.fromkeys(SUPERVISION[:1] + SUPERVISION[2:3], "supervisor analyst provincial auditor"),
    ISSUER: "supervisor analyst auditor",
    SUPERVISION[3]: "supervisor analyst auditor",
    "/v1/feedback": "supervisor analyst provincial auditor feedback",
    "/v1/crosslink/log?region=beijing": "supervisor analyst auditor relay operator",
}
"""Roles that get an answer; the tokens of scoped roles name a region that does not exist, so they see none."""


@pytest.mark.parametrize("path", sorted(ALLOWED))
def test_only_the_roles_that_may_ask_get_an_answer(custody: CustodyServer, path: str) -> None:
    answered = {role for role in custody.tokens if "-" not in role and custody.ask(path, role).status_code == 200}
    assert answered == set(ALLOWED[path].split())
    with custody.client(None) as client:
        assert client.get(path).status_code == 401


def test_a_provincial_bearer_sees_its_own_regions_only(custody: CustodyServer) -> None:
    beijing, shanghai = "provincial-beijing", "provincial-shanghai"
    answer = custody.get(INVESTOR, role=shanghai)
    assert [row["region"] for row in answer["data"]["positions"]] == ["shanghai"]
    assert [entry["region"] for entry in answer["basis"]] == ["shanghai"]
    assert [row["region"] for row in custody.get("/v1/regions", role=shanghai)["data"]["regions"]] == ["shanghai"]
    assert custody.get(ALERTS, role=shanghai)["data"]["alerts"] == []
    (alert,) = custody.get(ALERTS, role=beijing)["data"]["alerts"]
    for path in (
        ISSUER,
        f"{ALERTS}/{alert['id']}",
        "/v1/regions/beijing",
        "/v1/evidence/beijing/pledge",
        "/v1/crosslink/log?region=beijing",
        "/v1/feedback?region=beijing",
    ):
        assert custody.ask(path, shanghai).status_code == 404, path
        assert custody.ask(path, beijing).status_code == 200, path
    assert "beijing" not in custody.ask(INVESTOR, shanghai, limit=1).text


def test_a_market_sees_its_own_feedback_only(custody: CustodyServer) -> None:
    regions = custody.get("/v1/feedback", role="feedback-shanghai")["data"]["regions"]
    assert [region["region"] for region in regions] == ["shanghai"]
    assert custody.ask("/v1/feedback", "feedback-shanghai", region="beijing").status_code == 404
    assert custody.ask(INVESTOR, "feedback-shanghai").status_code == 403


def chain_routes(custody: CustodyServer) -> list[str]:
    """Every route that shows what is in the custody chain's blocks: here, what Beijing delivered."""
    tx_id = custody.on_node(lambda node: node.chain.receipts(1)[0].tx_id.hex())
    base = "/v1/networks/custody"
    return [
        *(f"{base}/{name}" for name in ("blocks", "blocks?include=snapshots", "blocks/0", "blocks/1")),
        *(f"{base}/blocks/1/{name}" for name in (f"transactions/{tx_id}", "consensus-state", "objects", "objects/x")),
        f"{base}/objects/x",
        f"/v1/transactions/{tx_id}",
        f"/v1/transactions/{tx_id}?proof=true",
        "/v1/events?from_height=1",
    ]


ASKING = ["provincial", "provincial-shanghai", "feedback", "feedback-shanghai", "supervisor", "analyst", "auditor"]


@pytest.mark.parametrize("role", ASKING)
def test_other_regions_and_unlogged_reading_are_not_had_through_the_node_interface(
    custody: CustodyServer, role: str
) -> None:
    for path in chain_routes(custody):
        answer = custody.ask(path, role)
        assert (answer.status_code, answer.json()["code"]) == (403, "role_not_allowed"), path
        assert "beijing" not in answer.text, path


def test_a_reader_token_of_the_custody_chain_reads_its_blocks_whole(custody: CustodyServer) -> None:
    operations = next(path for path in chain_routes(custody) if "/blocks/1/transactions/" in path)
    assert custody.get(operations, role="reader")["operations"][0]["region"] == "beijing"
    with custody.client("relay") as client, client.stream("GET", "/v1/events?from_height=1") as response:
        assert response.status_code == 200
