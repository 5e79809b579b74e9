"""Business queries over HTTP (contract, "Business queries"): products, register of members, holdings, subjects.

Each answer says the block it is read at; with `proof=true` it carries what proves it. Roles: `BUSINESS_READERS`; the
register names holders, so a supervision reader's token does not open it.

Left out: submission and `/v1/business/{business_id}` (common.node.http.transactions).
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from business_chain.answers import HoldingsAnswer, ProductsAnswer, RegisterAnswer, SubjectAnswer
from business_chain.operation_schemas import STORY, ExampleStory
from business_chain.queries import Queries
from common.core.names import check_identifier
from common.node.access import BUSINESS_READERS
from common.node.http.context import DIGITS, MAX_HEIGHT, Limit, Node, require_role

router = APIRouter(prefix="/v1", tags=["Business queries"], dependencies=[Depends(require_role(BUSINESS_READERS))])

Cursor = Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before.")]
SubjectCursor = Annotated[str | None, Query(max_length=129, description="`next_cursor` of the page before.")]
Proof = Annotated[bool, Query(description="Add header, certificate and a state proof of every value.")]
AtHeight = Annotated[
    int | None, DIGITS, Query(ge=0, le=MAX_HEIGHT, description="After this block; the newest if absent.")
]


def _cursor(cursor: str | None) -> str | None:
    return None if cursor is None else check_identifier(cursor, "cursor")


@router.get("/products")
async def products(node: Node, limit: Limit = 100, cursor: Cursor = None, proof: Proof = False) -> ProductsAnswer:
    """All products of this market with holder count and registered total."""
    return Queries(node.chain).products(limit, _cursor(cursor), proof)


@router.get("/products/{code}/register")
async def register(
    code: str, node: Node, height: AtHeight = None, limit: Limit = 100, cursor: Cursor = None, proof: Proof = False
) -> RegisterAnswer:
    """The register of members (股东名册), now or after an earlier block."""
    return Queries(node.chain).register(check_identifier(code, "code"), height, limit, _cursor(cursor), proof)


@router.get("/accounts/{account}/holdings")
async def holdings(
    account: str, node: Node, limit: Limit = 100, cursor: Cursor = None, proof: Proof = False
) -> HoldingsAnswer:
    """What an account holds: available, pledged, frozen."""
    return Queries(node.chain).holdings(check_identifier(account, "account"), limit, _cursor(cursor), proof)


@router.get("/subjects/{object_id}")
async def subject(
    object_id: str, node: Node, limit: Limit = 100, cursor: SubjectCursor = None, proof: Proof = False
) -> SubjectAnswer:
    """A subject's codes, its accounts and products: at most `limit` of each. Persons have commitments, no names."""
    return Queries(node.chain).subject(check_identifier(object_id, "object_id"), limit, cursor, proof)


@router.get("/operation-examples", response_model=ExampleStory, response_model_exclude_unset=True)
async def operation_examples() -> Any:
    """Every operation that this chain accepts, as examples that follow from each other; the schema has their fields."""
    return {"operations": STORY}
