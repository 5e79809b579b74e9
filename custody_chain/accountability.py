"""Evidence about a region's validators, as the custody chain keeps it and `GET /v1/networks/{region}/evidence` shows.

Invariants
  N1  Culprits are whom the region's client type names (protocol rule 20).
  N2  A frozen region stays as it is; all that later evidence can do is to give names to a freeze that has none.

Left out: judging (`crosslink.lightclient`), freezing (`anchoring`), recovery (`governance`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.port import Misbehaviour
from custody_chain.tables.deliveries import Origin
from custody_chain.tables.regions import MisbehaviourRecord, RegionFreeze


def evidence_record(
    proven: Misbehaviour, client_type: str, headers: Sequence[bytes], freeze: RegionFreeze, anchored_by: Origin | None
) -> MisbehaviourRecord:
    """What is kept. `headers`: the pair, or the one that contradicts; `freeze` says which transaction brought it."""
    first, second = (None, headers[0]) if len(headers) == 1 else headers
    return MisbehaviourRecord(
        client_type=client_type,
        kind=proven.kind,
        network=proven.network,
        height=proven.height,
        first_id=proven.first_id.hex(),
        second_id=proven.second_id.hex(),
        culprits=proven.culprits,
        details=dict(proven.details),
        pairs=tuple((height, one.hex(), other.hex()) for height, one, other in proven.pairs),
        first=None if first is None else first.hex(),
        second=second.hex(),
        anchored_by=anchored_by,
        tx_id=freeze.tx_id,
        submitter=freeze.submitter,
        included_height=freeze.custody_height,
        included_time_ms=freeze.time_ms,
    )


def judged_as_if_not_frozen(state: ClientState) -> ClientState:
    """What a freeze without names may still be told (N2); never stored."""
    return replace(state, frozen_height=None)
