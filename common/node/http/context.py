"""What routes are given: the node's service, the bearer, and checked parameters.

Routes of either tier declare `node: Node` and `who: Annotated[Identity, Depends(require_role(...))]`; every route below
/v1 must demand a role somewhere, and `http.create_app` refuses to start with one that does not.

Invariant: a query holds nothing but parameters that the route declares, each once. A misspelt filter that was ignored
would give a confident answer to another question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final, cast

from fastapi import Depends, Path, Query, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query as QueryField
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from starlette.datastructures import QueryParams
from starlette.types import Scope

from common.core.errors import Forbidden, InvariantBroken, Malformed, NotFound
from common.core.suite import HASH_SIZE, parse_hex
from common.node.access import CHAIN_READERS, Identity, Role, chain_content_roles
from common.node.http.edge import IDENTITY
from common.node.http.node_ports import ServedNode

MAX_HEIGHT = 2**53 - 1
_MAX_SHOWN: Final = 64


async def node_service(request: Request) -> ServedNode:
    """The node behind this application."""
    return cast(ServedNode, request.app.state.service)


Node = Annotated[ServedNode, Depends(node_service)]


def check_query(scope: Scope, allowed: Iterable[str]) -> None:
    """Raises `Malformed('parameter_unknown')` with the allowed names, `Malformed('parameter_repeated')`."""
    if not scope["query_string"]:
        return
    names, seen = sorted(allowed), set()
    for name, _ in QueryParams(scope["query_string"]).multi_items():
        shown = name[:_MAX_SHOWN].encode("ascii", "backslashreplace").decode("ascii")
        if name not in names:
            raise Malformed(
                "parameter_unknown",
                "This route takes no such query parameter.",
                parameter=shown,
                allowed=", ".join(names),
            )
        if name in seen:
            raise Malformed("parameter_repeated", "A query parameter is given once.", parameter=shown)
        seen.add(name)


async def declared_query(request: Request) -> None:
    """The dependency of every route: its query is what it declares. Raises as `check_query`."""
    if request.scope["query_string"]:
        route = request.scope["route"]
        if not isinstance(route, APIRoute):
            raise InvariantBroken("a dependency runs outside a route")
        fields = get_flat_params(route.dependant)
        check_query(request.scope, (field.alias for field in fields if isinstance(field.field_info, QueryField)))


class RequireRole:
    """A dependency that lets only some roles pass and gives the bearer's identity."""

    def __init__(self, roles: Iterable[Role]) -> None:
        self.roles = frozenset(roles)

    async def __call__(self, request: Request) -> Identity:
        """Raises `Forbidden('role_not_allowed')`."""
        return check_role(request.scope[IDENTITY], self.roles)


def check_role(identity: Identity, roles: frozenset[Role]) -> Identity:
    """The identity, if its role is one of `roles`. Raises `Forbidden('role_not_allowed')`."""
    if identity.role not in roles:
        raise Forbidden("role_not_allowed", "The token's role may not do this.", role=str(identity.role))
    return identity


def require_role(roles: Iterable[Role]) -> RequireRole:
    """The dependency for a route or a router."""
    return RequireRole(roles)


Reader = Annotated[Identity, Depends(require_role(CHAIN_READERS))]
"""The bearer on a route that every chain reader may use."""


class RequireChainRole(RequireRole):
    """A dependency for routes that show what is in a chain's blocks, all of it: see `chain_content_roles`."""

    async def __call__(self, request: Request) -> Identity:
        """Raises `Forbidden('role_not_allowed')`."""
        tier = (await node_service(request)).genesis.tier
        return check_role(request.scope[IDENTITY], chain_content_roles(self.roles, tier))


def require_chain_role(roles: Iterable[Role]) -> RequireChainRole:
    """The dependency for a route or a router that shows what is in a chain's blocks."""
    return RequireChainRole(roles)


_DIGITS: Final = re.compile("0|[1-9][0-9]{0,15}")


def _plain_digits(value: object) -> object:
    if isinstance(value, str) and _DIGITS.fullmatch(value) is None:
        raise ValueError("a whole number is written with digits alone, at most 16, and no zero before others")
    return value


DIGITS: Final = BeforeValidator(_plain_digits)
"""Every integer parameter has it: one spelling for a number, where the model would take `1_0`, `+1` and ` 1` too."""

Height = Annotated[int, DIGITS, Path(ge=0, le=MAX_HEIGHT, description="Block height; 0 is genesis.")]
Limit = Annotated[int, DIGITS, Query(ge=1, le=1000, description="At most this many entries.")]


async def own_network(network: str, node: Node) -> str:
    """The path's network, which must be this node's. Raises `NotFound('network_unknown')`."""
    if network != node.genesis.network:
        raise NotFound("network_unknown", "This node belongs to another network.", network=node.genesis.network)
    return network


Network = Annotated[str, Depends(own_network)]


def parse_tx_id(text: str) -> bytes:
    """32 bytes of a transaction id in a path. Raises `Malformed`."""
    if len(text) != 2 * HASH_SIZE:
        raise Malformed("hex_length", "A transaction id has 64 hex digits.", field="tx_id")
    return parse_hex(text, "tx_id", HASH_SIZE)
