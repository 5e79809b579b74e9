"""What clients together may make a node hold: bodies, large answers, event streams (attacks N2, N3)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi import APIRouter, Depends
from starlette.responses import Response

from common.core.errors import QuotaExceeded, Unavailable
from common.core.transaction import MAX_ENVELOPE_BYTES
from common.node.access import CHAIN_READERS, issue_token
from common.node.http.budget import SharedBudget
from common.node.http.context import require_role
from common.node.http.edge import HttpLimits
from tests.api.server import LiveServer
from tests.api.test_submission import refused, submit
from tests.unit.node.toy import make_envelope, transfer

LARGE = 8 << 20
FULL_BODY = f"POST /v1/transactions HTTP/1.1\r\nContent-Length: {MAX_ENVELOPE_BYTES}\r\n"
CHUNKED = "POST /v1/transactions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
LARGE_ANSWER = "GET /v1/large HTTP/1.1\r\n"


def large_router() -> APIRouter:
    """A route whose answer no socket buffer takes whole."""
    router = APIRouter()

    @router.get("/v1/large", dependencies=[Depends(require_role(CHAIN_READERS))])
    async def large() -> Response:
        return Response(bytes(LARGE))

    return router


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Room for four of the largest bodies and eight large answers; of either, a quarter for one token."""
    limits = HttpLimits(bodies_bytes=4 * MAX_ENVELOPE_BYTES, answers_bytes=8 * LARGE)
    directory: Path = tmp_path_factory.mktemp("tight")
    with LiveServer(directory, limits=limits, routers=(large_router(),), max_streams=8) as server:
        for organisation in ("others", "third"):
            for at in (1, 2):
                server.tokens[f"{organisation} {at}"] = issue_token(
                    server.tokens_file, subject=f"s{at}", organisation=organisation, role="operator"
                ).secret
        yield server


class Stalled:
    """Sends the head of a request, and then neither sends nor reads until it is asked to."""

    def __init__(self, live: LiveServer, token: str, head: str) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        self._socket.connect(("127.0.0.1", live.port))
        self._socket.sendall(f"{head}Host: h\r\nAuthorization: Bearer {live.tokens[token]}\r\n\r\n".encode())

    def __enter__(self) -> Stalled:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def problem(self) -> tuple[int, str, bool]:
        """Status and code of the refusal, and whether it says when to come back."""
        self._socket.settimeout(60)
        answer = b""
        while not answer.endswith(b"}"):
            answer += self._socket.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)["code"], b"\r\nretry-after: 5\r\n" in head.lower() + b"\r\n"

    def waits(self) -> bool:
        """Whether no answer comes."""
        self._socket.settimeout(0.3)
        try:
            return not self._socket.recv(1)
        except TimeoutError:
            return True


def comes_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("head", [FULL_BODY, CHUNKED])
def test_n2_stalled_bodies_are_bounded_for_a_token_an_organisation_and_in_all(tight: LiveServer, head: str) -> None:
    """A token has room for one of the largest bodies here, an organisation for two, the node for four."""
    share, node = (429, "share_exhausted", True), (503, "node_exhausted", True)
    with ExitStack() as stack:

        def stalled(token: str) -> Stalled:
            return stack.enter_context(Stalled(tight, token, head))

        first = stalled("operator")
        assert first.waits()
        assert stalled("operator").problem() == share
        assert stalled("member").waits()
        assert stalled("governance").problem() == share
        assert submit(tight, transfer(tight.node.genesis, f"n2-{len(head)}"), "third 1").status_code in (200, 202)
        assert stalled("others 1").waits()
        assert stalled("others 2").waits()
        assert stalled("third 1").problem() == node
    assert comes_true(lambda: submit(tight, b" " * MAX_ENVELOPE_BYTES).status_code == 400)


def test_n2_a_body_counts_until_its_request_ends(tight: LiveServer) -> None:
    """Whoever waits for a receipt holds what he has sent."""
    envelope = transfer(tight.node.genesis, "n2-waits").ljust(MAX_ENVELOPE_BYTES)
    tight.call(lambda node: setattr(node, "paused", True))
    try:
        with Stalled(tight, "operator", FULL_BODY + "Prefer: wait=20\r\n") as waiting:
            waiting.send(envelope)
            assert waiting.waits()
            refused(submit(tight, envelope), 429, "share_exhausted")
    finally:
        tight.call(lambda node: node.resume())
    assert comes_true(lambda: submit(tight, envelope).status_code == 200)


def test_n2_slow_readers_of_large_answers_are_bounded(tight: LiveServer) -> None:
    """A token has room for two here; what is on its way counts until it has left."""
    share, node = (429, "share_exhausted", True), (503, "node_exhausted", True)
    answers = tight.app.state.answers
    with ExitStack() as stack:

        def reader(token: str) -> Stalled:
            return stack.enter_context(Stalled(tight, token, LARGE_ANSWER))

        for token in ("operator", "operator", "member", "member", "others 1", "others 1", "others 2"):
            reader(token)
        assert comes_true(lambda: answers.held == 7 * LARGE)
        assert reader("operator").problem() == share
        assert reader("reader").problem() == share
        with tight.client("third 1") as client:
            assert len(client.get("/v1/large").content) == LARGE
        reader("others 2")
        assert comes_true(lambda: answers.held == 8 * LARGE)
        assert reader("third 1").problem() == node
        with tight.client("third 1") as client:
            assert client.get("/v1/networks").status_code == 200
    assert comes_true(lambda: answers.held == 0)


def test_n2_a_bulk_answer_holds_fewer_blocks_where_there_is_no_room(tight: LiveServer) -> None:
    """So a reader goes on, slowly, instead of being refused; a single large block is refused."""
    genesis, answers = tight.node.genesis, tight.app.state.answers
    bulky = [{"type": "toy.transfer", "source": "bank", "target": "alice", "amount": 1}] * 400
    for envelope in (transfer(genesis, "small"), make_envelope(genesis, "bulky", bulky)):
        assert submit(tight, envelope, Prefer="wait=10").status_code == 200
    tip = tight.node.chain.tip().height
    path = "/v1/networks/toytown/blocks?limit=2&include=snapshots&from="
    with tight.client() as client:
        assert len(client.get(f"{path}{tip - 1}").json()["blocks"]) == 2
        shares, answers.shares = answers.shares, (1, 1)
        try:
            assert len(client.get(f"{path}{tip - 1}").json()["blocks"]) == 1
            refused(client.get(f"{path}{tip}"), 429, "share_exhausted")
        finally:
            answers.shares = shares
    assert answers.held == 0


def test_n3_event_streams_are_bounded_and_their_places_come_back(tight: LiveServer) -> None:
    """Two for a token here, four for an organisation, eight in all: another organisation finds room."""
    streams = tight.app.state.streams
    with ExitStack() as stack:

        def follow(token: str) -> Stalled:
            head = "GET /v1/events?from_height=1 HTTP/1.1\r\n"
            return stack.enter_context(Stalled(tight, token, head))

        for token in ("operator", "operator", "member", "member"):
            assert not follow(token).waits()
        with tight.client("operator") as client:
            refused(client.get("/v1/events"), 429, "share_exhausted")
        with tight.client("governance") as client:
            refused(client.get("/v1/events"), 429, "share_exhausted")
        for token in ("others 1", "others 1", "others 2", "others 2"):
            assert not follow(token).waits()
        with tight.client("third 1") as client:
            refused(client.get("/v1/events"), 503, "too_many_streams")
    assert comes_true(lambda: streams.held == 0)


def test_a_budget_never_gives_more_than_its_total_and_shares() -> None:
    budget = SharedBudget("crumbs", 8)
    budget.take(("a", "a1"), 2)
    with pytest.raises(QuotaExceeded):
        budget.take(("a", "a1"), 1)
    budget.take(("a", "a2"), 2)
    with pytest.raises(QuotaExceeded):
        budget.take(("a", "a3"), 1)
    for token in ("b1", "b2"):
        budget.take(("b", token), 2)
    with pytest.raises(Unavailable):
        budget.take(("c", "c1"), 1)
    assert budget.held == 8
    budget.give(("a", "a1"), 2)
    budget.take(("c", "c1"), 1)
    assert budget.held == 7
