"""Evidence about a region's validators, as the custody chain keeps it and `GET /v1/networks/{region}/evidence` shows.

State values below ``misbehaviour/<network>/`` (custody heights, 16 hex digits)::

    <custody height>/froze    for what the region was frozen
    <custody height>/named    a pair that named culprits of a freeze without names

Each: `{"kind", "height", "culprits": [{"name", "organisation", "public_key"}], "client_type", "first", "second",
"first_id", "second_id", "pairs": [[height, id, id]], "anchored_by", "tx_id", "submitter", "included_height",
"included_time_ms"}`, and what the client type tells besides (for ours `view`, null across views); `first` and `second`
are the headers as they were delivered, in hex, null for the block that was trusted already.

Invariants
  N1  Culprits are whom the region's client type names (protocol rule 20).
  N2  A frozen region stays as it is; all that later evidence can do is to give names to a freeze that has none.

Left out: judging (`crosslink.lightclient`), freezing (`anchoring`), recovery (`governance`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.port import Misbehaviour
from custody_chain.tables.deliveries import Origin
from custody_chain.tables.regions import RegionFreeze


def evidence_entry(
    proven: Misbehaviour, client_type: str, headers: Sequence[bytes], freeze: RegionFreeze, anchored_by: Origin | None
) -> dict[str, Any]:
    """The state value. `headers`: the pair, or the one that contradicts; `freeze` says which transaction brought it."""
    first, second = (None, headers[0]) if len(headers) == 1 else headers
    return {
        **proven.details,
        **proven.to_json(),
        "culprits": [culprit.to_json() for culprit in proven.culprits],
        "client_type": client_type,
        "first": None if first is None else first.hex(),
        "second": second.hex(),
        "pairs": [[height, one.hex(), other.hex()] for height, one, other in proven.pairs],
        "anchored_by": msgspec.to_builtins(anchored_by),
        "tx_id": freeze.tx_id,
        "submitter": freeze.submitter,
        "included_height": freeze.custody_height,
        "included_time_ms": freeze.time_ms,
    }


def judged_as_if_not_frozen(state: ClientState) -> ClientState:
    """What a freeze without names may still be told (N2); never stored."""
    return replace(state, frozen_height=None)
