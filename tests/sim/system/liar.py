"""The simulator's Byzantine validator: lies in consensus and in catch-up (`tests.sim.mutators`), and over HTTP.

Which ways of lying one has is drawn. It keeps its real node, whose view of the world stays sane; what leaves it is
spoilt, withheld or replayed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from common.consensus.messages import decode_message
from common.core.errors import Rejected
from common.core.header import Header
from common.node.logic.wire.peer_messages import KIND_CONSENSUS, Consensus
from tests.sim.mutators.catalogue import Workshop
from tests.sim.mutators.liar import Liar
from tests.sim.system.founding import CUSTODY, GENESIS_MS, SUITE

if TYPE_CHECKING:
    from tests.sim.system.machine import NodeMachine

WAYS = ("votes", "silence", "sync", "http")
MANNERS = ("silent", "nonsense", "refusing", "ahead", "behind", "frozen", "other-chain", "flattering", "mixed")
"""How it lies over HTTP: always in the same manner, so that whoever relies on it alone never gets on."""


@dataclass
class RealWorkshop(Workshop):
    """Signs with the real suite."""

    seed: bytes = b""

    def sign(self, payload: bytes) -> bytes:
        return SUITE.sign(self.seed, payload)


class SystemLiar:
    """Implements `machine.Mischief`."""

    def __init__(
        self, random: Random, machine: NodeMachine, ways: frozenset[str] | None = None, manner: str | None = None
    ) -> None:
        """`ways` and `manner` are drawn unless they are given."""
        self._random = random
        self._ways = frozenset(random.sample(WAYS, random.randint(1, len(WAYS)))) if ways is None else ways
        self._manner = random.choice(MANNERS) if manner is None else manner
        self._first: dict[str, Any] = {}
        genesis = machine.spec.genesis
        self._liar = Liar(random, machine.number, genesis.id, genesis.network)
        self._liar.workshop = RealWorkshop(random, machine.number, genesis.id, genesis.network, seed=machine.seed)
        self._members = len(machine.spec.names)

    def describe(self) -> str:
        """Its ways."""
        return " ".join(sorted(self._ways)) + (f" ({self._manner})" if "http" in self._ways else "")

    def heard(self, machine: NodeMachine, payload: bytes) -> None:
        """Remember votes for replays."""
        if payload[0] == KIND_CONSENSUS:
            try:
                self._liar.remember(decode_message(payload[1:]))
            except Rejected:
                return

    def says(self, machine: NodeMachine, peer: NodeMachine, payload: bytes) -> list[bytes]:
        """Truth, a lie, both, or nothing."""
        random = self._random
        if "silence" in self._ways and random.random() < 0.3:
            return []
        way = "votes" if payload[0] == KIND_CONSENSUS else "sync"
        if way not in self._ways or random.random() < 0.6:
            return [payload]
        lie = self._lie(payload)
        if lie is None:
            return [payload]
        return [payload, lie] if random.random() < 0.4 else [lie]

    def _lie(self, payload: bytes) -> bytes | None:
        if payload[0] != KIND_CONSENSUS:
            return self._liar.spoil_payload(payload, self._members)
        lie = self._liar.spoil(decode_message(payload[1:]), self._members)
        return None if lie is None else Consensus(lie).encode()

    def answers(self, machine: NodeMachine, method: str, path: str, body: bytes) -> tuple[int, bytes] | None:
        """What a relay is told (attack R10). Markets' own clients are told the truth: they know whom they ask."""
        if "http" not in self._ways or (method == "POST" and machine.spec.network != CUSTODY):
            return 200, body
        return self._answer(machine, path, body)

    def _answer(self, machine: NodeMachine, path: str, body: bytes) -> tuple[int, bytes] | None:
        random = self._random
        match self._manner:
            case "silent":
                return None
            case "nonsense":
                return 200, bytes(body[: len(body) // 2])
            case "refusing":
                return 404, b'{"code":"region_unknown","detail":"there is no such region"}'
            case "ahead" | "behind" | "frozen" if path.startswith("/v1/regions/"):
                return 200, json.dumps(self._false_status(path, json.loads(body))).encode()
            case "other-chain" if path.endswith("/blocks"):
                return 200, json.dumps(_of_another_genesis(json.loads(body))).encode()
            case "other-chain" if path.endswith("/status"):
                return 200, json.dumps(json.loads(body) | {"genesis_id": "ab" * 32}).encode()
            case "flattering" if path == "/v1/transactions":
                fate = {"status": "applied", "height": machine.height, "receipt": {"code": "applied"}}
                return 200, json.dumps(fate).encode()
            case "mixed":
                if random.random() < 0.3:
                    return 200, body
                return 200, json.dumps(self._changed(json.loads(body))).encode()
            case _:
                return 200, body

    def swallows(self, machine: NodeMachine, path: str) -> bool:
        """Whether a submission is dropped; the answer is made up."""
        return machine.spec.network == CUSTODY and "http" in self._ways and self._manner == "flattering"

    def _false_status(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        """A region's status: the first one that there was, one far ahead, or one that stops all deliveries."""
        data = document["data"]
        match self._manner:
            case "behind":
                return {**document, "data": self._first.setdefault(path, data)}
            case "frozen":
                return {**document, "data": {**data, "frozen": {"height": 1}}}
            case _:
                height = data["anchored_height"] + 1_000
                client = {**data["client_state"], "height": height, "time_ms": GENESIS_MS, "block_id": "ab" * 32}
                return {**document, "data": {**data, "anchored_height": height, "client_state": client}}

    def _changed(self, document: Any) -> Any:
        """One value somewhere in a JSON document is another."""
        random = self._random
        if isinstance(document, dict) and document:
            key = random.choice(sorted(document))
            return {**document, key: self._changed(document[key])}
        if isinstance(document, list) and document:
            at = random.randrange(len(document))
            if random.random() < 0.3:
                return document[:at] + document[at + 1 :]
            return [*document[:at], self._changed(document[at]), *document[at + 1 :]]
        if isinstance(document, bool) or document is None:
            return not document
        if isinstance(document, int):
            return max(0, document + random.choice((-1, 1, 2**40)))
        if isinstance(document, str) and document:
            at = random.randrange(len(document))
            return document[:at] + random.choice("0a1f") + document[at + 1 :]
        return random.choice((0, "x"))


def _of_another_genesis(document: dict[str, Any]) -> dict[str, Any]:
    """Blocks whose headers name a genesis that is not so."""
    blocks = []
    for block in document["blocks"]:
        header = replace(Header.decode(bytes.fromhex(block["header"])), genesis_id=b"\xab" * 32)
        blocks.append({**block, "header": header.encode().hex()})
    return {**document, "blocks": blocks}
