"""A market's operator: submits registrations to any of the market's nodes and resends until the receipt is final.

It keeps what it was told: `receipts` are acknowledgements, on which the checkers hold the chain.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from common.core.errors import Rejected
from common.core.transaction import parse_envelope, sign_envelope
from tests.sim.system.founding import GENESIS_MS, REGIONS, SUITE, ChainSpec, key_text, seed_of
from tests.sim.system.http import SimulatedConnection, Web, url_of
from tests.sim.system.loop import SimulatedLoop
from tests.sim.world import World

HOLDERS = 3
AUTHORISED = 1_000_000
INITIAL = (400_000, 100_000, 0)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a client was told of its transaction, by a node that tells the truth."""

    tx_id: bytes
    status: str
    height: int
    index: int


class MarketClient:
    """One operator. `finished` once every transaction has its receipt."""

    def __init__(self, world: World, web: Web, spec: ChainSpec, transactions: int, pause_ms: int) -> None:
        self.world, self.web, self.spec = world, web, spec
        self.network = spec.network
        self.name = f"client-{self.network}"
        self.loop = SimulatedLoop(world)
        self.receipts: dict[bytes, Acknowledged] = {}
        self.envelopes: dict[bytes, bytes] = {}
        self.operations: dict[bytes, list[dict[str, Any]]] = {}
        self.finished = False
        self._letters = REGIONS[self.network]
        self._count, self._pause_ms = transactions, pause_ms
        self._business = 0

    @property
    def product(self) -> str:
        """The security whose shares are counted."""
        return f"{self._letters}000001.ESVUFR2601"

    def start(self) -> None:
        """Go to work."""
        self.loop.create_task(self._work()).add_done_callback(lambda task: task.result())

    async def _work(self) -> None:
        await self._submit("0", self._foundations())
        under_way = []
        for number in range(1, self._count + 1):
            await asyncio.sleep(self.world.random.randrange(2 * self._pause_ms) / 1000)
            under_way.append(self.loop.create_task(self._submit(str(number), [self._business_operation()])))
        if under_way:
            await asyncio.wait(under_way)
        self.finished = True
        self.world.note(f"{self.name} has all receipts")

    async def _submit(self, nonce: str, operations: list[dict[str, Any]]) -> None:
        seed = seed_of(f"{self.network}-operator")
        transaction = {
            "network": self.network,
            "genesis": self.spec.genesis.id.hex(),
            "signers": [key_text(f"{self.network}-operator")],
            "nonce": nonce,
            "expires_at_height": 90_000,
            "operations": operations,
        }
        envelope = sign_envelope(transaction, [seed], SUITE)
        tx_id = parse_envelope(envelope, SUITE).id
        self.envelopes[tx_id], self.operations[tx_id] = envelope, operations
        connection = SimulatedConnection(self.web, self.name)
        while tx_id not in self.receipts:
            name = self.world.random.choice(self.spec.names)
            try:
                _, body = await connection.post(
                    f"{url_of(name)}/v1/transactions",
                    envelope,
                    {"Prefer": "wait=2"},
                    timeout_s=4.0,
                    max_bytes=1 << 20,
                )
            except Rejected as refusal:
                self.world.note(f"{name} refuses {self.name}: {refusal.code}")
                await asyncio.sleep(0.3)
                continue
            document = json.loads(body)
            if document["status"] == "pending":
                continue
            self.world.note(f"{name} acknowledges {tx_id.hex()[:8]}: {document['status']}")
            assert document["final"]
            acknowledged = Acknowledged(tx_id, document["status"], document["height"], document["index"])
            self.receipts[tx_id] = acknowledged

    # Operations.

    def _operation(self, operation_type: str, **fields: Any) -> dict[str, Any]:
        self._business += 1
        return {
            "type": operation_type,
            "business_id": f"{self.network}-{self._business}",
            "occurred_at_ms": GENESIS_MS - 1_000,
            **fields,
        }

    def _foundations(self) -> list[dict[str, Any]]:
        issuer = f"{self._letters}000001"
        operations = [
            self._operation(
                "subject.register", object_id=issuer, kind="organisation", name="样例公司", enterprise_code=issuer
            )
        ]
        for number in range(1, HOLDERS + 1):
            operations += [
                self._operation(
                    "subject.register",
                    object_id=f"P{number}",
                    kind="person",
                    investor_code=f"Q{number:09d}",
                    name_commitment="ab" * 32,
                    identity_commitment="cd" * 32,
                ),
                self._operation("account.open", account=f"A{number}", subject=f"P{number}", account_type="securities"),
            ]
        operations.append(
            self._operation(
                "product.issue",
                product=self.product,
                issuer=issuer,
                name="普通股",
                product_type=2,
                unit="share",
                scale=0,
                authorised_quantity=AUTHORISED,
            )
        )
        for number, quantity in enumerate(INITIAL, 1):
            if quantity:
                operations.append(
                    self._operation(
                        "registration.initial", product=self.product, account=f"A{number}", quantity=quantity
                    )
                )
        return operations

    def _business_operation(self) -> dict[str, Any]:
        random = self.world.random
        kind = random.random()
        if kind < 0.15:
            return self._operation(
                "registration.pledge",
                product=self.product,
                account="A1",
                quantity=random.randrange(1, 5_000),
                pledgee="P2",
                contract_number=f"P-{self._business}",
            )
        if kind < 0.3:
            account, quantity = f"A{random.randint(1, HOLDERS)}", random.choice((10, 1_000, AUTHORISED))
            return self._operation("registration.initial", product=self.product, account=account, quantity=quantity)
        seller, buyer = random.sample(range(1, HOLDERS + 1), 2)
        quantity = random.choice((1, 500, 60_000, AUTHORISED))
        return self._operation(
            "registration.transfer",
            product=self.product,
            from_account=f"A{seller}",
            to_account=f"A{buyer}",
            quantity=quantity,
        )
