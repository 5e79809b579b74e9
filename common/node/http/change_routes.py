"""What each block changed in the authenticated state, in pages: what a follower rebuilds and checks the state with.

Invariants
  F1  The changes of a block, over all pages, are the leaves of its header's `change_root` in order, with the values
      that the leaves hash: a page that leaves out, alters or adds one gives another root (architecture decision 26).
  F2  A page is bounded in entries and bytes, and holds at least one change if there is one.
  F3  They show all of a chain's content, so they are open to whoever may read its blocks (`chain_content_roles`).

Values come from the stored history: below the pruning floor the answer is 410. Left out: applying changes (the
follower), headers and certificates (`networks`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query

from common.core.header import Header
from common.node.access import CHAIN_READERS
from common.node.http.context import DIGITS, MAX_HEIGHT, Height, Limit, Node, require_chain_role

MAX_PAGE_BYTES: Final = 1024 * 1024
"""Of keys and values; with what stands around each, and escapes, an answer is about twice as large."""

router = APIRouter(
    prefix="/v1/blocks", tags=["Node interface"], dependencies=[Depends(require_chain_role(CHAIN_READERS))]
)


@router.get("/{height}/changes")
async def block_changes(
    height: Height,
    node: Node,
    first: Annotated[int, DIGITS, Query(ge=0, le=MAX_HEIGHT, description="Index of the first change.")] = 0,
    limit: Limit = 1000,
) -> dict[str, Any]:
    """The keys whose value a block changed, ascending, with the values they have after it; null is a removed value.

    Height 0 gives the state of genesis, which no header commits: the first block's state root vouches for it. `next` is
    where the following page begins, null on the last one.
    """
    chain = node.chain
    header: Header | None = chain.header(height) if height else None
    changes: list[dict[str, str | None]] = []
    size_bytes = 0
    following: int | None = None
    for key, value in chain.changes(height, first):
        size_bytes += len(key) + len(value or b"")
        if len(changes) == limit or (changes and size_bytes > MAX_PAGE_BYTES):
            following = first + len(changes)
            break
        changes.append({"key": key.decode("ascii"), "value": None if value is None else value.decode("utf-8")})
    return {
        "network": node.genesis.network,
        "height": height,
        "block_id": chain.block_id(height).hex(),
        "change_root": None if header is None else header.change_root.hex(),
        "change_count": None if header is None else header.change_count,
        "first": first,
        "changes": changes,
        "next": following,
    }
