"""Regulators' queries with proofs over more rows than one answer proves: pages end in time, and all rows come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from common.core.codec import canonical_json
from common.node.store.chain_moment import MAX_PROVEN
from crosslink.lightclient.evidence_check import verify_evidence_file
from custody_chain.queries import chains, holdings
from custody_chain.regions import MAX_REGIONS
from tests.api.custody_server import BEIJING, SHANGHAI, CustodyServer, paged
from tests.support.custody import account, company, holder, product, registration
from tests.support.custody_node import CustodyNode

HOLDERS = 201
PLEDGES = 210
PLEDGED = "BJ000002.ESVUFR2601"
ISSUES = [f"BJ000003.ESVUFR26{number:02d}" for number in range(1, 46)]


def _grow(node: CustodyNode) -> None:
    """201 holders of one product, a wrong registration and an unusable account each; 210 pledges of one holder."""
    chain = node.chains[0]
    for first in range(3, HOLDERS + 1, 50):
        numbers = range(first, min(first + 50, HOLDERS + 1))
        node.deliver(chain, *(snapshot for number in numbers for snapshot in holder(number, 10, BEIJING)))
        node.deliver(chain, *(_wrong(number) for number in numbers), *(_unusable(number) for number in numbers))
    node.deliver(
        chain,
        company("second", "BJ000002", "乙公司"),
        product(PLEDGED, "second"),
        *(registration(f"second-{number}", PLEDGED, f"A{number}", change=(PLEDGES, 0, 0)) for number in (1, 2)),
    )
    for first in range(0, PLEDGES, 70):
        node.deliver(chain, *map(_pledge, range(first, first + 70)))
    node.deliver(
        chain,
        company("third", "BJ000003", "丙公司"),
        *(product(code, "third") for code in ISSUES),
        registration("third-1", ISSUES[-1], "A1", change=(5, 0, 0)),
    )
    node.commit()


def _wrong(number: int) -> bytes:
    return registration(f"wrong-{number}", BEIJING, f"A{number}", before=(10, 0, 0), change=(1, 0, 0), after=(9, 0, 0))


def _unusable(number: int) -> bytes:
    return account(f"bad-{number}", f"person-{number}").replace(b'"account_type":1', b'"account_type":7')


def _pledge(number: int) -> bytes:
    metadata = {"pledge": f"P{number}", "contract_number": f"HT-{number}", "pledgee_ref": "bank/0"}
    before = (PLEDGES - number, number, 0)
    return registration(f"pledge-{number}", PLEDGED, "A1", before=before, change=(-1, 1, 0), metadata=metadata)


@pytest.fixture(scope="module")
def custody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CustodyServer]:
    with CustodyServer(tmp_path_factory.mktemp("custody")) as server:
        server.on_node(_grow)
        yield server


def _pages(custody: CustodyServer, path: str, rows: str, **parameters: Any) -> list[dict[str, Any]]:
    """All rows, page by page, each page with a proof that holds and no more values than one answer proves."""
    found: list[dict[str, Any]] = []
    trust = custody.on_node(lambda node: node.trust())
    for answer in custody.pages(path, proof="true", **parameters):
        assert len(verify_evidence_file(canonical_json(answer["evidence"]), trust).state) <= MAX_PROVEN
        assert paged(answer)[rows]
        found += paged(answer)[rows]
    return found


def test_an_issuer_with_more_holders_than_one_answer_proves(custody: CustodyServer) -> None:
    path = "/v1/supervision/issuers/BJ000001"
    proven = _pages(custody, path, "holders")
    assert len(proven) == HOLDERS == len(custody.get(path, limit=1000)["data"]["holders"])
    assert len(custody.get(path)["data"]["holders"]) == 200, "without proofs the page has its size"
    assert len(custody.get(path, limit=150, proof="true")["data"]["holders"]) == 150
    answer = custody.ask(path, limit=200, proof="true")
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (400, "proof_limit", MAX_PROVEN)


def test_every_figure_of_a_proven_page_is_proven(custody: CustodyServer) -> None:
    answer = custody.get("/v1/supervision/issuers/BJ000001", proof="true")
    proven = {entry["key"] for entry in answer["evidence"]["state"]}
    rows = answer["data"]["holders"]
    assert {f"position/{row['investor_code']}/beijing/{BEIJING}/{row['account']}" for row in rows} <= proven
    assert {f"product/beijing/{BEIJING}", "company/BJ000001/beijing/issuer"} <= proven


def test_a_holder_with_more_pledges_than_one_answer_proves(custody: CustodyServer) -> None:
    path = "/v1/supervision/issuers/BJ000002"
    answer = custody.get(path, proof="true")
    data = answer["data"]
    assert [row["account"] for row in data["holders"]] == ["A1"], "the next holder has room on the next page"
    assert data["truncated"] is True
    assert len(answer["evidence"]["state"]) == MAX_PROVEN
    proven = {entry["key"] for entry in answer["evidence"]["state"]}
    assert {f"encumbrance/beijing/{PLEDGED}/A1/pledge/{line['id']}" for line in data["pledges"]} <= proven
    assert [row["account"] for row in _pages(custody, path, "holders")] == ["A1", "A2"]
    unproven = custody.get(path)["data"]
    assert (len(unproven["pledges"]), unproven["truncated"]) == (200, True)


def test_an_issuer_with_more_products_than_one_answer_proves(custody: CustodyServer) -> None:
    path = "/v1/supervision/issuers/BJ000003"
    data = custody.get(path, proof="true")["data"]
    assert [row["product"] for row in data["products"]] == ISSUES[: holdings.MAX_PROVEN_PRODUCTS]
    assert (data["truncated"], data["holders"]) == (True, [])
    last = custody.get(path, proof="true", product=ISSUES[-1])
    assert [row["held"] for row in last["data"]["holders"]] == [5]
    assert f"position/Q000000001/beijing/{ISSUES[-1]}/A1" in {entry["key"] for entry in last["evidence"]["state"]}
    unproven = custody.get(path)["data"]
    assert (len(unproven["products"]), unproven["truncated"]) == (len(ISSUES), False)


def test_alerts_and_feedback_with_proofs(custody: CustodyServer) -> None:
    alerts = custody.get("/v1/supervision/alerts", limit=1000)["data"]["alerts"]
    assert len(alerts) >= HOLDERS - 2
    for parameters in ({}, {"region": "beijing"}, {"region": "beijing", "rule": "balance_arithmetic"}):
        expected = custody.get("/v1/supervision/alerts", limit=1000, **parameters)["data"]["alerts"]
        assert _pages(custody, "/v1/supervision/alerts", "alerts", **parameters) == expected
    assert custody.ask("/v1/supervision/alerts", limit=201, proof="true").json()["code"] == "proof_limit"

    anomalies = _pages(custody, "/v1/feedback", "anomalies", region="beijing")
    assert len({item["object_id"] for item in anomalies}) == HOLDERS - 1
    both = custody.get("/v1/feedback", proof="true")["data"]["regions"]
    assert [(row["region"], row["truncated"]) for row in both] == [("beijing", True), ("shanghai", False)]
    assert len(custody.get("/v1/feedback", region="beijing")["data"]["regions"][0]["anomalies"]) == 100


def test_feedback_on_as_many_regions_as_there_may_be_has_room_for_proofs() -> None:
    entries = chains.feedback_page(MAX_REGIONS, proven=True)
    assert entries >= 1
    assert MAX_REGIONS * (1 + 2 * entries) <= MAX_PROVEN


def test_an_issuer_with_a_company_and_a_product_in_every_region_leaves_room_for_a_holder() -> None:
    assert 3 * MAX_REGIONS < MAX_PROVEN
    assert holdings.MAX_PROVEN_COMPANIES + 2 * holdings.MAX_PROVEN_PRODUCTS < MAX_PROVEN


def test_a_proof_names_nothing_of_a_region_outside_the_bearers_scope(custody: CustodyServer) -> None:
    def issue_elsewhere(node: CustodyNode) -> None:
        code = "BJ000001.ESVUFR2602"
        node.deliver(node.chains[1], company("branch", "BJ000001"), product(code, "branch"))

    custody.on_node(issue_elsewhere)
    path = "/v1/supervision/issuers/BJ000001"
    everything = custody.get(path, proof="true")
    assert {row["region"] for row in everything["data"]["companies"]} == {"beijing", "shanghai"}
    scoped = custody.get(path, role="provincial-beijing", proof="true")
    assert not [entry["key"] for entry in scoped["evidence"]["state"] if "shanghai" in entry["key"]]
    assert SHANGHAI not in str(scoped)
