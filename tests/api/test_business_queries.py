"""Business queries and operations over real HTTP: answers, proofs, roles, resends, refusals, the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from business_chain.operation_schemas import STORY
from business_chain.operations.operation_types import OPERATION_RECORDS
from business_chain.register_proof import ProvenValue, verify_register
from common.core.certificate import Certificate, verify_certificate
from common.core.header import Header
from common.core.state_proof import StateProof
from common.core.suite import ED25519_SHA256
from tests.api.market_server import MarketServer
from tests.api.spellings import refuse_other_spellings
from tests.unit.business.market import ISSUER, PRODUCT, Operations

OPERATIONS = Operations()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarketServer]:
    """Three persons; A1 holds 600 (100 pledged) and A2 400."""
    with MarketServer(tmp_path_factory.mktemp("market")) as server:
        for operations in (
            OPERATIONS.foundations(700, 300),
            [OPERATIONS.transfer(1, 2, 100, business_id="sale", price_e4=125_000), OPERATIONS.pledge(1, 100)],
        ):
            status, answer = server.submit(*operations)
            assert (status, answer["status"]) == (200, "applied"), answer
        yield server


def get(market: MarketServer, path: str, role: str = "operator", **query: Any) -> tuple[int, dict[str, Any]]:
    with market.client(role) as client:
        answer = client.get(path, params=query)
    return answer.status_code, answer.json()


def test_register_now_and_at_an_earlier_height(market: MarketServer) -> None:
    status, now = get(market, f"/v1/products/{PRODUCT}/register")
    assert status == 200
    assert [(entry["account"], entry["held"], entry["pledged"]) for entry in now["holders"]] == [
        ("A1", 600, 100),
        ("A2", 400, 0),
    ]
    assert (now["product"]["holders"], now["product"]["registered_total"]) == (2, 1000)
    _, before = get(market, f"/v1/products/{PRODUCT}/register", height=now["as_of"]["height"] - 1)
    assert [entry["held"] for entry in before["holders"]] == [700, 300]


def test_a_proven_register_convinces_somebody_who_knows_the_validators_alone(market: MarketServer) -> None:
    _, answer = get(market, f"/v1/products/{PRODUCT}/register", proof="true")
    header = Header.decode(bytes.fromhex(answer["evidence"]["header"]))
    certificate = Certificate.decode(bytes.fromhex(answer["evidence"]["certificate"]))
    verify_certificate(ED25519_SHA256, market.node.genesis.validators, header, certificate)
    values = [
        ProvenValue(entry["key"].encode(), entry["value"].encode(), StateProof.from_json(entry["proof"]))
        for entry in answer["evidence"]["entries"]
    ]
    _, holdings = verify_register(ED25519_SHA256, header.state_root, PRODUCT, values)
    assert {account: holding.figures.held for account, holding in holdings.items()} == {"A1": 600, "A2": 400}


def test_holdings_products_subjects(market: MarketServer) -> None:
    _, holdings = get(market, "/v1/accounts/A1/holdings", proof="true")
    assert (holdings["subject"], holdings["holdings"][0]["available"]) == ("P1", 500)
    assert len(holdings["evidence"]["entries"]) == 2
    _, products = get(market, "/v1/products", limit=1)
    assert [product["product"] for product in products["products"]] == [PRODUCT]
    _, subject = get(market, f"/v1/subjects/{ISSUER}")
    assert (subject["shareholders"], subject["enterprise_code"]) == (2, ISSUER)


def test_a_business_id_leads_to_its_transaction_and_objects(market: MarketServer) -> None:
    status, answer = get(market, "/v1/business/sale")
    assert (status, answer["status"]) == (200, "applied")
    assert {"object_id": "sale:1", "version": 0} in answer["objects"]


def test_the_same_content_again_is_answered_with_the_first_receipt(market: MarketServer) -> None:
    operation = OPERATIONS.freeze(2, 1)
    _, first = market.submit(operation)
    status, again = market.submit(operation)
    assert (status, again["tx_id"], again["receipt"]) == (200, first["tx_id"], first["receipt"])
    status, other = market.submit(operation | {"quantity": 2})
    assert (status, other["code"]) == (409, "business_id_used")
    assert other["first_tx_id"] == first["tx_id"]


def test_refusals_name_operation_and_code(market: MarketServer) -> None:
    status, problem = market.submit(OPERATIONS.person(8), OPERATIONS.transfer(1, 2, 1, colour="red"))
    assert (status, problem["code"], problem["operation_index"], problem["field"]) == (
        400,
        "field_unknown",
        1,
        "colour",
    )
    status, problem = market.submit(OPERATIONS.person(8, name="张三"))
    assert (status, problem["code"]) == (422, "personal_name_refused")
    status, answer = market.submit(OPERATIONS.transfer(1, 2, 501))
    assert (status, answer["status"], answer["receipt"]["code"]) == (200, "rejected", "insufficient_available")
    figures = {"account": "A1", "share_nature": 0, "available": 500, "quantity": 501}
    assert answer["receipt"]["parameters"] == figures


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/v1/products/BJ000001.ESVUFR2699/register", {}, 404, "product_unknown"),
        (f"/v1/products/{PRODUCT}/register", {"height": 10_000}, 404, "height_unknown"),
        (f"/v1/products/{PRODUCT}/register", {"height": -1}, 400, "request_invalid"),
        (f"/v1/products/{PRODUCT}/register", {"limit": 0}, 400, "request_invalid"),
        (f"/v1/products/{PRODUCT}/register", {"cursor": "a b"}, 400, "identifier_invalid"),
        (f"/v1/products/{PRODUCT}/register", {"cursor": "A9"}, 400, "cursor"),
        (f"/v1/products/{PRODUCT}/register", {"cursor": "A1", "height": 0}, 404, "product_unknown"),
        ("/v1/products", {"cursor": "null"}, 400, "cursor"),
        ("/v1/accounts/A1/holdings", {"cursor": "A1"}, 400, "cursor"),
        ("/v1/products", {"limt": 1}, 400, "parameter_unknown"),
        ("/v1/products", {"limit": [1, 2]}, 400, "parameter_repeated"),
        (f"/v1/subjects/{ISSUER}", {"height": 1}, 400, "parameter_unknown"),
        (f"/v1/subjects/{ISSUER}", {"limit": 1001}, 400, "request_invalid"),
        (f"/v1/subjects/{ISSUER}", {"cursor": "~"}, 400, "cursor"),
        (f"/v1/subjects/{ISSUER}", {"cursor": PRODUCT}, 400, "cursor"),
        (f"/v1/subjects/{ISSUER}", {"cursor": "~BJ000001.ESVUFR2699"}, 400, "cursor"),
        ("/v1/subjects/P1", {"cursor": "A2~"}, 400, "cursor"),
        ("/v1/subjects/P1", {"cursor": "Ａ1~"}, 400, "cursor"),
        ("/v1/products", {"limit": 201, "proof": "true"}, 400, "proof_limit"),
        ("/v1/accounts/nobody/holdings", {}, 404, "account_unknown"),
        ("/v1/subjects/nobody", {}, 404, "subject_unknown"),
        ("/v1/subjects/no%00body", {}, 400, "identifier_invalid"),
        ("/v1/business/nothing", {}, 404, "business_unknown"),
    ],
)
def test_queries_that_cannot_be_answered(
    market: MarketServer, path: str, query: dict[str, Any], status: int, code: str
) -> None:
    answer = get(market, path, **query)
    assert (answer[0], answer[1]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "code", "members"),
    [
        ("/v1/products/BJ000001.ESVUFR2699/register", "product_unknown", {"product": "BJ000001.ESVUFR2699"}),
        ("/v1/accounts/nobody/holdings", "account_unknown", {"account": "nobody"}),
        ("/v1/subjects/nobody", "subject_unknown", {}),
        ("/v1/networks/beijing/objects/nobody", "object_unknown", {}),
        ("/v1/networks/beijing/blocks/1/objects/nobody", "object_unknown", {"height": 1}),
    ],
)
def test_a_refusal_about_an_object_names_it(
    market: MarketServer, path: str, code: str, members: dict[str, Any]
) -> None:
    status, problem = get(market, path)
    object_id = "BJ000001.ESVUFR2699" if "products" in path else "nobody"
    assert (status, problem["code"], problem["object_id"]) == (404, code, object_id)
    assert members.items() <= problem.items()


def test_the_cursor_of_a_last_page_is_answered_with_an_empty_one(market: MarketServer) -> None:
    for path, cursor, rows in (
        ("/v1/products", PRODUCT, "products"),
        (f"/v1/products/{PRODUCT}/register", "A2", "holders"),
        ("/v1/accounts/A1/holdings", PRODUCT, "holdings"),
        ("/v1/subjects/P1", "A1~", "accounts"),
        (f"/v1/subjects/{ISSUER}", f"~{PRODUCT}", "products"),
    ):
        status, answer = get(market, path, cursor=cursor)
        assert (status, answer[rows], answer["next_cursor"]) == (200, [], None)


def test_a_subjects_accounts_and_products_are_paged(tmp_path: Path) -> None:
    operations = Operations()
    codes = [PRODUCT, *(f"BJ000001.ESVUFR26{number:02d}" for number in range(2, 4))]
    accounts = [operations.account(number, subject="P1") for number in range(11, 16)]
    with MarketServer(tmp_path) as server:
        status, answer = server.submit(
            *operations.foundations(), *accounts, *(operations.product(product=code) for code in codes[1:])
        )
        assert (status, answer["status"]) == (200, "applied"), answer
        for subject, of_accounts, of_products in (
            ("P1", ["A1", *(f"A{number}" for number in range(11, 16))], []),
            (ISSUER, [], codes),
        ):
            found: list[list[str]] = [[], []]
            cursor: dict[str, str] = {}
            for _ in range(10):
                _, page = get(server, f"/v1/subjects/{subject}", limit=2, proof="true", **cursor)
                assert max(len(page["accounts"]), len(page["products"])) <= 2
                assert page["truncated"] is (page["next_cursor"] is not None)
                found[0] += page["accounts"]
                found[1] += page["products"]
                if page["next_cursor"] is None:
                    break
                cursor = {"cursor": page["next_cursor"]}
            assert found == [of_accounts, of_products]


@pytest.mark.parametrize("path", ["/v1/products", f"/v1/products/{PRODUCT}/register", "/v1/accounts/A1/holdings"])
def test_a_reader_of_the_node_interface_sees_no_register(market: MarketServer, path: str) -> None:
    for role, status in (("reader", 403), ("relay", 403), ("member", 200), ("auditor", 200)):
        assert get(market, path, role)[0] == status


def test_the_story_of_the_documents_is_served_and_every_operation_stands_in_the_openapi_document(
    market: MarketServer,
) -> None:
    status, story = get(market, "/v1/operation-examples")
    assert (status, story["operations"]) == (200, list(STORY))
    _, document = get(market, "/openapi.json")
    schemas = document["components"]["schemas"]
    for operation_type, record in OPERATION_RECORDS.items():
        schema = schemas[record.__name__]
        assert schema["properties"]["type"]["const"] == operation_type
        assert "business_id" in schema["required"]
    assert schemas["Transfer"]["properties"]["quantity"]["minimum"] == 1


def test_integers_of_the_business_routes_have_one_spelling(market: MarketServer) -> None:
    assert refuse_other_spellings(market, "beijing", "operator") == 19
