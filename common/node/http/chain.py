"""The routes that every chain has, of either tier: transactions, node interface, events, operations.

Left out: what a tier adds (its own `routes.py`).
"""

from __future__ import annotations

from fastapi import APIRouter

from common.node.http import evidence as http_evidence
from common.node.http import governance as http_governance
from common.node.http import health as http_health
from common.node.http import networks as http_networks
from common.node.http import operations as http_operations
from common.node.http import transactions as http_transactions
from common.node.http.ports import BusinessLookup, NodeService


def chain_routers(service: NodeService) -> list[APIRouter]:
    """Routers for one node; `/v1/business` only where the application keeps business ids."""
    routers = [
        http_operations.operations_router,
        http_health.readiness_router,
        http_transactions.router,
        http_networks.facts_router,
        http_networks.router,
        http_governance.router,
        http_evidence.router,
        http_health.router,
        http_operations.events_router,
    ]
    if isinstance(service.application, BusinessLookup):
        routers.append(http_transactions.business_router)
    return routers
