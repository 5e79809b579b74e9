"""Entry of the custody chain's node: its rules, routes and query log, handed to the node's process.

Left out: everything that both tiers share (common.node.main).
"""

from __future__ import annotations

from typing import Final

from common.core.errors import Malformed
from common.core.genesis import Genesis
from common.node.main import run_node
from common.node.settings import NodeSettings
from custody_chain.application import CustodyApplication
from custody_chain.audit_log import AuditLog
from custody_chain.routes import routers

AUDIT_FILE: Final = "regulators-queries.jsonl"
"""In the node's data directory."""


def application_for(genesis: Genesis) -> CustodyApplication:
    """The rules of this chain. Raises `Malformed` if the genesis is of the other tier or its settings are wrong."""
    if genesis.tier != "custody":
        raise Malformed("genesis_tier", "This is not the genesis of a custody chain.", tier=genesis.tier)
    return CustodyApplication(genesis)


def run(settings: NodeSettings) -> None:
    """Run one node until it is told to stop. Raises `SystemExit(1)` if it cannot start or has to stop."""
    run_node(settings, application_for, lambda service: routers(AuditLog(settings.data_dir / AUDIT_FILE)))
