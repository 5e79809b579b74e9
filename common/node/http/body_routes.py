"""Bodies off the chain over HTTP: fetched and put by the digest of their bytes (ADR 0078).

Invariants
  B1  Who may read a chain's blocks may read the bodies that these commit to: the store knows no business. What only
      some may read was encrypted before it came.
  B2  A body is put by the market itself, in the name of the token's organisation, before or after the operation that
      commits to it; putting the same bytes again changes nothing.
  B3  Room for an answer is held before the body is read from the disk (attack N2). A `Range` is not looked at: an
      answer is the whole body, so that its digest can be checked.

Left out: keeping (`common.node.bodies`), the bounds of a request's body (`edge`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import JSONResponse, Response

from common.core.errors import NotFound
from common.model.sealed import check_digest
from common.node.access import BODY_WRITERS, CHAIN_READERS, Identity
from common.node.http.answer import PIECE_BYTES
from common.node.http.budget import HOLDS, Holds
from common.node.http.context import require_chain_role, require_role
from common.node.http.edge import BODIES_PATH

MEDIA_TYPE: Final = "application/octet-stream"
"""Of every answer: what a body is, the snapshot says; a browser must not take it for a page of this node."""
_CONTENT: Final[dict[str, Any]] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}

Digest = Annotated[str, Path(description="Hash of the body by the chain's suite, 64 lowercase hex digits.")]
BodyReader = Annotated[Identity, Depends(require_chain_role(CHAIN_READERS))]
BodyWriter = Annotated[Identity, Depends(require_role(BODY_WRITERS))]


class Bodies(Protocol):
    """What the routes ask of a node that keeps bodies (`bodies.body_keeper`)."""

    def size_of(self, digest: str) -> int | None:
        """Bytes of a body, None if it is not here."""
        ...

    async def read(self, digest: str) -> bytes:
        """A body. Raises `Rejected`."""
        ...

    async def put(self, digest: str, data: bytes, organisation: str) -> bool:
        """Take a body in; whether it is new. Raises `Rejected`."""
        ...


def body_router(bodies: Bodies) -> APIRouter:
    """The routes of a node that keeps bodies."""
    router = APIRouter(prefix=BODIES_PATH, tags=["Bodies off the chain"])
    router.add_api_route("/{digest}", _reading(bodies), response_class=Response, responses={200: {"content": _CONTENT}})
    router.add_api_route(
        "/{digest}",
        _writing(bodies),
        methods=["PUT"],
        status_code=201,
        openapi_extra={"requestBody": {"required": True, "content": _CONTENT}},
    )
    return router


def _reading(bodies: Bodies) -> Callable[..., Any]:
    async def get_body(digest: Digest, request: Request, _: BodyReader) -> Response:
        """A body that a snapshot commits to, as its bytes. Check size and digest."""
        size_bytes = bodies.size_of(check_digest(digest))
        if size_bytes is None:
            raise NotFound("body_unknown", "This node has no such body.", digest=digest)
        if size_bytes > PIECE_BYTES:
            holds: Holds = request.scope[HOLDS]
            holds.hold(request.app.state.answers, size_bytes)
        return Response(await bodies.read(digest), media_type=MEDIA_TYPE)

    return get_body


def _writing(bodies: Bodies) -> Callable[..., Any]:
    async def put_body(digest: Digest, request: Request, who: BodyWriter) -> Response:
        """Give a body to this node, at most 16 MiB: 201, or 200 if it was here. Its peers fetch it once a block commits
        to it; if none does within a day, it is removed.
        """
        check_digest(digest)
        data = await request.body()
        new = await bodies.put(digest, data, who.organisation)
        return JSONResponse({"digest": digest, "size_bytes": len(data)}, 201 if new else 200)

    return put_body
