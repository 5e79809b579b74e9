"""Regulators' queries over real HTTP: the envelope, look-through, alerts, the past, proofs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.core.codec import canonical_json
from crosslink.lightclient.evidence_check import verify_evidence_file
from custody_chain.supervision.rules import RULES
from tests.api.custody_server import ALERTS, BEIJING, INVESTOR, ISSUER, SHANGHAI, CustodyServer
from tests.api.spellings import refuse_other_spellings
from tests.support.chains import START_MS
from tests.support.custody import registration, snapshot


def test_the_envelope_says_what_an_answer_rests_on(custody: CustodyServer) -> None:
    answer = custody.get(INVESTOR)
    assert answer["complete"] is True
    assert (answer["custody_height"], answer["as_of_ms"]) == (4, START_MS + 4000)
    basis = {entry["region"]: entry for entry in answer["basis"]}
    assert sorted(basis) == ["beijing", "shanghai"]
    assert basis["beijing"]["anchored_height"] == 2
    assert (basis["beijing"]["state"], basis["beijing"]["anomalies"], basis["beijing"]["lag_ms"]) == ("active", 1, 1500)


def test_an_investor_is_looked_through_in_all_markets(custody: CustodyServer) -> None:
    rows = custody.get(INVESTOR)["data"]["positions"]
    figures = [(r["region"], r["product"], r["account"], r["available"], r["pledged"], r["frozen"]) for r in rows]
    assert figures == [("beijing", BEIJING, "A1", 80, 20, 0), ("shanghai", SHANGHAI, "A1", 30, 0, 0)]
    assert (rows[0]["issuer"], rows[0]["held"], rows[0]["product_name"]) == ("BJ000001", 100, "普通股")
    assert rows[0]["registration"] == {"object_id": "pledge", "height": 2, "index": 0}
    assert rows[0]["effective_date"] == "2026-01-01", "the day of register_time, where the market states no other"


def test_an_unknown_investor_has_no_positions_and_a_wrong_code_is_refused(custody: CustodyServer) -> None:
    assert custody.get("/v1/supervision/investors/Q999999999")["data"]["positions"] == []
    answer = custody.ask("/v1/supervision/investors/X1")
    assert (answer.status_code, answer.json()["code"]) == (400, "investor_code")


def test_an_issuer_with_its_products_holders_pledges_and_freezes(custody: CustodyServer) -> None:
    data = custody.get(ISSUER)["data"]
    assert data["companies"][0]["name"] == "样例公司"
    (product,) = data["products"]
    totals = (product["holders"], product["available"], product["pledged"], product["frozen"], product["held"])
    assert totals == (2, 113, 20, 5, 138)
    assert [(row["account"], row["held"]) for row in data["holders"]] == [("A1", 100), ("A2", 38)]
    assert [(row["account"], row["quantity"]) for row in data["pledges"]] == [("A1", 20)]
    assert [(row["account"], row["quantity"]) for row in data["freezes"]] == [("A2", 5)]
    assert custody.ask("/v1/supervision/issuers/BJ999999").json()["code"] == "enterprise_unknown"
    assert custody.get(ISSUER + "F")["data"]["enterprise_code"] == "BJ000001", "the tier letter is no part of the key"


def test_quantities_come_with_their_decimal_places_and_unit(tmp_path: Path) -> None:
    with CustodyServer(tmp_path) as server:

        def restate(node: Any) -> None:
            size = {"product_scale": 900, "product_scale_unit": 2}
            basic = {"product_information": {"essential_information": {"basic_product_information": size}}}
            stated = {"quantity_scale": 4}
            node.deliver(node.chains[0], snapshot("product", BEIJING, basic, version=1, metadata=stated))

        assert [server.get(ISSUER)["data"]["products"][0][name] for name in ("scale", "unit")] == [None, None]
        server.on_node(restate)
        data = server.get(ISSUER)["data"]
        (product,) = data["products"]
        assert (product["scale"], product["unit"], product["issue_size"]) == (4, "fund_unit", 900)
        position = server.get(INVESTOR)["data"]["positions"][0]
        for row in (data["holders"][0], position):
            assert (row["product"], row["scale"], row["unit"]) == (BEIJING, 4, "fund_unit")


def test_balances_come_by_share_nature_and_bindings_with_what_they_lie_on(tmp_path: Path) -> None:
    """A court has frozen 15 of A1's 20 pledged shares; its market says so, and that is what is answered."""
    natures = [
        {"share_nature": 0, "held": 90, "available": 70, "pledged": 20, "frozen": 15},
        {"share_nature": 24, "held": 10, "available": 10, "pledged": 0, "frozen": 0},
    ]
    parts = [{"share_nature": 0, "quantity": 15, "pledge": "loan"}]
    metadata = {"held_before": 100, "held_after": 100, "share_natures": natures, "freeze": "order", "parts": parts}

    def freeze_pledged(node: Any) -> None:
        overlap = registration("overlap", BEIJING, "A1", before=(80, 20, 0), change=(0, 0, 15), metadata=metadata)
        node.deliver(node.chains[0], overlap)

    with CustodyServer(tmp_path) as server:
        assert server.get(INVESTOR)["data"]["positions"][0]["share_natures"] is None
        server.on_node(freeze_pledged)
        data = server.get(ISSUER, proof="true")["data"]
        for row in (data["holders"][0], server.get(INVESTOR)["data"]["positions"][0]):
            assert (row["held"], row["available"], row["pledged"], row["frozen"]) == (100, 80, 20, 15)
            assert row["share_natures"] == natures
        freeze = data["freezes"][0]
        assert (freeze["id"], freeze["quantity"], freeze["parts"]) == ("order", 15, parts)
        assert data["products"][0]["held"] == 138


def test_holders_of_one_product(custody: CustodyServer) -> None:
    data = custody.get(ISSUER, product=BEIJING)["data"]
    assert [row["account"] for row in data["holders"]] == ["A1", "A2"]
    for path, code in ((ISSUER, "XX"), (ISSUER, SHANGHAI), (ISSUER, ""), (ISSUER, "-")):
        answer = custody.ask(path, product=code)
        assert (answer.status_code, answer.json()["code"]) == (404, "product_unknown")
        assert answer.json()["object_id"] == answer.json()["product"]
    assert custody.ask(ISSUER, prodct=BEIJING).json()["allowed"] == "as_of_ms, cursor, limit, product, proof"
    assert custody.ask(ALERTS, region=["beijing", "shanghai"]).json()["code"] == "parameter_repeated"


def test_alerts_name_rule_source_objects_and_heights(custody: CustodyServer) -> None:
    (alert,) = custody.get(ALERTS)["data"]["alerts"]
    assert (alert["rule"], alert["region"], alert["state"]) == ("balance_arithmetic", "beijing", "open")
    assert alert["source"] == RULES["balance_arithmetic"].source
    assert alert["objects"][0] == {"kind": "registration", "id": "broken"}
    assert (alert["opened"]["region_height"], alert["opened"]["custody_height"]) == (2, 3)
    assert custody.get(f"{ALERTS}/{alert['id']}")["data"] == alert


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"region": "beijing"}, 1),
        ({"region": "shanghai"}, 0),
        ({"rule": "balance_arithmetic"}, 1),
        ({"rule": "holder_cap"}, 0),
        ({"state": "open"}, 1),
        ({"state": "cleared"}, 0),
        ({"since": START_MS + 3000}, 1),
        ({"since": START_MS + 3001}, 0),
    ],
)
def test_alerts_are_filtered(custody: CustodyServer, parameters: dict[str, Any], count: int) -> None:
    assert len(custody.get(ALERTS, **parameters)["data"]["alerts"]) == count


def test_integers_of_the_supervisory_routes_have_one_spelling(custody: CustodyServer) -> None:
    assert refuse_other_spellings(custody, "custody", "supervisor", "operator") >= 25


@pytest.mark.parametrize(
    ("path", "parameters", "status", "code"),
    [
        (ALERTS, {"rule": "nonsense"}, 400, "alert_rule_unknown"),
        (ALERTS, {"region": "guangdong"}, 404, "region_unknown"),
        (ALERTS, {"state": "asleep"}, 400, "request_invalid"),
        (f"{ALERTS}/beijing.holder_cap.000000000000000000000000", {}, 404, "alert_unknown"),
        (f"{ALERTS}/nonsense", {}, 400, "alert_id"),
        ("/v1/regions/guangdong", {}, 404, "region_unknown"),
        ("/v1/evidence/beijing/nobody", {}, 404, "object_unknown"),
        ("/v1/evidence/beijing/pledge", {"index": 1}, 400, "evidence_place"),
        ("/v1/crosslink/log", {}, 400, "request_invalid"),
        (INVESTOR, {"as_of_ms": START_MS - 1}, 404, "as_of_before_genesis"),
        (INVESTOR, {"as_of_ms": START_MS + 1, "proof": "true"}, 422, "proof_of_genesis"),
    ],
)
def test_refusals_are_problems_with_stable_codes(
    custody: CustodyServer, path: str, parameters: dict[str, Any], status: int, code: str
) -> None:
    answer = custody.ask(path, **parameters)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_past_is_answered_from_the_state_of_that_time(custody: CustodyServer) -> None:
    def at(as_of_ms: int) -> tuple[int, list[tuple[int, int]]]:
        answer = custody.get(INVESTOR, as_of_ms=as_of_ms)
        return answer["custody_height"], [(r["available"], r["pledged"]) for r in answer["data"]["positions"]]

    assert at(START_MS) == (0, [])
    assert at(START_MS + 1000) == (1, [(100, 0)])
    assert at(START_MS + 1999) == (1, [(100, 0)])
    assert at(START_MS + 2000) == (2, [(100, 0), (30, 0)])
    assert at(START_MS + 3500) == (3, [(80, 20), (30, 0)])
    assert at(START_MS + 10**9) == (4, [(80, 20), (30, 0)]), "the future is the tip"
    assert custody.get(ALERTS, as_of_ms=START_MS + 2000)["data"]["alerts"] == []
    past = custody.get("/v1/regions/beijing", as_of_ms=START_MS + 2000)
    assert (past["data"]["anchored_height"], past["data"]["counts"]["snapshots"]) == (1, 8)
    log = custody.get("/v1/crosslink/log", region="beijing", as_of_ms=START_MS + 2000)["data"]
    assert [line["type"] for line in log["entries"]] == ["accepted"]


@pytest.mark.parametrize(
    "path",
    [INVESTOR, ISSUER, ALERTS, "/v1/regions", "/v1/regions/beijing", "/v1/feedback", "/v1/crosslink/log"],
)
def test_a_proof_is_an_evidence_file_that_the_offline_verifier_accepts(custody: CustodyServer, path: str) -> None:
    needed = {"region": "beijing"} if path == "/v1/crosslink/log" else {}
    answer = custody.get(path, proof="true", **needed)
    findings = verify_evidence_file(canonical_json(answer["evidence"]), custody.on_node(lambda node: node.trust()))
    assert (findings.kind, findings.height) == ("state", answer["custody_height"])
    assert findings.state


@pytest.mark.parametrize("as_of_ms", [START_MS + 1000, START_MS + 2500, START_MS + 3000])
def test_what_was_held_on_a_date_is_proven_under_the_header_of_that_date(custody: CustodyServer, as_of_ms: int) -> None:
    answer = custody.get(INVESTOR, as_of_ms=as_of_ms, proof="true")
    assert answer["custody_height"] < custody.on_node(lambda node: node.chain.tip().height)
    assert answer["data"] == custody.get(INVESTOR, as_of_ms=as_of_ms)["data"]
    findings = verify_evidence_file(canonical_json(answer["evidence"]), custody.on_node(lambda node: node.trust()))
    assert (findings.kind, findings.height) == ("state", answer["custody_height"])
    values = {entry["key"]: json.loads(entry["value"]) for entry in answer["evidence"]["state"] if entry["value"]}
    for row in answer["data"]["positions"]:
        proven = values[f"position/Q000000001/{row['region']}/{row['product']}/{row['account']}"]
        assert (proven["available"], proven["pledged"]) == (row["available"], row["pledged"])


def test_evidence_for_a_snapshot(custody: CustodyServer) -> None:
    answer = custody.ask("/v1/evidence/beijing/pledge")
    findings = verify_evidence_file(answer.content, custody.on_node(lambda node: node.trust()))
    assert findings.snapshot is not None
    assert findings.snapshot["header"]["content"]["object_id"] == "pledge"
    older = custody.ask("/v1/evidence/beijing/person-1", height=1, index=2)
    assert verify_evidence_file(older.content, custody.on_node(lambda node: node.trust())).region_height == 1


@pytest.mark.parametrize(
    ("object_id", "query", "code"),
    [("nobody", {}, "object_unknown"), ("pledge", {"height": 1}, "snapshot_unknown"), ("甲/乙", {}, "object_unknown")],
)
def test_a_refusal_about_an_object_names_it(
    custody: CustodyServer, object_id: str, query: dict[str, Any], code: str
) -> None:
    problem = custody.ask(f"/v1/evidence/beijing/{object_id}", **query).json()
    assert (problem["code"], problem["object_id"]) == (code, object_id)


def test_the_openapi_document_describes_the_routes(custody: CustodyServer) -> None:
    with custody.client(None) as client:
        document = client.get("/openapi.json").json()
    paths = document["paths"]
    for path in ("/v1/regions", "/v1/supervision/investors/{investor_code}", "/v1/evidence/{region}/{object_id}"):
        assert path in paths
    schema = paths["/v1/supervision/alerts"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Envelope"}
