"""Bodies off the chain over real HTTP: put by the market, fetched by their digest, bounded (ADR 0078)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from common.core.suite import ED25519_SHA256
from common.model.sealed import MAX_SEALED_BYTES
from common.node.access import issue_token
from common.node.http.edge import BODIES_PATH
from tests.api.market_server import MarketServer
from tests.api.test_submission import refused
from tests.unit.business.market import Operations


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarketServer]:
    with MarketServer(tmp_path_factory.mktemp("market")) as running:
        yield running


def digest_of(data: bytes) -> str:
    return ED25519_SHA256.hash(data).hex()


def put(server: MarketServer, data: bytes, role: str = "operator", digest: str | None = None) -> httpx.Response:
    with server.client(role) as client:
        return client.put(f"{BODIES_PATH}/{digest or digest_of(data)}", content=data)


def get(server: MarketServer, digest: str, role: str = "reader", **headers: str) -> httpx.Response:
    with server.client(role, **headers) as client:
        return client.get(f"{BODIES_PATH}/{digest}")


def test_a_body_is_fetched_as_it_was_put(server: MarketServer) -> None:
    data = os.urandom(100_000)
    for status in (201, 200):
        answer = put(server, data, "member")
        assert (answer.status_code, answer.json()) == (status, {"digest": digest_of(data), "size_bytes": len(data)})
    fetched = get(server, digest_of(data))
    assert fetched.status_code == 200
    assert fetched.content == data
    assert fetched.headers["content-type"] == "application/octet-stream"
    assert fetched.headers["x-content-type-options"] == "nosniff"
    with server.client("reader") as client:
        head = client.head(f"{BODIES_PATH}/{digest_of(data)}")
    assert (head.status_code, head.headers["content-length"]) == (200, "100000")
    assert get(server, digest_of(data), Range="bytes=0-9").content == data


def test_a_body_becomes_one_of_the_chain_by_the_operation_that_commits_to_it(server: MarketServer) -> None:
    data = b"the articles of association"
    assert put(server, data).status_code == 201
    (loose,) = (server.bodies / "loose").glob(f"{digest_of(data)}.*")
    assert loose.name == f"{digest_of(data)}.tests"
    sealed = {"digest": digest_of(data), "media_type": "text/plain", "size_bytes": len(data)}
    status, receipt = server.submit(Operations().issuer(sealed_bodies=[sealed]))
    assert (status, receipt["status"]) == (200, "applied"), receipt
    deadline = time.monotonic() + 20
    while loose.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (server.bodies / "kept" / digest_of(data)).read_bytes() == data
    assert get(server, digest_of(data)).content == data


def test_the_largest_body_is_taken_and_no_larger_one(server: MarketServer) -> None:
    data = os.urandom(MAX_SEALED_BYTES)
    assert put(server, data).status_code == 201
    assert get(server, digest_of(data)).content == data
    problem = refused(put(server, data + b"x"), 413, "body_too_large")
    assert problem["limit"] == MAX_SEALED_BYTES

    def pieces() -> Iterator[bytes]:
        for _ in range(17):
            yield bytes(1 << 20)

    with server.client() as client:
        refused(client.put(f"{BODIES_PATH}/{digest_of(data)}", content=pieces()), 413, "body_too_large")
        refused(client.post("/v1/transactions", content=data), 413, "body_too_large")


@pytest.mark.parametrize("digest", ["x", "ab" * 31, "AB" * 32, "ab" * 33, "ab" * 31 + "%2f"])
def test_a_malformed_digest_is_told(server: MarketServer, digest: str) -> None:
    for answer in (get(server, digest), put(server, b"x", digest=digest)):
        assert answer.json()["code"] in ("body_digest", "route_unknown")
    if "%" not in digest:
        refused(get(server, digest), 400, "body_digest")
        refused(put(server, b"x", digest=digest), 400, "body_digest")


def test_what_is_no_body_of_the_path_is_refused(server: MarketServer) -> None:
    refused(get(server, "ab" * 32), 404, "body_unknown")
    refused(put(server, b"other bytes", digest="ab" * 32), 400, "body_mismatch")
    refused(put(server, b""), 400, "body_empty")
    refused(get(server, "ab" * 32 + "?proof=true"), 400, "parameter_unknown")
    with server.client() as client:
        refused(client.delete(f"{BODIES_PATH}/{'ab' * 32}"), 405, "method_not_allowed")


def test_who_reads_blocks_reads_bodies_and_the_market_alone_puts_them(server: MarketServer) -> None:
    data = b"a court order"
    put(server, data)
    for role in server.tokens:
        may_read = role not in ("feedback", "provincial")
        assert get(server, digest_of(data), role).status_code == (200 if may_read else 403), role
        may_put = role in ("operator", "member")
        assert put(server, data, role).status_code == (200 if may_put else 403), role
    with server.client(None) as client:
        refused(client.get(f"{BODIES_PATH}/{digest_of(data)}"), 401, "token_missing")
        refused(client.put(f"{BODIES_PATH}/{digest_of(data)}", content=data), 401, "token_missing")


def test_s2_a_damaged_body_is_not_served(server: MarketServer) -> None:
    data = b"a contract"
    put(server, data)
    (file,) = (server.bodies / "loose").glob(f"{digest_of(data)}.*")
    file.write_bytes(b"a c0ntract")
    answer = get(server, digest_of(data))
    refused(answer, 503, "body_damaged")
    assert "retry-after" in answer.headers
    refused(get(server, digest_of(data)), 404, "body_unknown")
    assert put(server, data).status_code == 201


def test_n2_one_organisation_does_not_take_the_room_of_the_others(tmp_path: Path) -> None:
    with MarketServer(tmp_path) as server:
        server.tokens["other"] = issue_token(
            server.tokens_file, subject="s", organisation="other", role="member"
        ).secret
        codes = [put(server, b"%d" % number).json().get("code") for number in range(9)]
        assert codes == [None] * 8 + ["bodies_share"]
        refused(put(server, b"9"), 429, "bodies_share")
        assert put(server, b"9", "other").status_code == 201


def test_options_tell_the_largest_body(server: MarketServer) -> None:
    with server.client("reader") as client:
        limits = client.get("/v1/networks/beijing/options").json()["application"]["limits"]
        paths = client.get("/openapi.json").json()["paths"]
    assert limits["sealed_body_bytes"] == MAX_SEALED_BYTES
    assert set(paths[f"{BODIES_PATH}/{{digest}}"]) == {"get", "put"}
