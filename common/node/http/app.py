"""The HTTP application of one node: routes, edge, problems, OpenAPI document.

Invariants
  H1  Every route below /v1 demands a role; an application with one that does not is not built (deny by default).
  H2  Every refusal is a problem document, unknown paths and methods included (`http.problems`).
  H3  A query parameter that the route does not declare, or a repeated one, is refused (`context.declared_query`).
  H4  The submission route skips router and models, and stands in the OpenAPI document all the same.

The interactive documentation pages are off, since they load scripts from elsewhere. `/openapi.json` holds no secret; it
is made once, in a thread, when somebody first asks: that takes a third of a second, in which votes must go on.
Left out: the server (TLS, connections, timeouts of heads).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from common.core.errors import InvariantBroken, Rejected
from common.node.access import TokenStore
from common.node.http.budget import SharedBudget
from common.node.http.chain_routers import chain_routers
from common.node.http.context import RequireRole, declared_query
from common.node.http.edge import PROTECTED_PREFIX, REQUEST_ID, Edge, HttpLimits
from common.node.http.liveness_routes import MAX_STREAMS
from common.node.http.metrics import Metrics
from common.node.http.node_ports import ServedNode
from common.node.http.openapi import complete_document
from common.node.http.problems import code_of, edge_problem, problem_of
from common.node.http.transactions import SUBMIT_PATH, SubmitRoute
from common.version import VERSION

MAX_PROBLEM_FIELDS: Final = 10


class NodeApplication(FastAPI):
    """FastAPI with the OpenAPI document completed by what bypasses it."""

    edge: Edge
    """Around every route; the server asks it first for answers at once."""
    _document: asyncio.Future[bytes] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What skips the router skips all else that is around the edge, too (H4)."""
        if scope["type"] == "http" and self.edge.is_shortcut(scope):
            await self.edge(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = complete_document(super().openapi())
        return self.openapi_schema

    async def serve_document(self) -> Response:
        """`/openapi.json`."""
        if self._document is None:
            self._document = asyncio.ensure_future(asyncio.to_thread(lambda: msgspec.json.encode(self.openapi())))
        return Response(await asyncio.shield(self._document), media_type="application/json")


def create_app(
    service: ServedNode,
    *,
    tokens: TokenStore,
    routers: Sequence[APIRouter] = (),
    limits: HttpLimits | None = None,
    max_streams: int = MAX_STREAMS,
) -> NodeApplication:
    """The application of one node; `routers` are the tier's own. Raises `InvariantBroken` for an unprotected route."""
    genesis, limits = service.genesis, limits or HttpLimits()
    app = NodeApplication(
        title=f"Tongjian node, {genesis.network}",
        version=VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(declared_query)],
    )
    app.add_api_route("/openapi.json", app.serve_document, include_in_schema=False)
    app.state.service = service
    app.state.tokens = tokens
    app.state.metrics = metrics = Metrics(service)
    app.state.streams = SharedBudget("event streams", max_streams)
    app.state.answers = SharedBudget("room for large answers", limits.answers_bytes)
    submit = SubmitRoute(service)
    app.router.routes.append(Route(SUBMIT_PATH, submit, methods=["POST"], include_in_schema=False))
    for router in (*chain_routers(service), *routers):
        _check_protected(router)
        app.include_router(router)
    app.add_exception_handler(Rejected, _rejected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_exception)
    app.edge = Edge(
        tokens=tokens,
        metrics=metrics,
        damage_found=service.damage_found,
        limits=limits,
        answers=app.state.answers,
        shortcuts={("POST", SUBMIT_PATH): submit},
    )
    app.add_middleware(app.edge.around)
    return app


def _check_protected(router: APIRouter) -> None:
    """H1."""
    for route in router.routes:
        path = getattr(route, "path", PROTECTED_PREFIX)
        if not path.startswith(PROTECTED_PREFIX):
            continue
        if not isinstance(route, APIRoute) or not _demands_role(route.dependant):
            raise InvariantBroken(f"the route {path} demands no role")


def _demands_role(dependant: Dependant) -> bool:
    return isinstance(dependant.call, RequireRole) or any(map(_demands_role, dependant.dependencies))


def _request_id(request: Request) -> str:
    return str(request.scope.get(REQUEST_ID, ""))


async def _rejected(request: Request, error: Exception) -> Response:
    if not isinstance(error, Rejected):
        raise error
    request.scope["tongjian.code"] = code_of(error)
    return problem_of(error, _request_id(request))


async def _invalid(request: Request, error: Exception) -> Response:
    """A parameter of a wrong type or out of bounds: 400, naming fields, never echoing their values."""
    if not isinstance(error, RequestValidationError):
        raise error
    request.scope["tongjian.code"] = code_of(error)
    fields = [".".join(str(part) for part in item["loc"])[:64] for item in error.errors()[:MAX_PROBLEM_FIELDS]]
    reasons = "; ".join(f"{field}: {item['msg'][:120]}" for field, item in zip(fields, error.errors(), strict=False))
    return edge_problem("request_invalid", _request_id(request), detail=reasons, fields=fields)


async def _http_exception(request: Request, error: Exception) -> Response:
    """What the router refuses by itself: unknown paths and methods."""
    if not isinstance(error, HTTPException):
        raise error
    code = {404: "route_unknown", 405: "method_not_allowed", 413: "body_too_large"}.get(
        error.status_code, "request_invalid"
    )
    request.scope["tongjian.code"] = code
    return edge_problem(code, _request_id(request), dict(error.headers or {}))
