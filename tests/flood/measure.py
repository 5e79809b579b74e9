"""One node of a toy network under floods: its resident memory by a sampler, its honest clients by their receipts."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.node.access import issue_token
from tests.bench.load import percentile
from tests.e2e.toy_network import ToyNetwork, ToyNode, until
from tests.flood.hostile import PEER_FLOODS, HostilePeer
from tests.unit.node.toy import make_envelope, transfer

SLOW_CONNECTIONS = 500
DRIP_S = 1.0
HONEST_PAUSE_S = 0.1
STALLED_CONNECTIONS = 400
STALLED_S = 40.0
"""Longer than a node waits."""
STALLED_TOKENS = 4
"""Each of another organisation: together they may fill every budget."""
LARGE_ANSWER_BYTES = 7 << 20
BULKY = {"type": "toy.transfer", "source": "bank", "target": "alice", "amount": 1}


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    line = next(text for text in Path(f"/proc/{pid}/status").read_text().splitlines() if text.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


@dataclass
class Watched:
    """The target's memory, and a client that goes on submitting to it and to the others."""

    network: ToyNetwork
    target: ToyNode
    name: str
    rss_mib: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    failed: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """Of those who got no receipt."""

    def __enter__(self) -> Watched:
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._sample, self._submit)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def _sample(self) -> None:
        while not self._stopping.wait(0.05):
            self.rss_mib.append(resident_mib(self.target.pid))

    def _submit(self) -> None:
        honest = [node for node in self.network.nodes if node.running]
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(self.network.client(node)) for node in honest]
            number = 0
            while not self._stopping.wait(HONEST_PAUSE_S):
                number += 1
                envelope = transfer(self.network.genesis, f"honest-{self.name}-{number}")
                began = time.monotonic()
                response = clients[number % len(clients)].post(
                    "/v1/transactions", content=envelope, headers={"Prefer": "wait=10"}
                )
                if response.status_code == 200:
                    self.latencies_ms.append((time.monotonic() - began) * 1000)
                else:
                    self.failed += 1
                    self.answers[f"{response.status_code} {response.json().get('code', '')}"] += 1

    def figures(self) -> dict[str, Any]:
        """What was seen."""
        return {
            "rss_before_mib": round(self.rss_mib[0], 1),
            "rss_max_mib": round(max(self.rss_mib), 1),
            "rss_after_mib": round(self.rss_mib[-1], 1),
            "honest_receipts": len(self.latencies_ms),
            "honest_without_receipt": self.failed,
            "honest_answers": dict(self.answers),
            "honest_p50_ms": round(percentile(self.latencies_ms, 0.5), 1),
            "honest_p99_ms": round(percentile(self.latencies_ms, 0.99), 1),
        }


def under_peer_flood(network: ToyNetwork, name: str, seconds: float) -> dict[str, Any]:
    """The last validator does not run; its key floods the first node."""
    target, villain = network.nodes[0], network.nodes[-1]
    if villain.running:
        villain.kill()
    peer = HostilePeer(network, villain.name, target)
    with Watched(network, target, name) as watched:
        time.sleep(0.3)
        asyncio.run(peer.flood(PEER_FLOODS[name](peer), seconds))
        time.sleep(1.0)
    return watched.figures() | {
        "sent_messages": peer.sent,
        "sent_mib": round(peer.sent_bytes / 2**20, 1),
        "connections": peer.connections,
        "refusals": sorted(set(peer.refusals)),
    }


async def _slow_client(port: int, context: ssl.SSLContext, kind: int) -> None:
    """One of three: TLS and then silence, a head that never ends, a body that never ends. It comes back when it is cut
    off."""
    heads = (b"", b"POST /v1/transactions HTTP/1.1\r\nhost: x\r\nx-slow: ", b"POST /v1/x HTTP/1.1\r\nhost: x\r\n")
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(heads[kind] + (b"content-length: 100000\r\n\r\n" if kind == 2 else b""))
            while not writer.is_closing():
                await asyncio.sleep(DRIP_S)
                if kind:
                    writer.write(b"x")
                    await writer.drain()
        except OSError:
            await asyncio.sleep(DRIP_S)


async def slowloris(network: ToyNetwork, target: ToyNode, seconds: float) -> dict[str, Any]:
    """`SLOW_CONNECTIONS` of them for so long."""
    context = ssl.create_default_context(cafile=str(network.ca_file))
    port = int(target.api.rsplit(":", 1)[1])
    tasks = [asyncio.create_task(_slow_client(port, context, number % 3)) for number in range(SLOW_CONNECTIONS)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {"slow_connections": SLOW_CONNECTIONS}


async def requests(network: ToyNetwork, target: ToyNode, seconds: float) -> dict[str, Any]:
    """Connections that ask without end for what costs most without a token, and with a wrong one."""
    context = ssl.create_default_context(cafile=str(network.ca_file))
    port, counted = int(target.api.rsplit(":", 1)[1]), 0
    request = b"GET /v1/networks/toytown/blocks?from=1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer wrong\r\n\r\n"

    async def one() -> None:
        nonlocal counted
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                while True:
                    writer.write(request)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = next(
                        int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"
                    )
                    await reader.readexactly(length)
                    counted += 1
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(one()) for _ in range(32)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {"requests_refused": counted}


class _Stalled:
    """Clients with a valid token, of another organisation than the honest ones, that send much and read nothing."""

    def __init__(self, network: ToyNetwork, target: ToyNode) -> None:
        self._context = ssl.create_default_context(cafile=str(network.ca_file))
        self._port = int(target.api.rsplit(":", 1)[1])
        self.token = issue_token(
            network.directory / "tokens.json", subject="villain", organisation=f"villains-{id(self)}", role="operator"
        ).secret
        self.refused = 0

    async def send(self, head: str, body: bytes = b"") -> None:
        """One request after the other, each on a connection of its own that then stands still."""
        request = f"{head}Host: x\r\nAuthorization: Bearer {self.token}\r\n\r\n".encode()
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context, limit=1)
                transport = writer.transport
                try:
                    writer.write(request + body)
                    answer = await reader.read(16)
                    if answer[9:12] in (b"429", b"503"):
                        self.refused += 1
                    else:
                        transport.pause_reading()  # type: ignore[attr-defined]
                        await asyncio.sleep(STALLED_S)
                finally:
                    transport.abort()
            except OSError:
                pass
            await asyncio.sleep(DRIP_S)


async def _stalled(network: ToyNetwork, target: ToyNode, seconds: float, count: int, head: str, body: bytes) -> Any:
    villains = [_Stalled(network, target) for _ in range(STALLED_TOKENS)]
    await asyncio.sleep(0.2)
    tasks = [asyncio.create_task(villains[number % len(villains)].send(head, body)) for number in range(count)]
    await asyncio.sleep(seconds)
    found = {"connections": count, "refused": sum(villain.refused for villain in villains)}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def stalled_bodies(network: ToyNetwork, target: ToyNode, seconds: float) -> dict[str, Any]:
    """Bodies of 2 MB of which the last 10 kB never come."""
    head = "POST /v1/transactions HTTP/1.1\r\nContent-Length: 2000000\r\n"
    return dict(await _stalled(network, target, seconds, STALLED_CONNECTIONS, head, bytes(1_990_000)))


async def slow_readers(network: ToyNetwork, target: ToyNode, seconds: float) -> dict[str, Any]:
    """Bulk answers of up to 8 MiB, asked for and not read."""
    path = await asyncio.to_thread(_fill, network, target)
    head = f"GET {path} HTTP/1.1\r\n"
    return dict(await _stalled(network, target, seconds, STALLED_CONNECTIONS, head, b""))


def _fill(network: ToyNetwork, target: ToyNode) -> str:
    """Commit blocks until a bulk answer about them is large; the path that asks for it."""
    number = 0
    first = network.height(target) + 1
    with network.client(target) as client:
        path = f"/v1/networks/toytown/blocks?from={first}&limit=512&include=snapshots,validators"
        while len(client.get(path).content) < LARGE_ANSWER_BYTES:
            for _ in range(20):
                number += 1
                envelope = make_envelope(network.genesis, f"bulk-{time.time_ns()}-{number}", [BULKY] * 200)
                client.post("/v1/transactions", content=envelope, headers={"Prefer": "wait=10"})
    return path


HTTP_FLOODS: dict[str, Callable[[ToyNetwork, ToyNode, float], Awaitable[dict[str, Any]]]] = {
    "slowloris": slowloris,
    "requests": requests,
    "stalled_bodies": stalled_bodies,
    "slow_readers": slow_readers,
}
"""Name -> what is done."""


def under_http_flood(network: ToyNetwork, name: str, seconds: float) -> dict[str, Any]:
    """All validators run; the first one's API is flooded."""
    target, villain = network.nodes[0], network.nodes[-1]
    if not villain.running:
        villain.start()
        until(lambda: network.height(villain) >= network.height(target), "the last validator is back", 30)
    with Watched(network, target, name) as watched:
        time.sleep(0.3)
        done = asyncio.run(HTTP_FLOODS[name](network, target, seconds))  # type: ignore[arg-type, var-annotated]
        time.sleep(1.0)
    return watched.figures() | done  # type: ignore[no-any-return]


def under_flood(network: ToyNetwork, name: str, seconds: float) -> dict[str, Any]:
    """The flood of this name."""
    return (under_peer_flood if name in PEER_FLOODS else under_http_flood)(network, name, seconds)
