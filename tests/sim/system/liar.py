"""The simulator's Byzantine validator: lies in consensus and in catch-up (`tests.sim.mutators`), and over HTTP.

Which ways of lying one has is drawn. It keeps its real node, whose view of the world stays sane; what leaves it is
spoilt, withheld or replayed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from common.consensus.messages import decode_message
from common.core.errors import Rejected
from common.node.peer_messages import KIND_CONSENSUS, Consensus
from tests.sim.mutators.catalogue import Workshop
from tests.sim.mutators.liar import Liar
from tests.sim.system.founding import SUITE

if TYPE_CHECKING:
    from tests.sim.system.machine import NodeMachine

WAYS = ("votes", "silence", "sync", "http")


@dataclass
class RealWorkshop(Workshop):
    """Signs with the real suite."""

    seed: bytes = b""

    def sign(self, payload: bytes) -> bytes:
        return SUITE.sign(self.seed, payload)


class SystemLiar:
    """Implements `machine.Mischief`."""

    def __init__(self, random: Random, machine: NodeMachine) -> None:
        self._random = random
        self._ways = frozenset(random.sample(WAYS, random.randint(1, len(WAYS))))
        genesis = machine.spec.genesis
        self._liar = Liar(random, machine.number, genesis.id, genesis.network)
        self._liar.workshop = RealWorkshop(random, machine.number, genesis.id, genesis.network, seed=machine.seed)
        self._members = len(machine.spec.names)

    def describe(self) -> str:
        """Its ways."""
        return " ".join(sorted(self._ways))

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

    def answers(self, machine: NodeMachine, path: str, body: bytes) -> bytes | None:
        """A relay's question: truth, silence, nonsense, or something that looks right (attack R10)."""
        random = self._random
        if "http" not in self._ways or random.random() < 0.3:
            return body
        match random.randrange(4):
            case 0:
                return None
            case 1:
                return bytes(body[: random.randrange(len(body))])
            case _:
                return json.dumps(self._changed(json.loads(body))).encode()

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
