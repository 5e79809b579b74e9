"""The routes that every chain has, of either tier: transactions, node interface, events, operations.

Left out: what a tier adds (its own `routes.py`).
"""

from __future__ import annotations

from fastapi import APIRouter

from common.node import http_evidence, http_governance, http_health, http_networks, http_operations, http_transactions
from common.node.http_ports import BusinessLookup, NodeService


def chain_routers(service: NodeService) -> list[APIRouter]:
    """Routers for one node; `/v1/business` only where the application keeps business ids."""
    routers = [
        http_operations.operations_router,
        http_health.readiness_router,
        http_transactions.router,
        http_networks.router,
        http_governance.router,
        http_evidence.router,
        http_health.router,
        http_operations.events_router,
    ]
    if isinstance(service.application, BusinessLookup):
        routers.append(http_transactions.business_router)
    return routers
