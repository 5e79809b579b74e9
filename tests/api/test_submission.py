"""Submitting and following transactions over HTTP (contract, "Transactions")."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from common.core import merkle
from common.core.certificate import Certificate, verify_certificate
from common.core.header import Header
from common.core.receipt import Receipt
from common.core.transaction import build_envelope, parse_envelope
from tests.api.server import LiveServer
from tests.unit.node.toy import SUITE, key_of, make_envelope, seed_of, transfer

WAIT = {"Prefer": "wait=10"}


def submit(live: LiveServer, envelope: bytes, role: str = "operator", **headers: str) -> httpx.Response:
    with live.client(role) as client:
        return client.post("/v1/transactions", content=envelope, headers=headers)


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == f"urn:tongjian:error:{code}"
    assert document["title"]
    assert document["detail"]
    assert document["request_id"]
    assert "Traceback" not in response.text
    return dict(document)


def business(live: LiveServer, nonce: str, business_id: str, amount: int = 1) -> bytes:
    operation = {"type": "toy.transfer", "source": "bank", "target": "a", "amount": amount, "business_id": business_id}
    return make_envelope(live.node.genesis, nonce, [operation])


def test_a_submission_is_pending_then_final_and_a_resend_is_the_same_answer(live: LiveServer) -> None:
    envelope = transfer(live.node.genesis, "life")
    tx_id = parse_envelope(envelope, SUITE).id.hex()
    live.node.paused = True
    for _ in range(2):
        answer = submit(live, envelope)
        assert (answer.status_code, answer.json()) == (202, {"tx_id": tx_id, "status": "pending"})
        assert answer.headers["location"] == f"/v1/transactions/{tx_id}"
    with live.client() as client:
        assert client.get(f"/v1/transactions/{tx_id}").json()["status"] == "pending"
        live.call(lambda node: node.resume())
        final = client.post("/v1/transactions", content=envelope, headers=WAIT)
        assert final.status_code == 200
        document = final.json()
        assert (document["status"], document["final"], document["tx_id"]) == ("applied", True, tx_id)
        assert document["receipt"]["code"] == "ok"
        assert client.get(final.headers["location"]).json() == document
        assert client.post("/v1/transactions", content=envelope).json() == document


def test_a_known_transaction_is_answered_to_who_signed_it_and_not_under_another_signature(live: LiveServer) -> None:
    envelope = transfer(live.node.genesis, "signed again")
    forged = json.loads(envelope)
    forged["signatures"] = ["00" * 64]
    bad = json.dumps(forged).encode()
    live.node.paused = True
    assert submit(live, envelope).status_code == 202
    refused(submit(live, bad), 401, "bad_signature")
    live.call(lambda node: node.resume())
    assert submit(live, envelope, **WAIT).json()["status"] == "applied"
    refused(submit(live, bad), 401, "bad_signature")
    assert submit(live, envelope).json()["status"] == "applied"


def test_prefer_wait_answers_with_the_receipt(live: LiveServer) -> None:
    answer = submit(live, transfer(live.node.genesis, "wait"), **WAIT)
    assert (answer.status_code, answer.json()["status"]) == (200, "applied")
    assert answer.headers["preference-applied"] == "wait=10"


@pytest.mark.parametrize("value", ["respond-async", "wait=", "wait=x", "wait=-1", "wait=0"])
def test_a_preference_that_is_not_understood_is_ignored(live: LiveServer, value: str) -> None:
    answer = submit(live, transfer(live.node.genesis, f"prefer {value}"), Prefer=value)
    assert answer.status_code in (200, 202)
    assert "preference-applied" not in answer.headers


def test_waiting_ends_with_202_when_the_time_is_over(live: LiveServer) -> None:
    live.node.paused = True
    try:
        answer = submit(live, transfer(live.node.genesis, "slow"), Prefer="respond-async, wait=1")
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        assert answer.headers["preference-applied"] == "wait=1"
    finally:
        live.call(lambda node: node.resume())


def test_a_broken_rule_is_a_final_receipt_not_an_error(live: LiveServer) -> None:
    answer = submit(live, transfer(live.node.genesis, "poor", amount=10**9), **WAIT)
    assert (answer.status_code, answer.json()["status"]) == (200, "rejected")
    receipt = answer.json()["receipt"]
    assert (receipt["code"], receipt["operation_index"], receipt["objects"]) == ("balance_too_low", 0, [])


def test_formatting_of_the_envelope_does_not_matter(live: LiveServer) -> None:
    envelope = transfer(live.node.genesis, "format")
    pretty = json.dumps(json.loads(envelope), indent=2).encode()
    first, second = submit(live, envelope, **WAIT), submit(live, pretty, **WAIT)
    assert first.json() == second.json()


def test_applied_business_content_is_answered_with_its_first_receipt(live: LiveServer) -> None:
    first = submit(live, business(live, "b-first", "b-1"), **WAIT).json()
    again = submit(live, business(live, "b-second", "b-1"), **WAIT)
    assert (again.status_code, again.json()) == (200, first)
    with live.client() as client:
        found = client.get("/v1/business/b-1").json()
    assert (found["tx_id"], found["status"], found["business_id"]) == (first["tx_id"], "applied", "b-1")
    assert found["objects"] == [{"object_id": first["receipt"]["objects"][0][0], "version": 0}]
    other = submit(live, business(live, "b-third", "b-1", amount=7), **WAIT)
    refused(other, 409, "business_id_used")


def test_repeated_business_content_that_raced_is_answered_with_its_first_receipt(live: LiveServer) -> None:
    live.node.paused = True
    submit(live, transfer(live.node.genesis, "before the race"))
    submit(live, business(live, "race-1", "b-race"))
    submit(live, business(live, "race-2", "b-race"))
    live.call(lambda node: node.resume())
    first = submit(live, business(live, "race-1", "b-race"), **WAIT).json()
    second = submit(live, business(live, "race-2", "b-race"), **WAIT).json()
    assert first["status"] == "applied"
    assert second == first


def test_an_unknown_business_id_is_not_found(live: LiveServer) -> None:
    with live.client() as client:
        refused(client.get("/v1/business/never"), 404, "business_unknown")
        refused(client.get("/v1/business/a%20b"), 400, "identifier_invalid")


def test_n4_replayed_and_expired_transactions_are_refused(live: LiveServer) -> None:
    genesis = live.node.genesis
    submit(live, transfer(genesis, "n4"), **WAIT)
    refused(submit(live, transfer(genesis, "n4", amount=2)), 409, "nonce_used")
    refused(submit(live, transfer(genesis, "late", expires_at_height=1)), 409, "transaction_expired")
    refused(submit(live, transfer(genesis, "far", expires_at_height=10**9)), 422, "expiry_too_far")


def test_a_signature_by_somebody_else_is_401(live: LiveServer) -> None:
    transaction = json.loads(transfer(live.node.genesis, "forged"))["transaction"]
    forged = build_envelope(transaction, [SUITE.sign(seed_of("client-2"), b"x")])
    refused(submit(live, forged), 401, "bad_signature")


def test_a_foreign_genesis_is_refused(live: LiveServer) -> None:
    transaction = json.loads(transfer(live.node.genesis, "foreign"))["transaction"] | {"genesis": "00" * 32}
    refused(submit(live, build_envelope(transaction, [bytes(64)])), 400, "wrong_genesis")


def test_a_role_without_rights_in_the_chain_is_403(live: LiveServer) -> None:
    stranger = transfer(live.node.genesis, "stranger", client="stranger")
    refused(submit(live, stranger), 403, "role_missing")
    assert SUITE.format_key(key_of("stranger")) not in submit(live, stranger).text


@pytest.mark.parametrize("role", ["reader", "feedback", "supervisor", "analyst", "provincial", "auditor"])
def test_reading_roles_may_not_submit(live: LiveServer, role: str) -> None:
    refused(submit(live, b"{}", role), 403, "role_not_allowed")


@pytest.mark.parametrize("role", ["member", "relay", "governance"])
def test_other_writing_roles_may_submit(live: LiveServer, role: str) -> None:
    assert submit(live, transfer(live.node.genesis, f"by {role}"), role, **WAIT).status_code == 200


def test_without_a_valid_token_nothing_is_read(live: LiveServer) -> None:
    with live.client(None) as client:
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic x"}):
            answer = client.post("/v1/transactions", content=b"x" * 100_000, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for path in ("/v1/networks", "/v1/events", "/v1/nothing/here", "/v1"):
            assert client.get(path).status_code == 401


def test_where_a_transaction_is(live: LiveServer) -> None:
    with live.client() as client:
        unknown = client.get("/v1/transactions/" + "ab" * 32)
        assert unknown.status_code == 200
        assert (unknown.json()["status"], unknown.json()["final"], unknown.json()["receipt"]) == (
            "unknown",
            False,
            None,
        )
        for text in ("ab" * 31, "AB" * 32, "zz" * 32, "ab" * 33):
            assert client.get(f"/v1/transactions/{text}").status_code == 400
    with live.client("reader") as client:
        refused(client.get("/v1/transactions/" + "ab" * 32), 403, "role_not_allowed")


def test_a_proof_leads_from_the_transaction_to_the_certified_header(live: LiveServer) -> None:
    answer = submit(live, transfer(live.node.genesis, "proof"), **WAIT).json()
    with live.client() as client:
        document = client.get(f"/v1/transactions/{answer['tx_id']}?proof=true").json()
    proof, validators = document["proof"], live.node.genesis.validators
    header = Header.decode(bytes.fromhex(proof["header"]))
    verify_certificate(SUITE, validators, header, Certificate.decode(bytes.fromhex(proof["certificate"])))
    tx = parse_envelope(proof["envelope"].encode(), SUITE)
    assert tx.id.hex() == answer["tx_id"]
    assert tx.envelope_hash.hex() == proof["envelope_hash"]
    path = [bytes.fromhex(item) for item in proof["tx_path"]]
    place = (proof["index"], proof["tx_count"])
    assert header.tx_count == proof["tx_count"]
    merkle.verify_inclusion(SUITE.hash, header.tx_root, tx.envelope_hash, *place, path)
    receipt = Receipt(tx.id, "applied", objects=tuple((name, at) for name, at in document["receipt"]["objects"]))
    path = [bytes.fromhex(item) for item in proof["receipt_path"]]
    receipt_place = (proof["receipt_index"], proof["receipt_count"])
    assert header.receipt_count == proof["receipt_count"]
    merkle.verify_inclusion(SUITE.hash, header.receipt_root, receipt.encode(), *receipt_place, path)


def test_a_pending_transaction_has_no_proof(live: LiveServer) -> None:
    with live.client() as client:
        assert client.get("/v1/transactions/" + "ab" * 32 + "?proof=true").json()["proof"] is None


def test_an_answer_at_once_is_the_answer_that_any_other_way_gives(live: LiveServer) -> None:
    """The same checks, problems and documents, whichever way a submission takes (protocol rule 15)."""
    live.node.paused = True
    good, bad = transfer(live.node.genesis, "at-once"), build_envelope({"network": "toy"}, [bytes(64)])
    token = f"Bearer {live.tokens['operator']}".encode()
    cases: list[tuple[list[tuple[bytes, bytes]], bytes, bytes]] = [
        ([(b"authorization", token)], b"", good),
        ([(b"authorization", token)], b"", bad),
        ([(b"authorization", token)], b"colour=red", good),
        ([(b"authorization", token), (b"content-encoding", b"gzip")], b"", good),
        ([(b"authorization", f"Bearer {live.tokens['supervisor']}".encode())], b"", good),
        ([], b"", good),
    ]
    for headers, query, body in cases:
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/v1/transactions",
            "query_string": query,
            "http_version": "1.1",
            "headers": [*headers, (b"host", b"node"), (b"content-length", b"%d" % len(body))],
        }
        other = httpx.post(
            f"{live.url}/v1/transactions?{query.decode()}",
            content=body,
            headers=[(name.decode(), value.decode()) for name, value in headers],
            trust_env=False,
        )
        reply = live.call(lambda _, scope=scope, body=body: live.app.edge.at_once(scope, body))
        told, expected = json.loads(reply.body), other.json()
        assert (reply.status, told.pop("request_id", None) is None) == (other.status_code, other.is_success)
        expected.pop("request_id", None)
        assert told == expected
        assert dict(reply.headers)[b"content-type"].decode() == other.headers["content-type"]
    scope["headers"] = [(b"prefer", b"wait=5")]
    assert live.app.edge.at_once(scope, good) is None
    assert live.app.edge.at_once(scope | {"method": "GET", "headers": []}, b"") is None
