"""Whole nodes under random faults: kills, power cuts, partitions, losses, wrong clocks; safety first, then liveness.

One seed replays any failure: `pytest "tests/unit/node/test_random_faults.py::…[SEED]"`.
"""

from __future__ import annotations

import random

import pytest

from common.core.errors import Rejected
from tests.unit.node.bus import Bus, names_of
from tests.unit.node.checks import acknowledged, assert_no_double_vote, assert_one_chain
from tests.unit.node.toy import make_envelope, make_genesis, transfer

ROUNDS = 25


class Chaos:
    """One network and what chance does to it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = names_of(self.random.choice((4, 4, 5, 7)))
        self.bus = Bus(make_genesis(self.names, heartbeat_ms=3_000), self.names)
        for machine in self.bus.machines.values():
            machine.clock_offset_ms = self.random.choice((0, 0, 0, -5_000, 4_000))
        self.loss = 0.0
        self.bus.drop = lambda source, target, payload: self.random.random() < self.loss
        self.submitted: list[bytes] = []
        self.bus.start()

    @property
    def running(self) -> list[str]:
        """Machines that are up."""
        return [name for name in self.names if self.bus.machines[name].node is not None]

    def step(self) -> None:
        """One random thing, then some time."""
        action = self.random.choice(("submit", "submit", "submit", "kill", "start", "cut", "partition", "heal", "lose"))
        getattr(self, action)()
        self.bus.pass_time(self.random.choice((5, 20, 100, 700, 2_500)))
        self.reconnect()

    def submit(self) -> None:
        """A client's transaction; now and then a new one under an old nonce."""
        number = len(self.submitted)
        nonce = f"n{number}" if self.random.random() < 0.9 else f"n{self.random.randrange(number + 1)}"
        envelope = transfer(self.bus.genesis, nonce, self.random.choice((1, 2, 10**7)))
        if self.random.random() < 0.1:
            envelope = make_envelope(self.bus.genesis, nonce, [{"type": "toy.open", "account": f"a{number}"}] * 2)
        if not self.running:
            return
        try:
            self.bus.submit(self.random.choice(self.running), envelope)
        except Rejected:
            return
        self.submitted.append(envelope)

    def kill(self) -> None:
        """kill -9 of one."""
        if self.running:
            self.bus.kill(self.random.choice(self.running))

    def start(self) -> None:
        """Everybody who is down comes up."""
        for name in self.names:
            if self.bus.machines[name].node is None:
                self.bus.start(name)

    def cut(self) -> None:
        """Power cut."""
        if self.random.random() < 0.3:
            for name in self.running:
                self.bus.kill(name)

    def partition(self) -> None:
        """Two groups that do not hear each other."""
        group = [name for name in self.names if self.random.random() < 0.4]
        self.bus.partition(group, [name for name in self.names if name not in group])

    def heal(self) -> None:
        """No partition, no loss."""
        self.loss = 0.0
        self.bus.partition()

    def lose(self) -> None:
        """Messages get lost."""
        self.loss = self.random.choice((0.05, 0.2, 0.4))

    def reconnect(self) -> None:
        """What the transport does by itself."""
        for one in self.names:
            for two in self.names:
                if one < two and (one, two) not in self.bus.blocked:
                    self.bus.connect(one, two)


@pytest.mark.parametrize("seed", range(12))
def test_s1_s4_c15_random_faults(seed: int) -> None:
    chaos = Chaos(seed)
    bus = chaos.bus
    for _ in range(ROUNDS):
        chaos.step()
        assert_no_double_vote(bus)
        assert_one_chain(bus)
    before = acknowledged(bus)
    chaos.heal()
    chaos.start()
    chaos.reconnect()
    height = max(machine.height for machine in bus.machines.values())

    def level() -> bool:
        chaos.reconnect()
        return all(machine.height > height for machine in bus.machines.values())

    bus.run(level, 120_000)
    assert_no_double_vote(bus)
    assert_one_chain(bus)
    for machine in bus.machines.values():
        assert not any(warning.code == "abstaining" for warning in machine.warnings), "nobody lost any records"
        assert all(machine.chain.transaction(tx_id) is not None for tx_id in before)
