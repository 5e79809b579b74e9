"""One node of the foreign chain, as `http.Web` knows processes: JSON-RPC over the blocks that it has."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING

from tests.foreign.blocks import Block
from tests.foreign.client import rpc
from tests.sim.system.loop import SimulatedLoop
from tests.sim.world import World

if TYPE_CHECKING:
    from tests.sim.system.http import Exchange

ISLET = "islet"


class IsletNode:
    """See the module docstring. `blocks`: what it has."""

    mischief = None
    damaged = False

    def __init__(self, world: World, name: str, blocks: Callable[[], list[Block]]) -> None:
        self.name, self.blocks = name, blocks
        self.alive = True
        self.loop = SimulatedLoop(world)  # type: ignore[abstract]
        self.exchanges: set[Exchange] = set()
        self.spec = SimpleNamespace(network=ISLET)

    def answer(self, body: bytes) -> tuple[int, bytes]:
        """One JSON-RPC call. Raises `Rejected`."""
        return 200, rpc(self.blocks(), body)
