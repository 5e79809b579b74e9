"""Which bodies off the chain the objects of this chain commit to, in the order of blocks: an index (ADR 0078).

    sealed/<height, 16 digits>/<digest>    what the operation states of the body

Entries stay when blocks are pruned: a body is kept as long as the chain that commits to it.
Left out: the statement's form (`common.model.sealed`), keeping bodies (`common.node.bodies`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from business_chain.state import encode_value
from common.chain.application import StateView
from common.model.sealed import SealedBody
from common.node.store.chain_reader import ChainReader

_PREFIX: Final = b"sealed/"
_decode: Final = msgspec.json.Decoder(SealedBody).decode


def note_sealed(state: StateView, height: int, bodies: Iterable[SealedBody]) -> None:
    """Enter the bodies that an operation commits to."""
    for body in bodies:
        state.put_index(b"%b%016d/%b" % (_PREFIX, height, body.digest.encode("ascii")), encode_value(body))


def sealed_after(chain: ChainReader, after: bytes | None, limit: int) -> list[tuple[bytes, SealedBody]]:
    """At most `limit` entries above a key, with their keys."""
    return [(key, _decode(value)) for key, value in chain.index_scan(_PREFIX, after, limit)]
