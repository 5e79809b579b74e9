"""Who is proven to have broken the protocol: the evidence on the chain, paged.

`GET /v1/networks/{network}/evidence` of the node's own network lists what `evidence` entered; on the custody chain it
also takes a region's network and lists for what that region was frozen. Every entry has `culprits`, `kind`, `height`,
`first`, `second`, `tx_id`, `included_height`, and `view` (of a region's chain, what its client type tells: `details`).
An entry without culprits proves that somebody broke the protocol, and not who (protocol rule 20).

Invariants
  V1  What is shown is authenticated state of the tip; it holds nothing of a market's business. So regulators read it
      here too, also on the custody chain; whose token names regions sees these regions only.
  V2  Pages are bounded; a cursor is the last key of the page before, which stays in the state.

Left out: proof of an entry (`/v1/networks/{network}/blocks/{included_height}` and its transaction show it).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query

from common.chain.evidence import ACCUSED, EVIDENCE
from common.core.errors import Malformed, NotFound
from common.node.access import SCOPED
from common.node.http.context import Limit, Node, Reader
from common.node.http.node_ports import RegionEvidence
from common.node.store.chain_store import ChainReader

MAX_ACCUSED: Final = 1_000
"""Ten complete sets of 100: beyond that the pages tell."""
_CURSOR: Final = re.compile(r"[0-9A-Za-z:_/-]{1,600}")
_decode: Final = msgspec.json.Decoder().decode

Cursor = Annotated[str | None, Query(max_length=600, description="`next_cursor` of the page before.")]

router = APIRouter(prefix="/v1/networks", tags=["Node interface"])


@router.get("/{network}/evidence")
async def evidence(network: str, node: Node, who: Reader, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Proven violations of the protocol with their culprits, by height; and every culprit with the number of acts."""
    own, application = network == node.genesis.network, node.application
    if own:
        prefix = EVIDENCE
    elif isinstance(application, RegionEvidence) and who.role not in SCOPED and who.may_see_region(network):
        prefix = application.region_evidence_prefix(network)
    else:
        raise NotFound("network_unknown", "This node knows no such network.", network=node.genesis.network)
    reader = node.chain.moment()
    after = None if cursor is None else _after(reader, prefix, cursor)
    found = reader.state_scan(prefix, after, limit + 1)
    more = len(found) > limit
    accused = reader.state_scan(ACCUSED, None, MAX_ACCUSED) if own else []
    return {
        "network": network,
        "as_of_height": reader.tip().height,
        "accused": [{"public_key": key[len(ACCUSED) :].decode(), **_decode(value)} for key, value in accused],
        "evidence": [_decode(value) for _, value in found[:limit]],
        "next_cursor": found[limit - 1][0][len(prefix) :].decode() if more else None,
    }


def _after(reader: ChainReader, prefix: bytes, cursor: str) -> bytes:
    if _CURSOR.fullmatch(cursor) is not None:
        key = prefix + cursor.encode("ascii")
        if reader.state_get(key) is not None:
            return key
    raise Malformed("cursor_invalid", "The cursor is not that of a page of evidence.")
