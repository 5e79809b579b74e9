"""The HTTPS listener: deadlines and bounds for clients that are slow, endless or many."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from common.node.http.answer import Answer, Reply
from common.node.http.budget import HOLDS, Holds, SharedBudget
from common.node.http.server import (
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
    SOCKET_READ_BYTES,
    SOCKET_WRITE_BYTES,
    Application,
    AtOnce,
    HttpServer,
)
from common.node.peer.certificates import issue_certificate, load_authority
from common.node.peer.listener import bind
from common.node.peer.tls import ApiTls
from common.node.settings import LimitSettings
from tests.unit.runtime.network import Site, now_ms, until

QUICK = LimitSettings(http_header_timeout_ms=500, http_body_timeout_ms=500)
FEW = LimitSettings(http_connections=16, http_connections_address=8)
BIG = 8 << 20


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Echoes the size of the body; /big gives a large body, /stream one piece after the other, /slow takes a while."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(30)
    if scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(BIG // 4096):
            await send({"type": "http.response.body", "body": bytes(64 * 1024), "more_body": True})
        return
    body = bytes(BIG) if scope["path"] == "/big" else str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Client:
    """Raw bytes over TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode("ascii").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def closed_within(self, timeout_s: float) -> bool:
        """Whether the server closes without another byte."""
        try:
            return await asyncio.wait_for(self.reader.read(1), timeout_s) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


class Served:
    """A running server and how to reach it."""

    def __init__(self, server: HttpServer, context: ssl.SSLContext) -> None:
        self.server, self._context = server, context

    async def connect(self, buffer_bytes: int = 0) -> Client:
        connection = socket.socket()
        if buffer_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.server.listener.port))
        streams = await asyncio.open_connection(sock=connection, ssl=self._context, server_hostname="127.0.0.1")
        return Client(*streams)


@asynccontextmanager
async def served(
    directory: Path, limits: LimitSettings = QUICK, app: Application = answer, at_once: AtOnce | None = None
) -> AsyncIterator[Served]:
    site = Site(directory)
    server = HttpServer(app, bind("127.0.0.1", 0), ApiTls(*site.certificate("api")), limits, at_once)
    await server.start()
    try:
        yield Served(server, ssl.create_default_context(cafile=str(site.ca_file)))
    finally:
        await server.close()


async def test_requests_are_answered_one_after_the_other_with_a_date(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        client = await api.connect()
        for _ in range(3):
            client.write(b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello")
            status, headers, body = await client.response()
            assert (status, body) == (200, b"5")
            assert headers["date"].endswith(" gmt")
        client.write(b"GET /1 HTTP/1.1\r\nhost: h\r\n\r\n" * 3)
        for _ in range(3):
            assert (await client.response())[0] == 200


def echo_at_once(scope: Any, body: bytes) -> Reply | None:
    """Answers POSTs at once, in words of its own."""
    if scope["method"] != "POST":
        return None
    said = b"at once %d" % len(body)
    headers = [(b"content-length", b"%d" % len(said))]
    return Reply(409 if scope["path"] == "/no" else 202, headers + [(b"connection", b"close")] * (body == b"bye"), said)


POST = b"POST %b HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%b"


async def test_a_request_that_came_whole_is_answered_at_once_and_any_other_by_the_application(tmp_path: Path) -> None:
    async with served(tmp_path, at_once=echo_at_once) as api:
        client = await api.connect()
        client.write(
            POST % (b"/x", 5, b"hello") * 2 + b"GET /1 HTTP/1.1\r\nhost: h\r\n\r\n" + POST % (b"/no", 2, b"no")
        )
        answers = [await client.response() for _ in range(4)]
        assert [(status, body) for status, _, body in answers] == [
            (202, b"at once 5"),
            (202, b"at once 5"),
            (200, b"0"),
            (200, b"2"),  # it came behind a request that was being answered
        ]
        assert answers[0][1]["cache-control"] == "no-store"
        assert answers[0][1]["date"].endswith(" gmt")
        client.write(POST % (b"/no", 2, b"no"))
        assert (await client.response())[::2] == (409, b"at once 2")
        client.write(POST % (b"/x", 5, b"hel"))
        await asyncio.sleep(0.05)
        client.write(b"lo")
        assert (await client.response())[::2] == (200, b"5")
        client.write(POST % (b"/x", 3, b"bye"))
        assert (await client.response())[0] == 202
        assert await client.closed_within(1)
        old = await api.connect()
        old.write(b"POST /x HTTP/1.0\r\nhost: h\r\ncontent-length: 1\r\n\r\nx")
        status, headers, _ = await old.response()
        assert (status, headers["connection"]) == (202, "close")
        assert await old.closed_within(1)


async def test_a_target_that_cannot_be_taken_apart_is_refused_before_its_body_is_there(tmp_path: Path) -> None:
    async with served(tmp_path, at_once=echo_at_once) as api:
        client = await api.connect()
        client.write(POST % (b"http://h:99999/x", 5, b"hel"))
        assert (await client.response())[0] == 400
        assert await client.closed_within(1)


async def test_n2_silence_after_an_answer_at_once_ends_in_time(tmp_path: Path) -> None:
    async with served(tmp_path, at_once=echo_at_once) as api:
        silent, blank = await api.connect(), await api.connect()
        for client in (silent, blank):
            client.write(POST % (b"/x", 1, b"x"))
            assert (await client.response())[0] == 202
        blank.write(b"\r\n")
        assert await silent.closed_within(3)
        assert await blank.closed_within(3)


async def test_the_time_for_silence_begins_anew_with_every_answer(tmp_path: Path) -> None:
    async with served(tmp_path, at_once=echo_at_once) as api:
        client = await api.connect()
        for path in (b"POST /x", b"GET /1", b"POST /x", b"GET /1"):
            client.write(path + b" HTTP/1.1\r\nhost: h\r\n\r\n")
            assert (await client.response())[0] in (200, 202)
            await asyncio.sleep(0.6)
        assert not await client.closed_within(0.1)
        assert await client.closed_within(2)


async def test_n2_who_does_not_read_gets_no_answers_at_once(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def large(scope: Any, body: bytes) -> Reply:
        asked.append(body)
        return Reply(202, [(b"content-length", b"65536")], bytes(65536))

    async with served(tmp_path, at_once=large) as api:
        client = await api.connect(buffer_bytes=4096)
        for _ in range(60):
            client.write(POST % (b"/x", 1, b"x"))
            await asyncio.sleep(0.002)
        assert 0 < len(asked) < 40


async def test_n2_slow_heads_bodies_and_silence_end_in_time(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        silent, head, blank, kept = [await api.connect() for _ in range(4)]
        head.write(b"GET / HTTP/1.1\r\nx-header: ")
        kept.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        await kept.response()

        async def drip() -> None:
            for _ in range(40):
                head.write(b"x")
                blank.write(b"\r\n")
                await asyncio.sleep(0.05)

        dripping = asyncio.ensure_future(drip())
        assert all(await asyncio.gather(*[client.closed_within(1.5) for client in (silent, head, blank, kept)]))
        dripping.cancel()
        assert api.server.listener.connections == 0


async def test_n2_a_slow_body_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.node.http.server.BACKSTOP_MS", 0)
    async with served(tmp_path) as api:
        client = await api.connect()
        client.write(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nx")
        assert await client.closed_within(1.5)


@pytest.mark.parametrize("path", ["big", "stream"])
async def test_n2_a_reader_that_does_not_read_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("common.node.http.server.BACKSTOP_MS", 0)
    async with served(tmp_path) as api:
        client = await api.connect()
        client.write(f"GET /{path} HTTP/1.1\r\nhost: h\r\n\r\n".encode())
        await until(lambda: api.server.listener.connections == 1)
        await until(lambda: api.server.listener.connections == 0, 3)


async def test_n1_an_endless_head_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        endless_line = b"GET /" + b"a" * 2 * MAX_HEAD_BYTES
        endless_field = b"GET / HTTP/1.1\r\nx: " + b"a" * 2 * MAX_HEAD_BYTES
        many_fields = b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES
        complete = b"GET / HTTP/1.1\r\nx: " + b"a" * 2 * MAX_HEAD_BYTES + b"\r\n\r\n"
        for head in (endless_line, endless_field, many_fields, complete):
            client = await api.connect()
            client.write(head)
            status, headers, body = await client.response()
            assert status == 431
            assert headers["content-type"] == "application/problem+json"
            assert json.loads(body)["code"] == "http_head_too_large"
            assert await client.closed_within(30)


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
@pytest.mark.parametrize("at_once", [None, echo_at_once])
async def test_n1_fields_behind_a_body_are_refused(tmp_path: Path, pause_s: float, at_once: AtOnce | None) -> None:
    async with served(tmp_path, at_once=at_once) as api:
        client = await api.connect()
        client.write(b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n")
        await asyncio.sleep(pause_s)
        client.write(b"a: b\r\n" * 1000 + b"\r\n")
        status, _, body = await client.response()
        assert (status, json.loads(body)["code"]) == (400, "http_malformed")
        assert await client.closed_within(1)


@pytest.mark.parametrize("endless", [b"a", b"1;"])
async def test_n1_an_endless_name_or_chunk_size_behind_a_body_is_refused(tmp_path: Path, endless: bytes) -> None:
    async with served(tmp_path, LimitSettings()) as api:
        client = await api.connect()
        last = b"0\r\n" if endless == b"a" else b""
        client.write(b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n" + last)
        for _ in range(3 * MAX_HEAD_BYTES // 1024):
            client.write(endless * (1024 // len(endless)))
            await asyncio.sleep(0)
        assert (await client.response())[0] in (400, 431)
        assert await client.closed_within(1)


async def test_who_waits_for_an_answer_behind_one_at_once_is_not_silent(tmp_path: Path) -> None:
    async with served(tmp_path, at_once=echo_at_once) as api:
        client = await api.connect()
        client.write(POST % (b"/x", 1, b"x") + b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n")
        assert (await client.response())[0] == 202
        assert not await client.closed_within(2)


async def test_what_is_no_http_is_a_problem(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        client = await api.connect()
        client.write(b"\x00\x01\x02 nonsense\r\n\r\n")
        status, _, body = await client.response()
        assert (status, json.loads(body)["code"]) == (400, "http_malformed")
        assert await client.closed_within(30)


async def test_n1_few_requests_may_wait_on_one_connection(tmp_path: Path) -> None:
    """As many as may wait are answered, the last with the word that the connection ends; the others are not read."""
    async with served(tmp_path) as api:
        client = await api.connect()
        head = b"GET / HTTP/1.1\r\nhost: h\r\nx-filler: " + b"a" * 200 + b"\r\n\r\n"
        client.write(head * 200)
        answers = [await client.response() for _ in range(MAX_PIPELINED + 1)]
        assert [status for status, _, _ in answers] == [200] * (MAX_PIPELINED + 1)
        assert ["connection" in headers for _, headers, _ in answers] == [False] * MAX_PIPELINED + [True]
        assert answers[-1][1]["connection"] == "close"
        assert await client.closed_within(30)
        await until(lambda: api.server.listener.connections == 0)


async def test_n1_what_comes_behind_the_waiting_requests_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.node.http.server.SHUTDOWN_S", 0.1)
    async with served(tmp_path) as api:
        client = await api.connect()
        for _ in range(20):
            client.write(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n" * 50)
            await asyncio.sleep(0.01)
        (connection,) = cast(Any, api.server)._server.connections
        assert len(connection.pipeline) == MAX_PIPELINED


async def test_n2_what_a_connection_sends_and_does_not_read_takes_small_buffers(tmp_path: Path) -> None:
    """TLS keeps buffers as large as the largest read; the system gives no more at once than its own buffer takes."""
    async with served(tmp_path) as api:
        client = await api.connect()
        client.write(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n")
        await until(lambda: len(cast(Any, api.server)._server.connections) == 1)
        (connection,) = cast(Any, api.server)._server.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * SOCKET_READ_BYTES
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SOCKET_WRITE_BYTES


async def test_heads_of_waiting_requests_are_not_counted_together(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        client = await api.connect()
        head = b"GET / HTTP/1.1\r\nhost: h\r\nx-filler: " + b"a" * (MAX_HEAD_BYTES // 4) + b"\r\n\r\n"
        client.write(head * MAX_PIPELINED)
        for _ in range(MAX_PIPELINED):
            assert (await client.response())[0] == 200


async def test_n2_500_slow_connections_leave_room_for_honest_clients(tmp_path: Path) -> None:
    limits = LimitSettings(http_header_timeout_ms=10_000)
    async with served(tmp_path, limits) as api:
        port = api.server.listener.port
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(450)]
        half = [await api.connect() for _ in range(50)]
        for client in half:
            client.write(b"GET / HTTP/1.1\r\nx-slow: ")
        honest = await api.connect()
        for _ in range(5):
            honest.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
            assert (await honest.response())[0] == 200
        for _, writer in slow:
            writer.close()


async def test_n3_connections_are_counted_by_address(tmp_path: Path) -> None:
    async with served(tmp_path, FEW) as api:
        clients = [await api.connect() for _ in range(FEW.http_connections_address)]
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await api.connect()
        assert api.server.listener.refused == 1
        clients[0].writer.close()
        await until(lambda: api.server.listener.connections < FEW.http_connections_address)
        await api.connect()


async def test_a_stop_ends_what_is_in_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.node.http.server.SHUTDOWN_S", 0.2)
    async with served(tmp_path) as api:
        client = await api.connect()
        client.write(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n")
        await asyncio.sleep(0.1)
    assert api.server.listener.connections == 0


async def test_a_rotated_certificate_is_served_to_the_next_connection(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        before = (await api.connect()).writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        site_again(tmp_path)
        after = (await api.connect()).writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert before != after


def site_again(directory: Path) -> None:
    """Issue the API's certificate again, from the same authority."""
    authority = load_authority(directory / "ca.crt", directory / "ca.key")
    issue_certificate(
        authority, directory / "api.crt", directory / "api.key",
        name="api", organisation="test", hosts=["127.0.0.1"], now_ms=now_ms(),
    )  # fmt: skip


async def test_n2_a_large_answer_has_one_deadline_for_a_reader_that_trickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a little now and then gains nothing, and what was held for the answer comes back."""
    monkeypatch.setattr("common.node.http.server.BACKSTOP_MS", 0)
    budget = SharedBudget("answers", 8 * BIG)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            holds = scope[HOLDS] = Holds(None, scope)
            await answer(scope, receive, Answer(scope, send, budget))
            holds.release()

    async with served(tmp_path, app=app) as api:
        client = await api.connect(buffer_bytes=64 * 1024)
        client.write(b"GET /big HTTP/1.1\r\nhost: h\r\n\r\n")

        async def trickle() -> None:
            for _ in range(1_000):
                await client.reader.read(64 * 1024)
                await asyncio.sleep(0.05)

        trickling = asyncio.ensure_future(trickle())
        await until(lambda: budget.held == BIG)
        await until(lambda: budget.held == 0 and api.server.listener.connections == 0, 2)
        trickling.cancel()
