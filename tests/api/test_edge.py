"""The edge: bounds, problems, logs. Attacks E1, E2, N1, N2, N6 over real connections."""

from __future__ import annotations

import gzip
import io
import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends

from common.core.errors import InvariantBroken, QuotaExceeded, Unavailable
from common.core.transaction import MAX_ENVELOPE_BYTES
from common.node.access import CHAIN_READERS, TokenStore, list_tokens, revoke_token
from common.node.http.app import create_app
from common.node.http.context import require_role
from common.node.http.edge import HttpLimits, escaped_path
from common.node.logs import JsonFormatter
from tests.api.server import LiveServer
from tests.api.spellings import refuse_other_spellings
from tests.api.test_submission import refused, submit
from tests.unit.node.toy import transfer


def head(live: LiveServer, line: str, *headers: str, role: str = "operator") -> bytes:
    fields = [line, "Host: node", f"Authorization: Bearer {live.tokens[role]}", *headers]
    return "\r\n".join(fields).encode() + b"\r\n\r\n"


def rest_of(connection: socket.socket) -> bytes:
    """Everything until the server closes; what a reset throws away is lost."""
    connection.settimeout(10)
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionResetError:
        pass
    return answer


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text.replace(b'"nonce":', b'"nonce":"other","nonce":'), "json_duplicate_key"),
        (lambda text: text.replace(b'"amount":1', b'"amount":NaN'), "json_float"),
        (lambda text: text.replace(b'"amount":1', b'"amount":Infinity'), "json_float"),
        (lambda text: text.replace(b'"amount":1', b'"amount":1e400'), "json_float"),
        (lambda text: text.replace(b'"amount":1', b'"amount":1.0'), "json_float"),
        (lambda text: text.replace(b'"amount":1', b'"amount":-0'), "json_negative_zero"),
        (lambda text: text.replace(b'"amount":1', b'"amount":9007199254740993'), "json_integer_range"),
        (lambda text: text.replace(b'"amount":1', b'"amount":' + b"9" * 5000), "json_integer_range"),
        (lambda text: text.replace(b'"amount":1', b'"note":"\\ud800"'), "json_surrogate"),
        (lambda text: text.replace(b'"amount":1', b'"note":"\xff"'), "json_utf8"),
        (lambda text: text.replace(b'"amount":1', b'"note":' + b"[" * 100_000), "json_depth"),
        (lambda text: b"", "json_invalid"),
        (lambda text: b"\x00" * 64, "json_invalid"),
    ],
)
def test_e1_ambiguous_json_is_400_with_its_code(live: LiveServer, change: Any, code: str) -> None:
    envelope = transfer(live.node.genesis, "e1")
    refused(submit(live, change(envelope)), 400, code)


def test_e2_unknown_fields_trailing_bytes_and_other_shapes_are_400(live: LiveServer) -> None:
    envelope = transfer(live.node.genesis, "e2")
    document = json.loads(envelope)
    refused(submit(live, json.dumps(document | {"x": 1}).encode()), 400, "envelope_fields")
    document["transaction"]["x"] = 1
    refused(submit(live, json.dumps(document).encode()), 400, "transaction_fields")
    refused(submit(live, envelope + envelope), 400, "json_invalid")
    for text in (b"[]", b"null", b'"x"', b"1"):
        refused(submit(live, text), 400, "envelope_fields")


def test_e2_compressed_bodies_are_refused_unopened(live: LiveServer) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    with live.client() as client:
        for encoding in ("gzip", "br", "deflate", "GZIP, gzip"):
            answer = client.post("/v1/transactions", content=bomb, headers={"Content-Encoding": encoding})
            refused(answer, 415, "content_encoding_unsupported")


def test_n1_a_body_that_announces_too_much_is_refused_before_it_is_sent(live: LiveServer) -> None:
    for length in (str(MAX_ENVELOPE_BYTES + 1), "9" * 30):
        answer = live.raw(head(live, "POST /v1/transactions HTTP/1.1", f"Content-Length: {length}"), timeout_s=60)
        assert status_of(answer) in (400, 413)
    for length in (str(MAX_ENVELOPE_BYTES + 1), "0" * 21 + "1990000", "0" * 5_000 + "5"):
        answer = live.raw(head(live, "POST /v1/transactions HTTP/1.1", f"Content-Length: {length}"), timeout_s=60)
        assert b"body_too_large" in answer, "zeros in front neither hide a length from the budget nor break its reading"


def test_n1_a_body_that_streams_too_much_is_refused_while_it_streams(live: LiveServer) -> None:
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(head(live, "POST /v1/transactions HTTP/1.1", "Transfer-Encoding: chunked"))
        answer = b""
        connection.settimeout(0.05)
        while not answer and sent < 4 * MAX_ENVELOPE_BYTES:
            try:
                connection.sendall(piece)
                sent += 65536
                answer = connection.recv(65536)
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        assert sent < 4 * MAX_ENVELOPE_BYTES
    assert not answer or status_of(answer) == 413


def test_n1_the_largest_allowed_body_gets_through_to_the_parser(live: LiveServer) -> None:
    refused(submit(live, b" " * MAX_ENVELOPE_BYTES), 400, "json_invalid")
    refused(submit(live, b" " * (MAX_ENVELOPE_BYTES + 1)), 413, "body_too_large")


def test_n1_heads_are_bounded_in_number_and_bytes(live: LiveServer) -> None:
    with live.client() as client:
        many = {f"X-{at}": "v" for at in range(100)}
        refused(client.get("/healthz", headers=many), 431, "headers_too_large")
        refused(client.get("/healthz", headers={"X-Long": "v" * 20_000}), 431, "headers_too_large")
        assert client.get("/healthz", headers={"X-Short": "v" * 2_000}).status_code == 200


def test_n1_two_authorization_headers_are_refused(live: LiveServer) -> None:
    for pair in ((live.tokens["operator"], "y"), ("y", live.tokens["operator"])):
        fields = "".join(f"Authorization: Bearer {token}\r\n" for token in pair)
        answer = live.raw(f"GET /v1/networks HTTP/1.1\r\nHost: x\r\n{fields}Connection: close\r\n\r\n".encode())
        assert status_of(answer) == 401
        assert b"token_missing" in answer


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [("1.1", 0, 400), ("1.1", 2, 400), ("1.0", 2, 400), ("1.1", 1, 200), ("1.0", 0, 200)],
)
def test_a_request_has_one_host(live: LiveServer, version: str, hosts: int, status: int) -> None:
    fields = "Host: x\r\n" * hosts + "Connection: close\r\n\r\n"
    answer = live.raw(f"GET /healthz HTTP/{version}\r\n{fields}".encode())
    assert status_of(answer) == status
    assert (b"host_header" in answer) == (status == 400)


@pytest.mark.parametrize("fields", [("gzip, chunked",), ("gzip", "chunked"), ("chunked, chunked",), ("identity",)])
def test_n1_other_transfer_encodings_than_chunked_are_refused(live: LiveServer, fields: tuple[str, ...]) -> None:
    request = head(live, "POST /v1/transactions HTTP/1.1", *[f"Transfer-Encoding: {field}" for field in fields])
    answer = live.raw(request + b"2\r\n{}\r\n0\r\n\r\n")
    assert status_of(answer) in (400, 501)
    assert fields != ("gzip, chunked",) or b"transfer_encoding_unsupported" in answer


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A node that gives bodies 300 ms."""
    limits = HttpLimits(body_timeout_ms=300)
    with LiveServer(tmp_path_factory.mktemp("hasty"), limits=limits, timeout_keep_alive=1) as server:
        yield server


def test_n2_a_slow_body_is_cut_off_with_408(hasty: LiveServer) -> None:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=10) as connection:
        connection.sendall(head(hasty, "POST /v1/transactions HTTP/1.1", "Content-Length: 1000"))
        connection.sendall(b"{")
        answer = rest_of(connection)
    assert status_of(answer) == 408
    assert b"body_timeout" in answer
    assert time.monotonic() - started < 30


def test_n2_a_trickling_body_gains_nothing(hasty: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=0.05) as connection:
        connection.sendall(head(hasty, "POST /v1/transactions HTTP/1.1", "Content-Length: 1000"))
        answer = b""
        for _ in range(60):
            try:
                connection.sendall(b"x")
                answer = connection.recv(65536)
                break
            except TimeoutError:
                continue
    assert status_of(answer) == 408


def test_a_body_cut_short_hurts_nobody(live: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as connection:
        connection.sendall(head(live, "POST /v1/transactions HTTP/1.1", "Content-Length: 1000") + b"{")
    with live.client() as client:
        assert client.get("/v1/networks").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "route_unknown"),
        ("GET", "/v1/nothing", 404, "route_unknown"),
        ("GET", "/v1/networks/", 404, "route_unknown"),
        ("GET", "/v1/transactions", 405, "method_not_allowed"),
        ("DELETE", "/v1/transactions", 405, "method_not_allowed"),
        ("PUT", "/v1/networks", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/networks", 405, "method_not_allowed"),
        ("GET", "/v1/networks/toytown/blocks/one", 400, "request_invalid"),
        ("GET", "/v1/networks/toytown/blocks/-1", 400, "request_invalid"),
        ("GET", "/v1/networks/toytown/blocks/99999999999999999999", 400, "request_invalid"),
        ("GET", "/v1/networks/toytown/blocks?limit=0", 400, "request_invalid"),
        ("GET", "/v1/networks/toytown/blocks?limit=x", 400, "request_invalid"),
        ("GET", "/v1/networks/toytown/blocks?from=0", 400, "request_invalid"),
        ("GET", "/v1/networks/toytown/blocks?wait=31", 400, "request_invalid"),
        ("GET", "/v1/networks/toytown/blocks?include=secrets", 400, "include_unknown"),
        ("GET", "/v1/networks/elsewhere/status", 404, "network_unknown"),
        ("GET", "/v1/networks/%ff%00/status", 404, "network_unknown"),
        ("GET", "/v1/networks/toytown/blocks/123456", 404, "height_unknown"),
        ("GET", "/v1/networks/toytown/objects/%F0%9F%98%80", 404, "object_unknown"),
        ("GET", "/v1/networks/toytown/blocks/1/objects/nothing", 404, "object_unknown"),
        ("GET", "/docs", 404, "route_unknown"),
    ],
)
def test_everything_that_is_refused_is_a_problem(
    live: LiveServer, method: str, path: str, status: int, code: str
) -> None:
    with live.client() as client:
        refused(client.request(method, path), status, code)


@pytest.mark.parametrize(
    ("path", "code", "allowed"),
    [
        ("/v1/networks/toytown/blocks?limt=1", "parameter_unknown", "from, include, limit, wait"),
        ("/v1/networks/toytown/blocks?Limit=1", "parameter_unknown", "from, include, limit, wait"),
        ("/v1/networks/toytown/blocks?limit", "request_invalid", None),
        ("/v1/networks/toytown/blocks?limit=1&limit=2", "parameter_repeated", None),
        ("/v1/networks/toytown/blocks?limit=1&%6Cimit=1", "parameter_repeated", None),
        ("/v1/networks/toytown/evidence?cursor=zzzz", "cursor_invalid", None),
        ("/v1/events?from_heigth=1", "parameter_unknown", "from_height"),
        ("/v1/networks?network=toytown", "parameter_unknown", ""),
        ("/healthz?verbose", "parameter_unknown", ""),
        ("/openapi.json?version=3", "parameter_unknown", ""),
    ],
)
def test_a_query_holds_only_what_the_route_declares_each_once(
    live: LiveServer, path: str, code: str, allowed: str | None
) -> None:
    with live.client() as client:
        answer = client.get(path)
    refused(answer, 400, code)
    assert answer.json().get("allowed") == allowed


def test_a_submission_takes_no_query(live: LiveServer) -> None:
    envelope = transfer(live.node.genesis, "with a query")
    with live.client() as client:
        answer = client.post("/v1/transactions?wait=10", content=envelope)
        assert refused(answer, 400, "parameter_unknown")["parameter"] == "wait"
        assert client.post("/v1/transactions?", content=envelope).status_code in (200, 202)


def test_n6_the_name_of_an_unknown_parameter_is_told_escaped_and_cut(live: LiveServer) -> None:
    with live.client() as client:
        answer = client.get("/v1/networks", params={"\u202e" + "x" * 1000: "1"})
    assert refused(answer, 400, "parameter_unknown")["parameter"] == "\\u202e" + "x" * 63


def test_our_own_failure_is_500_and_tells_nothing_but_a_request_id(live: LiveServer) -> None:
    secret = "/etc/secret at line 17"
    live.node.fail_with = RuntimeError(secret)
    try:
        answer = submit(live, transfer(live.node.genesis, "failing"))
    finally:
        live.node.fail_with = None
    document = refused(answer, 500, "internal_error")
    assert secret not in answer.text
    assert document.keys() == {"type", "title", "status", "code", "detail", "request_id"}


def test_busy_refusals_say_when_to_come_back(live: LiveServer) -> None:
    try:
        live.node.fail_with = Unavailable("mempool_full", "Too many transactions are pending.")
        answer = submit(live, b"{}")
        refused(answer, 503, "mempool_full")
        assert int(answer.headers["retry-after"]) >= 1
        live.node.fail_with = QuotaExceeded("signer_quota", "Too many.", retry_after_s=7)
        answer = submit(live, b"{}")
        refused(answer, 429, "signer_quota")
        assert answer.headers["retry-after"] == "7"
    finally:
        live.node.fail_with = None


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What the node's formatter makes of the request log."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("tongjian.http")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_n6_no_client_string_can_forge_a_log_line(live: LiveServer, log_lines: io.StringIO) -> None:
    forged = '%0a{"level":"error","message":"forged"}%0d%1b[31m'
    with live.client() as client:
        client.get("/v1/networks/" + forged, headers=[(b"User-Agent", "x\u2028y".encode())])
        client.get("/v1/networks/" + "ä" * 50)
        client.get("/v1/networks/" + "x" * 5000)
    live.raw(head(live, 'GET /v1/\x7f"} HTTP/1.1', "Connection: close"))
    time.sleep(0.1)
    lines = log_lines.getvalue().splitlines()
    assert len(lines) >= 3
    for line in lines:
        record = json.loads(line)
        assert record["message"] == "request"
        assert record["level"] == "info"
        assert all("!" <= character <= "~" for character in record["path"])
        assert len(record["path"]) <= 600
    assert sum("forged" in line for line in lines) == 1


def test_n6_a_logged_path_is_printable_ascii_whatever_was_sent() -> None:
    assert escaped_path({"path": "/a b\n\x1b[31m\x7f\u2028", "raw_path": b""}) == "/a%20b%0A%1B[31m%7F%E2%80%A8"
    assert escaped_path({"path": "", "raw_path": b"/\xff\r\n{}"}) == "/%FF%0D%0A{}"
    assert escaped_path({"path": "\ud800", "raw_path": None}) == "?"


def test_n6_the_log_names_the_bearer_and_never_the_token(live: LiveServer, log_lines: io.StringIO) -> None:
    with live.client("reader") as client:
        client.get("/v1/networks")
        client.get("/v1/transactions/" + "ab" * 32)
    time.sleep(0.1)
    records = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert [(record["subject"], record["status"], record["code"]) for record in records] == [
        ("test-reader", 200, None),
        ("test-reader", 403, "role_not_allowed"),
    ]
    assert records[1]["route"] == "/v1/transactions/{tx_id}"
    assert all(token not in log_lines.getvalue() for token in live.tokens.values())


def test_a_route_without_a_role_keeps_the_application_from_being_built(live: LiveServer) -> None:
    open_router, guarded = APIRouter(prefix="/v1"), APIRouter(prefix="/v1")

    @open_router.get("/open")
    async def opened() -> str:
        return "everybody"

    @guarded.get("/guarded", dependencies=[Depends(require_role(CHAIN_READERS))])
    async def closed() -> str:
        return "readers"

    tokens = TokenStore(live.tokens_file)
    create_app(live.node, tokens=tokens, routers=[guarded])
    with pytest.raises(InvariantBroken):
        create_app(live.node, tokens=tokens, routers=[guarded, open_router])


def test_revoking_a_token_closes_the_door_at_once(tmp_path: Path) -> None:
    with LiveServer(tmp_path) as server, server.client("reader") as client:
        assert client.get("/v1/networks").status_code == 200
        reader = next(token for token in list_tokens(server.tokens_file) if token.role == "reader")
        revoke_token(server.tokens_file, reader.id)
        refused(client.get("/v1/networks"), 401, "token_unknown")


def test_integers_in_paths_and_queries_have_one_spelling(live: LiveServer) -> None:
    assert refuse_other_spellings(live, "toytown", "operator") == 14
    with live.client() as client:
        assert client.get("/v1/networks/toytown/blocks/0").status_code == 200
        assert client.get("/v1/networks/toytown/blocks?from=1&limit=10&wait=0").status_code == 200
