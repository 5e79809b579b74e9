"""Liveness, readiness, metrics, events, and the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from common.node.access import issue_token, revoke_token
from tests.api.server import LiveServer
from tests.api.test_submission import WAIT, refused, submit
from tests.unit.node.toy import transfer


def test_health_needs_no_token_and_no_quorum(live: LiveServer) -> None:
    live.node.is_ready = False
    try:
        with live.client(None) as client:
            assert client.get("/healthz").json() == {"status": "ok"}
            problem = refused(client.get("/readyz"), 503, "not_ready")
            assert problem["codes"] == ["node_behind"]
            live.node.is_ready = True
            answer = client.get("/readyz").json()
            assert (answer["ready"], answer["codes"]) == (True, [])
        with live.client("reader") as client:
            health = client.get("/v1/networks/toytown/health").json()
        assert health["findings"] == []
        assert [peer["name"] for peer in health["facts"]["peers"]] == ["beijing-2", "beijing-3", "beijing-4"]
    finally:
        live.node.is_ready = True


def samples(live: LiveServer) -> dict[str, float]:
    with live.client(None) as client:
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_metrics_tell_of_chain_and_requests(live: LiveServer) -> None:
    submit(live, transfer(live.node.genesis, "metrics"), **WAIT)
    found = samples(live)
    assert found["tongjian_height{}"] == live.node.chain.tip().height
    assert found["tongjian_blocks_committed_total{}"] == live.node.chain.tip().height
    assert found["tongjian_ready{}"] == 1
    assert found["tongjian_http_request_seconds_count{method=POST,route=/v1/transactions,status=200}"] >= 1


def test_n1_no_client_can_grow_the_number_of_series(live: LiveServer) -> None:
    with live.client() as client:
        before = set(samples(live))
        for number in range(30):
            client.get(f"/nowhere/{number}")
            client.get(f"/v1/transactions/{number:064x}")
        client.request("PROPFIND", "/healthz")
        grown = set(samples(live)) - before
    assert all("0000" not in name and "nowhere" not in name and "PROPFIND" not in name for name in grown)
    assert len(grown) < 100


def events(response: httpx.Response) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    kind, identity = "", None
    for line in response.iter_lines():
        if line.startswith("event: "):
            kind, identity = line[7:], None
        elif line.startswith("id: "):
            identity = line[4:]
        elif line.startswith("data: "):
            yield kind, identity, json.loads(line[6:])


def read_until(response: httpx.Response, height: int) -> list[tuple[str, str | None, dict[str, Any]]]:
    found = []
    for event in events(response):
        found.append(event)
        if event[0] == "block" and event[2]["height"] >= height:
            return found
    raise AssertionError("the stream ended early")


def test_events_tell_every_block_and_transaction_once_in_order(live: LiveServer) -> None:
    tx_id = submit(live, transfer(live.node.genesis, "event"), **WAIT).json()["tx_id"]
    tip = live.node.chain.tip().height
    with live.client() as client, client.stream("GET", "/v1/events?from_height=1") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        found = read_until(response, tip)
    blocks = [(identity, data["height"]) for kind, identity, data in found if kind == "block"]
    assert blocks == [(str(height), height) for height in range(1, tip + 1)]
    transactions = [data for kind, identity, data in found if kind == "transaction"]
    assert [data["tx_id"] for data in transactions].count(tx_id) == 1
    assert all(identity is None for kind, identity, _ in found if kind == "transaction")
    heights = [data["height"] for _, _, data in found]
    assert heights == sorted(heights)


def test_events_follow_the_chain_and_resume_after_the_last_id(live: LiveServer) -> None:
    tip = live.node.chain.tip().height
    with live.client() as client:
        with client.stream("GET", "/v1/events") as response:
            stream = events(response)
            submit(live, transfer(live.node.genesis, "live event"))
            assert next(stream)[2]["height"] == tip + 1
        with client.stream("GET", "/v1/events?from_height=1", headers={"Last-Event-ID": str(tip)}) as response:
            assert next(events(response))[2]["height"] == tip + 1
        refused(client.get("/v1/events", headers={"Last-Event-ID": "x\t1"}), 400, "request_invalid")


def test_an_event_stream_ends_when_its_token_is_revoked(live: LiveServer) -> None:
    issued = issue_token(live.tokens_file, subject="somebody", organisation="tests", role="operator")
    live.tokens["leaver"] = issued.secret
    with live.client("leaver") as client, client.stream("GET", "/v1/events") as response:
        submit(live, transfer(live.node.genesis, "before the revocation"))
        stream = events(response)
        while next(stream)[0] != "block":
            pass
        revoke_token(live.tokens_file, issued.id)
        submit(live, transfer(live.node.genesis, "after the revocation"))
        assert list(stream) == []


def test_openapi_holds_every_route_with_its_token_and_problem(live: LiveServer) -> None:
    with live.client(None) as client:
        first, second = client.get("/openapi.json"), client.get("/openapi.json")
    assert first.content == second.content
    document = first.json()
    assert {"get", "post"} & set(document["paths"]["/v1/transactions"]) == {"post"}
    assert "200" in document["paths"]["/v1/transactions"]["post"]["responses"]
    for path, item in document["paths"].items():
        for operation in item.values():
            assert ("security" in operation) == path.startswith("/v1"), path
            assert "application/problem+json" in operation["responses"]["default"]["content"]
    assert "/v1/networks/{network}/blocks/{height}/consensus-state" in document["paths"]
