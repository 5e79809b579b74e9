"""Entry of a business chain's node: the market's rules and routes, handed to the node's process.

Left out: everything that both tiers share (common.node.main).
"""

from __future__ import annotations

from business_chain.application import BusinessApplication
from business_chain.routes import router
from common.core.errors import Malformed
from common.core.genesis import Genesis
from common.node.main import run_node
from common.node.settings import NodeSettings


def application_for(genesis: Genesis) -> BusinessApplication:
    """The rules of this chain. Raises `Malformed` if the genesis is of the other tier or its settings are wrong."""
    if genesis.tier != "business":
        raise Malformed("genesis_tier", "This is not the genesis of a business chain.", tier=genesis.tier)
    return BusinessApplication(genesis)


def run(settings: NodeSettings) -> None:
    """Run one node until it is told to stop. Raises `SystemExit(1)` if it cannot start or has to stop."""
    run_node(settings, application_for, lambda service: [router])
