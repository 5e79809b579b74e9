"""Real HTTPS servers around test chains and the custody model, for a relay that talks over the wire.

One thread with one event loop serves everything; a test changes chains and node behaviour from its own thread through
plain attributes (each is read once a request).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from common.core.transaction import parse_envelope, verify_signatures
from common.node.http.server import HttpServer
from common.node.keys import generate_key
from common.node.peer.certificates import create_authority, issue_certificate
from common.node.peer.listener import bind
from common.node.peer.tls import ApiTls
from common.node.settings import LimitSettings
from crosslink.lightclient.pbft.messages import HeaderMessage
from tests.support.chains import ChainBuilder
from tests.support.relay_world import ModelCustody, Tamper, honest

Handler = Callable[[Request], Awaitable[Response]]


def parts_of(message: HeaderMessage) -> dict[str, str]:
    """The members of a block that a node of ours serves for its header."""
    parts = {"header": message.header.encode().hex(), "certificate": message.certificate.encode().hex()}
    if message.next_validators is not None:
        parts["validators"] = message.next_validators.encode().hex()
    return parts


def problem(status: int, code: str) -> Response:
    """A problem document."""
    return JSONResponse({"code": code, "detail": code, "status": status}, status, media_type="application/problem+json")


@dataclass
class RegionNode:
    """A business chain's node on the wire. `requests` are (method, path) in order."""

    chain: ChainBuilder
    token: str | None
    """None: it asks for none."""
    tamper: Tamper = honest
    visible: int | None = None
    answer: Callable[[], Response] | None = None
    stall_s: float = 0.0
    bodies: dict[str, bytes] = field(default_factory=dict)
    """What it hands out by digest, right or wrong."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def height(self) -> int:
        """What it has."""
        return self.chain.height if self.visible is None else min(self.visible, self.chain.height)

    def app(self) -> Starlette:
        """Its routes."""
        prefix = f"/v1/networks/{self.chain.network}"
        return Starlette(
            routes=[
                Route(f"{prefix}/blocks", self._guarded(self._blocks), methods=["GET"]),
                Route(f"{prefix}/status", self._guarded(self._status), methods=["GET"]),
                Route("/v1/bodies/{digest}", self._guarded(self._body), methods=["GET"]),
            ]
        )

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            self.requests.append((request.method, request.url.path))
            given = request.headers.get("authorization")
            if self.token is not None and given != f"Bearer {self.token}":
                return problem(401, "token_missing" if given is None else "token_unknown")
            if self.stall_s:
                await asyncio.sleep(self.stall_s)
            return self.answer() if self.answer is not None else await handler(request)

        return guarded

    async def _body(self, request: Request) -> Response:
        data = self.bodies.get(request.path_params["digest"])
        return problem(404, "body_unknown") if data is None else Response(data)

    async def _status(self, request: Request) -> Response:
        return JSONResponse({"network": self.chain.network, "height": self.height()})

    async def _blocks(self, request: Request) -> Response:
        query = request.query_params
        first, limit, wait_s = int(query["from"]), int(query["limit"]), int(query.get("wait", 0))
        assert query["include"] == "snapshots,validators"
        for _ in range(wait_s * 100):
            if self.height() >= first:
                break
            await asyncio.sleep(0.01)
        entries, size = [], 0  # type: ignore[var-annotated]
        for height in range(first, min(self.height(), first + limit - 1) + 1):
            served = self.tamper(self.chain.block(height))
            if served is None:
                continue
            size += sum(map(len, served.snapshots))
            if entries and size > 8 << 20:
                break
            entry = {"height": height, "snapshots": [text.decode() for text in served.snapshots]}
            entries.append(entry | parts_of(HeaderMessage.decode(served.header)))
        return JSONResponse({"blocks": entries, "tip": self.height()})


@dataclass
class CustodyNode:
    """A custody chain's node on the wire, around a shared model. `lose_answers`: commits, then drops the connection's
    answer."""

    chain: ChainBuilder
    model: ModelCustody
    token: str
    lose_answers: int = 0
    busy: int = 0
    behind: bool = False
    url: str = ""
    fates: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    seen: list[bytes] = field(default_factory=list)

    def app(self) -> Starlette:
        """Its routes."""
        return Starlette(
            routes=[
                Route("/v1/regions/{network}", self._region),
                Route("/v1/networks/custody/status", self._status),
                Route("/v1/transactions", self._submit, methods=["POST"]),
            ]
        )

    async def _region(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return problem(401, "token_unknown")
        region = self.model.regions.get(request.path_params["network"])
        if region is None:
            return problem(404, "region_unknown")
        data = {
            "network": region.state.network,
            "verified_height": region.state.height,
            "anchored_height": region.anchored,
            "partial": {"height": region.partial.height, "next_index": region.partial.next_index}
            if region.partial
            else None,
            "frozen": {"kind": "same_height"} if region.frozen else None,
            "client_state": region.state.to_json(),
        }
        height = 0 if self.behind else self.model.height
        return JSONResponse({"custody_height": height, "complete": True, "basis": [], "data": data})

    async def _status(self, request: Request) -> Response:
        return JSONResponse({"genesis_id": self.chain.genesis.id.hex(), "height": self.model.height + 1})

    async def _submit(self, request: Request) -> Response:
        if self.busy:
            self.busy -= 1
            return problem(503, "mempool_full")
        transaction = parse_envelope(await request.body(), self.chain.suite)
        verify_signatures(transaction, self.chain.suite)
        assert (transaction.network, transaction.genesis) == ("custody", self.chain.genesis.id)
        assert self.model.height < transaction.expires_at_height
        self.seen.append(transaction.id)
        if transaction.id not in self.fates:
            result = self.model.apply(dict(transaction.operations[0]))
            receipt = {"status": result.status, "code": result.code}
            self.fates[transaction.id] = {
                "tx_id": transaction.id.hex(), "status": result.status, "final": True, "height": result.height,
                "receipt": receipt,
            }  # fmt: skip
        if self.lose_answers:
            self.lose_answers -= 1
            return problem(502, "lost")
        return JSONResponse(self.fates[transaction.id])


class Sites:
    """Servers for nodes, in a thread of their own; `with` starts and stops them. `directory` gets the certificates."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        now_ms = time.time_ns() // 1_000_000
        self.ca_file = directory / "ca.crt"
        authority = create_authority(
            self.ca_file, directory / "ca.key", name="test", organisation="test", now_ms=now_ms
        )
        self.certificate, self.private_key = directory / "tls.crt", directory / "tls.key"
        issue_certificate(
            authority,
            self.certificate,
            self.private_key,
            name="node",
            organisation="test",
            hosts=["127.0.0.1", "localhost"],
            now_ms=now_ms,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: dict[str, HttpServer] = {}

    def __enter__(self) -> Sites:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for url in list(self._servers):
            self.stop(url)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def serve(self, node: RegionNode | CustodyNode, port: int = 0) -> str:
        """Start a server for a node; its base URL, which the node also keeps."""

        async def start() -> str:
            listening = bind("127.0.0.1", port)
            address = listening.getsockname()
            tls = ApiTls(self.certificate, self.private_key)
            server = HttpServer(node.app(), listening, tls, LimitSettings())
            await server.start()
            url = f"https://127.0.0.1:{address[1]}"
            self._servers[url] = server
            return url

        node.url = self._call(start())
        return node.url

    def stop(self, url: str) -> None:
        """The node goes down."""
        self._call(self._servers.pop(url).close())


def token_file(directory: Path, name: str) -> tuple[Path, str]:
    """A token file as clients hold it."""
    token = hashlib.sha256(name.encode()).hexdigest()
    path = directory / f"{name}.token"
    path.write_text(token + "\n")
    path.chmod(0o600)
    return path, token


@dataclass
class RelayFixture:
    """A whole world on the wire and a relay.toml for it."""

    sites: Sites
    chains: dict[str, ChainBuilder]
    nodes: dict[str, list[RegionNode]]
    custody: list[CustodyNode]
    model: ModelCustody
    config: Path

    def complete(self) -> bool:
        """Whether everything of every chain is anchored."""
        return all(self.model.complete(chain) for chain in self.chains.values())


def build_world(
    sites: Sites, chains: list[ChainBuilder], *, api_port: int = 0, pace: dict[str, int] | None = None
) -> RelayFixture:
    """Two nodes for each chain, two custody nodes, tokens, keys, and a relay's settings file."""
    directory = sites.directory
    custody_chain = ChainBuilder("custody", tier="custody")
    custody_chain.grow(1)
    model = ModelCustody(chains, lambda: time.time_ns() // 1_000_000)
    custody_file, custody_token = token_file(directory, "relay")
    custody = [CustodyNode(custody_chain, model, custody_token) for _ in range(2)]
    custody[1].fates = custody[0].fates
    nodes: dict[str, list[RegionNode]] = {}
    regions = []
    for chain in chains:
        path, token = token_file(directory, chain.network)
        nodes[chain.network] = [RegionNode(chain, token) for _ in range(2)]
        urls = [sites.serve(node) for node in nodes[chain.network]]
        regions.append({"network": chain.network, "nodes": urls, "token_file": path.name})
    generate_key(directory / "relay.key")
    settings = {
        "key_file": "relay.key",
        "ca_file": "ca.crt",
        "custody": {
            "network": "custody",
            "nodes": [sites.serve(node) for node in custody],
            "token_file": custody_file.name,
        },
        "regions": regions,
        "api": {
            "host": "127.0.0.1",
            "port": 0,
            "certificate_file": "tls.crt",
            "private_key_file": "tls.key",
        },
        "pace": {"linger_ms": 20, "idle_linger_ms": 50, "wait_s": 1} | (pace or {}),
    }
    config = directory / "relay.toml"
    config.write_text(tomli_w.dumps(settings))
    return RelayFixture(sites, {chain.network: chain for chain in chains}, nodes, custody, model, config)


def wait_for(condition: Callable[[], object], what: str, patience_s: float = 20.0) -> None:
    """Wait, in the test's thread."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        time.sleep(0.02)


def as_json(data: bytes) -> Any:
    """Parsed."""
    return json.loads(data)
