"""The routes that every chain has, of either tier: transactions, node interface, events, operations.

Left out: what a tier adds (its own `routes.py`).
"""

from __future__ import annotations

from fastapi import APIRouter

from common.node.http import change_routes, evidence_routes, governance_routes, health_routes, liveness_routes
from common.node.http import networks as http_networks
from common.node.http import transactions as http_transactions
from common.node.http.node_ports import BusinessLookup, ServedNode


def chain_routers(service: ServedNode) -> list[APIRouter]:
    """Routers for one node; `/v1/business` only where the application keeps business ids."""
    routers = [
        liveness_routes.operations_router,
        health_routes.readiness_router,
        http_transactions.router,
        http_networks.facts_router,
        http_networks.router,
        change_routes.router,
        governance_routes.router,
        evidence_routes.router,
        health_routes.router,
        liveness_routes.events_router,
    ]
    if isinstance(service.application, BusinessLookup):
        routers.append(http_transactions.business_router)
    return routers
