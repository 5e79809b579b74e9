"""HTTP between simulated processes: the product's client code on one side, its route functions on the other.

`SimulatedConnection` replaces only the exchange of bytes, so time-outs, refusals and their parsing are the relay's own.
`answer` calls the very functions that stand behind the routes. Left out: TLS, tokens, the HTTP edge (tests/api).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from starlette.requests import Request
from starlette.types import Message

from common.core.errors import NotFound, Rejected
from common.node.access import Identity, Role
from common.node.http import networks as http_networks
from common.node.http import transactions as http_transactions
from common.node.http.budget import HOLDS, Holds, SharedBudget
from common.node.http.context import parse_tx_id
from common.node.http.edge import IDENTITY, HttpLimits
from common.node.http.problems import problem_of
from common.node.store.store_errors import DamagedStore
from crosslink.relay.node_http import Connection
from custody_chain import routes
from tests.sim.system.islet_node import IsletNode
from tests.sim.system.network import SystemNetwork
from tests.sim.world import World

if TYPE_CHECKING:
    from tests.sim.system.machine import NodeMachine

_numbers = count(1)
_RELAY = Identity("relay", "relay", "relay", Role.RELAY, None, None)
Answer = tuple[int, dict[str, str], bytes]


class Exchange:
    """One request under way."""

    def __init__(self, web: Web, source: str, target: str, future: asyncio.Future[Answer]) -> None:
        self.number = next(_numbers)
        self._web, self._source, self._target, self._future = web, source, target, future

    def reset(self) -> None:
        """The server has gone: the connection breaks."""
        self.fail(httpx.ReadError("reset"), self._web.network.delay_ms(self._target, self._source))

    def fail(self, error: Exception, delay_ms: int) -> None:
        """The client gets an error."""
        self._web.world.after(delay_ms, lambda: self._wake(error))

    def reply(self, answer: Answer) -> None:
        """The server's answer sets out."""
        network, random = self._web.network, self._web.world.random
        if not network.is_lost(self._target, self._source):
            self._web.world.after(network.delay_ms(self._target, self._source), lambda: self._wake(answer))
        elif random.random() < 0.8:
            self.fail(httpx.ReadError("reset"), random.randrange(200, 2_000))

    def _wake(self, result: Answer | Exception) -> None:
        loop = self._future.get_loop()
        loop.call_soon(_settle, self._future, result)


def _settle(future: asyncio.Future[Answer], result: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


class Web:
    """Who listens where."""

    def __init__(self, world: World, network: SystemNetwork) -> None:
        self.world, self.network = world, network
        self.machines: dict[str, NodeMachine | IsletNode] = {}
        self.posted: dict[str, list[bytes]] = {}
        """Network -> every body that anybody POSTed there: what a chain may hold, and nothing else."""

    async def request(self, source: str, target: str, method: str, path: str, options: Mapping[str, Any]) -> Answer:
        """Send a request from a process that runs now; its answer. Raises httpx errors."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        exchange = Exchange(self, source, target, future)
        random = self.world.random
        machine = self.machines[target]
        if method == "POST" and path == "/v1/transactions":
            self.posted.setdefault(machine.spec.network, []).append(options["content"])
        if self.network.is_lost(source, target):
            exchange.fail(httpx.ConnectTimeout("no answer"), random.randrange(500, 5_000))
        else:
            self.world.after(
                self.network.delay_ms(source, target), lambda: self._arrive(machine, exchange, method, path, options)
            )
        return await future

    def _arrive(
        self, machine: NodeMachine | IsletNode, exchange: Exchange, method: str, path: str, options: Mapping[str, Any]
    ) -> None:
        if not machine.alive:
            exchange.fail(httpx.ConnectError("refused"), self.network.delay_ms(machine.name, exchange._source))
            return
        machine.exchanges.add(exchange)
        machine.loop.call_soon(self._serve, machine, exchange, method, path, options)

    def _serve(
        self, machine: NodeMachine | IsletNode, exchange: Exchange, method: str, path: str, options: Mapping[str, Any]
    ) -> None:
        task = machine.loop.create_task(_answered(machine, method, path, options))

        def done(task: asyncio.Task[Answer | None]) -> None:
            machine.exchanges.discard(exchange)
            answer = task.result()
            if answer is not None:
                exchange.reply(answer)

        task.add_done_callback(done)


async def _answered(
    machine: NodeMachine | IsletNode, method: str, path: str, options: Mapping[str, Any]
) -> Answer | None:
    """The node's answer; a Byzantine one's is what it likes."""
    try:
        if method == "POST" and machine.mischief is not None and machine.mischief.swallows(machine, path):
            status, body = 202, b"{}"
        else:
            status, body = await answer(machine, method, path, options)
    except Rejected as refusal:
        response = problem_of(refusal, "simulated")
        return response.status_code, dict(response.headers), bytes(response.body)
    except DamagedStore:
        if not machine.damaged:
            raise
        return 500, {}, b"{}"
    if machine.mischief is not None:
        lie = machine.mischief.answers(machine, method, path, body)
        return None if lie is None else (lie[0], {}, lie[1])
    return status, {}, body


async def answer(
    machine: NodeMachine | IsletNode, method: str, path: str, options: Mapping[str, Any]
) -> tuple[int, bytes]:
    """(status, body) of one request. Raises `Rejected`."""
    if isinstance(machine, IsletNode):
        return machine.answer(options["content"])
    service, network = machine.service, machine.spec.network
    parameters = options.get("params", {})
    match method, path.strip("/").split("/"):
        case "POST", ["v1", "transactions"]:
            return await _submit(machine, options)
        case "GET", ["v1", "transactions", tx_id]:
            state = service.transaction_state(parse_tx_id(tx_id))
            return 200, json.dumps(http_transactions.state_document(state)).encode()
        case "GET", ["v1", "networks", name, "blocks"] if name == network:
            response = await http_networks.blocks(
                _relay_request(),
                network,
                service,
                int(parameters["from"]),
                int(parameters["limit"]),
                int(parameters["wait"]),
                str(parameters.get("include", "")),
            )
            return 200, bytes(response.body)
        case "GET", ["v1", "networks", name, "status"] if name == network:
            return 200, json.dumps(await http_networks.status(network, service)).encode()
        case "GET", ["v1", "regions", region]:
            response = await routes.get_region(region, _relay_request(), service)
            return 200, bytes(response.body)
        case _:
            raise NotFound("route_unknown", path)


def _relay_request() -> Request:
    """What routes ask of a request of the relay: who sends it, and what it may hold (it is alone)."""
    state = SimpleNamespace(answers=SharedBudget("room for answers", HttpLimits().answers_bytes))
    scope: dict[str, Any] = {"type": "http", IDENTITY: _RELAY, "app": SimpleNamespace(state=state)}
    scope[HOLDS] = Holds(_RELAY, scope)
    return Request(scope)


async def _submit(machine: NodeMachine, options: Mapping[str, Any]) -> tuple[int, bytes]:
    """`POST /v1/transactions` as the ASGI application that it is."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": options["content"], "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in options.get("headers", {}).items()]
    operator = Identity("operator", "operator", "operator", Role.OPERATOR, None, None)
    scope = {"headers": headers, "query_string": b"", IDENTITY: operator}
    await http_transactions.SubmitRoute(machine.service)(scope, receive, send)
    return int(sent[0]["status"]), b"".join(message.get("body", b"") for message in sent[1:])


class SimulatedConnection(Connection):
    """The relay's connection, whose bytes go through the simulated network."""

    def __init__(self, web: Web, source: str) -> None:
        self._web, self._source = web, source
        self._token_file = None

    async def close(self) -> None:
        """Nothing is open."""

    async def _exchange(
        self, method: str, url: str, timeout_s: float, max_bytes: int, options: dict[str, Any]
    ) -> tuple[int, httpx.Headers, bytes]:
        parts = urlsplit(url)
        assert parts.hostname is not None
        status, headers, body = await self._web.request(self._source, parts.hostname, method, parts.path, options)
        return status, httpx.Headers(headers), body


def url_of(name: str) -> str:
    """A node's base URL."""
    return f"https://{name}"
