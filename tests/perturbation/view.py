"""What the public interface shows of a network: heights by node, noted for ever, and the blocks, receipts, registers
and anchors that the invariants are judged by."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from cli.localnet.layout import CUSTODY, Chain, LocalNetwork
from cli.localnet.readiness import reader_credential
from common.core.header import Header

POLL_S = 0.2
PAGE = 500


class Reader:
    """GET requests to single nodes. One for each thread."""

    def __init__(self, network: LocalNetwork, *, timeout_s: float = 10.0) -> None:
        self._urls = {process.name: process.api for process in network.processes()}
        self._chains = {node.name: chain.network_id for chain in network.chains for node in chain.nodes}
        self._network = network
        context = ssl.create_default_context(cafile=str(network.ca_file))
        limits = httpx.Limits(max_keepalive_connections=64)
        self._http = httpx.Client(verify=context, timeout=timeout_s, trust_env=False, limits=limits)

    def get(self, node: str, path: str, *, credential: str = "", **query: str | int) -> Any:
        """The answer, or None while there is none (or it is a refusal)."""
        token = self._network.token(credential or reader_credential(self._chains[node]))
        headers = {"Authorization": f"Bearer {token}"}
        try:
            response = self._http.get(self._urls[node] + path, params=query, headers=headers)
        except httpx.TransportError:
            return None
        if response.status_code != 200:
            return None
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.json() if is_json else response.text

    def status(self, node: str) -> dict[str, Any] | None:
        """The status call."""
        answer = self.get(node, f"/v1/networks/{self._chains[node]}/status")
        return dict(answer) if answer else None

    def header_ids(self, node: str, tip: int) -> list[str]:
        """Ids of the blocks 1 to `tip` as one node has them."""
        chain = self._chains[node]
        ids: list[str] = []
        while len(ids) < tip:
            limit = min(PAGE, tip - len(ids))
            answer = self.get(node, f"/v1/networks/{chain}/blocks", **{"from": str(len(ids) + 1), "limit": str(limit)})
            if not answer or not answer["blocks"]:
                raise AssertionError(f"{node} shows no block {len(ids) + 1}, though its tip was {tip}")
            for block in answer["blocks"]:
                if Header.decode(bytes.fromhex(block["header"])).height != len(ids) + 1:
                    raise AssertionError(f"{node}: block {len(ids) + 1} comes out of order")
                ids.append(block["id"])
        return ids

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


@dataclass
class Watch:
    """Asks every node for its height, again and again, and remembers who went back."""

    network: LocalNetwork
    chains: list[Chain]
    heights: dict[str, int] = field(default_factory=dict)
    went_back: list[str] = field(default_factory=list)
    _lives: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._threads = [
            threading.Thread(target=self._run, args=(node.name,), daemon=True)
            for chain in self.chains
            for node in chain.nodes
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def forget(self, node: str) -> None:
        """A wiped node begins at 0 again; an answer of its former life that is still on its way does not count."""
        with self._lock:
            self._lives[node] = self._lives.get(node, 0) + 1
            self.heights.pop(node, None)

    def tip(self, chain: str) -> int:
        """The highest height that any node of the chain has shown."""
        names = next(known.nodes for known in self.chains if known.network_id == chain)
        return max(self.heights.get(node.name, 0) for node in names)

    def _run(self, node: str) -> None:
        reader = Reader(self.network, timeout_s=1.0)
        while not self._stopping.wait(POLL_S):
            life, before = self._lives.get(node), self.heights.get(node, 0)
            status = reader.status(node)
            with self._lock:
                if status is None or self._lives.get(node) != life:
                    continue
                if status["height"] < before:
                    self.went_back.append(f"{node} showed {before} and then {status['height']}")
                self.heights[node] = status["height"]
        reader.close()


def until(condition: Callable[[], Any], patience_s: float, poll_s: float = 0.1) -> Any:
    """The first truthy value of `condition`, or its last value when the patience is over."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(poll_s)
    return value


__all__ = ["CUSTODY", "Reader", "Watch", "until"]
