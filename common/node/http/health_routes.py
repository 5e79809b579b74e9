"""Health over HTTP: whether a node serves, and what it finds wrong, in the codes of the `catalogue`.

`/readyz` is for load balancers and needs no token: 200 only while the node commits or has proof that it is level with a
quorum; its body names the codes of what is wrong, without details. `GET /v1/networks/{network}/health` has the details:
the findings with their remedies, and the facts behind them, the table of peers among them.

Invariant: readiness is about serving (`service`, V3); a finding alone never makes a node not ready.
Left out: rules (`self_judgement`), `/healthz` and `/metrics` (`liveness_routes`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from common.node.access import CHAIN_READERS
from common.node.diagnosis.self_judgement import examine
from common.node.http.context import Network, Node, require_role
from common.node.http.edge import REQUEST_ID
from common.node.http.problems import problem

NOT_READY: Final = "not_ready"

readiness_router = APIRouter(tags=["Operations"])
router = APIRouter(prefix="/v1/networks", tags=["Node interface"], dependencies=[Depends(require_role(CHAIN_READERS))])


@readiness_router.get("/readyz")
async def readyz(node: Node, request: Request) -> Response:
    """200 with `ready` and the codes of what is wrong; 503 with code `not_ready` and those codes otherwise."""
    facts = node.facts()
    codes = sorted({finding.code for finding in examine(facts)})
    if not facts.ready:
        request.scope["tongjian.code"] = NOT_READY
        detail = "The node neither commits nor knows that it is level with a quorum."
        headers = {"Retry-After": "1"}
        request_id = str(request.scope.get(REQUEST_ID, ""))
        return problem(503, NOT_READY, detail, request_id=request_id, headers=headers, codes=codes)
    answer = {"ready": True, "height": facts.height, "codes": codes}
    return Response(msgspec.json.encode(answer), media_type="application/json")


@router.get("/{network}/health")
async def health(network: Network, node: Node) -> dict[str, Any]:
    """What this node finds wrong with itself and its chain: findings, faults first, and the facts behind them."""
    facts = node.facts()
    return {
        "network": network,
        "findings": [asdict(finding) for finding in examine(facts)],
        "facts": msgspec.to_builtins(facts),
    }
