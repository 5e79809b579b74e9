"""Who submits transactions to any node of a chain and resends them until the receipt is final: a market's operator, and
who governs a chain.

They keep what they were told: `receipts` are acknowledgements, on which the checkers hold the chain.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.core.errors import Rejected
from common.core.transaction import parse_envelope, sign_envelope
from common.model.values import date
from tests.sim.system.founding import GENESIS_MS, REGIONS, SUITE, ChainSpec, key_text, seed_of
from tests.sim.system.http import SimulatedConnection, Web, url_of
from tests.sim.system.loop import SimulatedLoop
from tests.sim.world import World

HOLDERS = 3
AUTHORISED = 1_000_000
NATURES = (0, 0, 24)
INITIAL = (400_000, 100_000, 0)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a client was told of its transaction, by a node that tells the truth."""

    tx_id: bytes
    status: str
    height: int
    index: int


class Client:
    """A process with one key. `finished` once all that it wanted is done."""

    def __init__(self, world: World, web: Web, spec: ChainSpec, name: str, signer: str) -> None:
        self.world, self.web, self.spec, self.name, self.signer = world, web, spec, name, signer
        self.network = spec.network
        self.loop = SimulatedLoop(world)  # type: ignore[abstract]
        self.receipts: dict[bytes, Acknowledged] = {}
        self.operations: dict[bytes, list[dict[str, Any]]] = {}
        self.finished = False

    def start(self) -> None:
        """Go to work."""
        self.loop.create_task(self._work_to_the_end()).add_done_callback(lambda task: task.result())

    async def _work_to_the_end(self) -> None:
        await self.work()
        self.finished = True
        self.world.note(f"{self.name} has all receipts")

    async def work(self) -> None:
        """What this client wants."""
        raise NotImplementedError

    def trusted_nodes(self) -> Sequence[str]:
        """Whom this client asks."""
        return self.spec.names

    async def submit(self, nonce: str, operations: list[dict[str, Any]]) -> Acknowledged:
        """Send one transaction to one node after the other until it is final."""
        transaction = {
            "network": self.network,
            "genesis": self.spec.genesis.id.hex(),
            "signers": [key_text(self.signer)],
            "nonce": nonce,
            "expires_at_height": 90_000,
            "operations": operations,
        }
        envelope = sign_envelope(transaction, [seed_of(self.signer)], SUITE)
        tx_id = parse_envelope(envelope, SUITE).id
        self.operations[tx_id] = operations
        connection = SimulatedConnection(self.web, self.name)
        while tx_id not in self.receipts:
            name = self.world.random.choice(self.trusted_nodes())
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
        return self.receipts[tx_id]


class MarketClient(Client):
    """A market's operator, who registers."""

    def __init__(self, world: World, web: Web, spec: ChainSpec, transactions: int, pause_ms: int) -> None:
        super().__init__(world, web, spec, f"client-{spec.network}", f"{spec.network}-operator")
        self._letters = REGIONS[self.network]
        self._count, self._pause_ms = transactions, pause_ms
        self._business = 0
        self._pledges: list[dict[str, Any]] = []
        self._freezes: list[dict[str, Any]] = []

    @property
    def product(self) -> str:
        """The security whose shares are counted."""
        return f"{self._letters}000001.ESVUFR2601"

    async def work(self) -> None:
        """Found a company, then move its shares."""
        await self.submit("0", self._foundations())
        under_way = []
        for number in range(1, self._count + 1):
            await asyncio.sleep(self.world.random.randrange(2 * self._pause_ms) / 1000)
            under_way.append(self.loop.create_task(self.submit(str(number), [self._business_operation()])))
        if under_way:
            await asyncio.wait(under_way)

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
        operations.append(
            self._operation("registration.initial", product=self.product, account="A1", quantity=3_000, share_nature=24)
        )
        return operations

    def _business_operation(self) -> dict[str, Any]:
        """Any movement; some take effect on another day than that on which they happen."""
        operation = self._movement()
        if self.world.random.random() < 0.3:
            operation["effective_date"] = date(GENESIS_MS - 86_400_000 * self.world.random.randrange(30))
        return operation

    def _movement(self) -> dict[str, Any]:
        random = self.world.random
        kind = random.random()
        nature = {"share_nature": random.choice(NATURES)}
        if kind < 0.15 or (kind < 0.45 and not self._pledges):
            pledge = self._operation(
                "registration.pledge",
                product=self.product,
                account="A1",
                quantity=random.randrange(1, 5_000),
                pledgee="P2",
                contract_number=f"P-{self._business}",
                **nature,
            )
            self._pledges.append(pledge)
            return pledge
        if kind < 0.45:
            pledge = random.choice(self._pledges)
            return self._of_a_pledge(pledge, random.randint(1, pledge["quantity"] + 100))
        if kind < 0.55:
            account, quantity = f"A{random.randint(1, HOLDERS)}", random.choice((10, 1_000, AUTHORISED))
            return self._operation(
                "registration.initial", product=self.product, account=account, quantity=quantity, **nature
            )
        seller, buyer = random.sample(range(1, HOLDERS + 1), 2)
        quantity = random.choice((1, 500, 60_000, AUTHORISED))
        return self._operation(
            "registration.transfer",
            product=self.product,
            from_account=f"A{seller}",
            to_account=f"A{buyer}",
            quantity=quantity,
            **nature,
        )

    def _of_a_pledge(self, pledge: dict[str, Any], quantity: int) -> dict[str, Any]:
        """A court freezes some of the pledged shares or thaws some, or the pledgee releases some, frozen or not."""
        name = pledge["business_id"]
        kind = self.world.random.random()
        if kind < 0.4:
            return self._operation("registration.release", pledge=name, quantity=quantity)
        if kind < 0.6 and self._freezes:
            freeze = self.world.random.choice(self._freezes)
            some = self.world.random.randint(1, freeze["quantity"])
            return self._operation("registration.unfreeze", freeze=freeze["business_id"], quantity=some)
        freeze = self._operation(
            "registration.freeze",
            product=self.product,
            account=pledge["account"],
            quantity=quantity,
            share_nature=pledge["share_nature"],
            parts=[{"quantity": quantity, "pledge": name}],
            authority="样例人民法院",
            order_number=f"F-{self._business}",
        )
        self._freezes.append(freeze)
        return freeze
