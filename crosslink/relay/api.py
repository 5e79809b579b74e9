"""The relay's own interface: `GET /v1/relay/regions`, `/healthz`, `/metrics`. It can only be read.

`/healthz` says that the process runs; a region in trouble does not make it fail, because a restart would not help
(contract, "Operations"). Left out: limits on connections and heads (`common.node.http.server`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from common.core.errors import Rejected
from common.node.access import TokenStore
from common.node.http.problems import edge_problem, problem_of
from crosslink.relay.progress import Board, RelayMetrics

NO_REQUEST_ID: Final = "-"
"""The relay keeps no log of requests in which one could be found."""

_ROUTER_CODES: Final = {404: "route_unknown", 405: "method_not_allowed"}


def status_document(board: Board, describe: Callable[[str], dict[str, Any]], custody: dict[str, Any]) -> dict[str, Any]:
    """What `GET /v1/relay/regions` answers; `describe(network)` gives a region's endpoint and nodes."""
    regions = [progress.to_json() | describe(name) for name, progress in sorted(board.regions.items())]
    return {"custody": custody, "regions": regions}


def create_relay_app(
    status: Callable[[], dict[str, Any]], metrics: RelayMetrics, tokens: TokenStore | None
) -> Starlette:
    """The ASGI application. With `tokens`, `/v1` needs a bearer token of any role."""

    async def regions(request: Request) -> Response:
        if tokens is not None:
            header = request.headers.get("authorization")
            tokens.identify(header.encode("latin-1") if header is not None else None)
        return JSONResponse(status())

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def metrics_text(request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            code = _ROUTER_CODES.get(error.status_code, "request_invalid")
            return edge_problem(code, NO_REQUEST_ID, dict(error.headers or {}))
        if not isinstance(error, Rejected):
            raise error
        return problem_of(error, NO_REQUEST_ID)

    return Starlette(
        routes=[
            Route("/v1/relay/regions", regions),
            Route("/healthz", healthz),
            Route("/metrics", metrics_text),
        ],
        exception_handlers={Rejected: refused, HTTPException: refused},
    )
