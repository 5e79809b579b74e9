"""A rolling upgrade to a release that knows the next protocol version, and that version's activation (attack C19).

Every node begins with the old release. The nodes of each chain are stopped and started with the new one in order, and
who governs a chain activates the version: as a rule once every node has the new release and, for a region, once the
custody chain obeys the version. Some are hasty and do so earlier: then nodes with the old release stop before the first
block of the new version until they are upgraded, and a region's blocks wait at a custody chain that is behind.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

from tests.sim.system.clients import Client
from tests.sim.system.founding import CUSTODY, GENESIS_MS, NEW_VERSIONS, ChainSpec

if TYPE_CHECKING:
    from tests.sim.system.machine import NodeMachine
    from tests.sim.system.simulation import SystemSimulation

LEAD_BLOCKS = 4
"""How far above the highest tip a version is activated."""
HASTY = 0.3


class Governor(Client):
    """Activates the newest version on one chain."""

    def __init__(self, simulation: SystemSimulation, spec: ChainSpec, random: Random) -> None:
        signer = "governance" if spec.network == CUSTODY else f"{spec.network}-governor"
        super().__init__(simulation.world, simulation.web, spec, f"governor-{spec.network}", signer)
        self._chains = simulation.chains
        self._hasty = random.random() < HASTY

    async def work(self) -> None:
        """Wait until it is time, then ask until it is granted: a height may have passed before a transaction is in."""
        attempt = 0
        while True:
            if self._hasty or self._is_time():
                receipt = await self.submit(f"activate-{attempt}", [self._activation(attempt)])
                if receipt.status == "applied":
                    return
                attempt += 1
            await asyncio.sleep(0.2)

    def trusted_nodes(self) -> list[str]:
        """Byzantine custody nodes lie to whom they do not know, as to a relay; who governs knows whom to ask."""
        return [machine.name for machine in self._chains[self.network] if machine.mischief is None]

    def _is_time(self) -> bool:
        upgraded = all(machine.versions == NEW_VERSIONS for machine in self._chains[self.network])
        return upgraded and (self.network == CUSTODY or any(map(obeys_newest, self._chains[CUSTODY])))

    def _activation(self, attempt: int) -> dict[str, Any]:
        operation: dict[str, Any] = {
            "type": "protocol.activate",
            "version": NEW_VERSIONS[-1],
            "height": max(machine.height for machine in self._chains[self.network]) + LEAD_BLOCKS,
            "reason": "every node supports it",
        }
        if self.network != CUSTODY:
            operation |= {"business_id": f"activate-{attempt}", "occurred_at_ms": GENESIS_MS - 1_000}
        return operation


def obeys_newest(machine: NodeMachine) -> bool:
    """Whether the machine's tip is a block of the newest protocol version."""
    return machine.height > 0 and machine.chain.header(machine.height).protocol_version == NEW_VERSIONS[-1]


def install(machine: NodeMachine) -> None:
    """Stop the node; it comes back with the new release."""
    machine.versions = NEW_VERSIONS
    machine.crash(power=False)
