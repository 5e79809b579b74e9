"""Clients of a market: transfers that are sent again, the same bytes to one node after the other, until their receipt
is final. Every so often two different transfers under one nonce go to two nodes at once: at most one may commit.

The journal keeps what was submitted and what was acknowledged; the invariants are judged by it."""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from cli.client import Api
from common.core.suite import ED25519_SHA256
from common.core.transaction import sign_envelope, transaction_id
from tests.bench.registrations import FIRST_HOLDING, foundations, product_code
from tests.support.market import LIFE_BLOCKS, Market, operation

ACCOUNTS = 12
TWICE_EVERY = 10
WAIT_S = 2
CLIENTS = 6


@dataclass
class Sent:
    """One transaction on its way: when it was first sent, and its final answer."""

    tx_id: str
    nonce: str
    began: float
    final: dict[str, Any] | None = None
    latency_s: float = 0.0


@dataclass
class Journal:
    """All that clients of one region know."""

    region: str
    sent: dict[str, Sent] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def final(self) -> list[Sent]:
        """What has a final receipt."""
        return [sent for sent in list(self.sent.values()) if sent.final is not None]


class Load:
    """A steady load on one region, from founding its register (unless it is `founded`) until the block ends."""

    def __init__(self, market: Market, per_s: float, seed: int, *, founded: bool = False) -> None:
        self.journal = Journal(market.region)
        self.total = FIRST_HOLDING * ACCOUNTS
        self._market, self._pause_s = market, 1 / per_s
        self._chance = random.Random(seed)
        self._stopping, self._giving_up = threading.Event(), threading.Event()
        self._context = ssl.create_default_context(cafile=str(market.network.ca_file))
        self._headers = {"Authorization": f"Bearer {market.token}", "Prefer": f"wait={WAIT_S}"}
        self._http = httpx.Client(verify=self._context, headers=self._headers, timeout=WAIT_S + 2, trust_env=False)
        self._urls = [node.api for node in market.chain.nodes]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._pool = ThreadPoolExecutor(CLIENTS * 8)
        self._expires_at = market.height() + LIFE_BLOCKS
        self._founded, self._prefix = founded, f"load{seed}"

    def __enter__(self) -> Load:
        if not self._founded:
            self._found()
        self._thread.start()
        return self

    def _found(self) -> None:
        with Api(self._urls, self._market.token, self._market.network.ca_file) as api:
            for number, batch in enumerate(foundations(self._market.region, ACCOUNTS)):
                envelope, sent = self._sign(f"foundation-{number}", batch)
                sent.final = api.submit(envelope)
                if sent.final["status"] != "applied":
                    raise AssertionError(f"the foundations were refused: {sent.final}")

    def __exit__(self, *_: object) -> None:
        self.stop(0)
        self._pool.shutdown()
        self._http.close()

    def stop(self, patience_s: float) -> None:
        """Send nothing new; wait for what is on its way."""
        self._stopping.set()
        self._thread.join(10)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and len(self.journal.final) < len(self._due()):
            time.sleep(0.1)
        self._giving_up.set()

    def open(self) -> list[Sent]:
        """What has no final receipt, though it should have one: of two with one nonce only one is owed one."""
        return [sent for sent in self._due() if sent.final is None]

    def _due(self) -> list[Sent]:
        settled = {sent.nonce for sent in self.journal.final}
        return [sent for sent in list(self.journal.sent.values()) if sent.final or sent.nonce not in settled]

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(self._pause_s):
            number += 1
            nonce = f"{self._prefix}-{number}"
            twice = number % TWICE_EVERY == 0
            for version in range(2 if twice else 1):
                envelope, sent = self._sign(nonce, [self._transfer(f"{nonce}-{version}")])
                self._pool.submit(self._deliver, envelope, sent, number + version)

    def _transfer(self, business_id: str) -> dict[str, Any]:
        giver, taker = self._chance.sample(range(ACCOUNTS), 2)
        return operation(
            "registration.transfer",
            business_id,
            product=product_code(self._market.region),
            from_account=f"B{giver}",
            to_account=f"B{taker}",
            quantity=self._chance.randint(1, 9),
            price_e4=10_000,
        )

    def _sign(self, nonce: str, operations: Sequence[dict[str, Any]]) -> tuple[bytes, Sent]:
        transaction = {
            "network": self._market.region,
            "genesis": self._market.chain.genesis_id,
            "signers": [self._market.key.text],
            "nonce": nonce,
            "expires_at_height": self._expires_at,
            "operations": list(operations),
        }
        tx_id = transaction_id(transaction, ED25519_SHA256).hex()
        self.journal.sent[tx_id] = sent = Sent(tx_id, nonce, time.monotonic())
        return sign_envelope(transaction, [self._market.key.seed], ED25519_SHA256), sent

    def _deliver(self, envelope: bytes, sent: Sent, first: int) -> None:
        """Send the same bytes to one node after the other until the receipt is final, or never will be."""
        turn = first
        while not self._giving_up.is_set():
            url = self._urls[turn % len(self._urls)]
            turn += 1
            try:
                response = self._http.post(f"{url}/v1/transactions", content=envelope)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if response.status_code == 200 and response.json()["status"] in ("applied", "rejected", "expired"):
                sent.latency_s = time.monotonic() - sent.began
                sent.final = response.json()
                return
            if response.status_code in (400, 401, 403, 409, 413, 422):
                code = response.json().get("code")
                if code != "nonce_pending":  # its twin is pending here and may be lost with this node: not final
                    self.journal.refused.append(f"{sent.nonce}: {code}")
                    return
            if response.status_code != 202:
                time.sleep(0.1)
